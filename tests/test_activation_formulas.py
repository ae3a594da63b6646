"""An activation's formulas work on numbers that are not tensors; dual numbers check each derivative."""

from __future__ import annotations

import math

import pytest
import torch

import lamp
from lamp.formulas import add_product, between, constant, nonzero, step, steps
from lamp.nn.activations_piecewise import leaky
from tests.cases.modules import ACTIVATIONS


class Dual:
    """value + slope * epsilon with epsilon^2 = 0: any formula of x + epsilon gives its derivative at x as the slope.

    It offers the operations that lamp.formulas lists, and no others.
    """

    def __init__(self, value: float, slope: float = 0.0) -> None:
        self.value, self.slope = value, slope

    @staticmethod
    def of(x: Dual | float) -> Dual:
        return x if isinstance(x, Dual) else Dual(float(x))

    def map(self, value: float, derivative: float) -> Dual:
        return Dual(value, self.slope * derivative if self.slope else 0.0)

    def __add__(self, other):
        other = Dual.of(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other):
        other = Dual.of(other)
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def __neg__(self):
        return self.map(-self.value, -1.0)

    def __sub__(self, other):
        return self + -Dual.of(other)

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        return self * Dual.of(other).reciprocal()

    def __rtruediv__(self, other):
        return self.reciprocal() * other

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other):
        return self.value < Dual.of(other).value

    def __le__(self, other):
        return self.value <= Dual.of(other).value

    def __gt__(self, other):
        return self.value > Dual.of(other).value

    def __ge__(self, other):
        return self.value >= Dual.of(other).value

    def where(self, condition, other):
        return self if condition else Dual.of(other)

    def maximum(self, other):
        return self.where(self >= other, other)

    def minimum(self, other):
        return self.where(self <= other, other)

    def clamp(self, min=-math.inf, max=math.inf):
        return self.maximum(min).minimum(max)

    def abs(self):
        return self.map(abs(self.value), math.copysign(1.0, self.value))

    def sign(self):
        return Dual(float((self.value > 0) - (self.value < 0)))

    def step(self):
        return Dual(float(self.value > 0))

    def square(self):
        return self.map(self.value**2, 2.0 * self.value)

    def reciprocal(self):
        return self.map(1.0 / self.value, -1.0 / self.value**2)

    def exp(self):
        value = math.exp(self.value) if self.value < 700 else math.inf
        return self.map(value, value)

    def expm1(self):
        return self.map(math.expm1(self.value), math.exp(self.value))

    def log1p(self):
        return self.map(math.log1p(self.value), 1.0 / (1.0 + self.value))

    def tanh(self):
        return self.map(math.tanh(self.value), 1.0 - math.tanh(self.value) ** 2)

    def sigmoid(self):
        small = math.exp(-abs(self.value))
        value = (1.0 if self.value >= 0 else small) / (1.0 + small)
        return self.map(value, small / (1.0 + small) ** 2)

    def erf(self):
        return self.map(math.erf(self.value), 2.0 / math.sqrt(math.pi) * math.exp(-(self.value**2)))

    def lerp(self, other, weight):
        return self + weight * (other - self)


# No activation has a kink at one of these points.
POINTS = [-1000.5, -33.3, -9.1, -4.7, -3.1, -2.9, -1.51, -1.1, -0.67, -0.41, -0.11, -1e-3, -1e-9]
POINTS += [1e-9, 1e-3, 0.11, 0.31, 0.47, 0.71, 0.93, 1.1, 1.51, 2.3, 2.9, 3.1, 5.9, 6.1, 9.1, 19.3, 33.3, 1000.5]


# torch's gelu has an erf of its own, with an error of 1.5e-7 in float32, which is multiplied by x.
ROUGHER = {"GELU()": 8, "GELU(none)": 8}


@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
class TestFormulas:
    def test_dsigma_is_the_derivative_of_sigma(self, case):
        activation = case.make()
        for at in POINTS:
            y = activation.sigma(Dual(at, 1.0))
            x = Dual(at) if "x" in activation.remembers else None  # dsigma gets only what it declares in `remembers`
            derivative = activation.dsigma(x, Dual(y.value) if "y" in activation.remembers else None)
            assert derivative.value == pytest.approx(y.slope, rel=1e-12, abs=1e-14), f"at {at}"

    def test_sigma_is_that_of_torch(self, case):
        for at in POINTS:
            expected = case.make_torch()(torch.tensor(at, dtype=torch.float64)).item()
            assert case.make().sigma(Dual(at)).value == pytest.approx(expected, rel=1e-12, abs=1e-14), f"at {at}"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_sigma_of_tensor_is_sigma(self, case, dtype):
        activation = case.make()
        x = torch.cat([torch.linspace(-12.0, 12.0, 4001, dtype=dtype), torch.tensor(POINTS, dtype=dtype)])
        torch.testing.assert_close(
            activation.sigma_of_tensor(x),
            activation.sigma(x),
            rtol=8 * torch.finfo(dtype).eps,
            atol=ROUGHER.get(case.name.partition(" ")[0], 1) * torch.finfo(dtype).eps,
        )

    def test_dsigma_of_tensor_is_dsigma(self, case):
        activation = case.make()
        x = torch.cat([torch.linspace(-12.0, 12.0, 4001, dtype=torch.float64), torch.tensor(POINTS).double()])
        y = activation.sigma(x)
        read = {"x": (x, None), "y": (None, y), "xy": (x, y)}
        torch.testing.assert_close(
            activation.dsigma_of_tensor(*read[activation.reads or activation.remembers]),
            activation.dsigma(*read[activation.remembers]),
            rtol=1e-12,
            atol=1e-15,
        )

    def test_a_large_tensor_is_computed_as_a_small_one(self, case):
        activation, rows = case.make(), 393
        x, dy = torch.randn(rows, 1000), torch.randn(rows, 1000)
        for input, gradient in ((x, dy), (x.t(), dy.t()), (x, dy[:1].expand(rows, 1000))):
            y = activation(input)
            dx = activation.backward(gradient)
            for row in (0, input.shape[0] // 2, input.shape[0] - 1):
                torch.testing.assert_close(activation(input[row]), y[row], rtol=1e-6, atol=1e-6)
                torch.testing.assert_close(activation.backward(gradient[row]), dx[row], rtol=1e-6, atol=1e-6)

    def test_the_derivative_does_not_depend_on_the_mode(self, case):
        """An activation in eval mode within a network in training mode, and one that is called twice."""
        activation = case.make()
        network = lamp.Sequential(lamp.Identity(), activation, activation)
        x, dy = torch.randn(64, 3), torch.randn(64, 3)
        found = []
        for mode in (True, False):
            activation.train(mode)
            network(x)
            network(x.flip(0))  # another pass in between
            y = network(x)
            found.append((y.clone(), network.backward(dy)))
        torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_tensors_and_dual_numbers_agree(self, case, dtype):
        activation = case.make()
        x = torch.tensor(POINTS, dtype=dtype)
        y = activation.sigma_of_tensor(x)
        read = {"x": (x, None), "y": (None, y), "xy": (x, y)}[activation.remembers]
        expected = [activation.sigma(Dual(at, 1.0)).slope for at in x.tolist()]
        torch.testing.assert_close(
            activation.dsigma(*read), torch.tensor(expected, dtype=dtype), rtol=1e-5, atol=4 * torch.finfo(dtype).eps
        )


OPTIONS = [
    ("ELU", "alpha"),
    ("CELU", "alpha"),
    ("LeakyReLU", "negative_slope"),
    ("Softplus", "beta"),
    ("Softplus", "threshold"),
    ("Hardtanh", "max_val"),
    ("Softshrink", "lambd"),
    ("Hardshrink", "lambd"),
]


@pytest.mark.parametrize(("kind", "option"), OPTIONS)
@pytest.mark.parametrize("number", [0.5, 1.0, 2.0, 4.0, 1, 2])
def test_no_value_of_an_option_is_special(kind, option, number):
    """A shortcut that holds for one value, such as ELU's for alpha=1, is taken for no other."""
    x = torch.cat([torch.linspace(-12.0, 12.0, 401, dtype=torch.float64), torch.tensor(POINTS, dtype=torch.float64)])
    module, twin = getattr(lamp, kind)(**{option: number}), getattr(torch.nn, kind)(**{option: number})
    input, dy = x.clone().requires_grad_(), torch.randn_like(x)
    expected = twin(input)
    expected.backward(dy)
    torch.testing.assert_close(module(x), expected.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(module.backward(dy), input.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_formulas_of_tensors_are_those_of_numbers(dtype):
    x, y = torch.tensor(POINTS, dtype=dtype), torch.tensor(POINTS, dtype=dtype).flip(0)
    formulas = [
        (step, ()),
        (step, (0.47,)),
        (step, (-3.1,)),
        (steps, (-0.5, 1.0)),
        (nonzero, ()),
        (between, (-3.1, 3.1)),
        (between, (-0.11, 5.9)),
        (between, (-math.inf, 0.11)),
        (between, (-math.inf, math.inf)),
    ]
    for formula, bounds in formulas:
        found = formula(x, *bounds)
        assert found.dtype == dtype
        bounds = torch.tensor(bounds, dtype=dtype).tolist()
        assert found.tolist() == [formula(Dual(at), *bounds).value for at in x.tolist()]
    for factor in (1.0, -1.0, 0.25):
        pairs = zip(x.tolist(), y.tolist(), strict=True)
        expected = [add_product(Dual(a), Dual(b), Dual(a), factor).value for a, b in pairs]
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(
            add_product(x, y, x, factor), torch.tensor(expected, dtype=dtype), rtol=4 * eps, atol=4 * eps
        )


@pytest.mark.parametrize("slope", [0.25, -0.5, 1.5])
def test_leaky_takes_numbers_and_duals(slope):
    for at in POINTS:
        assert leaky(Dual(at), slope).value == (at if at > 0 else slope * at)
        assert leaky(Dual(at), Dual(slope, 1.0)).slope == min(at, 0.0)


def test_a_constant_stays_a_float_beside_anything_but_a_tensor():
    assert constant(0.5, Dual(1.0)) == 0.5
    assert constant(0.5, torch.ones(3)).dtype == torch.float32
    assert constant(0.5, torch.ones(3, dtype=torch.float64)).dtype == torch.float64
