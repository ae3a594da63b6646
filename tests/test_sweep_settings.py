"""Which settings a sweep tries, and what it says of those that cannot be."""

import functools
import math

import numpy as np
import pytest
import torch

import lamp
from lamp.studies import choice, grid, log_uniform, samples, sweep, uniform
from lamp.studies.settings import as_settings


class TestGrid:
    def test_every_combination_the_last_name_fastest(self):
        assert grid(lr=[0.1, 0.2], momentum=(0, 0.9)) == [
            {"lr": 0.1, "momentum": 0},
            {"lr": 0.1, "momentum": 0.9},
            {"lr": 0.2, "momentum": 0},
            {"lr": 0.2, "momentum": 0.9},
        ]

    def test_a_dict_is_its_grid(self):
        assert as_settings({"lr": [0.1, 0.2], "hidden": range(2)}) == grid(lr=[0.1, 0.2], hidden=[0, 1])

    @pytest.mark.parametrize("values", [np.logspace(-3, -1, 3), torch.logspace(-3, -1, 3, dtype=torch.float64)])
    def test_arrays_become_numbers(self, values):
        lrs = [setting["lr"] for setting in grid(lr=values)]
        assert lrs == pytest.approx([0.001, 0.01, 0.1])
        assert {type(lr) for lr in lrs} == {float}

    @pytest.mark.parametrize("values", [0.1, [], "abc", None])
    def test_values_are_a_list(self, values):
        with pytest.raises(lamp.ArgumentError, match="lr needs values"):
            grid(lr=values)


DRAWS = dict(lr=log_uniform(1e-4, 1e-1), decay=uniform(-1, 3), activation=choice([lamp.Tanh, lamp.ReLU]))


class TestSamples:
    def test_a_seed_decides_and_more_begin_with_the_same(self):
        assert samples(20, seed=1, **DRAWS) == samples(20, seed=1, **DRAWS)
        assert samples(20, seed=1, **DRAWS) != samples(20, seed=2, **DRAWS)
        assert samples(200, **DRAWS)[:7] == samples(7, **DRAWS)
        assert list(samples(1, **DRAWS)[0]) == ["lr", "decay", "activation"]

    def test_distributions(self):
        drawn = samples(4000, **DRAWS)
        lr = torch.tensor([each["lr"] for each in drawn]).log10()
        decay = torch.tensor([each["decay"] for each in drawn])
        for values, low, high in ((lr, -4, -1), (decay, -1, 3)):
            assert low <= values.min() < low + 0.01 < high - 0.01 < values.max() <= high
            shares = torch.histc(values, 5, low, high) / len(values)
            assert (shares - 0.2).abs().max() < 0.03
        share = sum(each["activation"] is lamp.Tanh for each in drawn) / len(drawn)
        assert share == pytest.approx(0.5, abs=0.03)

    @pytest.mark.parametrize(
        ("make", "match"),
        [
            (lambda: uniform(2, 1), "low < high"),
            (lambda: uniform(0, math.inf), "finite"),
            (lambda: log_uniform(0, 1), "0 < low"),
            (lambda: log_uniform("a", 1), "'a'"),
            (lambda: choice([]), "choice"),
            (lambda: samples(0, lr=uniform(0, 1)), "count"),
            (lambda: samples(3), "no settings"),
            (lambda: samples(3, lr=0.1), "how to draw lr"),
            (lambda: samples(3, seed=0.5, lr=uniform(0, 1)), "seed"),
            (lambda: grid(), "no settings"),
        ],
    )
    def test_bad_input(self, make, match):
        with pytest.raises(lamp.ArgumentError, match=match):
            make()


X, Y = torch.randn(20, 4), torch.arange(20) % 3


def network(hidden=5):
    return lamp.Sequential(lamp.Linear(4, hidden), lamp.Tanh(), lamp.Linear(hidden, 3))


def started(settings, model=None, **arguments):
    """A sweep that is expected not to begin."""

    class Never(lamp.Callback):
        def on_start(self, training):
            raise AssertionError("a training began")

    arguments = dict(criterion=lamp.CrossEntropyLoss(), epochs=3, progress=False, callbacks=[Never()]) | arguments
    return sweep(model or network(), settings, (X, Y), **arguments)


BAD = {
    "an empty list": (dict(settings=[]), "no settings"),
    "an empty dict": (dict(settings={}), "no settings"),
    "a setting of nothing": (dict(settings=[{}]), "no settings"),
    "a number": (dict(settings=3), "no settings"),
    "one setting": (dict(settings={"lr": 0.1}), "lr needs values"),
    "names that differ": (dict(settings=[{"lr": 0.1}, {"momentum": 0.1}]), r"setting 1 names[\s\S]*got\s+momentum"),
    "a name more": (dict(settings=[{"lr": 0.1}, {"lr": 0.1, "eps": 0.1}]), "setting 1 names"),
    "an unknown name": (dict(settings={"learning_rate": [1]}), r"'learning_rate'[\s\S]*optimizer: lr, betas, eps, we"),
    "a misspelt name": (dict(settings={"weigth_decay": [1]}), r"did you mean weight_decay\?"),
    "no number of the optimizer": (dict(settings={"amsgrad": [True]}), "nothing here has a hyperparameter 'amsgrad'"),
    "of another loss": (dict(settings={"delta": [1]}), r"'delta'[\s\S]*the loss: label_smoothing"),
    "of a model that is no function": (dict(settings={"hidden": [1]}), "'hidden'"),
    "of another function": (dict(settings={"width": [1]}, model=network), r"'width'[\s\S]*the model function: hidden"),
    "two places": (
        dict(settings={"lr": [1]}, model=lambda lr: network()),
        "lr could go to the model function and to the optimizer",
    ),
    "an argument that is missing": (dict(settings={"lr": [1]}, model=lambda width: network(width)), "needs width"),
    "out of the optimizer's range": (dict(settings={"lr": [0.1, -0.1]}), r"setting 1 \(lr = -0.1\): Adam: lr is out"),
    "half a pair": (dict(settings={"betas": [(0.9, 0.99), (0.9,)]}), r"setting 1 \(betas = \(0.9,\)\)"),
    "out of the loss's range": (
        dict(settings={"lr": [0.1], "label_smoothing": [0.1, 1.5]}),
        r"setting 1 \(lr = 0.1, label_smoothing = 1.5\): CrossEntropyLoss",
    ),
    "zero beta of many": (
        dict(settings={"beta": [0.1, 0.0]}, criterion=lamp.SmoothL1Loss()),
        r"setting 1 \(beta = 0\): SmoothL1Loss",
    ),
    "no limit": (
        dict(settings={"clip_norm": [1, 0]}),
        r"setting 1 \(clip_norm = 0\): clip_norm is not a positive number",
    ),
    "None": (dict(settings={"clip_value": [None]}), "clip_value is not a positive number"),
    "no number": (dict(settings={"lr": ["0.1"]}), r"setting 0 \(lr = 0.1\): lr is not a number"),
    "a pair for a loss": (dict(settings={"label_smoothing": [(0.1, 0.2)]}), "label_smoothing is not a number"),
    "momentum that Nesterov needs": (
        dict(settings={"momentum": [0.9, 0.0]}, optimizer=functools.partial(lamp.SGD, nesterov=True)),
        r"setting 1 \(momentum = 0\): Nesterov",
    ),
    "refused by a function": (
        dict(settings={"speed": [1]}, optimizer=lambda parameters, **numbers: lamp.SGD(parameters, **numbers)),
        r"setting 0 \(speed = 1\):[\s\S]*'speed'",
    ),
    "no optimizer": (dict(settings={"lr": [1]}, optimizer=lambda parameters, lr: None), "does not make an optimizer"),
    "a made optimizer": (
        dict(settings={"lr": [1]}, optimizer=lamp.SGD(network().parameters())),
        "optimizer= is neither a lamp optimizer nor a function",
    ),
    "no model": (dict(settings={"lr": [1]}, model=3), "model= is neither a lamp model nor a function"),
    "a function that builds nothing": (dict(settings={"lr": [1]}, model=lambda: None), "did not return a network"),
    "no loss": (dict(settings={"lr": [1]}, criterion=torch.mean), "the criterion is not a lamp module"),
    "a network without a loss": (dict(settings={"lr": [1]}, criterion=None), "no loss to train with"),
    "a made schedule": (
        dict(settings={"lr": [1]}, scheduler=lamp.StepLR(lamp.SGD(network().parameters()), 3)),
        "scheduler= does not make a schedule",
    ),
    "a function that makes no schedule": (
        dict(settings={"lr": [1]}, scheduler=lambda optimizer: 3),
        "scheduler= does not make",
    ),
    "no seeds": (dict(settings={"lr": [1]}, seeds=0), "seeds is too small"),
    "an empty list of seeds": (dict(settings={"lr": [1]}, seeds=[]), "the number of seeds is too small"),
    "half a seed": (dict(settings={"lr": [1]}, seeds=2.5), "seeds is not an integer"),
    "repeated seeds": (dict(settings={"lr": [1]}, seeds=[1, 2, 1]), r"seeds repeat: \[1\]"),
    "at_once below one setting": (dict(settings={"lr": [1]}, seeds=3, at_once=2), "at_once of at least 3"),
    "no epochs": (dict(settings={"lr": [1]}, epochs=0), "epochs is too small"),
    "halving by one": (dict(settings={"lr": [1]}, halving=1), "halving is too small"),
    "more rungs than epochs": (
        dict(settings={"lr": [0.1] * 9}, halving=2, epochs=3, callbacks=()),
        r"halved 3 times[\s\S]*at least 4 epochs",
    ),
    "no validation": (dict(settings={"lr": [1]}, score="validation_loss"), "pass validation="),
    "an unknown score": (dict(settings={"lr": [1]}, score="acuracy"), r"'acuracy' is not measured[\s\S]*loss"),
    "an unknown mode": (dict(settings={"lr": [1]}, mode="maximum"), "'maximum'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    arguments, match = BAD[name]
    with pytest.raises(lamp.ArgumentError, match=match):
        started(**arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (dict(), ("loss", "min")),
        (dict(metrics=[lamp.accuracy]), ("loss", "min")),
        (dict(validation=(X, Y)), ("validation_loss", "min")),
        (dict(validation=(X, Y), metrics=[lamp.accuracy]), ("validation_accuracy", "max")),
        (dict(validation=(X, Y), metrics={"a": lamp.accuracy, "b": lamp.accuracy}), ("validation_loss", "min")),
        (dict(metrics={"r": lamp.accuracy}, score="r", mode="max"), ("r", "max")),
        (dict(metrics={"r": lamp.accuracy}, score="r"), ("r", "max")),
        (dict(validation=(X, Y), metrics={"f": lamp.metrics.F1()}), ("validation_f", "max")),
        (dict(validation=(X, Y), metrics={"f1": lamp.metrics.Perplexity()}), ("validation_f1", "min")),
    ],
)
def test_which_measure_ranks_the_settings(arguments, expected):
    result = sweep(
        network(), {"lr": [0.1, 0.01]}, (X, Y), criterion=lamp.CrossEntropyLoss(), epochs=1, seeds=2, progress=False,
        **arguments,
    )  # fmt: skip
    assert (result.score, result.mode) == expected
    means = [row.mean for row in result.rows]
    assert means == sorted(means, reverse=expected[1] == "max")
    assert means[0] == pytest.approx(result.history(0)[expected[0]][-1].mean().item())
