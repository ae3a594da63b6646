"""Mathematics that several modules share, written over anything that behaves like a number.

A formula here, a module's `sigma` and `dsigma`, a loss's `value` and `derivative` and an optimizer's `update` use only
the operations below, so the same lines serve torch tensors and whatever else offers them (the tests run them on plain
floats, and on dual numbers to hold each derivative against its function):

    + - * / and unary -            with numbers and floats
    < <= > >= == !=                a condition; conditions combine with & and |
    x.where(condition, other)      x where the condition holds, other elsewhere
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

Number = Any  # a tensor, a SIMD lane, a float in disguise: whatever offers the operations above


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
    """1 where x > 0, else 0; signed: whether x may be below 0."""
    if not isinstance(x, Tensor):
        return x.step()
    sign = x.sign()  # a condition would take torch five times as long
    return sign.maximum(constant(0.0, x)) if signed else sign


def on_same_side(x: Number, y: Number, bound: float) -> Any:
    """Whether both are above a bound, or neither is."""
    return (x > bound) == (y > bound)


@lru_cache(maxsize=256)
def scalar(value: float, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """A number as a tensor without axes, on the CPU unless a device is given: torch multiplies by one twice as fast as
    by a Python float."""
    return torch.tensor(value, dtype=dtype, device=device)


def constant(value: float, like: Number) -> Number:
    """A number in the form that meets `like` fastest: `scalar` on its device for a tensor, else the float as it is."""
    if isinstance(like, Tensor):
        return scalar(value, like.dtype) if like.is_cpu else scalar(value, like.dtype, like.device)
    return value


def add_scaled(x: Number, y: Number, factor: Number) -> Number:
    """x + factor * y: for tensors one operation, where the factor is a float."""
    if isinstance(y, Tensor) and isinstance(factor, float):
        return torch.add(x if isinstance(x, Tensor) else constant(x, y), y, alpha=factor)
    return x + factor * y


def is_zero(number: Number) -> bool:
    """Whether a hyperparameter switches its term off: the float 0, never a tensor or lane that may hold zeros."""
    return isinstance(number, (float, int)) and number == 0  # a union would be built anew at each call
