"""Normalisation of each channel within each sample: `InstanceNorm1d` to `InstanceNorm3d`."""

from __future__ import annotations

import torch

from lamp.nn.batch_norm import ChannelNorm


class InstanceNorm(ChannelNorm):
    """Base of InstanceNorm1d, InstanceNorm2d and InstanceNorm3d, which differ in the axes of their inputs."""

    over_batch = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)


class InstanceNorm1d(InstanceNorm):
    """Normalises each channel of each sample, then scales and shifts it.

    xhat = (x - mean) / sqrt(var + eps)
    y = weight xhat + bias

    mean and var are those of the n numbers of a channel in one sample. Where running statistics are tracked, they move
    towards the mean over the batch of mean and of n / (n - 1) var, as in BatchNorm1d, and are used in eval mode.

    Shapes    x and y (B, C, L) or (C, L)   weight, bias, running_mean, running_var (C)   num_batches_tracked ()
    Backward  dbias = sum of dy          dweight = sum of dy xhat          (over B and L)
              dx = weight s (dy - mean(dy) - xhat mean(dy xhat)),   s = 1 / sqrt(var + eps), with means over L: the
              terms of BatchNorm1d, for each sample
    Init      weight 1, bias 0, running_mean 0, running_var 1
    Source    torch.nn.InstanceNorm1d; Ulyanov et al. 2016, arXiv:1607.08022

    momentum             None leaves the running statistics as they are
    affine               whether there are a weight and a bias; bias=False leaves out only the bias
    track_running_stats  whether there are running statistics; num_batches_tracked stays 0, as in torch

    Raises the same errors as BatchNorm1d.
    """

    spatial = (1,)


class InstanceNorm2d(InstanceNorm):
    """InstanceNorm1d for images: mean and variance over height and width.

    Shapes    x and y (B, C, H, W) or (C, H, W), the others as in InstanceNorm1d
    Backward  as InstanceNorm1d, with sums over B, H and W, and means over H and W
    Source    torch.nn.InstanceNorm2d
    """

    spatial = (2,)


class InstanceNorm3d(InstanceNorm):
    """InstanceNorm1d for volumes: mean and variance over depth, height and width.

    Shapes    x and y (B, C, D, H, W) or (C, D, H, W), the others as in InstanceNorm1d
    Backward  as InstanceNorm1d, with sums over B, D, H and W, and means over D, H and W
    Source    torch.nn.InstanceNorm3d
    """

    spatial = (3,)
