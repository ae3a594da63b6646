"""Whether tensors are equal up to rounding, for checks of what a user has written."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}  # relative; rounding alone gives smaller differences
HALF_PRECISION_TOLERANCE = 5e-2


def near(one: Any, other: Any) -> bool:
    """Whether two tensors are of one shape, and equal up to rounding."""
    if not isinstance(one, Tensor) or one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    finite = one[one.isfinite()].abs().double()
    largest = finite.max().item() if finite.numel() else 0.0
    tolerance = TOLERANCE.get(one.dtype, HALF_PRECISION_TOLERANCE)
    return torch.allclose(one.double(), other.double(), rtol=tolerance, atol=tolerance * largest, equal_nan=True)
