"""Scaling of inputs and outputs, for a network that was trained on standardised numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.nn import Linear
from lamp.parameter import Parameter


@dataclass(frozen=True)
class Scaling:
    """A linear map between numbers in their own units and standardised ones. Both tensors are float64.

    standard(x) = (x - mean) / scale          own(z) = z scale + mean
    """

    mean: Tensor
    scale: Tensor

    def standard(self, x: Tensor) -> Tensor:
        """(x - mean) / scale."""
        return (x - self.mean.to(x)) / self.scale.to(x)

    def own(self, z: Tensor) -> Tensor:
        """z scale + mean."""
        return z * self.scale.to(z) + self.mean.to(z)


def scaling_of(given: Any, shape: tuple[int, ...], name: str) -> Scaling | None:
    """A Scaling from a pair (mean, scale), each a number or a tensor of one sample's shape; None for None.

    Raises ArgumentError for anything else, and for a scale of 0, NaN or infinity.
    """
    if given is None:
        return None
    try:
        mean, scale = (torch.as_tensor(each).detach().to("cpu", torch.float64).expand(shape).clone() for each in given)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"{name} does not fit",
            expected=f"(mean, scale), each a number or of shape {shape}",
            got=_shown(given),
            fix=f"{name}=(x.mean(0), x.std(0)), where x are the data that the network was trained on",
        ) from None
    if not (mean.isfinite().all() and scale.isfinite().all() and (scale != 0).all()):
        raise ArgumentError(
            f"{name}: the mean or the scale is not usable",
            expected="finite numbers, and no scale of 0",
            got=f"means {mean.min():.4g} ... {mean.max():.4g}, scales {scale.min():.4g} ... {scale.max():.4g}",
            fix="use a scale of 1 for features that do not vary",
        )
    return Scaling(mean, scale)


def standardising(mean: Any, scale: Any, dtype: torch.dtype | None = None) -> Linear:
    """A layer that computes z = (x - mean) / scale, to put before a network that was trained on such z.

    lamp.to_torch(lamp.Sequential(standardising(mean, scale), *network)) takes features in their own units.
    """
    scaling = _vectors(mean, scale)
    return _diagonal(1.0 / scaling.scale, -scaling.mean / scaling.scale, dtype)


def rescaling(mean: Any, scale: Any, dtype: torch.dtype | None = None) -> Linear:
    """A layer that computes y = z scale + mean, to put after a network that was trained on scaled targets."""
    scaling = _vectors(mean, scale)
    return _diagonal(scaling.scale, scaling.mean, dtype)


def _vectors(mean: Any, scale: Any) -> Scaling:
    shape = torch.broadcast_shapes(torch.as_tensor(mean).shape, torch.as_tensor(scale).shape)
    found = scaling_of((mean, scale), tuple(shape) or (1,), "(mean, scale)")
    assert found is not None
    return found


def _diagonal(factor: Tensor, shift: Tensor, dtype: torch.dtype | None) -> Linear:
    """A layer that computes y = factor x + shift, feature by feature."""
    dtype = dtype or torch.get_default_dtype()
    layer = Linear(len(factor), len(factor), device="meta")  # nothing is drawn on meta
    layer.weight, layer.bias = Parameter(factor.diag().to(dtype)), Parameter(shift.to(dtype))
    return layer


def _shown(given: Any) -> str:
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(each, Tensor) for each in given):
        return f"shapes {tuple(given[0].shape)} and {tuple(given[1].shape)}"
    return repr(given)
