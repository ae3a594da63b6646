"""Schedules have torch's learning rates and momenta at every epoch, and their closed forms agree."""

import inspect
import math

import pytest
import torch
from torch.optim import lr_scheduler

import lamp.optim
from lamp.errors import ArgumentError
from lamp.optim import SGD, LRScheduler, Schedule
from lamp.parameter import Parameter
from tests.cases.schedules import LRS, PLATEAUS, SCHEDULES, step

EPOCHS = 50


def hyperparameters(scheduler):
    """What a schedule may change, of each group."""
    return [
        [group["lr"], group.get("momentum", 0.0), *group.get("betas", ())] for group in scheduler.optimizer.param_groups
    ]


def check(ours, theirs):
    """Equal to 1e-12 of the largest learning rate."""
    torch.testing.assert_close(
        torch.tensor(ours, dtype=torch.float64), torch.tensor(theirs, dtype=torch.float64), rtol=1e-12, atol=4e-13
    )


@pytest.mark.parametrize("case", SCHEDULES, ids=str)
def test_hyperparameters_of_fifty_epochs_are_torchs(case):
    scheduler, twin = case.make(), case.make_torch()
    for _ in range(EPOCHS):
        check(hyperparameters(scheduler), hyperparameters(twin))
        check(scheduler.get_last_lr(), twin.get_last_lr())
        assert scheduler.get_last_lr() == [group["lr"] for group in scheduler.optimizer.param_groups]
        step(scheduler)
        step(twin)


def measures():
    """A loss that falls, rises, stays, and goes below 0."""
    generator = torch.Generator().manual_seed(4)
    noise = torch.rand(EPOCHS, generator=generator).tolist()
    return [math.cos(t / 6) * math.exp(-t / 40) + 0.2 * noise[t] if t < 40 else 0.5 for t in range(EPOCHS)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("case", PLATEAUS, ids=str)
def test_plateaus(case, sign):
    scheduler, twin = case.make(), case.make_torch()
    for measure in (sign * measure + 0.3 for measure in measures()):
        scheduler.step(measure)
        step(twin, measure)
        check(hyperparameters(scheduler), hyperparameters(twin))
        check(scheduler.get_last_lr(), twin.get_last_lr())
    assert hyperparameters(scheduler) != hyperparameters(case.make()), "the measures never made it reduce"


def test_a_plateau_takes_a_tensor_and_infinity():
    scheduler = PLATEAUS[1].make()
    scheduler.step(torch.tensor(0.3))
    for _ in range(3):
        scheduler.step(math.inf)
    check(scheduler.get_last_lr(), [lr * 0.1 for lr in LRS])
    scheduler.step(torch.tensor([0.1]))  # one number is one number, in whatever shape
    state = (scheduler.best, scheduler.num_bad_epochs, scheduler.cooldown_counter, *scheduler.get_last_lr())
    assert [type(each) for each in state] == [float, int, int, float, float]


@pytest.mark.parametrize("case", SCHEDULES, ids=str)
def test_the_value_is_a_function_of_the_epoch(case):
    """A jump to any epoch gives the same as going there step by step."""
    walking, jumping = case.make(), case.make()
    passed = [hyperparameters(walking)]
    for _ in range(30):
        walking.step()
        passed.append(hyperparameters(walking))
    for epoch in (30, 4, 17, 0, 29):
        jumping.step(epoch)
        assert hyperparameters(jumping) == passed[epoch]
        assert jumping.last_epoch == epoch
    jumping.step()
    assert hyperparameters(jumping) == passed[30]


def test_warm_restarts_take_fractions_of_epochs_as_torchs_do():
    for case in SCHEDULES:
        if "WarmRestarts" in case.name:
            scheduler, twin = case.make(), case.make_torch()
            for epoch in (0.5, 2.25, 3.0, 9.75, 10.0, 12.5, 30.125):
                scheduler.step(epoch)
                step(twin, epoch)
                check(hyperparameters(scheduler), hyperparameters(twin))


def one_group(lr=0.3, **options):
    return SGD([Parameter(torch.zeros(2))], lr=lr, **options)


def test_inverse_time_decay():
    optimizer = one_group()
    scheduler = lamp.optim.InverseTimeDecay(optimizer, decay=0.5)
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    check(seen, [0.3, 0.3 / 1.5, 0.3 / 2, 0.3 / 2.5])


def test_one_cycle_ends_at_its_lowest():
    for case in SCHEDULES:
        if "OneCycle" in case.name:
            scheduler = case.make()
            scheduler.step(scheduler.total_steps - 1)
            last = hyperparameters(scheduler)
            scheduler.step()  # after the last batch a training loop steps once more
            assert hyperparameters(scheduler) == last
            with pytest.raises(ArgumentError, match="the cycle is over"):
                scheduler.step()
            assert hyperparameters(scheduler) == last
            assert scheduler.last_epoch == scheduler.total_steps


def test_one_cycle_of_few_steps():
    """Shorter than its own rise, where torch divides by zero."""
    for steps in (1, 2, 3, 4):
        scheduler = lamp.optim.OneCycleLR(one_group(momentum=0.9), max_lr=0.5, total_steps=steps, pct_start=0.5)
        for _ in range(steps):
            assert 0 < scheduler.get_last_lr()[0] <= 0.5
            scheduler.step()


def test_a_chain_gives_each_schedule_what_the_one_before_made():
    """Where torch's chain depends on who stepped when: cosine annealing to eta_min, of a rate that decays."""
    optimizer = one_group()
    parts = [lamp.optim.ExponentialLR(optimizer, 0.9), lamp.optim.CosineAnnealingLR(optimizer, 10, eta_min=0.01)]
    scheduler = lamp.optim.ChainedScheduler(parts)
    for _ in range(4):
        scheduler.step()
    decayed = 0.3 * 0.9**4
    check(scheduler.get_last_lr(), [0.01 + (decayed - 0.01) * (1 + math.cos(0.4 * math.pi)) / 2])


def test_schedules_made_of_made_schedules():
    optimizer = one_group()
    optim = lamp.optim
    warm = optim.LinearLR(optimizer, 0.5, total_iters=4)
    decay = optim.ChainedScheduler([optim.StepLR(optimizer, 2, 0.5), optim.ExponentialLR(optimizer, 0.9)])
    scheduler = optim.SequentialLR(optimizer, [warm, decay], [4])
    seen = []
    for _ in range(8):
        seen += scheduler.get_last_lr()
        scheduler.step()
    rise = [0.3 * (0.5 + 0.125 * t) for t in range(4)]
    check(seen, [*rise, 0.3, 0.3 * 0.9, 0.3 * 0.81 * 0.5, 0.3 * 0.729 * 0.5])


def test_the_last_of_a_chain_has_the_momentum():
    optimizer = one_group(momentum=0.5)
    cycles = [lamp.optim.OneCycleLR(optimizer, 0.5, 20, max_momentum=top) for top in (0.9, 0.7)]
    constant = lamp.optim.ConstantLR(optimizer, 0.5)
    lamp.optim.ChainedScheduler([*cycles, constant])
    assert optimizer.param_groups[0]["momentum"] == 0.7


def test_momentum_follows_the_schedule_in_turn():
    optimizer = one_group(momentum=0.5)
    cycle = lamp.optim.OneCycleLR(optimizer, 0.5, 20, max_momentum=0.9)
    optimizer.param_groups[0]["momentum"] = 0.5
    constant = lamp.optim.ConstantLR(optimizer, 1.0)
    scheduler = lamp.optim.SequentialLR(optimizer, [constant, cycle], [3])
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["momentum"])
        scheduler.step()
    assert seen == [0.5, 0.5, 0.5, 0.9]


WITH_ONE_GROUP = [case for case in SCHEDULES if "Cycl" not in case.name and "[function" not in case.name]


@pytest.mark.parametrize("case", WITH_ONE_GROUP, ids=str)
def test_learning_rates_of_a_population(case):
    """lr (K,): each network's follows the schedule from its own, as a group's does."""
    groups = case.make()
    networks = case.build(lamp.optim, SGD([Parameter(torch.zeros(2, 3), replicas=2)], lr=torch.tensor(LRS).double()))
    check(networks.base_lrs[0].tolist(), torch.tensor(LRS).tolist())
    for _ in range(20):
        torch.testing.assert_close(networks.get_last_lr()[0], torch.tensor(groups.get_last_lr()).double())
        groups.step()
        networks.step()
        networks.optimizer.step()


def test_every_schedule_is_in_a_table():
    public = {name for name in lamp.optim.__all__ if inspect.isclass(getattr(lamp.optim, name))}
    kinds = {name for name in public if issubclass(getattr(lamp.optim, name), Schedule)}
    elsewhere = {"Schedule", "LRScheduler", "ScaledLR", "SWALR"}  # SWALR: tests/test_averaging.py
    assert {case.name.split("(")[0].split()[0] for case in [*SCHEDULES, *PLATEAUS]} == kinds - elsewhere


NAMES = sorted({case.name.split("(")[0].split()[0] for case in [*SCHEDULES, *PLATEAUS]} - {"InverseTimeDecay"})


@pytest.mark.parametrize("kind", NAMES)
def test_arguments_are_torchs(kind):
    ours = inspect.signature(getattr(lamp.optim, kind)).parameters
    theirs = inspect.signature(getattr(lr_scheduler, kind)).parameters
    assert list(ours) == list(theirs)
    for name, parameter in ours.items():
        assert parameter.default == theirs[name].default, name


def test_a_schedule_of_ones_own_is_one_method():
    class Sawtooth(LRScheduler):
        def lr_at(self, epoch, initial_lr, group):
            return initial_lr * (1 - epoch % 4 / 4)

    optimizer = one_group()
    scheduler = Sawtooth(optimizer)
    seen = []
    for _ in range(5):
        seen.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    check(seen, [0.3, 0.225, 0.15, 0.075, 0.3])


def test_it_is_the_optimizer_that_learns_at_that_rate():
    param = Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([param], lr=1.0)
    scheduler = lamp.optim.ExponentialLR(optimizer, 0.5)
    param.grad = torch.ones(1)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    check(param.data.tolist(), [-1.875])
