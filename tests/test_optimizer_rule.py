"""Update rules are formulas that work for tensors, columns of hyperparameters, and plain numbers."""

from __future__ import annotations

import builtins
import math
from typing import Any

import pytest
import torch

import lamp.optim
from lamp.errors import ArgumentError
from lamp.parameter import Parameter, flatten
from tests.cases.optimizers import OPTIMIZERS, Case, close

SINGLE = [case for case in OPTIMIZERS if not case.groups]
ELEMENTWISE = [case for case in SINGLE if getattr(lamp.optim, case.kind).elementwise]
STEPS = 6


class Plain:
    """A float with the operations of lamp.formulas and no others."""

    def __init__(self, value: float) -> None:
        self.value = value

    @staticmethod
    def of(other: Plain | float) -> float:
        return other.value if isinstance(other, Plain) else other

    def __add__(self, other): return Plain(self.value + Plain.of(other))  # fmt: skip

    def __radd__(self, other): return Plain(other + self.value)  # fmt: skip

    def __sub__(self, other): return Plain(self.value - Plain.of(other))  # fmt: skip

    def __rsub__(self, other): return Plain(other - self.value)  # fmt: skip

    def __mul__(self, other): return Plain(self.value * Plain.of(other))  # fmt: skip

    def __rmul__(self, other): return Plain(other * self.value)  # fmt: skip

    def __truediv__(self, other): return Plain(self.value / Plain.of(other))  # fmt: skip

    def __rtruediv__(self, other): return Plain(other / self.value)  # fmt: skip

    def __neg__(self): return Plain(-self.value)  # fmt: skip

    def __gt__(self, other): return self.value > Plain.of(other)  # fmt: skip

    def __lt__(self, other): return self.value < Plain.of(other)  # fmt: skip

    def abs(self): return Plain(abs(self.value))  # fmt: skip

    def sign(self): return Plain(math.copysign(1.0, self.value) if self.value else 0.0)  # fmt: skip

    def where(self, condition, other): return self if condition else Plain(Plain.of(other))  # fmt: skip

    def sqrt(self): return Plain(math.sqrt(self.value))  # fmt: skip

    def maximum(self, other): return Plain(max(self.value, Plain.of(other)))  # fmt: skip

    def clamp(self, min=-math.inf, max=math.inf):
        return Plain(builtins.min(builtins.max(self.value, Plain.of(min)), Plain.of(max)))

    def lerp(self, other, weight): return Plain(self.value + Plain.of(weight) * (other.value - self.value))  # fmt: skip


def _on_plain_numbers(optimizer, value, grads, hyperparameters=float):
    """The rule alone, on one element: its value after these gradients."""
    group = optimizer.param_groups[0]
    state = {name: Plain(optimizer.initial_state(name, group)) for name in optimizer.state_names(group)}
    parameter = Plain(value)
    for step, grad in enumerate(grads, start=1):
        c = {name: hyperparameters(number) for name, number in optimizer.coefficients(group, step).items()}
        parameter = optimizer.update(parameter, Plain(grad), state, c, group)
        assert set(state) == set(optimizer.state_names(group))
    return parameter.value


@pytest.mark.parametrize("kind_of_coefficient", [float, Plain])
@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_on_numbers_that_are_no_tensors(case, kind_of_coefficient):
    param = Parameter(torch.randn(5, dtype=torch.float64))
    before, grads = param.data.tolist(), torch.randn(STEPS, 5, dtype=torch.float64)
    optimizer = case.make([param])
    expected = [
        _on_plain_numbers(optimizer, value, grads[:, k].tolist(), kind_of_coefficient) for k, value in enumerate(before)
    ]
    for grad in grads:
        param.grad = grad
        optimizer.step()
    close(param.data, torch.tensor(expected, dtype=torch.float64))


# ---- each row its own hyperparameters ------------------------------------------------------------------------------
K, P = 3, 4


def _spread(case: Case) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The case's options with a tensor (K,) for each number, and for each row the options with its own numbers."""
    defaults = case.make([Parameter(torch.zeros(1))])
    tensors, rows = dict(case.options), [dict(case.options) for _ in range(K)]
    factors = torch.tensor([0.5, 0.8, 1.0], dtype=torch.float64)
    for name in defaults.ranges:
        if name == "dampening" and case.options.get("nesterov"):
            continue  # must be the number 0 there
        value = defaults.param_groups[0][name]
        if name == "etas":  # one below 1 and one above
            spread: Any = (1.0 - (1.0 - value[0]) * factors, 1.0 + (value[1] - 1.0) * factors)
        elif name == "d":  # at least 1
            spread = value / factors
        else:
            spread = tuple(factors * number for number in value) if isinstance(value, tuple) else factors * value
        tensors[name] = spread
        for k, row in enumerate(rows):
            row[name] = tuple(each[k].item() for each in spread) if isinstance(spread, tuple) else spread[k].item()
    return tensors, rows


def _rows_one_by_one(case, rows, data, grads):
    """Row k of the data after these gradients (steps, K, P), optimized alone with the options of row k."""
    results = []
    for k, options in enumerate(rows):
        alone = Parameter(data[k].clone())
        optimizer = Case(case.kind, options).make([alone])
        for grad in grads[:, k]:
            alone.grad = grad
            optimizer.step()
        results.append(alone.data)
    return torch.stack(results)


def _column(value):
    if isinstance(value, tuple):
        return tuple(map(_column, value))
    return value.unsqueeze(-1) if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_columns_of_hyperparameters(case):
    """`coefficients` and `update` alone, with hyperparameters (K, 1) against data (K, P)."""
    data, grads = torch.randn(K, P, dtype=torch.float64), torch.randn(STEPS, K, P, dtype=torch.float64)
    tensors, rows = _spread(case)
    optimizer = case.make([Parameter(data.clone())])
    group = {**optimizer.param_groups[0], **{name: _column(value) for name, value in tensors.items()}}
    state = {}
    for name in optimizer.state_names(group):
        begin = optimizer.initial_state(name, group)
        state[name] = torch.zeros_like(data) + begin
    parameter = data.clone()
    for step, grad in enumerate(grads, start=1):
        parameter = optimizer.update(parameter, grad, state, optimizer.coefficients(group, step), group)
    close(parameter, _rows_one_by_one(case, rows, data, grads))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("case", SINGLE, ids=str)
def test_a_population_with_hyperparameters_of_its_own_each(case, apart, dtype):
    data = [torch.randn(K, 2, P, dtype=dtype), torch.randn(K, 5, dtype=dtype)]
    grads = [torch.randn(STEPS, *each.shape, dtype=dtype) for each in data]
    tensors, rows = _spread(case)
    params = [Parameter(each.clone(), replicas=K) for each in data]
    if not apart:
        flatten(params)
    optimizer = Case(case.kind, tensors).make(params)
    for step in range(STEPS):
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad[step]
        optimizer.step()
        if step == 2:  # and its state goes through a state dict
            saved = optimizer.state_dict()
            optimizer = Case(case.kind, tensors).make(params)
            optimizer.load_state_dict(saved)
    for param, values, grad in zip(params, data, grads, strict=True):
        expected = _rows_one_by_one(case, rows, values, grad)
        if dtype == torch.float64:
            close(param.data, expected)
        else:
            torch.testing.assert_close(param.data, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", [1, 10, 10**6])
@pytest.mark.parametrize("case", SINGLE, ids=str)
def test_a_population_with_one_setting_for_all(case, block, monkeypatch):
    monkeypatch.setattr("lamp.optim.blocks.BLOCK", block)
    data, grads = torch.randn(K, 2, P, dtype=torch.float64), torch.randn(STEPS, K, 2, P, dtype=torch.float64)
    param, other = Parameter(data.clone(), replicas=K), Parameter(torch.zeros(K, 3, dtype=torch.float64), replicas=K)
    flatten([other, param])  # the optimized one is some columns of a larger buffer
    optimizer = case.make([param])
    if optimizer.elementwise:
        assert all(each.data.numel() <= max(block, K) for each in optimizer._blocks[0].blocks)
    for grad in grads:
        param.grad = grad
        optimizer.step()
    close(param.data, _rows_one_by_one(case, [case.options] * K, data, grads))
    assert not other.data.any()


def test_one_number_for_each_network_needs_a_population():
    lr = torch.tensor([0.1, 0.2, 0.3])
    for data, replicas in ((torch.zeros(3), None), (torch.zeros(3, 4), None), (torch.zeros(2, 3), 2)):
        with pytest.raises(ArgumentError, match="lr is one number, or one per network of a population"):
            Case("SGD", {"lr": lr}).make([Parameter(data, replicas=replicas)])
    with pytest.raises(ArgumentError, match=r"tensor \(3, 1\)"):
        Case("SGD", {"lr": lr.unsqueeze(-1)}).make([Parameter(torch.zeros(3, 2), replicas=3)])
    with pytest.raises(ArgumentError, match="out of range"):
        Case("SGD", {"lr": -lr}).make([Parameter(torch.zeros(3, 2), replicas=3)])
    with pytest.raises(ArgumentError, match="betas is one number"):
        Case("Adam", {"betas": (lr, 0.9)}).make([Parameter(torch.zeros(3))])


def test_numbers_of_a_population_are_as_precise_as_floats():
    betas = torch.tensor([0.9, 0.99, 0.999]), torch.tensor([0.99, 0.999, 0.9999])  # 1 - beta^t needs all digits
    data, grads = torch.randn(3, 4), torch.randn(5, 3, 4)
    together = Parameter(data.clone(), replicas=3)
    optimizer = Case("Adam", {"lr": 0.1, "betas": betas}).make([together])
    for grad in grads:
        together.grad = grad
        optimizer.step()
    rows = [{"lr": 0.1, "betas": tuple(beta[k].item() for beta in betas)} for k in range(3)]
    alone = _rows_one_by_one(Case("Adam", {}), rows, data, grads)
    torch.testing.assert_close(together.data, alone, rtol=3e-7, atol=1e-7)
