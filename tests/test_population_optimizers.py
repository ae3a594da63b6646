"""Replica k equals network k alone after 20 steps, for every optimizer, with a learning rate per replica."""

from __future__ import annotations

import pytest
import torch

import lamp
from lamp.parameter import Parameter, flatten
from tests.cases.optimizers import OPTIMIZERS, SHAPES, close
from tests.cases.schedules import LRS, SCHEDULES

STEPS = 20


def parameters(values, replicas=None):
    made = [Parameter(value.clone(), replicas=replicas) for value in values]
    flatten(made)
    return made


def lrs(replicas):
    """Different factors of the learning rate, from a tenth to 1."""
    return torch.linspace(0.1, 1.0, replicas, dtype=torch.float64) if replicas > 1 else torch.ones(1).double()


def scaled(optimizer, factor):
    """The optimizer with each group's lr times the factor, a number or (K,)."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor
    return optimizer


@pytest.mark.parametrize("replicas", [1, 2, 7])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_each_replica_is_optimized_alone(case, replicas):
    values = [torch.randn(replicas, *shape, dtype=torch.float64) for shape in SHAPES]
    of_all = parameters(values, replicas)
    optimizer = scaled(case.make(of_all), lrs(replicas))
    singles = [parameters([value[k] for value in values]) for k in range(replicas)]
    alone = [scaled(case.make(own), lrs(replicas)[k].item()) for k, own in enumerate(singles)]
    for _ in range(STEPS):
        for number, parameter in enumerate(of_all):
            parameter.grad = torch.randn_like(parameter.data)
            for k, own in enumerate(singles):
                own[number].grad = parameter.grad[k]
        for each in (optimizer, *alone):
            each.step()
    for k, own in enumerate(singles):
        for together, single in zip(of_all, own, strict=True):
            close(together.data[k], single.data, f"replica {k}")


def test_a_momentum_of_0_among_others_dampens_nothing():
    """As a single network without momentum, which has no buffer to dampen."""
    momenta = [0.0, 0.5, 0.75]
    start, gradients = torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    of_all = parameters([start], 3)
    together = lamp.SGD(of_all, lr=0.1, momentum=torch.tensor(momenta).double(), dampening=0.25)
    singles = [parameters([row]) for row in start]
    alone = [lamp.SGD(own, lr=0.1, momentum=m, dampening=0.25) for own, m in zip(singles, momenta, strict=True)]
    for gradient in gradients:
        of_all[0].grad = gradient
        together.step()
        for k, optimizer in enumerate(alone):
            singles[k][0].grad = gradient[k]
            optimizer.step()
    for k, own in enumerate(singles):
        close(of_all[0].data[k], own[0].data, f"replica {k}")


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_a_poisoned_replica_touches_no_other(case):
    values = [torch.randn(3, *shape, dtype=torch.float64) for shape in SHAPES]
    gradients = [[torch.randn_like(value) for value in values] for _ in range(STEPS)]
    found = []
    for poison in (False, True):
        of_all = parameters(values, 3)
        optimizer = scaled(case.make(of_all), lrs(3))
        for step, each in enumerate(gradients):
            for parameter, gradient in zip(of_all, each, strict=True):
                parameter.grad = gradient
                if poison and step == 4:
                    parameter.grad[1] = float("nan")
            lamp.clip_grad_norm_(of_all, 5.0)
            optimizer.step()
        found.append([parameter.data for parameter in of_all])
    for clean, poisoned in zip(*found, strict=True):
        assert torch.equal(clean[[0, 2]], poisoned[[0, 2]])
    if case.kind != "Rprop":  # which looks at signs only
        assert any(poisoned[1].isnan().any() for poisoned in found[1])


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_some_replicas_go_on_alone(case):
    """`of_replicas` continues as the whole would, and `take_back` copies the state back."""
    values = [torch.randn(5, *shape, dtype=torch.float64) for shape in SHAPES]
    whole, other = parameters(values, 5), parameters(values, 5)
    optimizer, twin = scaled(case.make(whole), lrs(5)), scaled(case.make(other), lrs(5))
    rows = torch.tensor([4, 1])

    def step(params, each, gradients):
        for parameter, gradient in zip(params, gradients, strict=True):
            parameter.grad = gradient
        each.step()

    def drawn():
        return [torch.randn_like(parameter.data) for parameter in whole]

    for _ in range(3):
        gradients = drawn()
        step(whole, optimizer, gradients)
        step(other, twin, gradients)
    fewer = parameters([parameter.data[rows] for parameter in whole], 2)
    matched = dict(zip(whole, fewer, strict=True))
    small = optimizer.of_replicas(rows, matched)
    for _ in range(3):
        gradients = drawn()
        step(other, twin, gradients)
        step(fewer, small, [gradient[rows] for gradient in gradients])
    for alone, of_all in zip(fewer, other, strict=True):
        close(alone.data, of_all.data[rows])
        whole[fewer.index(alone)].data[rows] = alone.data
    optimizer.take_back(small, rows, matched)
    gradients = drawn()
    step(whole, optimizer, gradients)
    step(other, twin, gradients)
    for one, of_all in zip(whole, other, strict=True):
        close(one.data[rows], of_all.data[rows])


@pytest.mark.parametrize("case", SCHEDULES, ids=str)
def test_a_schedule_for_some_replicas(case):
    values, rows = (
        [torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)],
        torch.tensor([3, 0]),
    )
    whole = parameters(values, 5)
    groups = [{"params": [parameter], "lr": lr * lrs(5)} for parameter, lr in zip(whole, LRS, strict=True)]
    options = {"momentum": 0.5} if case.optimizer in ("SGD", "RMSprop") else {}
    optimizer = getattr(lamp, case.optimizer)(groups, **options)
    schedule = case.build(lamp.optim, optimizer)
    for _ in range(2):
        schedule.step()
    fewer = parameters([value[rows] for value in values], 2)
    small = optimizer.of_replicas(rows, dict(zip(whole, fewer, strict=True)))
    own = schedule.of_replicas(rows, small)
    before = [group["lr"] for group in optimizer.param_groups]
    for _ in range(3):
        own.step()
    assert [group["lr"] for group in optimizer.param_groups] == before
    for _ in range(3):
        schedule.step()
    for one, of_all in zip(small.param_groups, optimizer.param_groups, strict=True):
        for name in ("lr", "momentum", "betas"):
            if name in one:
                number = torch.as_tensor(of_all[name])
                close(torch.as_tensor(one[name]), number[rows] if number.shape == (5,) else number)
