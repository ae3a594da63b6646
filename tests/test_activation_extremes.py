"""Activations where rounding matters: at large inputs, next to zero, and at kinks."""

import math

import pytest
import torch

import lamp.nn as L
from tests.cases.module_case import error
from tests.cases.modules import ACTIVATIONS

FAR = [-1e30, -1e3, -100.0, -20.0, -1e-30, -0.0, 0.0, 1e-30, 20.0, 100.0, 1e3, 1e30]


def own(activation, x):
    """lamp's value and derivative at x."""
    y = activation(x)
    return y, activation.backward(torch.ones_like(x))


def torchs(twin, x):
    x = x.clone().requires_grad_()
    y = twin(x)
    y.backward(torch.ones_like(x))
    return y.detach(), x.grad


@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
class TestFarOut:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_values_and_derivatives_are_finite(self, case, dtype):
        y, slope = own(case.make(), torch.tensor(FAR, dtype=dtype))
        assert y.isfinite().all()
        assert slope.isfinite().all()

    @pytest.mark.parametrize("at", FAR[1:-1])
    def test_as_torch_has_them(self, case, at):
        x = torch.tensor([at], dtype=torch.float64)
        for found, expected in zip(own(case.make(), x), torchs(case.make_torch(), x), strict=True):
            assert error(found, expected) < case.tolerance

    def test_float32_is_as_near_to_float64_as_torchs(self, case):
        x = torch.linspace(-15.0, 15.0, 2001, dtype=torch.float32)
        exact = own(case.make(), x.double())
        for found, by_torch, right in zip(own(case.make(), x), torchs(case.make_torch(), x), exact, strict=True):
            rounding = torch.finfo(torch.float32).eps * right.abs().clamp(min=1.0)
            assert ((found - right).abs() <= 4.0 * (by_torch - right).abs().max() + rounding).all()


EXACT = {"Hardsigmoid": lambda x: torch.where(x.abs() < 3.0, 1.0 / 6.0, 0.0)}  # torch's derivative is 1/6 in float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
def test_value_and_derivative_are_as_near_to_float64_as_torchs(case, dtype):
    """In their largest error and in their mean error, on a dense grid, next to zero and far out."""
    near, far = torch.logspace(-8.0, 0.0, 2001), torch.logspace(0.0, 3.0, 2001)
    grid = [torch.linspace(-20.0, 20.0, 100_001), torch.linspace(-3.0, 3.0, 50_001), near, -near, far, -far]
    x = torch.cat(grid).to(dtype)
    twin = case.make_torch()
    exact = torchs(twin.double(), x.double())
    by_torch = torchs(twin.to(dtype), x)
    if (derivative := EXACT.get(case.name.partition("(")[0])) is not None:
        exact = exact[0], derivative(x.double())
    for found, theirs, right in zip(own(case.make(), x), by_torch, exact, strict=True):
        assert found.dtype == dtype
        ours, theirs = ((each.double() - right).abs() for each in (found, theirs))
        assert ours.max() <= MOST * theirs.max()
        assert ours.mean() <= MOST * theirs.mean()


MOST = 1.6  # the sigmoid in torch's derivatives of Softplus and LogSigmoid rounds less than torch.sigmoid


CORNERS = [
    ("ReLU", (), [0.0, -0.0]),
    ("LeakyReLU", (0.1,), [0.0, -0.0]),
    ("LeakyReLU", (-0.1,), [0.0, -0.0]),
    ("LeakyReLU", (2.0,), [0.0, -0.0]),
    ("LeakyReLU", (0.0,), [0.0, -0.0]),
    ("PReLU", (1, 0.3), [0.0, -0.0]),
    ("ELU", (), [0.0]),
    ("ELU", (2.0,), [0.0]),
    ("ELU", (0.5,), [0.0]),
    ("SELU", (), [0.0]),
    ("CELU", (2.0,), [0.0]),
    ("Softsign", (), [0.0]),
    ("Threshold", (0.5, 0.2), [0.5]),
    ("Threshold", (-0.5, 3.0), [-0.5]),
    ("Hardtanh", (), [-1.0, 1.0]),
    ("Hardtanh", (-0.5, 2.0), [-0.5, 2.0]),
    ("Hardtanh", (0.1, 0.3), [0.1, 0.3]),
    ("ReLU6", (), [0.0, -0.0, 6.0]),
    ("Hardswish", (), [-3.0, 3.0]),
    ("Hardsigmoid", (), [-3.0, 3.0]),
    ("Softshrink", (), [-0.5, 0.0, 0.5]),
    ("Softshrink", (0.3,), [-0.3, 0.0, 0.3]),
    ("Softshrink", (0.0,), [0.0, -0.0]),
    ("Hardshrink", (), [-0.5, 0.0, 0.5]),
    ("Hardshrink", (0.3,), [-0.3, 0.0, 0.3]),
    ("Hardshrink", (0.0,), [0.0, -0.0]),
    ("Softplus", (2.0, 1.0), [0.5]),
    ("Softplus", (1.0, 20.0), [20.0]),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "arguments", "corners"), CORNERS)
def test_at_a_corner_and_beside_it_the_derivative_is_torchs(name, arguments, corners, dtype):
    at = torch.tensor(corners, dtype=dtype)
    width = 64 * torch.finfo(dtype).eps * at.abs().clamp(min=1.0)
    x = torch.cat([at, at - width, at + width])
    activation, twin = getattr(L, name)(*arguments).to(dtype), getattr(torch.nn, name)(*arguments).to(dtype)
    for found, expected in zip(own(activation, x), torchs(twin, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_derivatives_of_0_and_1_are_exact():
    x = torch.tensor([-7.0, -0.1, 0.0, 0.1, 7.0])
    assert own(L.ReLU(), x)[1].tolist() == [0, 0, 0, 1, 1]
    assert own(L.Hardtanh(-2.0, 3.0), x)[1].tolist() == [0, 1, 1, 1, 0]
    assert own(L.Softshrink(), x)[1].tolist() == [1, 0, 0, 0, 1]
    assert own(L.ELU(), x)[1].tolist()[3:] == [1, 1]
    assert own(L.ELU(0.3), x)[1].tolist()[3:] == [1, 1]


@pytest.mark.parametrize(
    "name", ["Tanh", "Sigmoid", "ReLU", "SELU", "GELU", "SiLU", "Softplus", "Hardtanh", "Hardshrink"]
)
def test_nan_stays_nan(name):
    activation = getattr(L, name)()
    assert math.isnan(activation(torch.tensor(math.nan)).item())
    assert math.isnan(activation.sigma(torch.tensor(math.nan)).item())  # what is compiled


def test_nan_stays_nan_beyond_a_threshold():
    activation = L.Threshold(0.5, 2.0)
    assert math.isnan(activation(torch.tensor(math.nan)).item())
    assert math.isnan(activation.sigma(torch.tensor(math.nan)).item())


@pytest.mark.parametrize("kind", [L.Softmax, L.LogSoftmax])
@pytest.mark.parametrize("size", [1.0, 100.0, 1e3, 1e30])
def test_softmax_of_large_scores_is_torchs(kind, size):
    x = torch.randn(5, 3, dtype=torch.float64) * size
    module, twin = kind(-1), getattr(torch.nn, kind.__name__)(-1)
    dy = torch.randn(5, 3, dtype=torch.float64)
    variable = x.clone().requires_grad_()
    y = twin(variable)
    y.backward(dy)
    assert error(module(x), y.detach()) < 1e-11
    assert error(module.backward(dy), variable.grad) < 1e-11


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
def test_half_precision(case, dtype):
    x = torch.linspace(-8.0, 8.0, 201).to(dtype)
    y, slope = own(case.make(), x)
    exact_y, exact_slope = own(case.make(), x.double())
    assert y.dtype == slope.dtype == dtype
    for found, right in ((y, exact_y), (slope, exact_slope)):
        near = (found.double() - right).abs() <= 4 * torch.finfo(dtype).eps * right.abs().clamp(min=1.0)
        assert (~near).sum() <= 4  # next to a corner, rounding may take the other side
