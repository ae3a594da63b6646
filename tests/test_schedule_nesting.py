"""Schedules within schedules: torch's learning rates and momenta for every pair; resumed; with groups added later."""

import itertools
import math

import pytest
import torch
from torch.optim import lr_scheduler

import lamp.optim
from lamp.optim import SGD
from lamp.parameter import Parameter
from tests.cases.schedules import LRS, step
from tests.test_schedule_values import check, hyperparameters

STEPS = 150
FACTORS = {
    "StepLR": lambda p, o: p.StepLR(o, 7, gamma=0.5),
    "MultiStepLR": lambda p, o: p.MultiStepLR(o, [3, 9, 30], gamma=0.6),
    "ConstantLR": lambda p, o: p.ConstantLR(o, 0.2, total_iters=6),
    "LinearLR": lambda p, o: p.LinearLR(o, 0.1, 0.9, total_iters=11),
    "ExponentialLR": lambda p, o: p.ExponentialLR(o, 0.98),
    "PolynomialLR": lambda p, o: p.PolynomialLR(o, 300, power=1.5),
}
PARTS = FACTORS | {
    "LambdaLR": lambda p, o: p.LambdaLR(o, lambda t: 0.97**t * (1 + 0.1 * (t % 3))),
    "CosineAnnealingLR": lambda p, o: p.CosineAnnealingLR(o, 13, eta_min=0.01),
    "WarmRestarts": lambda p, o: p.CosineAnnealingWarmRestarts(o, 5, 2, eta_min=0.002),
    "OneCycleLR": lambda p, o: p.OneCycleLR(o, 0.5, 400),
    "CyclicLR": lambda p, o: p.CyclicLR(o, 0.01, 0.3, 4),
    "CyclicLR without momentum": lambda p, o: p.CyclicLR(
        o, 0.01, 0.3, 4, mode="exp_range", gamma=0.99, cycle_momentum=False
    ),
}


def optimizer_of(package):
    ours = package is lamp.optim
    groups = [{"params": [(Parameter if ours else torch.nn.Parameter)(torch.zeros(2))], "lr": lr} for lr in LRS]
    return (SGD if ours else torch.optim.SGD)(groups, momentum=0.5)


def in_a_row(milestones, *names):
    return lambda p, o: p.SequentialLR(o, [PARTS[name](p, o) for name in names], milestones)


def chained(*names):
    return lambda p, o: p.ChainedScheduler([PARTS[name](p, o) for name in names], o)


def compare(make, names):
    scheduler, twin = (make(p, optimizer_of(p)) for p in (lamp.optim, lr_scheduler))
    # torch's OneCycleLR takes its momenta from the groups, where another cycle has put its own
    both = {"OneCycleLR", "CyclicLR"} <= {*names}
    ours, theirs = [], []
    for _ in range(STEPS):
        for seen, each in ((ours, scheduler), (theirs, twin)):
            seen.append([[lr] if both else [lr, *others] for lr, *others in hyperparameters(each)])
            step(each)
    check(ours, theirs)


@pytest.mark.parametrize("names", [*itertools.product(PARTS, PARTS)], ids=str)
def test_one_after_another(names):
    compare(in_a_row([8], *names), names)


@pytest.mark.parametrize("names", [*itertools.product(("LinearLR", "CyclicLR"), PARTS, PARTS)], ids=str)
def test_three_schedules_one_after_another(names):
    compare(in_a_row([8, 20], *names), names)


@pytest.mark.parametrize("names", [*itertools.product(FACTORS, FACTORS)], ids=str)
def test_chains_of_factors(names):
    compare(chained(*names), names)


@pytest.mark.parametrize("cycle", ["OneCycleLR", "CyclicLR"])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_cycle_in_a_chain(cycle, factor):
    """First it is multiplied; elsewhere it sets its own learning rates, as torch has it."""
    alone, times = (PARTS[name](lamp.optim, optimizer_of(lamp.optim)) for name in (cycle, factor))
    first = chained(cycle, factor)(lamp.optim, optimizer_of(lamp.optim))
    last = chained(factor, cycle)(lamp.optim, optimizer_of(lamp.optim))
    seen, expected = [], []
    for t in range(STEPS):
        seen.append([first.get_last_lr(), last.get_last_lr()])
        expected.append([[lr * times.factor_at(t) for lr in alone.get_last_lr()], alone.get_last_lr()])
        for scheduler in (alone, first, last):
            scheduler.step()
    check(seen, expected)


def test_a_warm_up_before_a_cycle():
    optimizer = SGD([Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    parts = [lamp.optim.LinearLR(optimizer, 0.1, total_iters=4), lamp.optim.CyclicLR(optimizer, 0.01, 0.5, 3)]
    scheduler = lamp.optim.SequentialLR(optimizer, parts, [4])
    seen = []
    for _ in range(8):
        seen.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    check(seen, [0.01, 0.0325, 0.055, 0.0775, 0.01, 0.01 + 0.49 / 3, 0.01 + 0.98 / 3, 0.5])


@pytest.mark.parametrize("names", [*itertools.product(PARTS, PARTS)], ids=str)
@pytest.mark.parametrize("wrap", [lambda a, b: in_a_row([8], a, b), chained], ids=["sequential", "chained"])
def test_a_resumed_one_goes_on(wrap, names):
    make = wrap(*names)
    whole, begun = (make(lamp.optim, optimizer_of(lamp.optim)) for _ in range(2))
    for t in range(40):
        if t in (5, 13):
            resumed = make(lamp.optim, optimizer_of(lamp.optim))
            resumed.optimizer.load_state_dict(begun.optimizer.state_dict())
            resumed.load_state_dict(begun.state_dict())
            begun = resumed
        assert hyperparameters(whole) == hyperparameters(begun)
        whole.step()
        begun.step()


def test_sequences_in_sequences():
    """torch's inner sequence runs an epoch ahead, or fails; here each begins at its own 0."""
    optimizer = SGD([Parameter(torch.zeros(2))], lr=0.1)
    o = lamp.optim
    inner = o.SequentialLR(optimizer, [o.ConstantLR(optimizer, 0.5, 9), o.ExponentialLR(optimizer, 0.5)], [2])
    outer = o.SequentialLR(optimizer, [o.LinearLR(optimizer, 0.1, total_iters=3), inner], [3])
    seen = []
    for _ in range(7):
        seen.append(optimizer.param_groups[0]["lr"])
        outer.step()
    check(seen, [0.01, 0.04, 0.07, 0.05, 0.05, 0.1, 0.05])


ADDED = {name: PARTS[name] for name in PARTS} | {
    "SequentialLR": in_a_row([8], "LinearLR", "ExponentialLR"),
    "SequentialLR in its second part": in_a_row([3], "LinearLR", "CosineAnnealingLR"),
    "SequentialLR before a cycle": in_a_row([8], "LinearLR", "CyclicLR"),
    "ChainedScheduler": chained("LinearLR", "ExponentialLR"),
}


@pytest.mark.parametrize("name", ADDED)
def test_a_group_added_later(name):
    """It goes on from the learning rate that it came with, as with torch where the schedule multiplies."""
    made = {}
    for package in (lamp.optim, lr_scheduler):
        scheduler = ADDED[name](package, optimizer_of(package))
        for _ in range(5):
            step(scheduler)
        parameter = (Parameter if package is lamp.optim else torch.nn.Parameter)(torch.zeros(3))
        scheduler.optimizer.add_param_group({"params": [parameter], "lr": 0.05, "momentum": 0.5})
        made[package] = scheduler
    ours, twin = made[lamp.optim], made[lr_scheduler]
    seen = []
    for _ in range(4):
        seen.append(ours.optimizer.param_groups[2]["lr"])
        ours.step()
        if name in FACTORS or name in ("CosineAnnealingLR", "ChainedScheduler"):
            step(twin)
            check(ours.optimizer.param_groups[2]["lr"], twin.optimizer.param_groups[2]["lr"])
    assert seen[0] == 0.05
    assert all(math.isfinite(lr) and lr >= 0 for lr in seen)
    assert len(ours.get_last_lr()) == 3


def test_a_group_added_to_a_plateau():
    optimizer = optimizer_of(lamp.optim)
    plateau = lamp.optim.ReduceLROnPlateau(optimizer, patience=0, min_lr=0.001)
    plateau.step(1.0)
    optimizer.add_param_group({"params": [Parameter(torch.zeros(3))], "lr": 0.05})
    plateau.step(2.0)
    check(plateau.get_last_lr(), [0.04, 0.003, 0.005])
