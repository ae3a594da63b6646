"""Formulas that several modules share, written for anything that behaves like a number.

The formulas here, a module's `sigma` and `dsigma`, a loss's `value` and `derivative`, and an optimizer's `update` use
only the operations below. So the same lines work on torch tensors, on the compiler's vector registers, and on the dual
numbers with which the tests check each derivative:

    + - * / and unary -            with numbers and floats
    < <= > >= == !=                a condition; conditions combine with & and |
    x.where(condition, other)      x where the condition is true, other elsewhere
    x.clamp(min=, max=)            x.abs()   x.sign()   x.square()
    x.step()                       1 where x > 0, else 0; tensors have none, so formulas call `step(x)`
    x.exp()  x.expm1()  x.log()  x.log1p()  x.sqrt()  x.rsqrt()  x.reciprocal()
    x.tanh()  x.sigmoid()  x.erf()  x.maximum(y)  x.minimum(y)
    x.lerp(y, weight)              x + weight * (y - x)
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Number = Any  # a tensor, a vector register, a dual number: anything with the operations above


def softplus(x: Number) -> Number:
    """log(1 + exp(x)), without overflow: max(x, 0) + log1p(exp(-|x|))."""
    return x.clamp(min=0.0) + (-x.abs()).exp().log1p()


def log_sigmoid(x: Number) -> Number:
    """log(1 / (1 + exp(-x))) = -softplus(-x), without overflow."""
    return x.clamp(max=0.0) - (-x.abs()).exp().log1p()


def normal_cdf(x: Number) -> Number:
    """Phi(x), the standard normal distribution function: (1 + erf(x / sqrt 2)) / 2."""
    if isinstance(x, Tensor):  # erfc(u) = 1 - erf(u) is faster, and keeps its digits where it is small
        return (x * constant(-math.sqrt(0.5), x)).erfc_().mul_(constant(0.5, x))
    return add_scaled(0.5, (x * math.sqrt(0.5)).erf(), 0.5)


def bell(x: Number) -> Number:
    """exp(-x^2 / 2), which is sqrt(2 pi) times the standard normal density."""
    if isinstance(x, Tensor):
        return torch.addcmul(constant(0.0, x), x, x, value=-0.5).exp_()
    return (x.square() * -0.5).exp()


def step(x: Number, above: float = 0.0) -> Number:
    """1 where x > above, else 0."""
    if isinstance(x, Tensor):  # as floats, which is several times as fast as a condition
        return torch.gt(x, constant(above, x), out=torch.empty_like(x))
    return (x - above if above else x).step()


def steps(x: Number, low: float, high: float) -> Number:
    """high where x > 0, else low."""
    if isinstance(x, Tensor):
        above = step(x)
        return torch.add(constant(low, x), above, alpha=high - low, out=above)
    return add_scaled(low, x.step(), high - low)


def nonzero(x: Number) -> Number:
    """1 where x is not 0, else 0."""
    if isinstance(x, Tensor):
        return torch.ne(x, constant(0.0, x), out=torch.empty_like(x))
    return x.sign().abs().where(x == x, 1.0)  # NaN is not 0


def between(x: Number, low: float, high: float) -> Number:
    """1 where low < x < high, else 0."""
    if not isinstance(x, Tensor):
        return step(x, low) * step(-x, -high)
    if low == -high:
        return x.abs().lt_(constant(high, x))
    return step(x, low).mul_(torch.lt(x, constant(high, x), out=torch.empty_like(x)))


def on_same_side(x: Number, y: Number, bound: float) -> Any:
    """Whether both are above the bound, or neither is."""
    return (x > bound) == (y > bound)


@lru_cache(maxsize=256)
def scalar(value: float, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """A number as a tensor (), on the CPU unless a device is given.

    torch multiplies by such a tensor twice as fast as by a Python float.
    """
    return torch.tensor(value, dtype=dtype, device=device)


def constant(value: float, like: Number) -> Number:
    """A number in the form that combines with `like` fastest: for a tensor a `scalar` on its device, else the float."""
    if isinstance(like, Tensor):
        return scalar(value, like.dtype) if like.is_cpu else scalar(value, like.dtype, like.device)
    return value


def wide(x: Tensor) -> Tensor:
    """x in float32 if it has half precision: too few digits for sums, and squares may overflow. Otherwise x itself."""
    return x if x.dtype.itemsize >= 4 else x.float()


def add_scaled(x: Number, y: Number, factor: Number) -> Number:
    """x + factor * y; one operation for tensors if the factor is a float."""
    if isinstance(y, Tensor) and isinstance(factor, float):
        return torch.add(x if isinstance(x, Tensor) else constant(x, y), y, alpha=factor)
    return x + factor * y


def add_product(x: Number, y: Number, z: Number, factor: float = 1.0) -> Number:
    """x + factor * y * z; one operation for tensors, which rounds less often."""
    if isinstance(y, Tensor):
        return torch.addcmul(x if isinstance(x, Tensor) else constant(x, y), y, z, value=factor)
    if factor == -1.0:
        return x - y * z
    return x + (y * z if factor == 1.0 else y * z * factor)


def is_zero(number: Number) -> bool:
    """Whether a hyperparameter is the number 0, so that its term can be left out. A tensor never is."""
    return isinstance(number, (float, int)) and number == 0  # float | int would be built again at each call
