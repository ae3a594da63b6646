"""Metrics in a training: batch by batch, with both engines, per replica; and what fit does with a metric object."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch

import lamp
from lamp import metrics
from lamp.training.epoch_metrics import EpochMetrics

GENERATOR = torch.Generator().manual_seed(4)
N, HELD_OUT, CLASSES = 83, 31, 3
X = torch.randn(N + HELD_OUT, 4, generator=GENERATOR, dtype=torch.float64)
LABELS = (X[:, :CLASSES] + 0.7 * torch.randn(N + HELD_OUT, CLASSES, generator=GENERATOR, dtype=torch.float64)).argmax(1)
IGNORING = LABELS.where(torch.rand(N + HELD_OUT, generator=GENERATOR) > 0.3, -1)
NUMBERS = X[:, :CLASSES].sin() + 2.0

OF_CLASSES = (
    metrics.Accuracy(),
    metrics.Accuracy(top_k=2),
    metrics.Precision(),
    metrics.Recall("weighted"),
    metrics.F1(),
    metrics.AUC(),
    metrics.Perplexity(),
)
OF_NUMBERS = (metrics.MeanAbsoluteError(), metrics.MeanSquaredError(), metrics.R2(), metrics.Precision(threshold=2.1))


def network(seed=2):
    torch.manual_seed(seed)
    return lamp.Sequential(lamp.Linear(4, 6), lamp.Tanh(), lamp.Linear(6, CLASSES)).double()


def fitted(given, *, targets=IGNORING, criterion=None, engine="eager", count=None, lr=0.0, **more):
    """A training with a learning rate of 0 by default, so that the weights can be evaluated again."""
    model = network() if count is None else lamp.population(network(), range(count))
    criterion = criterion or lamp.CrossEntropyLoss(ignore_index=-1)
    options = {"epochs": 2, "batch_size": 12, "progress": False, "engine": engine, "metrics": given, **more}
    options.setdefault("validation", (X[N:], targets[N:]))
    return model, lamp.fit(model, criterion, lamp.SGD(model.parameters(), lr=lr), (X[:N], targets[:N]), **options)


# ---- values ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("count", [None, 1, 3])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_an_epoch_is_measured_as_its_rows(kind, count, engine):
    given, targets, criterion, ignored = (
        (OF_CLASSES, IGNORING, None, -1) if kind == "classes" else (OF_NUMBERS, NUMBERS, lamp.MSELoss(), None)
    )
    model, history = fitted(given, targets=targets, criterion=criterion, engine=engine, count=count)
    assert history.engine == engine
    for metric in given:
        whole = type(metric)(**arguments(metric), **({} if ignored is None else {"ignore_index": ignored}))
        for prefix, rows in (("", slice(0, N)), ("validation_", slice(N, None))):
            output = lamp.predict(model, X[rows])
            alone = whole(output if count is None else lamp.per_replica(output), targets[rows])
            found = history[f"{prefix}{metric.name}"]
            assert found.shape == ((2,) if count is None else (2, count))
            torch.testing.assert_close(found, alone.expand(found.shape), rtol=1e-9, atol=1e-9)
        measured = lamp.evaluate(model, criterion or lamp.CrossEntropyLoss(ignore_index=-1), (X, targets),
                                 metrics=[metric], batch_size=7)[metric.name]  # fmt: skip
        output = lamp.predict(model, X)
        alone = whole(output if count is None else lamp.per_replica(output), targets)
        torch.testing.assert_close(torch.as_tensor(measured, dtype=torch.float64), alone, rtol=1e-9, atol=1e-9)


def arguments(metric):
    return {name: vars(metric)[name] for name in ("average", "threshold", "top_k") if name in vars(metric)}


@pytest.mark.parametrize("count", [None, 3])
def test_both_engines_measure_the_same(count):
    given = [*OF_CLASSES, mean_output]
    found = [fitted(given, engine=engine, count=count, lr=0.3)[1] for engine in ("eager", "compiled")]
    for name in found[0].names:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-9, atol=1e-9)


def mean_output(output, target):
    return output.mean()


def test_replicas_are_measured_as_they_are_alone():
    model = network()
    together = lamp.population(model, [5, 6])
    given = [*OF_CLASSES, mean_output, Range()]
    criterion = lamp.CrossEntropyLoss(ignore_index=-1)
    found = lamp.evaluate(together, criterion, (X, IGNORING), metrics=given, batch_size=20)
    for k in range(2):
        alone = lamp.evaluate(together[k], criterion, (X, IGNORING), metrics=given, batch_size=20)
        assert {name: values[k].item() for name, values in found.items()} == pytest.approx(alone, rel=1e-9)


def test_in_folds():
    found = lamp.cross_validate(
        network(),
        (X, LABELS),
        criterion=lamp.CrossEntropyLoss(),
        folds=3,
        epochs=2,
        metrics=[metrics.F1(), Range()],
        progress=False,
    )
    held = found.folds[1]
    assert found.scores["f1"][1].item() == pytest.approx(metrics.F1()(found.outputs[0, held], LABELS[held]).item())
    assert found.scores["Range"].isfinite().all()


def test_in_a_sweep():
    found = lamp.sweep(
        network(),
        {"lr": [0.0, 0.3, 0.1]},
        (X[:N], LABELS[:N]),
        criterion=lamp.CrossEntropyLoss(),
        optimizer=lamp.SGD,
        epochs=5,
        seeds=2,
        validation=(X[N:], LABELS[N:]),
        metrics=metrics.F1(),
        progress=False,
    )
    assert found.best == {"lr": 0.3}  # the highest, since the metric says that higher is better


def test_early_stopping_by_name_takes_more_for_better():
    stopping = lamp.EarlyStopping(2, "validation_f1")
    assert stopping.mode == "max"
    fitted([metrics.F1()], callbacks=[stopping], lr=0.1, epochs=3)
    assert 0 < stopping.best <= 1


def test_a_metric_says_which_way_is_better_whatever_it_is_named():
    class Cost(Share):
        higher_is_better = True

    for metric, mode in ((metrics.F1(), "max"), (metrics.Perplexity(), "min"), (Cost(), "max"), (Share(), "min")):
        for name in ("mine", "f1"):
            stopping = lamp.EarlyStopping(2, f"val_{name}")
            fitted({name: metric}, callbacks=[stopping])
            assert stopping.mode == mode
    stopping = lamp.EarlyStopping(2, "validation_mine", mode="min")
    fitted({"mine": metrics.F1()}, callbacks=[stopping])
    assert stopping.mode == "min"


@pytest.mark.parametrize(
    ("name", "mode"),
    [("loss", "min"), ("validation_accuracy", "max"), ("top_5_accuracy", "max"), ("r2", "max"), ("err2", "min"),
     ("validation_auc", "max"), ("mean_squared_error", "min"), ("perplexity", "min"), ("my f1", "max")],
)  # fmt: skip
def test_which_way_is_better(name, mode):
    assert lamp.EarlyStopping(monitor=name).mode == mode


@pytest.mark.parametrize("count", [None, 3])
def test_the_largest_two_are_not_counted_as_the_largest(count):
    found = [fitted(lamp.Accuracy(top_k=2), engine=engine, count=count)[1] for engine in ("eager", "compiled")]
    assert torch.equal(found[0]["top_2_accuracy"], found[1]["top_2_accuracy"])


def test_what_an_epoch_passes_on_is_each_replica_s_own():
    """If replicas, samples and classes are equally many, labels must not be taken for one-hot rows."""
    output, labels = torch.randn(4, 4, 4), torch.randint(0, 4, (4, 4))
    epoch = EpochMetrics({"accuracy": lamp.Accuracy()}, 4)
    epoch.update(output, labels.double())
    expected = torch.stack([lamp.accuracy(*pair) for pair in zip(output, labels, strict=True)])
    assert torch.equal(epoch.values()["accuracy"], expected)


# ---- a metric of a user's own ----------------------------------------------------------------------------------------
class Range:
    """An accumulator that knows nothing of lamp: the largest output less the smallest one."""

    def __init__(self):
        self.low, self.high, self.updates = 9.0, -9.0, 0

    def reset(self):
        self.__init__()

    def update(self, output, target):
        assert output.dim() == 2  # of one network
        self.updates += 1
        self.low, self.high = min(self.low, output.min().item()), max(self.high, output.max().item())

    def value(self):
        return self.high - self.low


class Share(metrics.Metric):
    """One of lamp's base, of one network, that counts labels of class 1."""

    name = "ones"

    def __init__(self):
        self.reset()

    def reset(self):
        self.seen, self.ones = 0, torch.zeros(())

    def update(self, output, target):
        self.seen += len(target)
        self.ones += (target == 1).sum()  # in place

    def value(self):
        return self.ones / self.seen


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("count", [None, 3])
def test_a_user_s_own_accumulator(count, engine):
    own, share = Range(), Share()
    model, history = fitted([own, share], engine=engine, count=count)
    output = lamp.predict(model, X[:N])
    widths = output.amax((-1, -2)) - output.amin((-1, -2))
    torch.testing.assert_close(history["Range"][-1], widths)
    expected = (IGNORING[N:] == 1).double().mean()
    torch.testing.assert_close(history["validation_ones"][0].double(), expected.expand(widths.shape), rtol=1e-6, atol=0)
    assert own.updates == 0
    assert share.seen == 0


def test_what_is_given_to_fit_stays_as_it_is():
    metric = metrics.F1()
    metric.update(X[:9, :CLASSES], LABELS[:9])
    before = metric.value()
    _, first = fitted([metric])
    assert metric.value() == before
    _, other = fitted([metrics.F1()])
    assert torch.equal(first["f1"], other["f1"])


def test_the_ignored_label_is_the_criterion_s():
    for make in (metrics.F1, metrics.AUC, metrics.Perplexity):
        _, found = fitted([make()])
        _, other = fitted([make(ignore_index=-1)])
        assert torch.equal(found[make.name], other[make.name])


# ---- memory ----------------------------------------------------------------------------------------------------------
class Watching(lamp.Module):
    """Returns its input, and tracks which of its outputs still exist."""

    def __init__(self):
        self.seen = []

    def forward(self, x):
        y = x + 0.0
        self.seen.append(weakref.ref(y.untyped_storage()))
        return y

    def backward(self, dy):
        return dy

    @property
    def alive(self):
        return sum(each() is not None for each in self.seen)


def most_kept(given, batches=50, rows=20_000):
    """The largest number of outputs that existed at once, in an epoch of a million rows and its validation."""
    watching, most = Watching(), []

    class Counting(metrics.Metric):
        name = "counting"
        of_replicas = True

        def update(self, output, target):
            most.append(watching.alive)

        def value(self):
            return 0.0

        def reset(self):
            pass

    model = lamp.Sequential(lamp.Linear(1, 2), watching)
    x, y = torch.randn(rows, 1), torch.randint(0, 2, (rows,))
    data = [(x, y)] * batches
    lamp.fit(
        model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), lr=0.1), data, epochs=1, validation=data,
        metrics=[*given, Counting()], progress=False, engine="eager",
    )  # fmt: skip
    assert len(most) == 2 * batches
    gc.collect()
    return max(most)


def test_an_epoch_of_a_million_rows_keeps_no_outputs():
    streaming = [metrics.Accuracy(), metrics.F1(), metrics.Perplexity(), metrics.ConfusionMatrix(), Range()]
    assert most_kept(streaming[:3]) <= 3  # the batch in hand, and the one before
    epoch = EpochMetrics({str(k): metric for k, metric in enumerate(streaming)}, None)
    epoch.update(X[:, :CLASSES], LABELS)
    assert epoch.state_dict()["outputs"] is None


def test_outputs_are_kept_for_functions_alone():
    assert most_kept([mean_output], rows=20) >= 50


# ---- errors ----------------------------------------------------------------------------------------------------------
NOT_ONE_NUMBER = [metrics.ConfusionMatrix(), metrics.F1("none"), metrics.AUC("none")]


@pytest.mark.parametrize("metric", NOT_ONE_NUMBER, ids=lambda metric: metric.name)
def test_what_is_not_one_number_is_evaluated_but_not_followed(metric):
    for follow in (
        lambda: fitted([metric]),
        lambda: lamp.cross_validate(
            network(), (X, LABELS), criterion=lamp.CrossEntropyLoss(), epochs=1, metrics=[metric]
        ),
    ):
        with pytest.raises(lamp.ArgumentError, match="is not one number") as caught:
            follow()
        assert "one number per replica" in str(caught.value)
    for model in (network(), lamp.population(network(), [1, 2])):
        found = lamp.evaluate(model, lamp.CrossEntropyLoss(), (X, LABELS), metrics=[metric], batch_size=10)[metric.name]
        output = lamp.predict(model, X)
        alone = metric(output if model.replicas is None else lamp.per_replica(output), LABELS)
        torch.testing.assert_close(found, alone)


def test_two_of_one_name():
    with pytest.raises(lamp.ArgumentError, match="two metrics are named 'f1'"):
        fitted([metrics.F1(), metrics.F1("micro")])
    assert {"f1", "micro"} <= set(fitted({"f1": metrics.F1(), "micro": metrics.F1("micro")})[1].names)
    assert {"accuracy", "top_2_accuracy"} <= set(fitted(["accuracy", metrics.Accuracy(top_k=2)])[1].names)


def test_a_metric_alone_needs_no_list():
    assert "f1" in fitted(metrics.F1())[1].names
    assert "Range" in fitted(Range())[1].names


def test_a_class_in_place_of_a_metric():
    with pytest.raises(lamp.ArgumentError, match="cannot be called as a metric") as caught:
        fitted([metrics.F1])
    assert "make one: F1(...)" in str(caught.value)


def test_an_accumulator_with_other_arguments():
    class Odd(Range):
        def update(self, output):
            pass

    with pytest.raises(lamp.ArgumentError, match="cannot be called as lamp calls it"):
        fitted([Odd()])


def test_an_accumulator_that_cannot_be_copied():
    class Locked(Range):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    with pytest.raises(lamp.ArgumentError, match="'Locked' cannot be copied"):
        fitted([Locked()])


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_an_accumulator_that_gives_no_number(engine):
    class Vector(Range):
        def value(self):
            return torch.ones(3)

    with pytest.raises(lamp.ArgumentError, match="the metric 'Vector' did not return a number"):
        fitted([Vector()], engine=engine)


def test_a_call_of_one_s_own_is_used():
    """An overridden `__call__` of a metric is called, with the outputs of the whole epoch."""
    seen = []

    class Doubled(metrics.F1):
        def __call__(self, output, target):
            seen.append(len(output))
            return 2.0 * super().__call__(output, target)

    _, plain = fitted([metrics.F1()])
    _, doubled = fitted([Doubled()])
    torch.testing.assert_close(doubled["f1"], 2.0 * plain["f1"])
    assert seen == [N, HELD_OUT, N, HELD_OUT]
