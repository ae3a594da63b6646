"""Lazy normalisations of channels, which learn `num_features` from their first input (see lamp.nn.lazy)."""

from __future__ import annotations

import torch
from torch import Tensor

from lamp.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, ChannelNorm
from lamp.nn.checks import explain_axes, explain_numbers
from lamp.nn.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from lamp.nn.lazy import LazyModule


class LazyChannelNorm(LazyModule, ChannelNorm):
    """Base of lazy normalisations of channels. The defaults are torch's: InstanceNorm has others where it is lazy."""

    counted = "num_features"

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        options = {"eps": eps, "momentum": momentum, "affine": affine, "bias": bias}
        self._postpone({**options, "track_running_stats": track_running_stats}, device, dtype)

    def _count(self, x: Tensor) -> int:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        for channel in (1,) if self.over_batch else (1, 0):
            if x.dim() - channel - 1 in self.spatial and x.shape[channel]:
                return x.shape[channel]
        raise explain_axes(self, x, self._forms("C"), "reshape the input")


class LazyBatchNorm1d(LazyChannelNorm, BatchNorm1d):
    """A BatchNorm1d that takes `num_features` from its first input, and is a plain BatchNorm1d from then on.

    Shapes    as in BatchNorm1d
    Backward  as in BatchNorm1d
    Init      as in BatchNorm1d, at the first forward
    Source    torch.nn.LazyBatchNorm1d

    Before its first forward it has no parameters and no running statistics, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = BatchNorm1d


class LazyBatchNorm2d(LazyChannelNorm, BatchNorm2d):
    """A BatchNorm2d that takes `num_features` from its first input, and is a plain BatchNorm2d from then on.

    Shapes    as in BatchNorm2d
    Backward  as in BatchNorm2d
    Init      as in BatchNorm2d, at the first forward
    Source    torch.nn.LazyBatchNorm2d

    Before its first forward it has no parameters and no running statistics, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = BatchNorm2d


class LazyBatchNorm3d(LazyChannelNorm, BatchNorm3d):
    """A BatchNorm3d that takes `num_features` from its first input, and is a plain BatchNorm3d from then on.

    Shapes    as in BatchNorm3d
    Backward  as in BatchNorm3d
    Init      as in BatchNorm3d, at the first forward
    Source    torch.nn.LazyBatchNorm3d

    Before its first forward it has no parameters and no running statistics, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = BatchNorm3d


class LazyInstanceNorm1d(LazyChannelNorm, InstanceNorm1d):
    """An InstanceNorm1d that takes `num_features` from its first input, and is a plain InstanceNorm1d from then on.

    Shapes    as in InstanceNorm1d
    Backward  as in InstanceNorm1d
    Init      as in InstanceNorm1d, at the first forward
    Source    torch.nn.LazyInstanceNorm1d

    Before its first forward it has no parameters and no running statistics, as LazyLinear says.
    affine and track_running_stats are True by default, as in torch.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = InstanceNorm1d


class LazyInstanceNorm2d(LazyChannelNorm, InstanceNorm2d):
    """An InstanceNorm2d that takes `num_features` from its first input, and is a plain InstanceNorm2d from then on.

    Shapes    as in InstanceNorm2d
    Backward  as in InstanceNorm2d
    Init      as in InstanceNorm2d, at the first forward
    Source    torch.nn.LazyInstanceNorm2d

    Before its first forward it has no parameters and no running statistics, as LazyLinear says.
    affine and track_running_stats are True by default, as in torch.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = InstanceNorm2d


class LazyInstanceNorm3d(LazyChannelNorm, InstanceNorm3d):
    """An InstanceNorm3d that takes `num_features` from its first input, and is a plain InstanceNorm3d from then on.

    Shapes    as in InstanceNorm3d
    Backward  as in InstanceNorm3d
    Init      as in InstanceNorm3d, at the first forward
    Source    torch.nn.LazyInstanceNorm3d

    Before its first forward it has no parameters and no running statistics, as LazyLinear says.
    affine and track_running_stats are True by default, as in torch.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = InstanceNorm3d
