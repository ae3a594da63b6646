"""The compiled engine computes what the eager engine does, for every activation, loss and optimizer."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest
import torch

import lamp
from lamp.errors import ArgumentError
from lamp.formulas import Number
from tests.cases import modules, optimizers
from tests.cases.compiled import TASKS, both, close, lanes, network, replicas, task, trained

pytestmark = pytest.mark.filterwarnings("ignore::lamp.TrainingWarning")  # the table has odd pairs of layer and loss


ACTIVATIONS = [case for case in modules.ACTIVATIONS if case.shape]
OPTIMIZERS = [case for case in optimizers.OPTIMIZERS if getattr(lamp.optim, case.kind).elementwise]
ANY_TASK, OTHER_TASK = task("CrossEntropyLoss"), task("HuberLoss(delta=0.4")
FORGETFUL = 1e-7


def sgd(parameters):
    return lamp.SGD(parameters, lr=0.02)


def counts(dtype=torch.float64):
    """One network, and a population of whole groups of lanes and a few networks beyond them."""
    return None, 2 * lanes(dtype) + 3


def tolerance_of(case):
    """The allowed difference. Rules that divide by the size of the gradients enlarge the rounding of small ones,
    most of all those without a memory of earlier gradients."""
    forgets = case.options.get("alpha") == 0.0 or case.options.get("betas") == (0.0, 0.0)
    return None if case.kind == "SGD" else FORGETFUL if forgets else 1e-11


def check(of_task, *between, optimizer=sgd, dtype=torch.float64, only=None, **arguments):
    for count in counts(dtype) if only is None else only:
        both(
            lambda: network(of_task, *[each() for each in between], dtype=dtype),
            lambda: of_task.make().to(dtype),
            optimizer,
            of_task.data(dtype=dtype),
            count=count,
            **arguments,
        )


# ---- the tables ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
def test_activations(case):
    """The activation is last, so every gradient goes through it."""
    for count in counts():
        both(
            lambda: lamp.Sequential(lamp.Linear(3, OTHER_TASK.outputs), case.make()).double(),
            OTHER_TASK.make,
            sgd,
            OTHER_TASK.data(),
            count=count,
        )


@pytest.mark.parametrize("case", ACTIVATIONS[::6], ids=str)
def test_activations_between_layers(case):
    check(ANY_TASK, case.make)


@pytest.mark.parametrize("case", TASKS, ids=str)
def test_losses(case):
    check(case, only=None if case.make().reduction == "mean" else [2 * lanes()])


@pytest.mark.parametrize("case", TASKS[::9], ids=str)
def test_losses_after_two_layers(case):
    check(case, lamp.LeakyReLU)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_optimizers(case):
    """Those of one group in one network and in whole groups of lanes in turn: the rule is the same text in both."""
    between = [lamp.Tanh] if len(case.groups) > 2 else []  # a parameter for each group
    only = None if case.groups else [counts()[0] if OPTIMIZERS.index(case) % 2 else 2 * lanes()]
    check(ANY_TASK, *between, optimizer=case.make, tolerance=tolerance_of(case), only=only)


@pytest.mark.parametrize("k", range(12))
def test_some_of_all_combinations(k):
    drawn = random.Random(k)
    chosen, activation = drawn.choice(TASKS), drawn.choice(ACTIVATIONS).make
    dtype = torch.float32 if k % 3 == 0 else torch.float64
    stable = [case for case in OPTIMIZERS if tolerance_of(case) != FORGETFUL]
    tame = [case for case in stable if dtype is torch.float64 or case.kind == "SGD"]
    optimizer = drawn.choice(tame)
    tolerance = 1e-5 if dtype is torch.float32 else tolerance_of(optimizer)
    check(chosen, activation, optimizer=optimizer.make, dtype=dtype, tolerance=tolerance)


# ---- numbers of each replica's own -----------------------------------------------------------------------------------
OWN = {
    "SGD": {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1},
    "Adam": {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "amsgrad": True},
    "AdamW": {"lr": 0.05, "weight_decay": 0.1},
    "RMSprop": {"lr": 0.02, "alpha": 0.7, "momentum": 0.4, "centered": True, "weight_decay": 0.1, "eps": 1e-3},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.2},
}


def spread(value, count):
    """Different numbers around a value, the first of them 0."""
    if isinstance(value, tuple):
        return tuple(spread(each, count) for each in value)
    if isinstance(value, bool):
        return value
    return value * torch.linspace(0.5, 1.0, count, dtype=torch.float64)


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("count", ["some", "few"])
def test_hyperparameters_of_their_own(kind, count):
    count = 3 if count == "few" else 2 * lanes() + 3
    options = {name: spread(value, count) for name, value in OWN[kind].items()}  # type: ignore[attr-defined]

    def optimizer(parameters):
        first, *rest = parameters
        return getattr(lamp, kind)([{"params": [first], "lr": 0.01}, {"params": rest}], **options)

    both(
        lambda: network(ANY_TASK, lamp.Tanh()),
        ANY_TASK.make,
        optimizer,
        ANY_TASK.data(),
        count=count,
        tolerance=1e-11,
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("HuberLoss", lambda numbers: lamp.HuberLoss(delta=numbers)),
        ("SmoothL1Loss", lambda numbers: lamp.SmoothL1Loss(beta=numbers)),
        ("CrossEntropyLoss", lambda numbers: lamp.CrossEntropyLoss(label_smoothing=numbers * 0.3)),
    ],
)
def test_numbers_of_the_loss_of_their_own(name, make):
    count = lanes() + 3
    numbers = torch.linspace(0.1, 1.0, count, dtype=torch.float64)
    of_task = task(name)
    both(lambda: network(of_task, lamp.Tanh()), lambda: make(numbers), sgd, of_task.data(), count=count)


# ---- lamp.compile ----------------------------------------------------------------------------------------------------
def by_hand(model, criterion, optimizer, x, y, order, batch):
    """The loop that a compiled function replaces, with the eager engine."""
    losses = []
    for rows in order.split(batch, -1):
        inputs = x[rows] if rows.dim() == 1 else model.per_replica(x[rows])
        losses.append(criterion(model(inputs), y[rows]))
        optimizer.zero_grad()
        model.backward(criterion.backward())
        optimizer.step()
    return torch.stack(losses)


@pytest.mark.parametrize("count", [None, 3, 11])
@pytest.mark.parametrize("per_replica_order", [False, True])
def test_compile_is_the_loop(count, per_replica_order):
    if per_replica_order and count is None:
        return
    x, y = ANY_TASK.data()
    lead = (count,) if per_replica_order else ()
    order = torch.randint(0, len(x), (*lead, 3 * len(x) + 2))
    left = []
    for run in range(2):
        model = replicas(network(ANY_TASK, lamp.Dropout(0.3), lamp.Tanh()), count)
        if count is None:
            model.reset_parameters(generator=torch.Generator().manual_seed(5))
        criterion, optimizer = ANY_TASK.make(), lamp.Adam(model.parameters(), lr=0.01)
        if run:
            compiled = lamp.compile(model, criterion, optimizer, 5)
            losses = torch.cat([compiled(x, y, order[..., :35]), compiled(x, y, order[..., 35:])])
        else:
            parts = [by_hand(model, criterion, optimizer, x, y, part, 5) for part in (order[..., :35], order[..., 35:])]
            losses = torch.cat(parts)
        left.append((losses, model, optimizer))
    (losses, model, optimizer), (found, compiled_model, compiled_optimizer) = left
    close(found, losses, 1e-12)
    for one, other in zip(model.parameters(), compiled_model.parameters(), strict=True):
        close(other.data, one.data, 1e-11)
    assert compiled_optimizer.step_count == optimizer.step_count


def test_compile_with_data_of_their_own_and_new_hyperparameters():
    count, (x, y) = 3, ANY_TASK.data()
    x, y = torch.stack([x, x + 1, x - 1]), torch.stack([y, y.flip(0), y])
    left = []
    for run in range(2):
        model = replicas(network(ANY_TASK, lamp.Tanh()), count)
        criterion, optimizer = ANY_TASK.make(), lamp.SGD(model.parameters(), lr=0.01)
        losses = []
        compiled = lamp.compile(model, criterion, optimizer, 8) if run else None
        for lr in (0.01, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), 0.0):
            optimizer.param_groups[0]["lr"] = lr
            if compiled is not None:
                losses.append(compiled(x, y, per_replica_data=True))
                continue
            for rows in torch.arange(x.shape[1]).split(8):
                losses.append(criterion(model(model.per_replica(x[:, rows])), y[:, rows]).unsqueeze(0))  # type: ignore[attr-defined]
                optimizer.zero_grad()
                model.backward(criterion.backward())
                optimizer.step()
        left.append((torch.cat(losses), [p.data.clone() for p in model.parameters()]))
    close(left[1][0], left[0][0], 1e-12)
    for one, other in zip(left[0][1], left[1][1], strict=True):
        close(other, one, 1e-12)


def test_compile_shows_its_code():
    model = network(ANY_TASK, lamp.Tanh())
    compiled = lamp.compile(model, ANY_TASK.make(), sgd(model.parameters()), 5)
    assert "define void" in compiled.llvm_ir
    assert "train" in compiled.assembly


# ---- the same bits ---------------------------------------------------------------------------------------------------
def bits(left):
    return [p.data.clone() for p in left.model.parameters()] + [left.history[name] for name in left.history]


@pytest.mark.parametrize("count", [None, 2, 11, 35])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_same_bits_twice_and_on_more_threads(count, dtype):
    def run():
        return trained(
            "compiled",
            lambda: network(ANY_TASK, lamp.Dropout(0.3), lamp.GELU(), dtype=dtype),
            lambda: ANY_TASK.make().to(dtype),
            lambda parameters: lamp.Adam(parameters, lr=0.01),
            ANY_TASK.data(dtype=dtype),
            count=count,
        )

    found = [bits(run()), bits(run())]
    torch.set_num_threads(2)
    try:
        found.append(bits(run()))
    finally:
        torch.set_num_threads(1)
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))


# ---- what is written outside -----------------------------------------------------------------------------------------
class Bump(lamp.Activation):
    """y = x exp(-x^2)."""

    remembers = "x"

    def sigma(self, x: Number) -> Number:
        return x * (-x.square()).exp()

    def dsigma(self, x: Number, y: Number) -> Number:
        return (-x.square()).exp() * (1.0 - x.square() * 2.0)


class LogCosh(lamp.losses.DifferenceLoss):
    """log cosh d, written without overflow."""

    def value(self, difference: Number) -> Number:
        size = difference.abs()
        return size + (size * -2.0).exp().log1p() - 0.6931471805599453

    def derivative(self, difference: Number) -> Number:
        return difference.tanh()


class LogCoshOfPairs(lamp.losses.Loss):
    """The same loss, written over output and target."""

    def value(self, output: Number, target: Number) -> Number:
        return LogCosh.value(self, output - target)

    def derivative(self, output: Number, target: Number) -> Number:
        return (output - target).tanh()


class Lion(lamp.Optimizer):
    """p <- p - lr m / (|m| + 0.1), with m the mean of gradients; small steps first."""

    ranges: ClassVar = {"lr": lamp.optim.checks.Range(), "beta": lamp.optim.checks.Range()}

    def __init__(self, params, lr=1e-3, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta})

    def state_names(self, group):
        return ("mean",)

    def coefficients(self, group, step):
        warm = 0.5 if step < 4 else 1.0
        return {"step_size": -warm * group["lr"] / (1.0 + 0.1 * step), "share": 1.0 - group["beta"]}

    def update(self, parameter, gradient, state, c, group):
        mean = state["mean"] = state["mean"].lerp(gradient, c["share"])
        return parameter + c["step_size"] * mean / (mean.abs() + 0.1)


@pytest.mark.parametrize("loss", [LogCosh, LogCoshOfPairs])
def test_an_activation_a_loss_and_an_optimizer_of_ones_own(loss):
    of_task = task("MSELoss")
    for count in counts():
        lr = 0.05 if count is None else torch.linspace(0.01, 0.1, count, dtype=torch.float64)
        both(
            lambda: network(of_task, Bump()),
            loss,
            lambda parameters, lr=lr: Lion(parameters, lr=lr),
            of_task.data(),
            count=count,
        )


# ---- vectors of other widths -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", [128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_narrower_vectors(width, dtype, monkeypatch):
    monkeypatch.setenv("LAMP_VECTOR_BITS", str(width))
    assert lanes(dtype) == width // (8 * dtype.itemsize)
    check(ANY_TASK, lamp.SELU, lambda: lamp.Dropout(0.2), dtype=dtype)
    check(OTHER_TASK, lamp.GELU, dtype=dtype, clip_norm=0.1)


@pytest.mark.parametrize("width", ["64", "96", "1024"])
def test_vectors_that_the_machine_does_not_have(width, monkeypatch):
    monkeypatch.setenv("LAMP_VECTOR_BITS", width)
    model = network(ANY_TASK)
    with pytest.raises(ArgumentError, match="no vectors of that width"):
        lamp.compile(model, ANY_TASK.make(), sgd(model.parameters()), 5)(*ANY_TASK.data())
