"""Metrics in fit: what accuracy counts with both engines, names, and errors before training."""

import functools
import math

import numpy as np
import pytest
import torch

import lamp

GENERATOR = torch.Generator().manual_seed(4)
N, CLASSES = 700, 3
X = torch.randn(N, 4, generator=GENERATOR)
LABELS = torch.randint(0, CLASSES, (N,), generator=GENERATOR)
IGNORING = LABELS.where(torch.rand(N, generator=GENERATOR) > 0.4, -100)


def network():
    torch.manual_seed(2)
    return lamp.Sequential(lamp.Linear(4, 8), lamp.Tanh(), lamp.Linear(8, CLASSES))


def share(labels, ignored):
    answers, kept = network()(X).argmax(1), labels != ignored
    return ((answers == labels) & kept).sum().item() / kept.sum().item()


def fitted(metrics, labels, criterion=None, engine="eager", **options):
    model = network()
    return lamp.fit(
        model,
        criterion or lamp.CrossEntropyLoss(),
        lamp.SGD(model.parameters(), lr=0.0),
        (X, labels),
        epochs=2,
        batch_size=50,
        validation=(X, labels),
        metrics=metrics,
        engine=engine,
        progress=False,
        **options,
    )


class TestIgnoredLabels:
    @pytest.mark.parametrize("engine", ["eager", "compiled"])
    @pytest.mark.parametrize(
        ("metric", "criterion", "labels", "ignored"),
        [
            (lamp.accuracy, lamp.CrossEntropyLoss(), IGNORING, -100),
            (lamp.accuracy, lamp.CrossEntropyLoss(ignore_index=1), LABELS, 1),
            (lamp.Accuracy(), lamp.CrossEntropyLoss(ignore_index=-1), IGNORING.where(IGNORING >= 0, -1), -1),
            (lamp.Accuracy(ignore_index=2), lamp.CrossEntropyLoss(), LABELS, 2),
            (lamp.Accuracy(ignore_index=2), lamp.CrossEntropyLoss(ignore_index=0), LABELS, 2),
            ("accuracy", lamp.CrossEntropyLoss(ignore_index=0), LABELS, 0),
        ],
        ids=range(6),
    )
    def test_they_count_neither_way(self, engine, metric, criterion, labels, ignored):
        history = fitted(metric, labels, criterion, engine)
        for name in ("accuracy", "validation_accuracy"):
            assert history[name].tolist() == pytest.approx([share(labels, ignored)] * 2, rel=1e-12)
        assert lamp.evaluate(network(), criterion, (X, labels), metrics=metric)["accuracy"] == pytest.approx(
            share(labels, ignored), rel=1e-12
        )

    def test_without_a_criterion(self):
        output = network()(X)
        assert lamp.accuracy(output, IGNORING).item() == pytest.approx(share(IGNORING, -100))
        assert lamp.Accuracy(ignore_index=1)(output, LABELS).item() == pytest.approx(share(LABELS, 1))
        assert math.isnan(lamp.accuracy(output, torch.full((N,), -100)).item())

    def test_yes_or_no(self):
        output, target = torch.tensor([[0.3], [0.7], [0.8], [0.1]]), torch.tensor([[0], [1], [-100], [1]])
        assert lamp.Accuracy(0.5)(output, target).item() == pytest.approx(2 / 3)

    def test_of_a_population_each_replica_counts_its_own(self):
        nets = lamp.population(network(), seeds=[1, 2])
        rows = torch.stack([torch.arange(300), torch.arange(300, 600)])
        loader = lamp.DataLoader((X, IGNORING), 64, indices=rows)
        found = lamp.evaluate(nets, lamp.CrossEntropyLoss(), loader, metrics=lamp.accuracy)["accuracy"]
        outputs = lamp.predict(nets, X)
        for k in range(2):
            labels = IGNORING[rows[k]]
            kept = labels != -100
            right = (outputs[k, rows[k]].argmax(1) == labels) & kept
            assert found[k].item() == pytest.approx(right.sum().item() / kept.sum().item(), rel=1e-12)


class TestAxisOfClasses:
    scores = torch.randn(6, CLASSES, 5, generator=GENERATOR)
    labels = torch.randint(0, CLASSES, (6, 5), generator=GENERATOR)

    def test_the_axis_of_classes_is_the_losses(self):
        right = (self.scores.argmax(1) == self.labels).double().mean().item()
        assert lamp.accuracy(self.scores, self.labels).item() == pytest.approx(right)
        one_hot = torch.nn.functional.one_hot(self.labels, CLASSES).movedim(-1, 1)
        assert lamp.accuracy(self.scores, one_hot).item() == pytest.approx(right)
        lamp.CrossEntropyLoss()(self.scores, self.labels)

    def test_another_is_told_with_the_way_out(self):
        last = self.scores.movedim(1, -1)
        for function in (lamp.accuracy, lamp.CrossEntropyLoss()):
            with pytest.raises(lamp.ShapeError) as caught:
                function(last, self.labels)
            assert "output.movedim(-1, 1)" in str(caught.value)

    def test_the_axis_of_classes_in_a_training(self):
        def sequences(seed):
            torch.manual_seed(seed)
            return lamp.Sequential(lamp.Linear(4, 15), lamp.Unflatten(1, (CLASSES, 5)))

        model = sequences(1)
        labels = torch.randint(-1, CLASSES, (N, 5), generator=GENERATOR)
        criterion = lamp.CrossEntropyLoss(ignore_index=-1)
        found = lamp.evaluate(model, criterion, (X, labels), metrics=lamp.accuracy)
        kept = labels != -1
        right = ((model(X).argmax(1) == labels) & kept).sum() / kept.sum()
        assert found["accuracy"] == pytest.approx(right.item(), rel=1e-6)
        assert found["loss"] == pytest.approx(criterion(model(X), labels).item(), rel=1e-6)
        nets = lamp.population(sequences(1), seeds=[1, 2])
        found = lamp.evaluate(nets, criterion, (X, labels), metrics=lamp.accuracy)
        assert found["accuracy"][0].item() == pytest.approx(right.item(), rel=1e-6)

    def test_many_right_answers_in_half_precision(self):
        scores = torch.zeros(70_000, 2, dtype=torch.float16)
        assert lamp.accuracy(scores, torch.zeros(70_000, dtype=torch.int64)).item() == 1.0


class TestNames:
    def test_one_metric_needs_no_list(self):
        assert fitted(lamp.accuracy, LABELS).names == fitted([lamp.accuracy], LABELS).names
        assert "accuracy" in fitted(lamp.Accuracy, LABELS)
        assert "accuracy" in fitted("accuracy", LABELS)
        assert "mine" in fitted({"mine": "accuracy"}, LABELS)

    def test_lambdas_get_names_of_their_own(self):
        found = lamp.evaluate(
            network(), lamp.CrossEntropyLoss(), (X, LABELS), metrics=[lambda o, t: 1.0, lambda o, t: 2, lambda o, t: 3]
        )
        assert [found[name] for name in ("lambda", "lambda_2", "lambda_3")] == [1.0, 2.0, 3.0]

    def test_a_partial_is_called_as_its_function(self):
        def above(output, target, bound):
            return (output > bound).double().mean()

        assert "above" in fitted(functools.partial(above, bound=0.0), LABELS)

    def test_an_object_of_ones_own_is_called_by_its_name(self):
        class Largest:
            def reset(self):
                self.found = []

            def update(self, output, target):
                self.found.append(output.max().item())

            def value(self):
                return max(self.found)

        named, again = Largest(), Largest()
        again.name = "largest_output"  # type: ignore[attr-defined]
        assert {"Largest", "largest_output", "validation_largest_output"} <= set(fitted([named, again], LABELS).names)

    @pytest.mark.parametrize(
        "twice", [[lamp.accuracy, lamp.accuracy], [lamp.Accuracy(0.0), lamp.Accuracy(0.5)], [lamp.accuracy, "accuracy"]]
    )
    def test_two_of_one_name_say_how(self, twice):
        with pytest.raises(lamp.ArgumentError, match="two metrics are named 'accuracy'") as caught:
            fitted(twice, LABELS)
        assert 'metrics={"accuracy": ..., "another name": ...}' in str(caught.value)

    @pytest.mark.parametrize("name", ["loss", "epoch", "seconds", "validation_x", "", 3])
    def test_names_that_are_taken(self, name):
        with pytest.raises(lamp.ArgumentError, match="a metric cannot be named"):
            fitted({name: lamp.accuracy}, LABELS)


NO_NUMBERS = {
    "a text": "0.5",
    "nothing": None,
    "a list": [1.0],
    "a vector": torch.ones(3),
    "an array": np.ones(2),
    "a pair": (1.0, 2.0),
    "a complex number": 1j,
}


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
def test_a_metric_that_gives_no_number(value, engine):
    def mine(output, target):
        return value

    with pytest.raises(lamp.ArgumentError, match="the metric 'mine' did not return a number"):
        fitted(mine, LABELS, engine=engine)


@pytest.mark.parametrize("value", [1, True, 0.5, np.float32(0.5), np.int64(2), np.ones(1), torch.ones(1, 1)], ids=repr)
def test_a_metric_that_gives_one(value):
    assert fitted(lambda output, target: value, LABELS)["lambda"][0] == np.asarray(value).item()


def test_a_metric_of_replicas_gives_one_each():
    def mine(output, target):
        return torch.ones(3)

    mine.of_replicas = True  # type: ignore[attr-defined]
    nets = lamp.population(network(), seeds=[1, 2])
    with pytest.raises(lamp.ArgumentError, match=r"expected  a tensor \(2,\)"):
        lamp.evaluate(nets, lamp.CrossEntropyLoss(), (X, LABELS), metrics=mine)


@pytest.mark.parametrize("metric", [lambda output: 1.0, lambda a, b, c: 1.0, lambda *, output, target: 1.0])
def test_a_metric_with_other_arguments(metric):
    with pytest.raises(lamp.ArgumentError, match="cannot be called as lamp calls it"):
        fitted(metric, LABELS)


class TestNoMetric:
    @pytest.mark.parametrize(
        "metric", [3, None, [None], ["recall"], [lamp.CrossEntropyLoss()], [dict], {"x": "recall"}]
    )
    def test_what_is_no_metric_is_refused(self, metric):
        with pytest.raises(lamp.ArgumentError, match="cannot be called as a metric"):
            fitted(metric, LABELS)
