"""Inputs and outputs in their own units around a network that has standardised ones."""

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
    """Numbers of mean 0 and deviation 1, and the same numbers in their own units; both tensors in float64.

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
    """A pair (mean, scale), each a number or of one sample's shape, as a Scaling of that shape; None as it is.

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
            got=_told(given),
            fix=f"{name}=(x.mean(0), x.std(0)), of the data the network was trained on",
        ) from None
    if not (mean.isfinite().all() and scale.isfinite().all() and (scale != 0).all()):
        raise ArgumentError(
            f"{name}: nothing can be divided by this scale",
            expected="finite numbers, and no scale of 0",
            got=f"means {mean.min():.4g} ... {mean.max():.4g}, scales {scale.min():.4g} ... {scale.max():.4g}",
            fix="a scale of 1 for what does not vary",
        )
    return Scaling(mean, scale)


def standardising(mean: Any, scale: Any, dtype: torch.dtype | None = None) -> Linear:
    """A layer that makes z = (x - mean) / scale of features x: to put before a network that was trained on such z.

    lamp.to_torch(lamp.Sequential(standardising(mean, scale), *network)) takes features in their own units.
    """
    scaling = _vectors(mean, scale)
    return _diagonal(1.0 / scaling.scale, -scaling.mean / scaling.scale, dtype)


def rescaling(mean: Any, scale: Any, dtype: torch.dtype | None = None) -> Linear:
    """A layer that makes y = z scale + mean of outputs z: to put after a network that was trained on scaled targets."""
    scaling = _vectors(mean, scale)
    return _diagonal(scaling.scale, scaling.mean, dtype)


def _vectors(mean: Any, scale: Any) -> Scaling:
    shape = torch.broadcast_shapes(torch.as_tensor(mean).shape, torch.as_tensor(scale).shape)
    found = scaling_of((mean, scale), tuple(shape) or (1,), "(mean, scale)")
    assert found is not None
    return found


def _diagonal(factor: Tensor, shift: Tensor, dtype: torch.dtype | None) -> Linear:
    """y = factor x + shift, feature by feature."""
    dtype = dtype or torch.get_default_dtype()
    layer = Linear(len(factor), len(factor), device="meta")  # where nothing is drawn
    layer.weight, layer.bias = Parameter(factor.diag().to(dtype)), Parameter(shift.to(dtype))
    return layer


def _told(given: Any) -> str:
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(each, Tensor) for each in given):
        return f"shapes {tuple(given[0].shape)} and {tuple(given[1].shape)}"
    return repr(given)
