"""Piecewise linear activations and their derivatives, also Hardswish, which has a quadratic piece.

At a corner the derivative is torch's: that of ReLU is 0 at 0.
"""

from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.devices import device_of, floating
from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import Number, add_product, between, constant, nonzero, step, steps
from lamp.fused import SMALLEST, SMALLEST_OF_TWO
from lamp.module import Module
from lamp.nn.activation import Activation
from lamp.nn.arguments import a_number, a_size, not_negative
from lamp.nn.checks import explain_channels, explain_gradient
from lamp.parameter import Parameter


# ---- one corner, at zero ---------------------------------------------------------------------------------------------
class ReLU(Activation):
    """y = max(x, 0), and its derivative 1 where y > 0, else 0.  Source: torch.nn.ReLU."""

    _commutes_with_max = True
    fused_from = SMALLEST_OF_TWO

    def sigma(self, x: Number) -> Number:
        return x.clamp(min=0.0)

    def dsigma(self, x: Number, y: Number) -> Number:
        return step(y)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return x.relu()

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        return y.sign()  # y is not negative

    def sigma_over(self, x: Tensor) -> Tensor:
        return x.relu_()


def leaky(x: Number, slope: Number) -> Number:
    """x where x > 0, else slope x."""
    return x.clamp(min=0.0) + slope * x.clamp(max=0.0)


class LeakyReLU(Activation):
    """y = x where x > 0, else negative_slope x, and its derivative: 1 where x > 0, else negative_slope.

    Source    torch.nn.LeakyReLU
    """

    fused_from = SMALLEST

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = a_number(self, "negative_slope", negative_slope)
        if self.negative_slope < 0:
            self.remembers = "x"  # y no longer has the sign of x

    def sigma(self, x: Number) -> Number:
        return leaky(x, self.negative_slope)

    def dsigma(self, x: Number, y: Number) -> Number:
        return steps(x if self.remembers == "x" else y, self.negative_slope, 1.0)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.leaky_relu.default(x, self.negative_slope)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """LeakyReLU with a learned slope below zero: one for all elements, or one per channel (axis 1).

    y = x where x > 0, else a x

    Shapes    x (B, C, ...), or any shape for a single slope   a (C) or (1)   y as x
    Backward  dx = dy where x > 0, else a dy          da = sum of dy min(x, 0) over all axes but that of the channels
    Init      a = init
    Source    torch.nn.PReLU (names); He et al. 2015, arXiv:1502.01852

    Raises ArgumentError for wrong constructor arguments; ShapeError, DTypeError or DeviceError for an input or a
    gradient that does not fit.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.num_parameters = a_size(self, "num_parameters", num_parameters)
        self.init = a_number(self, "init", init)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        self.weight = Parameter(torch.empty(self.num_parameters, **place))
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Set every slope to `init`; the generator is not used."""
        self.weight.data.fill_(float(self.init))

    def forward(self, input: Tensor) -> Tensor:
        try:
            y = torch.prelu(input, self.weight.data) if self.replicas is None else leaky(input, self._slope(input))
        except (RuntimeError, TypeError, IndexError, AttributeError) as error:
            raise explain_channels(self, input, self.num_parameters, self.weight, error) from None
        self.remember(input)
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        if self.num_parameters > 1 and x.shape[:1] != (self.num_parameters,):
            raise ShapeError(
                "PReLU has one slope per channel, and the input has another number of channels",
                expected=f"(B, {self.num_parameters}, ...)",
                got=f"(B, {', '.join(map(str, x.shape))})",
                fix=f"PReLU({x.shape[0]})" if x.shape else "PReLU()",
            )
        return tracer.elementwise(self, x, weight=self.weight)

    def backward(self, dy: Tensor) -> Tensor:
        x = self.recall()
        if dy.shape != x.shape:
            raise explain_gradient(dy, x.shape)
        dslope = dy * x.minimum(constant(0.0, x))  # one per element of x
        slope = self._slope(x)
        self.weight.grad.add_(dslope.sum_to_size(slope.shape).view(self.weight.shape))
        return dy * slope.lerp(constant(1.0, x), step(x))  # dx

    def _slope(self, x: Tensor) -> Tensor:
        """The slopes in a shape that broadcasts to x: (1, C, 1, ...), or (K, 1, C, 1, ...) in a population."""
        shape = [1] * x.dim()
        if self.replicas is not None:
            shape[0] = self.replicas
        if self.num_parameters > 1:
            shape[standing(1, self.replicas)] = self.num_parameters
        return self.weight.data.view(shape)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Threshold(Activation):
    """y = x where x > threshold, else value, and its derivative: 1 where x > threshold, else 0.

    Source    torch.nn.Threshold
    """

    remembers = "x"
    fused_from = SMALLEST_OF_TWO

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold = a_number(self, "threshold", threshold, finite=False)
        self.value = a_number(self, "value", value, finite=False)

    def sigma(self, x: Number) -> Number:
        return x.where((x > self.threshold) | (x != x), self.value)  # keeps NaN, which is not equal to itself

    def dsigma(self, x: Number, y: Number) -> Number:
        return step(x, self.threshold)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.threshold(x, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


# ---- constant outside an interval ------------------------------------------------------------------------------------
class Hardtanh(Activation):
    """y = x clamped to [min_val, max_val], and its derivative: 1 strictly between them, else 0.

    Source    torch.nn.Hardtanh

    Raises ArgumentError unless min_val < max_val.
    """

    reads = "x"
    fused_from = SMALLEST

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val = a_number(self, "min_val", min_val, finite=False)
        self.max_val = a_number(self, "max_val", max_val, finite=False)
        if not self.min_val < self.max_val:
            raise ArgumentError(
                f"{type(self).__name__} needs an interval that is not empty",
                expected="min_val < max_val",
                got=f"min_val = {min_val}, max_val = {max_val}",
                fix="pass the lower bound first",
            )

    def sigma(self, x: Number) -> Number:
        return x.clamp(min=self.min_val, max=self.max_val)

    def dsigma(self, x: Number, y: Number) -> Number:
        return between(y, self.min_val, self.max_val)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return x.clamp(min=self.min_val, max=self.max_val)

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        return between(x, self.min_val, self.max_val)  # type: ignore[no-any-return]  # a bound need not be a number of y's dtype

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class ReLU6(Hardtanh):
    """y = min(max(x, 0), 6), and its derivative: 1 where 0 < x < 6, else 0.  Source: torch.nn.ReLU6."""

    def __init__(self) -> None:
        super().__init__(0.0, 6.0)

    def extra_repr(self) -> str:
        return ""


class Hardsigmoid(Activation):
    """y = (x + 3) / 6 clamped to [0, 1], and its derivative: 1/6 for -3 < x < 3, else 0.

    Source    torch.nn.Hardsigmoid
    """

    reads = "x"
    fused_from = SMALLEST

    def sigma(self, x: Number) -> Number:
        return (x + constant(3.0, x)).clamp(min=0.0, max=6.0) * constant(1.0 / 6.0, x)

    def dsigma(self, x: Number, y: Number) -> Number:
        return (y - y * y).sign() * constant(1.0 / 6.0, y)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.hardsigmoid.default(x)  # type: ignore[no-any-return]

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        return between(x, -3.0, 3.0) * constant(1.0 / 6.0, x)  # type: ignore[no-any-return]  # y may be rounded to 0 or 1


class Hardswish(Activation):
    """y = x (x + 3) / 6, but 0 below -3 and x above 3; its derivative: (2 x + 3) / 6, but 0 below -3 and 1 above 3.

    Source    torch.nn.Hardswish; Howard et al. 2019, arXiv:1905.02244
    """

    remembers = "x"
    fused_from = SMALLEST

    def sigma(self, x: Number) -> Number:
        return x * self._gate(x)

    def dsigma(self, x: Number, y: Number) -> Number:
        return add_product(self._gate(x), x.clamp(min=-3.0, max=3.0), between(x, -3.0, 3.0), 1.0 / 6.0)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.hardswish.default(x)  # type: ignore[no-any-return]

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        near = x.clamp(min=-3.0, max=3.0)
        return torch.ops.aten.hardsigmoid.default(x).addcmul_(near, between(x, -3.0, 3.0), value=1.0 / 6.0)  # type: ignore[no-any-return]

    def _gate(self, x: Number) -> Number:
        return (x + constant(3.0, x)).clamp(min=0.0, max=6.0) * constant(1.0 / 6.0, x)


# ---- zero within an interval -----------------------------------------------------------------------------------------
class Softshrink(Activation):
    """y = x moved towards zero by lambd, and 0 where |x| <= lambd; its derivative: 1 where y is not 0, else 0.

    Source    torch.nn.Softshrink

    Raises ArgumentError if lambd is negative.
    """

    fused_from = SMALLEST_OF_TWO

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = not_negative(self, "lambd", lambd)

    def sigma(self, x: Number) -> Number:
        return x - x.clamp(min=-self.lambd, max=self.lambd)

    def dsigma(self, x: Number, y: Number) -> Number:
        return nonzero(y)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.softshrink.default(x, self.lambd)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Hardshrink(Activation):
    """y = x where |x| > lambd, else 0; its derivative: 1 where y is not 0, else 0.

    Source    torch.nn.Hardshrink

    Raises ArgumentError if lambd is negative.
    """

    fused_from = SMALLEST_OF_TWO

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = not_negative(self, "lambd", lambd)

    def sigma(self, x: Number) -> Number:
        return x.where((x.abs() > self.lambd) | (x != x), 0.0)  # keeps NaN, which is not equal to itself

    def dsigma(self, x: Number, y: Number) -> Number:
        return nonzero(y)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"
