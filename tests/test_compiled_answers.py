"""Accuracies that a kernel counts have the same bits as the metrics of the same outputs."""

from __future__ import annotations

import pytest
import torch

import lamp
from lamp.compiler.backends.cpu.target import VECTOR_BITS, host
from lamp.compiler.kernel import forget
from lamp.compiler.kernel_runner import KernelRunner
from lamp.training.metrics import answer_of, by_name
from tests.cases.compiled import lanes, trained

YES = lamp.Accuracy(0.5)


def labels(n, outputs):
    return torch.randint(0, outputs, (n,))


def one_hot(n, outputs):
    return torch.eye(outputs, dtype=torch.float64)[labels(n, outputs)]


def numbers(n, outputs):
    return torch.rand(n, outputs, dtype=torch.float64)


# A loss, the number of outputs, targets, and what is counted.
KINDS = {
    "labels": (lamp.CrossEntropyLoss, 3, labels, [lamp.accuracy]),
    "two classes": (lamp.NLLLoss, 2, labels, [lamp.accuracy]),
    "ignored labels": (lambda: lamp.CrossEntropyLoss(ignore_index=1), 3, labels, [lamp.accuracy]),
    "one-hot": (lamp.MSELoss, 4, one_hot, [lamp.accuracy]),
    "probabilities": (lamp.CrossEntropyLoss, 3, lambda *n: numbers(*n).softmax(1), [lamp.accuracy]),
    "yes or no": (lamp.BCEWithLogitsLoss, 1, numbers, [YES]),
    "several questions": (lamp.MSELoss, 3, numbers, [YES, lamp.Accuracy(0.0), lamp.accuracy]),
}


def enumerated(metrics):
    return [(f"metric {k}", metric) for k, metric in enumerate(metrics)]


def counted(kind, count, samples, batch, *, poisoned=False):
    """The shares of correct predictions (metrics, K), as the kernel counts them and as the metrics do."""
    make, outputs, target, metrics = KINDS[kind]
    inputs, targets = torch.randn(samples, 3, dtype=torch.float64), target(samples, outputs)
    inputs[:: samples // 2 + 1] = 0.0  # where the outputs of some are equal
    network = lamp.Sequential(lamp.Linear(3, outputs, bias=False)).double()
    model = network if count is None else lamp.population(network, range(count))
    if poisoned:
        model.parameters()[0].data[..., -1:, :] = float("nan")
    criterion = make()
    runner = KernelRunner(
        model,
        criterion,
        None,
        batches={min(batch, samples), samples % batch} - {0},
        labels=not targets.is_floating_point(),
        ignores=kind == "ignored labels",
        keeps_outputs=True,
        answers=[answer_of(metric) for metric in by_name(dict(enumerated(metrics))).values()],
    )
    read = targets.to(torch.float64)
    steps = runner.prepare(inputs, read, torch.arange(samples, dtype=torch.int32), batch)
    steps.run(0, steps.count)
    wanted = [[float(metric(output, targets)) for output in steps.outputs] for metric in metrics]  # type: ignore[attr-defined]
    asked = torch.tensor([[samples * (1 if metric is lamp.accuracy else outputs)] for metric in metrics])  # type: ignore[attr-defined]
    return steps.right.sum(0) / asked, torch.tensor(wanted, dtype=torch.float64)


@pytest.mark.parametrize("bits", [None, 128, 256])
@pytest.mark.parametrize("count", [None, 1, 3, 11])
@pytest.mark.parametrize("kind", KINDS)
def test_counts(kind, count, bits, monkeypatch):
    if bits is not None:
        if bits not in VECTOR_BITS or bits > host().bits:
            pytest.skip(f"no vectors of {bits} bits")
        monkeypatch.setenv("LAMP_VECTOR_BITS", str(bits))
    for samples, batch in ((1, 1), (26, 7), (40, 40), (2 * lanes() + 3, 2 * lanes())):
        found, wanted = counted(kind, count, samples, batch)
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_that_are_nan(kind, count):
    """NaN counts as the largest output, and lies above no threshold."""
    found, wanted = counted(kind, count, 26, 7, poisoned=True)
    assert torch.equal(found, wanted)


def test_ties_go_to_the_first():
    model = lamp.Sequential(lamp.Linear(2, 4)).double()
    for parameter in model.parameters():
        parameter.data.fill_(0.5)
    data = torch.randn(12, 2, dtype=torch.float64), torch.arange(12) % 4
    options = dict(epochs=1, batch_size=12, engine="compiled", progress=False, metrics=[lamp.accuracy])
    history = lamp.fit(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), lr=0.1), data, **options)
    assert history["accuracy"].tolist() == [0.25]


def test_parts_of_a_batch(monkeypatch):
    """Counted by several threads."""
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1000)
    forget()
    torch.set_num_threads(3)
    for kind in KINDS:
        found, wanted = counted(kind, None, 999, 37 * lanes() + 1)
        assert torch.equal(found, wanted)
    forget()


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::lamp.TrainingWarning")  # it is about counting alone
def test_both_engines_count_the_same_correct_answers(kind, dtype, count):
    """Both engines have the same history, on numbers where rounding changes no prediction."""
    make, outputs, target, metrics = KINDS[kind]
    named = {f"accuracy {k}": metric for k, metric in enumerate(metrics)}
    targets = target(41, outputs)
    targets = targets.to(dtype) if targets.is_floating_point() else targets
    inputs = torch.randn(41, 3, dtype=dtype)
    spec = (
        lambda: lamp.Sequential(lamp.Linear(3, outputs)).to(dtype),
        make,
        lambda parameters: lamp.SGD(parameters, lr=0.1),
        (inputs[:30], targets[:30]),
    )
    options = dict(count=count, metrics=named, validation=(inputs[30:], targets[30:]))
    eager, compiled = (trained(engine, *spec, **options) for engine in ("eager", "compiled"))
    for name in named:
        for each in (name, f"validation_{name}"):
            assert torch.equal(eager.history[each], compiled.history[each])
            assert ((compiled.history[each] > 0) & (compiled.history[each] < 1)).any()


def test_what_is_not_counted_is_measured():
    """A user's metric, a subclass of one of lamp's, and targets with weights."""

    class Mine(lamp.Accuracy):
        def __call__(self, output, target):
            return super().__call__(output, target) / 2

    assert answer_of(Mine(0.5)) is None
    assert answer_of(lambda output, target: 0.0) is None
    assert answer_of(lamp.Accuracy()) == "largest"
    assert answer_of(lamp.Accuracy(top_k=2)) is None
    set_on_it = lamp.Accuracy()
    set_on_it.of = lambda right, counted: right
    assert answer_of(set_on_it) is None
    inputs, targets = torch.randn(30, 3, dtype=torch.float64), numbers(30, 2)

    def run(engine, criterion, target, metric):
        return trained(
            engine,
            lambda: lamp.Sequential(lamp.Linear(3, 2)).double(),
            criterion,
            lambda parameters: lamp.SGD(parameters, lr=0.1),
            (inputs, target),
            metrics={"mine": metric},
        ).history["mine"]

    weighted = torch.cat([targets, torch.rand(30, 1, dtype=torch.float64)], 1)
    of_weighted = lambda: lamp.losses.weighted.WeightedLoss(lamp.MSELoss())  # noqa: E731
    with_weights = lambda output, target: YES(output, target[..., :-1])  # noqa: E731
    for spec in ((lamp.MSELoss, targets, Mine(0.5)), (of_weighted, weighted, with_weights)):
        assert torch.equal(run("eager", *spec), run("compiled", *spec))
    with pytest.raises(lamp.ShapeError, match="do not fit"):
        run("compiled", of_weighted, weighted, YES)
