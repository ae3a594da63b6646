"""Schedules resume from a state dict of lamp or torch, or from an epoch, as if never stopped."""

import copy
import io
import math

import pytest
import torch

import lamp.optim
from lamp.errors import StateDictError
from lamp.optim import SGD, Adam
from lamp.parameter import Parameter
from tests.cases.schedules import PLATEAUS, SCHEDULES, step
from tests.test_schedule_values import check, hyperparameters

COMPOSED = ("SequentialLR", "ChainedScheduler")  # torch saves their parts as they were stepped; lamp's parts are not


SIMPLE = [case for case in [*SCHEDULES, *PLATEAUS] if not case.name.startswith(COMPOSED)]
SHARED = [case for case in SIMPLE if not case.name.startswith("InverseTimeDecay")]  # torch has none of these


def _saved_and_read(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def _measure(epoch):
    return 0.5 + 0.1 * math.cos(epoch)


def _steps(case, scheduler, epochs):
    for epoch in epochs:
        step(scheduler, *([_measure(epoch)] if case in PLATEAUS else []))


@pytest.mark.parametrize("state_first", [False, True])
@pytest.mark.parametrize("case", [*SCHEDULES, *PLATEAUS], ids=str)
def test_resumes_to_the_bit(case, state_first):
    whole, before, after = case.make(), case.make(), case.make()
    _steps(case, whole, range(30))
    _steps(case, before, range(13))
    states = _saved_and_read((before.state_dict(), before.optimizer.state_dict()))
    if state_first:
        after.load_state_dict(states[0])
        after.optimizer.load_state_dict(states[1])
    else:
        after.optimizer.load_state_dict(states[1])
        after.load_state_dict(states[0])
    assert hyperparameters(after) == hyperparameters(before)
    assert after.get_last_lr() == before.get_last_lr()
    _steps(case, after, range(13, 30))
    assert hyperparameters(after) == hyperparameters(whole)
    assert after.state_dict() == whole.state_dict()


@pytest.mark.parametrize("case", SCHEDULES, ids=str)
def test_goes_on_from_an_epoch(case):
    """`last_epoch`, and the optimizer's state: nothing else is needed."""
    whole, before = case.make(), case.make()
    _steps(case, whole, range(20))
    _steps(case, before, range(13))
    if case not in SIMPLE:
        after = case.make()
        after.optimizer.load_state_dict(before.optimizer.state_dict())
        after.load_state_dict({**after.state_dict(), "last_epoch": 13})
    else:
        fresh = case.make()
        fresh.optimizer.load_state_dict(before.optimizer.state_dict())
        after = copy.copy(fresh)  # the arguments are in the table's function: only the epoch is set here
        lamp.optim.LRScheduler.__init__(after, fresh.optimizer, last_epoch=12)
    assert hyperparameters(after) == hyperparameters(before)
    _steps(case, after, range(13, 20))
    assert hyperparameters(after) == hyperparameters(whole)


@pytest.mark.parametrize("case", SHARED, ids=str)
def test_goes_on_from_torchs_state_dict(case):
    scheduler, twin = case.make(), case.make_torch()
    _steps(case, twin, range(13))
    scheduler.optimizer.load_state_dict(twin.optimizer.state_dict())
    scheduler.load_state_dict(twin.state_dict())
    for epoch in range(13, 30):
        check(hyperparameters(scheduler), hyperparameters(twin))
        _steps(case, scheduler, [epoch])
        _steps(case, twin, [epoch])


@pytest.mark.parametrize("case", SHARED, ids=str)
def test_torch_goes_on_from_lamps_state_dict(case):
    scheduler, twin = case.make(), case.make_torch()
    _steps(case, scheduler, range(13))
    saved = scheduler.state_dict()
    assert {name for name in twin.state_dict() if name[0] != "_"} == {name for name in saved if name[0] != "_"}
    optimizer = scheduler.optimizer.state_dict()
    notes = ("max_lr", "min_lr", "max_momentum", "base_momentum")  # that torch's cycles keep in the groups
    for group, its in zip(optimizer["param_groups"], twin.optimizer.param_groups, strict=True):
        group |= {name: its[name] for name in notes if name in its}
    twin.optimizer.load_state_dict(optimizer)
    twin.load_state_dict(saved)
    for epoch in range(13, 30):
        check(hyperparameters(scheduler), hyperparameters(twin))
        _steps(case, scheduler, [epoch])
        _steps(case, twin, [epoch])


def _empty(scheduler):
    """Overwrite all lists and counters of a schedule in place."""
    for value in vars(scheduler).values():
        if isinstance(value, list | dict):
            value.clear()


def test_a_state_dict_is_a_copy():
    for case in [*SCHEDULES, *PLATEAUS]:
        scheduler, other = case.make(), case.make()
        _steps(case, scheduler, range(12))
        state = scheduler.state_dict()
        before = copy.deepcopy(state)
        other.load_state_dict(state)
        _steps(case, other, range(12))
        _empty(other)
        _empty(scheduler)
        assert state == before, case


def test_the_last_learning_rates_are_a_copy():
    scheduler = SCHEDULES[2].make()
    scheduler.get_last_lr().clear()
    assert scheduler.get_last_lr() == [0.4, 0.03]


def test_the_parts_of_a_schedule_are_in_its_state():
    def sequence(gamma):
        optimizer = SGD([Parameter(torch.zeros(1))], lr=1.0)
        parts = [lamp.optim.ConstantLR(optimizer, 1.0), lamp.optim.ExponentialLR(optimizer, gamma)]
        return lamp.optim.SequentialLR(optimizer, parts, [2])

    saved, other = sequence(0.5), sequence(0.9)
    _steps(None, saved, range(3))
    other.load_state_dict(saved.state_dict())
    assert other.get_last_lr() == [0.5]


def test_a_function_with_memory_is_saved_and_a_plain_one_is_not():
    class Falling:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, epoch):
            return self.rate**epoch

    def scheduler(rate):
        params = [{"params": [Parameter(torch.zeros(1))]} for _ in range(2)]
        return lamp.optim.LambdaLR(SGD(params, lr=1.0), [Falling(rate), lambda epoch: 1.0])

    first, second = scheduler(0.5), scheduler(0.9)
    state = first.state_dict()
    assert state["lr_lambdas"] == [{"rate": 0.5}, None]
    second.load_state_dict(state)
    second.step()
    assert second.get_last_lr() == [0.5, 1.0]


# ---- state dicts that do not fit -------------------------------------------------------------------------------------
def _scheduler(groups=1):
    optimizer = Adam([{"params": [Parameter(torch.zeros(2))]} for _ in range(groups)], lr=0.1)
    return lamp.optim.StepLR(optimizer, 3)


def _sequence(n):
    optimizer = Adam([Parameter(torch.zeros(2))], lr=0.1)
    parts = [lamp.optim.StepLR(optimizer, 3) for _ in range(n)]
    return lamp.optim.SequentialLR(optimizer, parts, list(range(4, 3 + n)))


MISFITS = {
    "nothing": (_scheduler, lambda: {}),
    "another schedule's": (_scheduler, lambda: lamp.optim.ExponentialLR(_scheduler().optimizer, 0.9).state_dict()),
    "a schedule's with more": (
        lambda: lamp.optim.ExponentialLR(_scheduler().optimizer, 0.9),
        lambda: _scheduler().state_dict(),
    ),
    "other groups": (_scheduler, lambda: _scheduler(2).state_dict()),
    "a chain's": (
        lambda: _sequence(1),
        lambda: lamp.optim.ChainedScheduler([_scheduler()]).state_dict(),
    ),
    "fewer parts": (lambda: _sequence(3), lambda: _sequence(2).state_dict()),
    "other parts": (
        lambda: _sequence(1),
        lambda: {**_sequence(1).state_dict(), "_schedulers": [{"last_epoch": 3, "gamma": 0.1, "base_lrs": [0.1]}]},
    ),
}


@pytest.mark.parametrize(("make", "state"), MISFITS.values(), ids=MISFITS.keys())
def test_a_state_dict_that_does_not_fit_changes_nothing(make, state):
    scheduler = make()
    scheduler.step()
    before, lr = copy.deepcopy(scheduler.state_dict()), hyperparameters(scheduler)
    with pytest.raises(StateDictError, match="the state dict does not fit this"):
        scheduler.load_state_dict(state())
    assert scheduler.state_dict() == before
    assert hyperparameters(scheduler) == lr
