"""`Activation`, the base class of elementwise activations, and the smooth ones.

Each activation is two formulas, sigma and its derivative dsigma, written over numbers (see lamp.formulas). The
piecewise linear ones are in activations_piecewise.
"""

import math
from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import Number, add_scaled, constant, log_sigmoid, normal_cdf, normal_pdf, softplus, step
from lamp.module import Module
from lamp.nn.arguments import a_number, positive
from lamp.nn.checks import explain_dsigma, explain_gradient, explain_numbers
from lamp.torch_habits import unwritten
from lamp.values import is_one_of

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


class Activation(Module):
    """Base of the elementwise activations.

    y = sigma(x)

    Shapes    x and y: any, the same
    Backward  dx = dy * dsigma(x, y)

    A subclass defines `sigma(x)` and `dsigma(x, y)`, the derivative at x, where y = sigma(x), in the operations of
    lamp.formulas. The class attribute `remembers` says which of the two dsigma reads: "x", "y" or "xy" (the other is
    None). "y" needs no extra memory, since the next module usually keeps it as its input.

    Where torch has sigma as one operation, `sigma_of_tensor` may call it; the formula remains the definition.

    Raises DTypeError for an input that is not a floating-point tensor, and ShapeError for a gradient that has not the
    shape of the output.
    """

    remembers: Literal["x", "y", "xy"] = "y"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.remembers not in ("x", "y", "xy"):
            raise ArgumentError(
                f"{cls.__name__}: remembers must say which values dsigma reads",
                expected="'x', 'y' or 'xy'",
                got=repr(cls.remembers),
                fix="write remembers = 'xy' if dsigma reads both",
            )

    @abstractmethod
    def sigma(self, x: Number) -> Number:
        """The activation's value at x."""
        raise unwritten(self, "sigma(self, x)", "the activation's value at x")

    @abstractmethod
    def dsigma(self, x: Number, y: Number) -> Number:
        """The derivative at x, where y = sigma(x). For tensors a new one: the caller may overwrite it."""
        raise unwritten(self, "dsigma(self, x, y)", "the activation's derivative at x")

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        """sigma of a tensor; subclasses use a single operation of torch if there is one."""
        return self.sigma(x)  # type: ignore[no-any-return]

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        y = self.sigma_of_tensor(input) if "sigma" not in self.__dict__ else self.sigma(input)
        remembers = self.remembers
        self.remember((None, y) if remembers == "y" else (input, y if remembers == "xy" else None))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.elementwise(self, x)

    def backward(self, dy: Tensor) -> Tensor:
        x, y = self.recall()
        shape = (x if y is None else y).shape
        if dy.shape != shape:
            raise explain_gradient(dy, shape)
        slope = self.dsigma(x, y)
        try:
            # In place takes two thirds of the time, but must not overwrite the input or output of the forward.
            dx: Tensor = slope.mul_(dy) if slope is not x and slope is not y else slope * dy
        except (RuntimeError, AttributeError, TypeError):
            raise explain_dsigma(self, slope, shape) from None
        return dx


# ---- bounded ---------------------------------------------------------------------------------------------------------
class Tanh(Activation):
    """y = tanh(x), and its derivative 1 - y^2.  Source: torch.nn.Tanh."""

    def sigma(self, x: Number) -> Number:
        return x.tanh()

    def dsigma(self, x: Number, y: Number) -> Number:
        return constant(1.0, y) - y * y


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)), and its derivative y (1 - y).  Source: torch.nn.Sigmoid."""

    def sigma(self, x: Number) -> Number:
        return x.sigmoid()

    def dsigma(self, x: Number, y: Number) -> Number:
        return y - y * y


class Softsign(Activation):
    """y = x / (1 + |x|), and its derivative 1 / (1 + |x|)^2 = (1 - |y|)^2.  Source: torch.nn.Softsign."""

    def sigma(self, x: Number) -> Number:
        return x / (x.abs() + constant(1.0, x))

    def dsigma(self, x: Number, y: Number) -> Number:
        return (constant(1.0, y) - y.abs()).square()


# ---- exponential below zero, linear above ----------------------------------------------------------------------------
class ELU(Activation):
    """y = x above zero, alpha (exp(x) - 1) below, and its derivative: 1 above, y + alpha below.

    Source    torch.nn.ELU; Clevert et al. 2015, arXiv:1511.07289

    Raises ArgumentError unless alpha is positive.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = positive(self, "alpha", alpha)

    def sigma(self, x: Number) -> Number:
        return add_scaled(x.clamp(min=0.0), x.clamp(max=0.0).expm1(), float(self.alpha))

    def dsigma(self, x: Number, y: Number) -> Number:
        below = y.minimum(constant(0.0, y)) + constant(self.alpha, y)
        return below if self.alpha == 1 else add_scaled(below, step(y), 1.0 - self.alpha)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.celu(x) if self.alpha == 1 else super().sigma_of_tensor(x)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class CELU(Activation):
    """y = x above zero, alpha (exp(x / alpha) - 1) below, and its derivative: 1 above, y / alpha + 1 below.

    Source    torch.nn.CELU; Barron 2017, arXiv:1704.07483

    Raises ArgumentError unless alpha is positive.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = positive(self, "alpha", alpha)

    def sigma(self, x: Number) -> Number:
        return x.clamp(min=0.0) + (x.clamp(max=0.0) / self.alpha).expm1() * self.alpha

    def dsigma(self, x: Number, y: Number) -> Number:
        return add_scaled(1.0, y.minimum(constant(0.0, y)), 1.0 / self.alpha)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.celu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(Activation):
    """y = scale x above zero, scale alpha (exp(x) - 1) below, and its derivative: scale above, y + scale alpha below.

    Source    torch.nn.SELU; Klambauer et al. 2017, arXiv:1706.02515, where alpha and scale are chosen so that mean 0
              and variance 1 are preserved
    """

    def sigma(self, x: Number) -> Number:
        below = x.clamp(max=0.0).expm1()
        return x.clamp(min=0.0) * SELU_SCALE + below * (SELU_SCALE * SELU_ALPHA)

    def dsigma(self, x: Number, y: Number) -> Number:
        # The derivative jumps down at zero, from scale alpha to scale, so a minimum selects the right branch.
        jump = constant(SELU_SCALE - SELU_SCALE * SELU_ALPHA, y)
        return y.minimum(y.sign() * jump) + constant(SELU_SCALE * SELU_ALPHA, y)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.selu(x)


# ---- x times a smooth gate -------------------------------------------------------------------------------------------
class SiLU(Activation):
    """y = x s with s = 1 / (1 + exp(-x)), and its derivative y + s (1 - y).

    Source    torch.nn.SiLU; Elfwing et al. 2017, arXiv:1702.03118; also known as swish
    """

    remembers = "xy"

    def sigma(self, x: Number) -> Number:
        return x * x.sigmoid()

    def dsigma(self, x: Number, y: Number) -> Number:
        return y.lerp(constant(1.0, y), x.sigmoid())  # lerp does not overflow where s is 1


class GELU(Activation):
    """y = x Phi(x), and its derivative Phi(x) + x phi(x).

    Phi and phi are the standard normal distribution function and its density. With approximate="tanh":
    y = x s with s = 1 / (1 + exp(-u)), u = sqrt(8 / pi) (x + 0.044715 x^3), and its derivative is
    s + x s (1 - s) du/dx, where du/dx = sqrt(8 / pi) (1 + 3 * 0.044715 x^2).

    Source    torch.nn.GELU; Hendrycks & Gimpel 2016, arXiv:1606.08415, where s is written as (1 + tanh(u / 2)) / 2

    Raises ArgumentError unless `approximate` is "none" or "tanh".
    """

    remembers = "x"
    SLOPE = math.sqrt(8.0 / math.pi)
    CUBIC = SLOPE * 0.044715
    SATURATED = 10.0  # s is 0 or 1 to the last bit from here on; further out x^2 may overflow, and 0 * infinity is NaN

    def __init__(self, approximate: str = "none") -> None:
        if not is_one_of(approximate, "none", "tanh"):
            raise ArgumentError(
                "GELU: unknown value of approximate",
                expected="'none' or 'tanh'",
                got=repr(approximate),
                fix="name one of these",
            )
        self.approximate = approximate

    def sigma(self, x: Number) -> Number:
        if self.approximate == "none":
            return x * normal_cdf(x)
        return x * (x * add_scaled(self.SLOPE, x * x, self.CUBIC)).sigmoid()

    def dsigma(self, x: Number, y: Number) -> Number:
        if self.approximate == "none":
            return normal_cdf(x) + x * normal_pdf(x)
        x = x.clamp(min=-self.SATURATED, max=self.SATURATED)
        square = x * x
        s = (x * add_scaled(self.SLOPE, square, self.CUBIC)).sigmoid()
        return s + x * (s - s * s) * add_scaled(self.SLOPE, square, 3.0 * self.CUBIC)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Mish(Activation):
    """y = x t with t = tanh(log(1 + exp(x))), and its derivative t + x (1 - t^2) / (1 + exp(-x)).

    Source    torch.nn.Mish; Misra 2019, arXiv:1908.08681
    """

    remembers = "x"

    def sigma(self, x: Number) -> Number:
        return x * self._gate(x)

    def dsigma(self, x: Number, y: Number) -> Number:
        t = self._gate(x)
        return t + x * (constant(1.0, x) - t * t) * x.sigmoid()

    def _gate(self, x: Number) -> Number:
        """t as a fraction of e = exp(x): ((1 + e)^2 - 1) / ((1 + e)^2 + 1)."""
        # From `saturated` on, t is 1 to the last bit; further out e^2 would overflow.
        saturated = math.log(8.0 / torch.finfo(x.dtype).eps) / 2.0 if isinstance(x, Tensor) else 20.0
        e, two = x.clamp(max=saturated).exp(), constant(2.0, x)
        numerator = e * (e + two)
        return numerator / (numerator + two)


class Tanhshrink(Activation):
    """y = x - tanh(x), and its derivative tanh(x)^2.  Source: torch.nn.Tanhshrink."""

    remembers = "x"

    def sigma(self, x: Number) -> Number:
        return x - x.tanh()

    def dsigma(self, x: Number, y: Number) -> Number:
        return x.tanh().square()


# ---- logarithms of exponentials --------------------------------------------------------------------------------------
class Softplus(Activation):
    """y = log(1 + exp(beta x)) / beta, or x where beta x > threshold; its derivative: 1 / (1 + exp(-beta x)), or 1.

    Source    torch.nn.Softplus

    Raises ArgumentError unless beta is positive and threshold is a number.
    """

    remembers = "x"

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = positive(self, "beta", beta)
        self.threshold = a_number(self, "threshold", threshold, finite=False)

    def sigma(self, x: Number) -> Number:
        scaled = self._scaled(x)
        return (softplus(scaled) / self.beta).where(scaled <= self.threshold, x)

    def dsigma(self, x: Number, y: Number) -> Number:
        scaled = self._scaled(x)
        slope = scaled.sigmoid()
        return slope if self._needs_no_threshold(x) else slope.where(scaled <= self.threshold, constant(1.0, x))

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        scaled: Tensor = self._scaled(x)
        y = scaled.logaddexp(constant(0.0, x))
        if self.beta != 1:
            y = y / constant(self.beta, x)
        return y if self._needs_no_threshold(x) else y.where(scaled <= self.threshold, x)

    def _scaled(self, x: Number) -> Number:
        return x if self.beta == 1 else x * constant(self.beta, x)

    def _needs_no_threshold(self, x: Number) -> bool:
        """Whether the formula gives x and 1 beyond the threshold anyway, to the last bit of x's dtype."""
        return isinstance(x, Tensor) and self.threshold > -math.log(torch.finfo(x.dtype).eps / 4)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class LogSigmoid(Activation):
    """y = log(1 / (1 + exp(-x))), and its derivative 1 / (1 + exp(x)) = 1 - exp(y).  Source: torch.nn.LogSigmoid."""

    def sigma(self, x: Number) -> Number:
        return log_sigmoid(x)

    def dsigma(self, x: Number, y: Number) -> Number:
        return -y.expm1()

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return -(-x).logaddexp(constant(0.0, x))
