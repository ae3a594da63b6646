"""The smooth activations.

Each activation is two formulas, sigma and its derivative dsigma, written over numbers (see lamp.formulas). The
piecewise linear ones are in activations_piecewise.
"""

import math

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import (
    Number,
    add_product,
    add_scaled,
    bell,
    constant,
    log_sigmoid,
    normal_cdf,
    softplus,
    step,
)
from lamp.fused import SMALLEST
from lamp.nn.activation import Activation
from lamp.nn.arguments import a_number, positive
from lamp.values import is_one_of

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


# ---- bounded ---------------------------------------------------------------------------------------------------------
class Tanh(Activation):
    """y = tanh(x), and its derivative 1 - y^2.  Source: torch.nn.Tanh."""

    def sigma(self, x: Number) -> Number:
        return x.tanh()

    def sigma_over(self, x: Tensor) -> Tensor:
        return x.tanh_()

    def dsigma(self, x: Number, y: Number) -> Number:
        return add_product(1.0, y, y, -1.0)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)), and its derivative y (1 - y).  Source: torch.nn.Sigmoid."""

    def sigma(self, x: Number) -> Number:
        return x.sigmoid()

    def sigma_over(self, x: Tensor) -> Tensor:
        return x.sigmoid_()

    def dsigma(self, x: Number, y: Number) -> Number:
        return add_product(y, y, y, -1.0)


class Softsign(Activation):
    """y = x / (1 + |x|), and its derivative 1 / (1 + |x|)^2 = (1 - |y|)^2.  Source: torch.nn.Softsign."""

    fused_from = SMALLEST

    def sigma(self, x: Number) -> Number:
        return x / (x.abs() + constant(1.0, x))

    def dsigma(self, x: Number, y: Number) -> Number:
        return (constant(1.0, y) - y.abs()).square()


# ---- exponential below zero, linear above ----------------------------------------------------------------------------
def exp_below_zero(x: Number, below: float, above: float) -> Number:
    """below * exp(x) where x <= 0, above elsewhere. y + alpha is the same for ELU, but has the rounding error of y."""
    if not isinstance(x, Tensor):
        return (x.clamp(max=0.0).exp() * below).where((x <= 0.0) | (x != x), above)  # NaN stays NaN
    slope = x.clamp(max=0.0).exp_()
    if below == above == 1:
        return slope
    jump = constant(above, x) - constant(below, x)  # in x's dtype, so that the sum is `above` to the last bit
    return slope.mul_(constant(below, x)).addcmul_(step(x), jump)


class ELU(Activation):
    """y = x above zero, alpha (exp(x) - 1) below, and its derivative: 1 above, y + alpha = alpha exp(x) below.

    Source    torch.nn.ELU; Clevert et al. 2015, arXiv:1511.07289

    Raises ArgumentError unless alpha is positive.
    """

    reads = "x"
    fused_from = SMALLEST

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = positive(self, "alpha", alpha)

    def sigma(self, x: Number) -> Number:
        return add_scaled(x.clamp(min=0.0), x.clamp(max=0.0).expm1(), float(self.alpha))

    def dsigma(self, x: Number, y: Number) -> Number:
        below = y.minimum(constant(0.0, y)) + constant(self.alpha, y)
        return below if self.alpha == 1 else add_scaled(below, step(y), 1.0 - self.alpha)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.celu(x) if self.alpha == 1 else torch.ops.aten.elu.default(x, self.alpha)

    def dsigma_of_tensor(self, x: Number, y: Number) -> Number:
        return exp_below_zero(x, self.alpha, 1.0)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class CELU(Activation):
    """y = x above zero, alpha (exp(x / alpha) - 1) below, and its derivative: 1 above, y / alpha + 1 = exp(x / alpha)
    below.

    Source    torch.nn.CELU; Barron 2017, arXiv:1704.07483

    Raises ArgumentError unless alpha is positive.
    """

    reads = "x"
    fused_from = SMALLEST

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = positive(self, "alpha", alpha)

    def sigma(self, x: Number) -> Number:
        return x.clamp(min=0.0) + (x.clamp(max=0.0) / self.alpha).expm1() * self.alpha

    def dsigma(self, x: Number, y: Number) -> Number:
        return add_scaled(1.0, y.minimum(constant(0.0, y)), 1.0 / self.alpha)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.celu(x, self.alpha)

    def dsigma_of_tensor(self, x: Number, y: Number) -> Number:
        return exp_below_zero(x if self.alpha == 1 else x / constant(self.alpha, x), 1.0, 1.0)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(Activation):
    """y = scale x above zero, scale alpha (exp(x) - 1) below, and its derivative: scale above, below y + scale alpha =
    scale alpha exp(x).

    Source    torch.nn.SELU; Klambauer et al. 2017, arXiv:1706.02515, where alpha and scale are chosen so that mean 0
              and variance 1 are preserved
    """

    reads = "x"
    fused_from = SMALLEST

    def sigma(self, x: Number) -> Number:
        below = x.clamp(max=0.0).expm1()
        return x.clamp(min=0.0) * SELU_SCALE + below * (SELU_SCALE * SELU_ALPHA)

    def dsigma(self, x: Number, y: Number) -> Number:
        # The derivative jumps down at zero, from scale alpha to scale, so a minimum selects the right branch.
        jump = constant(SELU_SCALE - SELU_SCALE * SELU_ALPHA, y)
        return y.minimum(y.sign() * jump) + constant(SELU_SCALE * SELU_ALPHA, y)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.selu(x)

    def dsigma_of_tensor(self, x: Number, y: Number) -> Number:
        return exp_below_zero(x, SELU_SCALE * SELU_ALPHA, SELU_SCALE)


# ---- x times a smooth gate -------------------------------------------------------------------------------------------
class SiLU(Activation):
    """y = x s with s = 1 / (1 + exp(-x)), and its derivative s + y (1 - s).

    Source    torch.nn.SiLU; Elfwing et al. 2017, arXiv:1702.03118; also known as swish
    """

    remembers = "xy"
    fused_from = SMALLEST

    def sigma(self, x: Number) -> Number:
        return x * x.sigmoid()

    def dsigma(self, x: Number, y: Number) -> Number:
        s = x.sigmoid()
        return add_product(s, y, constant(1.0, y) - s)

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.silu.default(x)  # type: ignore[no-any-return]

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        return y.lerp(constant(1.0, y), x.sigmoid())  # y + s (1 - y); torch computes 1 - (1 - s) (1 - y) for large s


class GELU(Activation):
    """y = x Phi(x), and its derivative Phi(x) + x phi(x).

    Phi and phi are the standard normal distribution function and its density. With approximate="tanh":
    y = x s with s = 1 / (1 + exp(-u)), u = sqrt(8 / pi) (x + 0.044715 x^3), and its derivative is
    s + x s (1 - s) du/dx, where du/dx = sqrt(8 / pi) (1 + 3 * 0.044715 x^2).

    Source    torch.nn.GELU; Hendrycks & Gimpel 2016, arXiv:1606.08415, where s is written as (1 + tanh(u / 2)) / 2

    Raises ArgumentError unless `approximate` is "none" or "tanh".
    """

    remembers = "x"
    fused_from = SMALLEST
    SLOPE = math.sqrt(8.0 / math.pi)
    CUBIC = SLOPE * 0.044715
    # From here on the derivative is 0 or 1 to the last bit. Further out x^2 may overflow, and exp(-x^2 / 2) is a number
    # below the normal ones, for which a processor takes a hundred times as long.
    SATURATED = 9.0

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
        return x * self._gate(x)

    def dsigma(self, x: Number, y: Number) -> Number:
        """The derivative; for an x far out, where it is 0 or 1, at a nearer one."""
        x = x.clamp(min=-self.SATURATED, max=self.SATURATED)
        gate = self._gate(x)
        if self.approximate == "none":
            return add_product(gate, x, bell(x), 1.0 / math.sqrt(2.0 * math.pi))
        rest = (-self._exponent(x)).exp() * gate  # 1 - s, but not rounded to a multiple of an ulp of 1
        return add_product(gate, rest * gate, x * add_scaled(self.SLOPE, x * x, 3.0 * self.CUBIC))

    _recomputes = True

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.gelu.default(x) if self.approximate == "none" else super().sigma_of_tensor(x)

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        if self.approximate != "none":
            return self.dsigma(x, y)  # type: ignore[no-any-return]
        u = (x * constant(-math.sqrt(0.5), x)).clamp_(-self.SATURATED, self.SATURATED)
        bell = torch.addcmul(constant(0.0, u), u, u, value=-1.0).exp_().mul_(u)
        return u.erfc_().mul_(constant(0.5, u)).sub_(bell, alpha=1.0 / math.sqrt(math.pi))  # type: ignore[no-any-return]

    def _gate(self, x: Number) -> Number:
        """Phi(x), or s."""
        return normal_cdf(x) if self.approximate == "none" else self._exponent(x).sigmoid()

    def _exponent(self, x: Number) -> Number:
        """u = sqrt(8 / pi) (x + 0.044715 x^3)."""
        return x * add_scaled(self.SLOPE, x * x, self.CUBIC)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Mish(Activation):
    """y = x t with t = tanh(log(1 + exp(x))), and its derivative t + x (1 - t^2) / (1 + exp(-x)).

    With e = exp(x), n = e (e + 2): t = n / (n + 2), and (1 - t^2) / (1 + exp(-x)) = 4 e (e + 1) / (n + 2)^2.

    Source    torch.nn.Mish; Misra 2019, arXiv:1908.08681
    """

    remembers = "x"
    fused_from = SMALLEST
    SATURATED = 20.0  # t is 1 to the last bit from here on; further out e^2 would overflow

    def sigma(self, x: Number) -> Number:
        _, n, d = self._gate(x)
        return x * (n / d)

    def dsigma(self, x: Number, y: Number) -> Number:
        x = x.clamp(max=self.SATURATED)
        e, n, d = self._gate(x)
        return add_scaled(n, (n - e) / d * x, 4.0) / d

    def _gate(self, x: Number) -> tuple[Number, Number, Number]:
        """e, n, and n + 2."""
        e, two = x.clamp(max=self.SATURATED).exp(), constant(2.0, x)
        n = e * (e + two)
        return e, n, n + two


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
    fused_from = SMALLEST

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = positive(self, "beta", beta)
        self.threshold = a_number(self, "threshold", threshold, finite=False)

    def sigma(self, x: Number) -> Number:
        scaled = self._scaled(x)
        return (softplus(scaled) / self.beta).where(scaled <= self.threshold, x)

    def dsigma(self, x: Number, y: Number) -> Number:
        scaled = self._scaled(x)
        slope = scaled.sigmoid()  # below 1
        return slope if self._needs_no_threshold(x) else slope.maximum(step(scaled, self.threshold))

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.softplus.default(x, self.beta, self.threshold)  # type: ignore[no-any-return]

    def _scaled(self, x: Number) -> Number:
        return x if self.beta == 1 else x * constant(self.beta, x)

    def _needs_no_threshold(self, x: Number) -> bool:
        """Whether the formula gives x and 1 beyond the threshold anyway, to the last bit of x's dtype."""
        return isinstance(x, Tensor) and self.threshold > -math.log(torch.finfo(x.dtype).eps / 4)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class LogSigmoid(Activation):
    """y = log(1 / (1 + exp(-x))), and its derivative 1 / (1 + exp(x)) = 1 - exp(y).  Source: torch.nn.LogSigmoid."""

    reads = "x"
    fused_from = SMALLEST

    def sigma(self, x: Number) -> Number:
        return log_sigmoid(x)

    def dsigma(self, x: Number, y: Number) -> Number:
        return -y.expm1()

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return torch.ops.aten.log_sigmoid.default(x)  # type: ignore[no-any-return]

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        return (-x).sigmoid()
