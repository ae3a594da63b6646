"""Schedules: bad input gets an error that says what was expected, what came and what to do."""

import math

import pytest
import torch

import lamp.optim as optim
from lamp.errors import ArgumentError, NonFiniteError, TrainingWarning
from lamp.optim import SGD
from lamp.parameter import Parameter
from tests.cases.schedules import PLATEAUS, SCHEDULES

NAN = math.nan


def sgd(groups=1, **options):
    return SGD([{"params": [Parameter(torch.zeros(2))]} for _ in range(groups)], lr=0.1, **options)


OUT_OF_RANGE = {
    "StepLR": ((3, torch.tensor([0.1, 0.2])), (3, -0.1), (3, NAN), (0,), ("3",), (None,)),
    "MultiStepLR": (([3], -0.1), ([3], NAN)),
    "ConstantLR": ((-1.0,), (NAN,), (0.5, -1)),
    "LinearLR": ((-1.0,), (NAN,), (0.5, -1.0), (0.5, 1.0, 0)),
    "ExponentialLR": ((-0.1,), (NAN,), (None,)),
    "PolynomialLR": ((0,), (5, -1.0), (5, NAN)),
    "CosineAnnealingLR": ((0,), (-3,), (10, -0.1), (10, NAN)),
    "CosineAnnealingWarmRestarts": ((0,), (5, 0), (5, 1, -0.1)),
    "InverseTimeDecay": ((-0.1,), (NAN,)),
    "OneCycleLR": (
        *((-0.1, 10), (NAN, 10), (0.5, 0), (0.5, 10, None, None, 1.5), (0.5, -10)),
        *((0.5, 10, None, None, 0.3, "cos", True, 0.85, 0.95, *factors) for factors in ((0.0,), (25.0, 0.0))),
    ),
    "CyclicLR": ((-0.1, 0.2), (0.1, NAN), (0.1, 0.2, 0), (0.1, 0.2, 5, -1)),
    "ReduceLROnPlateau": (("min", 1.0), ("min", -0.1), ("min", NAN), ("min", 0.1, -1), ("min", 0.1, 10, -1.0)),
}


@pytest.mark.parametrize(
    ("kind", "args"), [(kind, args) for kind, bad in OUT_OF_RANGE.items() for args in bad], ids=str
)
def test_an_argument_out_of_range(kind, args):
    optimizer = sgd(momentum=0.9)
    with pytest.raises(ArgumentError, match=rf"{kind}: \w+ is (out of range|not a number)"):
        getattr(optim, kind)(optimizer, *args)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.1, 0.9)
    assert "initial_lr" not in optimizer.param_groups[0]


NOT_TO_BE_MADE = {
    "a function that is none": (lambda o: optim.LambdaLR(o, 0.9), "a function of the epoch"),
    "functions for other groups": (lambda o: optim.LambdaLR(o, [abs, abs]), "one for each group"),
    "rates for other groups": (lambda o: optim.OneCycleLR(o, [0.1, 0.2], 10), "one for each group"),
    "a cycle of no length": (lambda o: optim.OneCycleLR(o, 0.5), "total_steps, or both epochs and steps_per_epoch"),
    "half of its length": (lambda o: optim.OneCycleLR(o, 0.5, epochs=3), "epochs=3 alone"),
    "limits for other groups": (lambda o: optim.ReduceLROnPlateau(o, min_lr=[0.1, 0.2]), "one for each group"),
    "a strategy unknown": (
        lambda o: optim.OneCycleLR(o, 0.5, 10, anneal_strategy="sine"),
        "unknown value of anneal_strategy",
    ),
    "momentum out of range": (
        lambda o: optim.OneCycleLR(o, 0.5, 10, base_momentum=1.5),
        "base_momentum is out of range",
    ),
    "momentum below 0": (lambda o: optim.CyclicLR(o, 0.1, 0.5, max_momentum=-0.1), "max_momentum is out of range"),
    "a cycle's mode": (lambda o: optim.CyclicLR(o, 0.1, 0.5, mode="square"), "no such mode"),
    "a cycle's scale": (lambda o: optim.CyclicLR(o, 0.1, 0.5, scale_mode="epochs"), "no such mode"),
    "a plateau's mode": (lambda o: optim.ReduceLROnPlateau(o, "low"), "no such mode"),
    "a plateau's threshold": (lambda o: optim.ReduceLROnPlateau(o, threshold_mode="both"), "no such mode"),
    "no parts": (lambda o: optim.ChainedScheduler([]), "ChainedScheduler needs schedules"),
    "no parts in a row": (lambda o: optim.SequentialLR(o, [], []), "one schedule more than milestones"),
    "milestones that fall": (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 2)] * 3, [5, 3]), "which must increase"),
    "too few milestones": (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 2)] * 3, [5]), "milestones [5]"),
    "a part that is a plateau": (
        lambda o: optim.ChainedScheduler([optim.ReduceLROnPlateau(o)]),
        "ReduceLROnPlateau alone",
    ),
    "a part that is none": (lambda o: optim.ChainedScheduler([0.9], o), "got       float"),
    "a part of another optimizer": (
        lambda o: optim.ChainedScheduler([optim.StepLR(sgd(), 2)], o),
        "different optimizers",
    ),
    "an epoch to go on from": (lambda o: optim.StepLR(o, 2, last_epoch=7), '"initial_lr" in each parameter group'),
}


@pytest.mark.parametrize(("make", "says"), NOT_TO_BE_MADE.values(), ids=NOT_TO_BE_MADE.keys())
def test_what_is_no_schedule(make, says):
    with pytest.raises(ArgumentError) as caught:
        make(sgd(momentum=0.9))
    assert says in str(caught.value)


@pytest.mark.parametrize("case", [*SCHEDULES, *PLATEAUS], ids=str)
@pytest.mark.parametrize("bad", [torch.nn.Linear(2, 3), 0.1, None], ids=["a network", "a number", "None"])
def test_what_is_no_optimizer(case, bad):
    with pytest.raises(ArgumentError, match="needs a lamp optimizer"):
        case.build(optim, bad)


def test_torchs_optimizer_is_none_of_lamps():
    with pytest.raises(ArgumentError, match=r"got +torch.optim.sgd.SGD"):
        optim.StepLR(torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))]), 3)


@pytest.mark.parametrize("make", [lambda o: optim.OneCycleLR(o, 0.5, 10), lambda o: optim.CyclicLR(o, 0.1, 0.5)])
def test_a_momentum_to_cycle_must_be_there(make):
    with pytest.raises(ArgumentError, match="Adagrad has none"):
        make(optim.Adagrad([Parameter(torch.zeros(2))]))


def test_two_schedules_that_overwrite_each_other():
    optimizer = sgd()
    first, second = optim.ExponentialLR(optimizer, 0.9), optim.StepLR(optimizer, 1, 0.5)
    first.step()
    with pytest.raises(ArgumentError, match="would overwrite it") as caught:
        second.step()
    assert "ChainedScheduler" in str(caught.value)
    assert optimizer.param_groups[0]["lr"] == 0.1 * 0.9
    assert second.last_epoch == 0


def test_a_rate_changed_by_hand():
    optimizer = sgd()
    scheduler = optim.ExponentialLR(optimizer, 0.5)
    optimizer.param_groups[0]["lr"] *= 3
    with pytest.raises(ArgumentError, match="base_lrs"):
        scheduler.step()
    optimizer.param_groups[0]["lr"] = 0.1  # as it was
    scheduler.base_lrs = [0.4]
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.2


def test_a_plateau_beside_a_schedule():
    optimizer = sgd()
    scheduler, plateau = optim.ExponentialLR(optimizer, 0.9), optim.ReduceLROnPlateau(optimizer, patience=0)
    plateau.step(1.0)
    scheduler.step()
    plateau.step(2.0)
    with pytest.raises(ArgumentError, match="would overwrite it"):
        scheduler.step()


OF_EACH_GROUP = [
    lambda o: optim.LambdaLR(o, [lambda t: 0.9, lambda t: 0.8]),
    lambda o: optim.CyclicLR(o, [0.1, 0.2], 0.5),
    lambda o: optim.OneCycleLR(o, [0.1, 0.2], 10),
    lambda o: optim.ReduceLROnPlateau(o, patience=0, min_lr=[0.1, 0.2]),
    lambda o: optim.ChainedScheduler([optim.LambdaLR(o, [lambda t: 0.9, lambda t: 0.8])]),
]


@pytest.mark.parametrize("make", OF_EACH_GROUP)
def test_groups_added_later_where_each_had_a_value_of_its_own(make):
    optimizer = sgd(2, momentum=0.9)
    scheduler = make(optimizer)
    optimizer.add_param_group({"params": [Parameter(torch.zeros(3))]})
    with pytest.raises(ArgumentError, match="add all groups before building the schedule"):
        scheduler.step(*([1.0] if isinstance(scheduler, optim.ReduceLROnPlateau) else []))


def test_groups_that_left():
    optimizer = sgd(2)
    scheduler = optim.StepLR(optimizer, 1)
    list.pop(optimizer.param_groups)
    with pytest.raises(ArgumentError, match="parameter groups were removed from the optimizer"):
        scheduler.step()


@pytest.mark.parametrize("epoch", [-1, NAN])
def test_epochs_below_0_and_nan_are_refused(epoch):
    scheduler = optim.StepLR(sgd(), 1)
    with pytest.raises(ArgumentError, match="no such epoch"):
        scheduler.step(epoch)
    assert scheduler.last_epoch == 0


def test_a_measure_that_is_nan():
    scheduler = optim.ReduceLROnPlateau(sgd())
    with pytest.raises(NonFiniteError, match="the measure is NaN"):
        scheduler.step(torch.tensor(NAN))
    assert scheduler.last_epoch == 0


def test_the_base_is_abstract_in_one_method():
    assert optim.LRScheduler.__abstractmethods__ == {"lr_at"}
    assert optim.ScaledLR.__abstractmethods__ == {"factor_at"}
    with pytest.raises(TypeError, match="lr_at"):
        optim.LRScheduler(sgd())


def test_a_schedule_that_sets_the_rate_back_is_told():
    parameter = Parameter(torch.ones(2))
    optimizer = optim.SGD([parameter], lr=0.4)
    scheduler = optim.ExponentialLR(optimizer, 0.5)
    optim.StepLR(optimizer, 2)  # nothing was trained in between
    scheduler = optim.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    with pytest.warns(TrainingWarning, match=r"begins with the rate that the optimizer began with, 0\.4, .* 0\.2"):
        optim.StepLR(optimizer, 2)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.param_groups[0]["initial_lr"] = optimizer.param_groups[0]["lr"]
    optim.StepLR(optimizer, 2)  # as the warning says
    assert optimizer.param_groups[0]["lr"] == 0.1
