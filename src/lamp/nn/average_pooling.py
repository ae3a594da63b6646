"""Pooling by the mean of each window, by its p-norm, and by the mean of windows that cover the input."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import wide
from lamp.nn.arguments import a_flag, a_number
from lamp.nn.max_pooling import adaptive_size, adaptive_sizes
from lamp.nn.pooling_module import PoolingModule, Sizes, WindowedPooling, volume


class AveragePooling(WindowedPooling):
    """Base of AvgPool1d, AvgPool2d and AvgPool3d, and of the norms: sums over windows, and back."""

    count_include_pad: bool = True
    divisor_override: int | None = None

    def forward(self, input: Tensor) -> Tensor:
        x = self.planes(input)
        y = self.means(x, self.outputs(x.shape[2:], input.shape))
        y = self.like(y, input)
        self.remember((y.shape, input.shape))
        return y

    def backward(self, dy: Tensor) -> Tensor:
        expected, shape = self.recall()
        return self.means_back(self.checked(dy, expected), shape[-self.axes :]).view(shape)

    def trace(self, tracer: Any, x: Any) -> Any:
        outputs = self.outputs(self.sizes_in_graph(x))
        more = {"count_include_pad": self.count_include_pad, "divisor_override": self.divisor_override}
        return self.in_graph(x, outputs, tracer, "AvgPool", **self.options(), **more)

    def means(self, x: Tensor, outputs: Sizes) -> Tensor:
        """The mean of each window of (N, C, sizes...)."""
        kernel, stride, padding, _ = self.windows()
        if self.axes == 1:
            y = torch.ops.aten.avg_pool2d(
                x.unsqueeze(2), (1, *kernel), (1, *stride), (0, *padding), self.ceil_mode, self.count_include_pad
            )
            return y.squeeze(2)  # type: ignore[no-any-return]
        if self.axes == 3 and any(n < k for n, k in zip(x.shape[2:], kernel, strict=True)):  # torch refuses it
            raise ShapeError(
                "the input is smaller than a window",
                expected=f"at least {kernel}",
                got=tuple(x.shape[2:]),
                fix="pad it",
            )
        pool = torch.ops.aten.avg_pool2d if self.axes == 2 else torch.ops.aten.avg_pool3d
        given = wide(x) if self.axes == 3 else x  # torch has no half precision there
        means: Tensor = pool(
            given, kernel, stride, padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )
        return means.to(x.dtype)

    def means_back(self, dy: Tensor, sizes: Sizes) -> Tensor:
        """dx (N, C, sizes...): each gradient divided by its window's count, and added at all places of the window."""
        share = (dy / self.counts(sizes, tuple(dy.shape[2:]), dy)).to(dy.dtype)
        rows, channels = dy.shape[:2]
        kernel, stride, padding, _ = self.windows()
        if kernel == stride and not any(padding):  # each place is in one window: copies
            spread: Tensor = share
            for axis, k in enumerate(kernel):
                spread = spread.repeat_interleave(k, 2 + axis)
        else:
            share = share.reshape(rows * channels, 1, *share.shape[2:])
            ones = dy.new_ones(1, 1, *kernel)
            none = (0,) * self.axes
            spread = torch.convolution(share, ones, None, stride, none, (1,) * self.axes, True, none, 1)
            spread = spread.view(rows, channels, *spread.shape[2:])
        for axis, (size, p) in enumerate(zip(sizes, padding, strict=True)):  # crop the padding, and what windows lack
            reached = spread.shape[2 + axis]
            spread = spread.narrow(2 + axis, p, min(size, reached - p))
        missing = [size - have for size, have in zip(sizes, spread.shape[2:], strict=True)]
        if any(missing):
            spread = torch.constant_pad_nd(spread, [each for n in reversed(missing) for each in (0, n)], 0.0)
        return spread.contiguous()

    def counts(self, sizes: Sizes, outputs: Sizes, like: Tensor) -> Any:
        """What the sum of each window is divided by: a number, or those of all windows, in float32 at least."""
        if self.divisor_override is not None:
            return self.divisor_override
        inside = all(
            last <= size + p and (self.count_include_pad or not p)
            for size, n, k, s, p, _ in zip(sizes, outputs, *self.windows(), strict=True)
            for last in [(n - 1) * s - p + k]
        )
        if inside:
            return volume(self.per_axis(self.kernel_size))
        along = tuple(
            tuple(
                last - first if self.count_include_pad else min(last, size) - max(first, 0)
                for first, last in self.bounds(size, axis, n)
            )
            for axis, (size, n) in enumerate(zip(sizes, outputs, strict=True))
        )
        return _counts(along, torch.promote_types(like.dtype, torch.float32), like.device)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(AveragePooling):
    """The mean of each window, for each channel.

    y = 1/n sum over the window of x

    kernel_size, stride, padding, ceil_mode  as in MaxPool1d; the padding holds zeros
    count_include_pad  whether n counts the padding

    Shapes    x (B, C, L) or (C, L)   y the same, with one number per window
    Backward  dx = sum of dy / n over the windows that contain the place
    Source    torch.nn.AvgPool1d

    Raises the same errors as MaxPool1d.
    """

    axes = 1

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.configure(kernel_size, stride, padding, ceil_mode)
        self.kernel_size, self.stride, self.padding = map(
            self.per_axis, (self.kernel_size, self.stride, self.padding)
        )  # as torch keeps them
        self.count_include_pad = a_flag(self, "count_include_pad", count_include_pad)


class _SeveralAxes(AveragePooling):
    """The arguments of AvgPool2d and AvgPool3d."""

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.configure(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = a_flag(self, "count_include_pad", count_include_pad)
        if divisor_override is not None:
            if not a_number(self, "divisor_override", divisor_override):
                raise ArgumentError(
                    f"{type(self).__name__}: divisor_override is a divisor",
                    expected="an integer that is not 0",
                    got=divisor_override,
                    fix="leave it out, for the number of places in a window",
                )
            divisor_override = int(divisor_override)
        self.divisor_override = divisor_override


class AvgPool2d(_SeveralAxes):
    """The mean of each window, for each channel (see AvgPool1d).

    divisor_override  a number to divide the sums by, in place of the number of places

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, with one number per window
    Backward  as in AvgPool1d
    Source    torch.nn.AvgPool2d

    Raises the same errors as MaxPool1d.
    """

    axes = 2


class AvgPool3d(_SeveralAxes):
    """The mean of each window, for each channel (see AvgPool2d).

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, with one number per window
    Backward  as in AvgPool1d
    Source    torch.nn.AvgPool3d

    Raises the same errors as MaxPool1d.
    """

    axes = 3


# ---- p-norms ---------------------------------------------------------------------------------------------------------
class NormPooling(AveragePooling):
    """Base of LPPool1d, LPPool2d and LPPool3d: n times the mean of x^p, and the root of that."""

    def __init__(
        self,
        norm_type: float,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type = a_number(self, "norm_type", norm_type)
        if not self.norm_type:
            raise ArgumentError(
                f"{type(self).__name__}: norm_type is the p of the norm",
                expected="not 0",
                got=norm_type,
                fix="norm_type=2",
            )
        self.configure(kernel_size, stride, 0, ceil_mode)
        self.stride = None if stride is None else self.stride  # as torch keeps it

    def forward(self, input: Tensor) -> Tensor:
        x, p = self.planes(input), float(self.norm_type)
        n = volume(self.per_axis(self.kernel_size))
        mean = self.means(x.pow(p), self.outputs(x.shape[2:], input.shape))
        total = (mean.sign() * mean.abs()).mul_(n)
        y = total.pow(1.0 / p)
        self.remember((input, self.like(y, input), total))
        return self.like(y, input)

    def backward(self, dy: Tensor) -> Tensor:
        input, y, total = self.recall()
        p, n = float(self.norm_type), volume(self.per_axis(self.kernel_size))
        dmean = self.checked(dy, y.shape) * total.pow(1.0 / p - 1.0) * (n / p)
        x = self.planes(input)
        dx = self.means_back(dmean, tuple(x.shape[2:])) * x.pow(p - 1.0) * p
        return dx.view(input.shape)

    def trace(self, tracer: Any, x: Any) -> Any:
        outputs = self.outputs(self.sizes_in_graph(x))
        return self.in_graph(x, outputs, tracer, "LPPool", p=self.norm_type, **self.options())

    def extra_repr(self) -> str:
        windows = f"kernel_size={self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"
        return f"norm_type={self.norm_type}, {windows}"


class LPPool1d(NormPooling):
    """The p-norm of each window, for each channel: between a sum (p = 1) and the largest number (p large).

    y = (sum over the window of x^p)^(1/p)

    norm_type  p
    kernel_size, stride, ceil_mode  as in MaxPool1d; beyond the input, a window is filled up with its mean

    Shapes    x (B, C, L) or (C, L)   y the same, with one number per window
    Backward  dx = sum over the windows that contain the place of dy y^(1-p) x^(p-1)
    Source    torch.nn.LPPool1d

    Raises the same errors as MaxPool1d.
    """

    axes = 1


class LPPool2d(NormPooling):
    """The p-norm of each window, for each channel (see LPPool1d).

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, with one number per window
    Backward  as in LPPool1d
    Source    torch.nn.LPPool2d

    Raises the same errors as MaxPool1d.
    """

    axes = 2


class LPPool3d(NormPooling):
    """The p-norm of each window, for each channel (see LPPool1d).

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, with one number per window
    Backward  as in LPPool1d
    Source    torch.nn.LPPool3d

    Raises the same errors as MaxPool1d.
    """

    axes = 3


# ---- to a given size -------------------------------------------------------------------------------------------------
class AdaptiveAveragePooling(PoolingModule):
    """Base of AdaptiveAvgPool1d, AdaptiveAvgPool2d and AdaptiveAvgPool3d."""

    def __init__(self, output_size: Any) -> None:
        self.output_size = adaptive_size(self, output_size)

    def forward(self, input: Tensor) -> Tensor:
        x = self.planes(input)
        sizes = adaptive_sizes(self, x.shape[2:])
        x = wide(x)
        y = self.like(along_axes(x, [averages(n, m, x) for n, m in zip(x.shape[2:], sizes, strict=True)]), input)
        self.remember((y.shape, input.shape))
        return y.to(input.dtype)

    def backward(self, dy: Tensor) -> Tensor:
        expected, shape = self.recall()
        d = wide(self.checked(dy, expected))
        pairs = zip(shape[-self.axes :], d.shape[2:], strict=True)
        return along_axes(d, [averages(n, m, d).mT for n, m in pairs]).reshape(shape).to(dy.dtype)

    def trace(self, tracer: Any, x: Any) -> Any:
        sizes = adaptive_sizes(self, self.sizes_in_graph(x))
        return self.in_graph(x, sizes, tracer, "AdaptiveAvgPool", output_size=sizes)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def averages(size: int, windows: int, like: Tensor) -> Tensor:
    """The matrix (windows, size) whose rows take the mean of each window (see AdaptiveAvgPool1d)."""
    return _averages(size, windows, like.dtype, like.device)


@lru_cache(maxsize=64)
def _counts(along: tuple[Sizes, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The number of places in each window, which is the product of those along the axes."""
    counts = torch.ones((), dtype=dtype)
    for each in along:
        counts = counts.unsqueeze(-1) * torch.tensor(each, dtype=dtype)
    return counts.to(device)


@lru_cache(maxsize=64)
def _averages(size: int, windows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = torch.zeros(windows, size, dtype=torch.float64)
    for i in range(windows):
        first, last = i * size // windows, -(-(i + 1) * size // windows)
        matrix[i, first:last] = 1.0 / (last - first)
    return matrix.to(dtype=dtype, device=device)


def along_axes(x: Tensor, matrices: list[Tensor]) -> Tensor:
    """A matrix applied along each of the last axes."""
    for back, matrix in enumerate(reversed(matrices), start=1):
        x = (x.movedim(-back, -1) @ matrix.mT).movedim(-1, -back)
    return x


class AdaptiveAvgPool1d(AdaptiveAveragePooling):
    """The mean of each of output_size windows of equal size, but for rounding, for each channel.

    y = A x along the axis, where row i of A is 1/n from floor(i L / m) to ceil((i + 1) L / m), for m windows

    output_size  the number of windows, one number or one per axis; None keeps an axis as it is

    Shapes    x (B, C, L) or (C, L)   y the same, with output_size places
    Backward  dx = A^T dy
    Source    torch.nn.AdaptiveAvgPool1d

    Raises the same errors as MaxPool1d.
    """

    axes = 1


class AdaptiveAvgPool2d(AdaptiveAveragePooling):
    """The mean of each of output_size windows (see AdaptiveAvgPool1d), along one axis after the other.

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, with output_size places
    Backward  as in AdaptiveAvgPool1d, along both axes
    Source    torch.nn.AdaptiveAvgPool2d

    Raises the same errors as MaxPool1d.
    """

    axes = 2


class AdaptiveAvgPool3d(AdaptiveAveragePooling):
    """The mean of each of output_size windows (see AdaptiveAvgPool1d), along one axis after the other.

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, with output_size places
    Backward  as in AdaptiveAvgPool1d, along all three axes
    Source    torch.nn.AdaptiveAvgPool3d

    Raises the same errors as MaxPool1d.
    """

    axes = 3
