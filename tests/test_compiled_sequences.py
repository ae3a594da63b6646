"""Networks over the places of a sequence compile, and train as with the eager engine."""

import pytest
import torch

import lamp
from tests.cases.compiled import both, lanes
from tests.test_compiled_windows import trained_alike

NETWORKS = {
    "affine": ((5, 4), lambda: [lamp.Linear(4, 7), lamp.Tanh(), lamp.Linear(7, 3, bias=False)]),
    "affine, many places": ((17, 2), lambda: [lamp.Linear(2, 9), lamp.GELU(), lamp.Linear(9, 1), lamp.Tanh()]),
    "affine, more axes": ((2, 3, 4), lambda: [lamp.Linear(4, 5), lamp.Dropout(0.3), lamp.Tanh(), lamp.Linear(5, 2)]),
    "affine, one place": ((1, 4), lambda: [lamp.Linear(4, 6), lamp.Softplus(), lamp.Linear(6, 2)]),
    "residual": (
        (3, 4),
        lambda: [lamp.Linear(4, 6), lamp.Residual(lamp.Sequential(lamp.LayerNorm(6), lamp.Linear(6, 6), lamp.ReLU()))],
    ),
    "softmax of each place": ((5, 4), lambda: [lamp.Linear(4, 7), lamp.Softmax(-1), lamp.Tanh(), lamp.Linear(7, 3)]),
    "softmax over places": (
        (5, 4),
        lambda: [lamp.Linear(4, 3), lamp.Softmax(1), lamp.Linear(3, 3), lamp.LogSoftmax(1)],
    ),
    "softmax between axes": ((2, 3, 4), lambda: [lamp.Linear(4, 5), lamp.LogSoftmax(2), lamp.Linear(5, 2)]),
}


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, lanes() + 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_agree(name, count):
    """One network with several vectors of samples to a batch; and a vector of networks, with one that is left over."""
    batch = lanes() + 3 if count is None else 5
    trained_alike(*NETWORKS[name], count, samples=2 * batch + 3, batch=batch)


@pytest.mark.compiled
@pytest.mark.parametrize(("count", "batch"), [(1, 4), (2, 7), (17, 5), (None, 1), (None, 3 * lanes() + 1)])
def test_any_number_of_networks_and_samples(count, batch):
    shape, make = NETWORKS["residual"]
    trained_alike(shape, make, count, samples=2 * batch + 1, batch=batch)


# ---- losses over places ----------------------------------------------------------------------------------------------
def labels(*shape, ignored=None, classes=3):
    generator = torch.Generator().manual_seed(3)
    y = torch.randint(classes, shape, generator=generator)
    return y if ignored is None else y.masked_fill(torch.rand(shape, generator=generator) < 0.4, ignored)


def numbers(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


LOSSES = {  # the classes are on the first axis of a sample's output, (3, 5)
    "labels": (lamp.CrossEntropyLoss, lambda n: labels(n, 5)),
    "labels, summed": (lambda: lamp.CrossEntropyLoss(reduction="sum"), lambda n: labels(n, 5)),
    "labels, some ignored": (lamp.CrossEntropyLoss, lambda n: labels(n, 5, ignored=-100)),
    "labels, a class ignored": (lambda: lamp.CrossEntropyLoss(ignore_index=1), lambda n: labels(n, 5)),
    "labels, weighted and smoothed": (
        lambda: lamp.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]).double(), label_smoothing=0.1),
        lambda n: labels(n, 5, ignored=-100),
    ),
    "probabilities": (lamp.CrossEntropyLoss, lambda n: numbers(n, 3, 5).softmax(1)),
    "logarithms": (lamp.NLLLoss, lambda n: labels(n, 5)),
    "numbers": (lamp.MSELoss, lambda n: numbers(n, 3, 5)),
    "numbers, summed": (lambda: lamp.HuberLoss(reduction="sum"), lambda n: numbers(n, 3, 5)),
    "yes or no": (lamp.BCEWithLogitsLoss, lambda n: labels(n, 3, 5, classes=2).double()),
}


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:largest after:lamp.TrainingWarning")  # it is about counting alone
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_over_places(name, count):
    make, targets = LOSSES[name]
    metrics = {"threshold": lamp.metrics.Accuracy(0.3)}
    if "yes" not in name:
        metrics["largest"] = lamp.metrics.Accuracy(ignore_index=2)
        if "numbers" not in name and "probabilities" not in name:
            metrics = {"largest": lamp.metrics.Accuracy(), "two": lamp.metrics.Accuracy()}
    both(
        lambda: lamp.Sequential(
            lamp.Linear(4, 6), lamp.Tanh(), lamp.Linear(6, 5), *([lamp.LogSoftmax(1)] if name == "logarithms" else [])
        ).double(),
        make,
        lambda parameters: lamp.SGD(parameters, lr=0.05, momentum=0.5),
        (numbers(13, 3, 4), targets(13)),
        count=count,
        batch_size=5,
        metrics=metrics,
        tolerance=1e-11,
    )


@pytest.mark.compiled
@pytest.mark.parametrize("metric", [lamp.metrics.Accuracy(top_k=2), lamp.metrics.F1()])
def test_metrics_over_places_that_need_all_outputs(metric):
    both(
        lambda: lamp.Sequential(lamp.Linear(4, 5)).double(),
        lamp.CrossEntropyLoss,
        lambda parameters: lamp.SGD(parameters, lr=0.05, momentum=0.5),
        (numbers(13, 3, 4), labels(13, 5)),
        batch_size=5,
        metrics={"metric": metric},
        validation=(numbers(7, 3, 4), labels(7, 5)),
        tolerance=1e-11,
    )


WRONG = {
    "one label per sample": (lamp.CrossEntropyLoss, lambda: labels(13)),
    "one label per class": (lamp.CrossEntropyLoss, lambda: labels(13, 3)),
    "too many classes": (lamp.CrossEntropyLoss, lambda: labels(13, 5, classes=4)),
    "numbers in one row": (lamp.MSELoss, lambda: numbers(13, 15)),
    "a weight for each output": (
        lambda: lamp.BCEWithLogitsLoss(pos_weight=torch.ones(15).double()),
        lambda: labels(13, 3, 5, classes=2).double(),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_gets_the_eager_engines_error(name):
    make, targets = WRONG[name]
    told = []
    for engine in ("eager", "compiled"):
        model = lamp.Sequential(lamp.Linear(4, 5)).double()
        optimizer = lamp.SGD(model.parameters(), lr=0.1)
        data = numbers(13, 3, 4), targets()
        with pytest.raises(lamp.LampError) as error:
            lamp.fit(model, make(), optimizer, data, epochs=1, batch_size=13, engine=engine, shuffle=False)
        told.append((type(error.value), str(error.value)))
    assert told[0] == told[1]
