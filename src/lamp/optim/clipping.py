"""Gradient clipping, by the norm of all gradients together or by the value of each element."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NonFiniteError
from lamp.formulas import Number
from lamp.optim.checks import Range, as_parameters, column
from lamp.optim.optimizer import Optimizer
from lamp.parameter import Parameter, spans, trained
from lamp.signatures import called

TINY = 1e-6  # added to the norm in the denominator, as in torch
LIMIT = Range(0.0, math.inf, closed=True)
POSITIVE = Range(math.ulp(0.0), math.inf, closed=True)


@called()
def clip_grad_norm_(
    parameters: Iterable[Parameter] | Parameter | Optimizer,
    max_norm: Number,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by one factor so that their norm is at most max_norm; returns the norm before.

    g <- g min(1, max_norm / (|g| + 1e-6)), where |g| is the norm of all gradients as one vector

    In a population each network is scaled by its own norm, and K norms are returned.

    parameters  parameters, or an optimizer, which is faster
    max_norm    a number, or (K,) in a population; infinity measures the norm and changes nothing
    norm_type   the order p of the norm, positive; infinity, or "inf", for the largest absolute value
    Source      torch.nn.utils.clip_grad_norm_ (arguments, values)

    Raises ArgumentError for a max_norm that is negative or NaN, and for anything but parameters; with
    error_if_nonfinite, NonFiniteError for a norm that is NaN or infinite (the gradients are unchanged then).
    """
    _check_limit("max_norm", max_norm)
    p = math.inf if isinstance(norm_type, str) and norm_type == "inf" else norm_type
    if isinstance(p, tuple | list | Tensor) or not POSITIVE.holds(p):
        raise ArgumentError(
            "there is no norm of this order", expected="norm_type > 0, or infinity", got=norm_type, fix="use 2.0"
        )
    if not isinstance(error_if_nonfinite, bool):
        raise ArgumentError(
            "error_if_nonfinite is a switch", expected="True or False", got=repr(error_if_nonfinite), fix="leave it out"
        )
    gradients = _gradients(parameters, "clip_grad_norm_")
    if not gradients:  # all are frozen
        return torch.zeros(())
    norms: list[Tensor] = [_norm(gradient, float(p)) for gradient in gradients]
    norm = norms[0]
    if len(norms) > 1:
        norm = torch.linalg.vector_norm(torch.stack([each.to(norm.device) for each in norms]), float(p), 0)
    _check_length("max_norm", max_norm, norm.shape)
    if error_if_nonfinite and not norm.isfinite().all():
        raise NonFiniteError(
            "the norm of the gradients is NaN or infinite",
            expected="finite gradients",
            got=f"{sum(int((~g.isfinite()).sum()) for g in gradients)} NaN or infinite elements, norm {norm.tolist()}",
            fix="lower the learning rate, or look for NaN in the data",
        )
    limit = max_norm.to(norm) if isinstance(max_norm, Tensor) else float(max_norm)
    factor = (limit / (norm + TINY)).clamp(max=1.0).unsqueeze(-1)
    for gradient in gradients:
        gradient.mul_(factor.to(gradient))
    return norm


def _norm(gradient: Tensor, p: float) -> Tensor:
    """The norm along the last axis; of half precision in float32, since it may be larger than any float16."""
    norm: Tensor = torch.linalg.vector_norm(gradient, p, -1, dtype=torch.promote_types(gradient.dtype, torch.float32))
    return norm


@called()
def clip_grad_value_(parameters: Iterable[Parameter] | Parameter | Optimizer, clip_value: Number) -> None:
    """Clamp every element of the gradients to [-clip_value, clip_value].

    parameters  parameters, or an optimizer, which is faster
    clip_value  a number, or (K,) in a population
    Source      torch.nn.utils.clip_grad_value_ (arguments, values)

    Raises ArgumentError for a clip_value that is negative or NaN, and for anything but parameters.
    """
    _check_limit("clip_value", clip_value)
    for gradient in _gradients(parameters, "clip_grad_value_"):
        _check_length("clip_value", clip_value, gradient.shape[:-1])
        limit = column(clip_value.to(gradient)) if isinstance(clip_value, Tensor) else float(clip_value)
        gradient.clamp_(-limit, limit)


def check_limits(optimizer: Optimizer, clip_norm: Number | None, clip_value: Number | None) -> None:
    """Raise ArgumentError if clip_grad_norm_ or clip_grad_value_ would, for the gradients of this optimizer."""
    gradients = optimizer.gradients()  # none, if all parameters are frozen
    for name, limit in (("max_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None:
            _check_limit(name, limit)
            for gradient in gradients:
                _check_length(name, limit, gradient.shape[:-1])


def _gradients(parameters: Any, owner: str) -> list[Tensor]:
    """The gradients as slices of flat buffers, as few as possible: each (P,) or (K, P)."""
    if isinstance(parameters, Optimizer):
        return parameters.gradients()
    return [span.grad for span in spans(trained(as_parameters(parameters, owner)))]


def _check_limit(name: str, limit: Number) -> None:
    if isinstance(limit, tuple | list) or not LIMIT.holds(limit):
        raise ArgumentError(
            f"{name} is out of range", expected="a number of at least 0", got=limit, fix=f"choose another {name}"
        )


def _check_length(name: str, limit: Number, replicas: torch.Size) -> None:
    if isinstance(limit, Tensor) and limit.dim() and limit.shape != replicas:
        raise ArgumentError(
            f"{name} is one number, or one per network of a population",
            expected=f"a number, or a tensor {tuple(replicas)} (K = {replicas[0]})" if replicas else "a number",
            got=f"a tensor {tuple(limit.shape)}",
            fix=f"choose another {name}",
        )
