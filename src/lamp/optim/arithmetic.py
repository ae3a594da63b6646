"""Arithmetic that update rules share, in the fewest tensor operations.

Functions whose names end in _ change their first argument in place if it is a tensor, and return it. For anything else
that behaves like a number they return a new value. Factors are floats, or tensors that broadcast, such as (K, 1).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.formulas import Number, add_scaled, constant, is_zero, scalar


def add_scaled_(x: Number, y: Number, factor: Number) -> Number:
    """x + factor y."""
    if not isinstance(x, Tensor):
        return x + factor * y
    return x.add_(y, alpha=factor) if isinstance(factor, (float, int)) else x.addcmul_(y, factor)


def add_quotient_(x: Number, numerator: Number, denominator: Number, factor: Number) -> Number:
    """x + factor numerator / denominator."""
    if not isinstance(x, Tensor):
        return x + factor * numerator / denominator
    if isinstance(factor, (float, int)):
        return x.addcdiv_(numerator, denominator, value=factor)
    return x.addcdiv_(factor * numerator, denominator)


def scale_and_add_(x: Number, factor: Number, y: Number) -> Number:
    """factor x + y."""
    if not isinstance(x, Tensor):
        return factor * x + y
    return torch.add(y, x, alpha=factor, out=x) if isinstance(factor, (float, int)) else x.mul_(factor).add_(y)


def average_(x: Number, y: Number, share: Number) -> Number:
    """x + share (y - x), a weighted mean of x and y."""
    if not isinstance(x, Tensor):
        return x.lerp(y, share)
    return x.lerp_(y, scalar(share, x.dtype) if isinstance(share, float) and x.is_cpu else share)


def decayed_(
    parameter: Number, gradient: Number, c: Mapping[str, Number], group: Mapping[str, Any]
) -> tuple[Number, Number]:
    """The parameter and the gradient with weight decay: in the gradient, or in the parameter where it is decoupled."""
    if is_zero(group["weight_decay"]):
        return parameter, gradient
    if group["decoupled_weight_decay"]:
        return add_scaled_(parameter, parameter, c["minus_decay"]), gradient
    return parameter, add_scaled(gradient, parameter, c["weight_decay"])


def indicator(condition: bool | Tensor) -> Number:
    """1.0 where the condition holds, else 0.0."""
    return float(condition) if isinstance(condition, bool) else condition.double()


def at_least(low: float, number: Number) -> Number:
    """max(low, number), for a coefficient: a float, or a tensor (K, 1)."""
    return number.clamp(min=low) if isinstance(number, Tensor) else max(low, number)


def at_most(high: float, number: Number) -> Number:
    """min(high, number), for a coefficient: a float, or a tensor (K, 1)."""
    return number.clamp(max=high) if isinstance(number, Tensor) else min(high, number)


def root(square: Number, factor: Number, eps: Number) -> Number:
    """factor sqrt(square) + eps, the denominator of the adaptive rules."""
    x = square.sqrt()
    if isinstance(x, Tensor) and isinstance(factor, float) and isinstance(eps, float):
        return torch.add(constant(eps, x), x, alpha=factor, out=x)
    return add_scaled(eps, x, factor)
