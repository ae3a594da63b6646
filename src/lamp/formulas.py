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
    return add_scaled(0.5, (x * constant(math.sqrt(0.5), x)).erf(), 0.5)


def normal_pdf(x: Number) -> Number:
    """phi(x), the standard normal density: exp(-x^2 / 2) / sqrt(2 pi)."""
    return (x.square() * constant(-0.5, x)).exp() * constant(1.0 / math.sqrt(2.0 * math.pi), x)


def step(x: Number, signed: bool = True) -> Number:
    """1 where x > 0, else 0. `signed` says whether x may be negative."""
    if not isinstance(x, Tensor):
        return x.step()
    sign = x.sign()  # a condition would take torch five times as long
    return sign.maximum(constant(0.0, x)) if signed else sign


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


def add_scaled(x: Number, y: Number, factor: Number) -> Number:
    """x + factor * y; one operation for tensors if the factor is a float."""
    if isinstance(y, Tensor) and isinstance(factor, float):
        return torch.add(x if isinstance(x, Tensor) else constant(x, y), y, alpha=factor)
    return x + factor * y


def is_zero(number: Number) -> bool:
    """Whether a hyperparameter is the number 0, so that its term can be left out. A tensor never is."""
    return isinstance(number, (float, int)) and number == 0  # float | int would be built again at each call
