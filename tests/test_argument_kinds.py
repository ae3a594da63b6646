"""Wrong values for every argument of these functions: each gives a LampError with a fix, or a result."""

import inspect

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import LampError

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()
WRONG = [
    *(None, "", "x", float("nan"), float("inf"), -1, 0, -0.5, 2.5, 10**30, -(10**30), True, 1j, b"1", (), (1, 2)),
    *([], [1], {}, {"a": 1}, {1}, range(3), object(), int, torch.ones(2), torch.tensor(3), np.array([1, 2]), X),
    *(np.int64(3), (X, Y), lamp.ReLU(), lamp.Linear),
]


def net():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))


def sgd(**options):
    return lamp.SGD(net().parameters(), **{"lr": 0.1, "momentum": 0.9, **options})


def three():
    return lamp.population(net(), range(3))


def stepped(kind):
    """A schedule of this kind, stepped a few times."""

    def make(**options):
        schedule = kind(sgd(), **options)
        for epoch in range(3):
            schedule.step(*([float(epoch)] if kind is lamp.ReduceLROnPlateau else []))

    return make


def went_back(dy):
    model = net()
    model(X)
    model.backward(dy)


FUNCTIONS = {  # the function, the arguments that it needs, and those that are tried
    "population": (lamp.population, {"model": net()}, ["model", "seeds"]),
    "stack": (lamp.stack, {}, ["networks"]),
    "select": (lambda indices: three().select(indices), {}, ["indices"]),
    "copy_": (lambda into, from_: three().copy_(into, from_), {"into": 0, "from_": 1}, ["into", "from_"]),
    "DataLoader": (
        lambda **options: list(lamp.DataLoader(**options)),
        {"dataset": (X, Y), "batch_size": 8},
        ["dataset", "batch_size", "shuffle", "drop_last", "seed", "indices", "replicas"],
    ),
    "Dataset": (lamp.Dataset, {"inputs": X, "targets": Y}, ["inputs", "targets"]),
    "clip_grad_norm_": (
        lamp.clip_grad_norm_,
        {"parameters": net().parameters(), "max_norm": 1.0},
        ["parameters", "max_norm", "norm_type", "error_if_nonfinite"],
    ),
    "clip_grad_value_": (lamp.clip_grad_value_, {"parameters": net().parameters()}, ["parameters", "clip_value"]),
    "EarlyStopping": (lamp.EarlyStopping, {}, ["patience", "monitor", "mode", "min_delta", "restore_best"]),
    "Parameter": (lamp.Parameter, {"data": X}, ["data", "requires_grad"]),
    "disk": (lamp.data.disk, {"n": 10}, ["seed", "generator"]),
    "spirals": (lamp.data.spirals, {"n": 10}, ["turns", "seed", "generator"]),
    "iris": (lamp.data.iris, {}, ["train", "normalize"]),
    "mnist": (lamp.data.mnist, {}, ["root", "train"]),
    "characters": (lamp.data.characters, {"text": "abc" * 40}, ["text", "context", "train"]),
    "tiny_shakespeare": (lamp.data.tiny_shakespeare, {}, ["root", "train", "context"]),
    "load_state_dict": (
        lambda **options: net().load_state_dict(**options),
        {"state_dict": net().state_dict()},
        ["state_dict", "strict"],
    ),
    "extend": (lambda modules: net().extend(modules), {}, ["modules"]),
    "backward": (went_back, {}, ["dy"]),
    "to_python": (lamp.to_python, {"model": net(), "path": "n.py"}, ["model", "dtype"]),
    "first_non_finite": (lamp.first_non_finite, {}, ["model"]),
    "curves": (lamp.plots.curves, {"runs": [1.0, 2.0, 3.0]}, ["runs", "key", "ax", "color", "log", "window", "band"]),
    "output_map": (
        lamp.plots.output_map,
        {"model": lamp.Sequential(lamp.Linear(2, 2)), "resolution": 5},
        ["ax", "limits", "boundary", "scale", "disk"],
    ),
    "panels": (lambda columns, rows: lamp.plots.panels(columns, rows), {"columns": 1, "rows": 1}, ["columns", "rows"]),
    "save a figure": (lamp.plots.save, {"figure": lamp.plots.curves([1.0]), "path": "f.png"}, ["figure", "path"]),
    "MultiStepLR": (stepped(lamp.MultiStepLR), {}, ["milestones"]),
    "SequentialLR": (stepped(lamp.SequentialLR), {"schedulers": [], "milestones": []}, ["schedulers", "milestones"]),
    "ChainedScheduler": (lamp.ChainedScheduler, {}, ["schedulers"]),
    "CyclicLR": (
        stepped(lamp.CyclicLR),
        {"base_lr": 0.01, "max_lr": 0.1},
        ["mode", "scale_mode", "cycle_momentum"],
    ),
    "ReduceLROnPlateau": (stepped(lamp.ReduceLROnPlateau), {}, ["mode", "threshold_mode"]),
}
CASES = [(name, argument) for name, (_, _, arguments) in FUNCTIONS.items() for argument in arguments]


def raised_by(function, arguments):
    """The LampError that a call raises, or None if it returns. Other errors pass through."""
    try:
        function(**arguments)
    except LampError as error:
        return error
    return None


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_what_an_argument_cannot_be_is_told(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, needed, _ = FUNCTIONS[name]
    for wrong in WRONG:
        if isinstance(wrong, int) and abs(wrong) > 100 and argument in ("n", "patience"):
            continue
        error = raised_by(function, {**needed, argument: wrong})
        if error is not None:
            told = f"{name}({argument}={wrong!r}): {error}"
            assert not any(each is None for each in (error.expected, error.got, error.fix)), told
            assert error.__cause__ is None


@pytest.mark.parametrize(
    "kind", [lamp.StepLR, lamp.ExponentialLR, lamp.CosineAnnealingLR, lamp.LinearLR, lamp.OneCycleLR]
)
@pytest.mark.parametrize("wrong", [[], [1], (1, 2), {}, "x", None, float("nan")], ids=repr)
def test_a_number_of_a_schedule_is_no_list(kind, wrong):
    needed = {"step_size": 2, "gamma": 0.5, "T_max": 5, "max_lr": 0.1, "total_steps": 10}
    own = [name for name in inspect.signature(kind).parameters if name in needed]
    for name in own:
        if name != "max_lr":
            with pytest.raises(lamp.ArgumentError, match=name):
                stepped(kind)(**{**{each: needed[each] for each in own}, name: wrong})


def test_none_is_a_value_that_came():
    with pytest.raises(lamp.ArgumentError) as caught:
        lamp.SGD(net().parameters(), lr=None)
    assert "got       None" in str(caught.value)
