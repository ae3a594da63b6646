"""Modules that only move elements: `PixelShuffle`, `PixelUnshuffle`, `ChannelShuffle`.

Each is a permutation of the elements, so backward moves the gradient back by the inverse permutation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import ShapeError
from lamp.module import Module
from lamp.nn.arguments import a_size
from lamp.nn.checks import explain_gradient, not_a_tensor


class PixelShuffle(Module):
    """Moves channels into pixels: r^2 channels become squares of r x r pixels of one channel.

    y[c, h r + i, w r + j] = x[c r^2 + i r + j, h, w]

    Shapes    x (..., C r^2, H, W)   y (..., C, H r, W r)
    Backward  dx = PixelUnshuffle(dy)
    Source    torch.nn.PixelShuffle; Shi et al. 2016, arXiv:1609.05158

    Raises ArgumentError for a factor that is not a positive integer, ShapeError for an input whose channels are not
    divisible by r^2, DTypeError for one that is not a tensor.
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = a_size(self, "upscale_factor", upscale_factor)

    def forward(self, input: Tensor) -> Tensor:
        r = self.upscale_factor
        if not _is_image(self, input) or input.shape[-3] % r**2:
            raise _unsuited(f"(..., C, H, W) with C divisible by {r**2}", input.shape)
        y = torch.pixel_shuffle(input, r)
        self.remember(y.shape)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        shape = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return torch.pixel_unshuffle(dy, self.upscale_factor)  # dx

    def trace(self, tracer: Any, x: Any) -> Any:
        r = self.upscale_factor
        if len(x.shape) != 3 or x.shape[0] % r**2:
            raise _unsuited(f"(B, C, H, W) with C divisible by {r**2}", ("B", *x.shape))
        c, h, w = x.shape
        split = tracer.reshape(self, x, (c // r**2, r, r, h, w))
        moved = tracer.permute(self, split, (0, 3, 1, 4, 2))
        return tracer.reshape(self, moved, (c // r**2, h * r, w * r))

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Moves pixels into channels: the opposite of PixelShuffle.

    y[c r^2 + i r + j, h, w] = x[c, h r + i, w r + j]

    Shapes    x (..., C, H r, W r)   y (..., C r^2, H, W)
    Backward  dx = PixelShuffle(dy)
    Source    torch.nn.PixelUnshuffle

    Raises ArgumentError for a factor that is not a positive integer, ShapeError for an input whose height or width is
    not divisible by r, DTypeError for one that is not a tensor.
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = a_size(self, "downscale_factor", downscale_factor)

    def forward(self, input: Tensor) -> Tensor:
        r = self.downscale_factor
        if not _is_image(self, input) or input.shape[-2] % r or input.shape[-1] % r:
            raise _unsuited(f"(..., C, H, W) with H and W divisible by {r}", input.shape)
        y = torch.pixel_unshuffle(input, r)
        self.remember(y.shape)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        shape = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return torch.pixel_shuffle(dy, self.downscale_factor)  # dx

    def trace(self, tracer: Any, x: Any) -> Any:
        r = self.downscale_factor
        if len(x.shape) != 3 or x.shape[1] % r or x.shape[2] % r:
            raise _unsuited(f"(B, C, H, W) with H and W divisible by {r}", ("B", *x.shape))
        c, h, w = x.shape[0], x.shape[1] // r, x.shape[2] // r
        split = tracer.reshape(self, x, (c, h, r, w, r))
        moved = tracer.permute(self, split, (0, 2, 4, 1, 3))
        return tracer.reshape(self, moved, (c * r**2, h, w))

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Interleaves groups of channels: the first channels of all groups, then the second ones, and so on.

    y[k groups + g] = x[g C / groups + k]

    Shapes    x and y (B, C, ...), with at least one more axis after C
    Backward  dx = dy shuffled with C / groups groups
    Source    torch.nn.ChannelShuffle; Zhang et al. 2017, arXiv:1707.01083

    Raises ArgumentError for groups that are not a positive integer, ShapeError for an input with fewer axes or with
    channels that are not divisible by groups, DTypeError for one that is not a tensor.
    """

    def __init__(self, groups: int) -> None:
        self.groups = a_size(self, "groups", groups)

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            raise not_a_tensor(type(self).__name__, input)
        channel = standing(1, self.replicas)
        if input.dim() < channel + 2 or input.shape[channel] % self.groups:
            raise _unsuited(f"(B, C, ...), at least 3 axes, with C divisible by {self.groups}", input.shape)
        self.remember(input.shape)
        return _interleaved(input, channel, self.groups)

    def backward(self, dy: Tensor) -> Tensor:
        shape = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        channel = standing(1, self.replicas)
        return _interleaved(dy, channel, shape[channel] // self.groups)  # dx

    def trace(self, tracer: Any, x: Any) -> Any:
        if len(x.shape) < 2 or x.shape[0] % self.groups:
            raise _unsuited(f"(B, C, ...), at least 3 axes, with C divisible by {self.groups}", ("B", *x.shape))
        c, *rest = x.shape
        split = tracer.reshape(self, x, (self.groups, c // self.groups, *rest))
        return tracer.reshape(self, tracer.permute(self, split, (1, 0, *range(2, len(rest) + 2))), x.shape)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


def _interleaved(x: Tensor, channel: int, groups: int) -> Tensor:
    split: Tensor = x.unflatten(channel, (groups, x.shape[channel] // groups))
    return split.transpose(channel, channel + 1).flatten(channel, channel + 1)


def _is_image(module: Module, x: Any) -> bool:
    """Whether x is a tensor (..., C, H, W). Raises DTypeError for anything but a tensor."""
    if not isinstance(x, Tensor):
        raise not_a_tensor(type(module).__name__, x)
    return x.dim() >= standing(3, module.replicas)


def _unsuited(expected: str, shape: tuple[Any, ...]) -> ShapeError:
    return ShapeError(
        "the axes of the input do not divide as this module needs",
        expected=expected,
        got=str(tuple(shape)).replace("'", ""),
        fix="choose another factor, or pad the input",
    )
