"""Pooling by the largest number of each window, and its opposite, which puts numbers back to their places."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NotTraceable, ShapeError
from lamp.nn.arguments import a_flag
from lamp.nn.checks import explain_gradient, explain_numbers
from lamp.nn.pooling_module import NAMES, PoolingModule, Sizes, WindowedPooling, volume

BLOCK = 32  # most planes that are pooled side by side
PARTS, PART = 8, 2**17  # a large input is pooled in at most so many parts, of so many numbers, to copy less at a time
INDICES = (torch.int16, torch.int32, torch.int64)  # dtypes for places, smallest first


class ChoosingPooling(PoolingModule):
    """Base of the pools whose outputs are numbers of the input; they remember at which places these stood."""

    return_indices: bool

    def chosen(self, y: Tensor, places: Tensor, input: Tensor) -> Any:
        """The output for the numbers (planes..., sizes...) and their places in the planes, which are remembered."""
        shape = (*input.shape[: -self.axes], *y.shape[-self.axes :])
        y, places = y.contiguous().view(shape), places.contiguous().view(shape)
        self.remember((places.to(index_of(input.shape[-self.axes :])), input.shape))
        return (y, places.long()) if self.return_indices else y

    def backward(self, dy: Any, dindices: Any = None) -> Tensor:
        places, shape = self.recall()
        d = self.checked(dy, places.shape)
        rows, count = d.shape[0] * d.shape[1], volume(places.shape[-self.axes :])
        dx: Tensor = d.new_zeros(rows, volume(shape[-self.axes :]))
        return dx.scatter_add_(1, places.view(rows, count).long(), d.reshape(rows, count)).view(shape)


class MaxPooling(WindowedPooling, ChoosingPooling):
    """Base of MaxPool1d, MaxPool2d and MaxPool3d; the first of these explains its arguments."""

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.configure(kernel_size, stride, padding, ceil_mode, dilation)
        self.return_indices = a_flag(self, "return_indices", return_indices)

    _takes_largest = _hands_over = True

    def forward(self, input: Tensor) -> Any:
        x = self.planes(input)
        self.outputs(x.shape[2:], input.shape)  # raises if there is no window
        return self.chosen(*largest(x, self.axes, *self.windows(), self.ceil_mode), input)

    def trace(self, tracer: Any, x: Any) -> Any:
        outputs = self.outputs(self.sizes_in_graph(x))
        y = self.in_graph(x, outputs, tracer, "MaxPool", **self.options())
        if not self.return_indices:
            return y
        return y, tracer.op("MaxPlaces", self, [x], y.shape, dtype=torch.int64, **self.options())

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


def largest(
    x: Tensor, axes: int, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    """The largest number of each window of x (N, C, sizes...), and its place in the plane, for blocks of planes."""
    if axes == 1:
        y, places = largest(x.unsqueeze(2), 2, (1, *kernel), (1, *stride), (0, *padding), (1, *dilation), ceil_mode)
        return y.squeeze(2), places.squeeze(2)
    pool = torch.ops.aten.max_pool2d_with_indices if axes == 2 else torch.ops.aten.max_pool3d_with_indices
    if not x.is_cpu:
        y, places = pool(x, kernel, stride, padding, dilation, ceil_mode)
        return y, places
    # On a CPU, torch finds the maxima of many planes at once, with vector registers, if the numbers at one place of the
    # planes lie side by side. That is three to four times as fast, with the copies that it takes. Since planes are
    # pooled one by one, they may be arranged in other blocks than those of channels.
    planes, layout = x.shape[0] * x.shape[1], torch.channels_last if axes == 2 else torch.channels_last_3d
    block = _block(planes)
    blocks = x.reshape(planes // block, block, *x.shape[2:])
    parts_needed = min(-(-x.numel() // PART), PARTS)
    if parts_needed <= 1:
        y, places = pool(blocks.contiguous(memory_format=layout), kernel, stride, padding, dilation, ceil_mode)
        return y, places
    parts = []
    for part in blocks.chunk(parts_needed):
        y, places = pool(part.contiguous(memory_format=layout), kernel, stride, padding, dilation, ceil_mode)
        parts.append((y.contiguous(), places.to(index_of(x.shape[2:]), memory_format=torch.contiguous_format)))
    return tuple(map(torch.cat, zip(*parts, strict=True)))  # type: ignore[return-value]


def index_of(sizes: Sizes) -> torch.dtype:
    """The smallest dtype for the places of a plane."""
    return next(each for each in INDICES if volume(sizes) <= torch.iinfo(each).max)


@lru_cache(maxsize=256)
def _block(planes: int) -> int:
    """The number of planes in a block, if there are so many in all."""
    return max(n for n in range(1, BLOCK + 1) if planes % n == 0)


class MaxPool1d(MaxPooling):
    """The largest number of each window, for each channel.

    y = max over the window of x

    kernel_size     the size of a window, a number or one per axis      stride     from window to window; kernel_size
                    by default
    padding         places before and after the input that are never the largest; at most half the window
    dilation        the distance between the places of a window
    return_indices  whether the output is a tuple (y, places): where in the plane each number came from
    ceil_mode       whether the last window may reach beyond the input

    Shapes    x (B, C, L) or (C, L)   y the same, with one number per window (see lamp.nn.pooling_module)
    Backward  dx at the place of the largest number of each window: dy, summed over the windows that it is the largest
              of; 0 elsewhere. Of equal numbers the first one counts
    Source    torch.nn.MaxPool1d

    Raises ArgumentError for wrong constructor arguments; ShapeError for an input with other axes or smaller than a
    window, DTypeError for an input that is not a floating-point tensor.
    """

    axes = 1


class MaxPool2d(MaxPooling):
    """The largest number of each window, for each channel (see MaxPool1d for the arguments).

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, with one number per window
    Backward  as in MaxPool1d
    Source    torch.nn.MaxPool2d

    Raises the same errors as MaxPool1d.
    """

    axes = 2


class MaxPool3d(MaxPooling):
    """The largest number of each window, for each channel (see MaxPool1d for the arguments).

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, with one number per window
    Backward  as in MaxPool1d
    Source    torch.nn.MaxPool3d

    Raises the same errors as MaxPool1d.
    """

    axes = 3


# ---- back to their places --------------------------------------------------------------------------------------------
class MaxUnpooling(WindowedPooling):
    """Base of MaxUnpool1d, MaxUnpool2d and MaxUnpool3d; the first of these explains its arguments."""

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
    ) -> None:
        self.configure(kernel_size, stride, padding, False)
        self.kernel_size, self.stride, self.padding = map(
            self.per_axis, (self.kernel_size, self.stride, self.padding)
        )  # as torch keeps them

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        x = self.planes(input)
        if not isinstance(indices, Tensor) or indices.dtype is not torch.int64:
            raise (
                explain_numbers(self, indices)
                if not isinstance(indices, Tensor)
                else ArgumentError(
                    "the indices are places in the output",
                    expected="the second output of a MaxPool with return_indices=True, torch.int64",
                    got=indices.dtype,
                    fix="y, indices = pool(x)",
                )
            )
        if indices.shape != input.shape:
            raise ShapeError(
                "each number needs a place",
                expected=tuple(input.shape),
                got=tuple(indices.shape),
                fix="y, indices = pool(x)",
            )
        sizes = self._output_size(tuple(x.shape[2:]), output_size)
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < volume(sizes):
            raise ArgumentError(
                "an index lies outside of the output",
                expected=f"places from 0 to {volume(sizes) - 1}, for an output {sizes}",
                got=f"{int(indices.min())} to {int(indices.max())}",
                fix="pass output_size, the size of the input of the pool",
            )
        rows = x.shape[0] * x.shape[1]
        y = x.new_zeros(rows, volume(sizes)).scatter_(1, indices.reshape(rows, -1), x.reshape(rows, -1))
        self.remember((indices, input.shape, sizes))
        return y.view(*input.shape[: -self.axes], *sizes)

    def backward(self, dy: Tensor) -> Tensor:
        indices, shape, sizes = self.recall()
        expected = torch.Size((*shape[: -self.axes], *sizes))
        if not isinstance(dy, Tensor) or dy.shape != expected:
            raise explain_gradient(dy, expected)
        flat = dy.reshape(*shape[: -self.axes], volume(sizes))
        return flat.gather(-1, indices.reshape(*shape[: -self.axes], -1)).view(shape)

    def trace(self, tracer: Any, input: Any, indices: Any, output_size: Any = None) -> Any:
        if len(input.shape) != self.axes + 1 or indices.shape != input.shape:
            raise ShapeError(
                "each number needs a place",
                expected=f"two values (B, C, {NAMES[self.axes]})",
                got=f"{input.layout()} and {indices.layout()}".replace("'", ""),
                fix="y, indices = pool(x)",
            )
        shape = (input.shape[0], *self._output_size(input.shape[1:], output_size))
        return tracer.op("MaxUnpool", self, [input, indices], shape)

    def _output_size(self, sizes: Sizes, asked: Any) -> Sizes:
        """The sizes of the output: those asked for, if the pool may have had such an input."""
        options = zip(sizes, self.kernel_size, self.stride, self.padding, strict=True)
        usual = tuple((n - 1) * s + k - 2 * p for n, k, s, p in options)
        if asked is None:
            return usual
        wanted = tuple(asked)[-self.axes :]
        fits = len(wanted) == self.axes and all(
            abs(int(n) - m) < s for n, m, s in zip(wanted, usual, self.stride, strict=True)
        )
        if not fits:
            raise ArgumentError(
                "output_size is not that of an input of the pool",
                expected=f"({NAMES[self.axes]}), less than a stride away from {usual}",
                got=tuple(asked),
                fix="output_size=x.shape, where x was the input of the pool",
            )
        return tuple(map(int, wanted))

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(MaxUnpooling):
    """The opposite of MaxPool1d: each number at the place that it came from, and 0 elsewhere.

    y at the place indices[i] = x[i]

    kernel_size, stride, padding  those of the pool, which give the size of the output
    output_size                   of the forward: the size of the pool's input, where several sizes are possible

    Shapes    x and indices (B, C, L) or (C, L)   y the same, with (L - 1) stride - 2 padding + kernel_size places
    Backward  dx[i] = dy at the place indices[i]
    Source    torch.nn.MaxUnpool1d

    Raises ArgumentError for wrong arguments and for indices outside of the output, ShapeError for an input with other
    axes, and for indices of another shape.
    """

    axes = 1


class MaxUnpool2d(MaxUnpooling):
    """The opposite of MaxPool2d (see MaxUnpool1d).

    Shapes    x and indices (B, C, H, W) or (C, H, W)
    Backward  as in MaxUnpool1d
    Source    torch.nn.MaxUnpool2d

    Raises the same errors as MaxUnpool1d.
    """

    axes = 2


class MaxUnpool3d(MaxUnpooling):
    """The opposite of MaxPool3d (see MaxUnpool1d).

    Shapes    x and indices (B, C, D, H, W) or (C, D, H, W)
    Backward  as in MaxUnpool1d
    Source    torch.nn.MaxUnpool3d

    Raises the same errors as MaxUnpool1d.
    """

    axes = 3


# ---- to a given size -------------------------------------------------------------------------------------------------
class AdaptiveMaxPooling(ChoosingPooling):
    """Base of AdaptiveMaxPool1d, AdaptiveMaxPool2d and AdaptiveMaxPool3d."""

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self.output_size = adaptive_size(self, output_size)
        self.return_indices = a_flag(self, "return_indices", return_indices)

    _takes_largest = _hands_over = True

    def forward(self, input: Tensor) -> Any:
        x = self.planes(input)
        sizes = adaptive_sizes(self, x.shape[2:])
        if self.axes == 1:
            y, places = torch.ops.aten.adaptive_max_pool2d(x.unsqueeze(2), (1, *sizes))
            y, places = y.squeeze(2), places.squeeze(2)
        elif self.axes == 2:
            y, places = torch.ops.aten.adaptive_max_pool2d(x, sizes)
        else:
            y, places = torch.ops.aten.adaptive_max_pool3d(x, sizes)
        return self.chosen(y, places, input)

    def trace(self, tracer: Any, x: Any) -> Any:
        if self.return_indices:
            raise NotTraceable(
                "its indices are no numbers of a graph",
                expected="return_indices=False, or a MaxPool",
                got="return_indices=True",
                fix="a MaxPool of windows of one size, whose indices a graph has; or the eager engine",
            )
        sizes = adaptive_sizes(self, self.sizes_in_graph(x))
        return self.in_graph(x, sizes, tracer, "AdaptiveMaxPool", output_size=sizes)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def adaptive_size(module: PoolingModule, size: Any) -> Any:
    """output_size, a number or one per axis, each may be None. Raises ArgumentError for others."""
    if isinstance(size, tuple | list):
        if len(size) == module.axes:
            return tuple(None if n is None else module.as_given("output_size", n) for n in size)
        return module.as_given("output_size", size)
    return None if size is None else module.as_given("output_size", size)


def adaptive_sizes(module: Any, sizes: Any) -> Sizes:
    """The sizes of an adaptive pool's output; None in output_size keeps an axis."""
    asked = module.output_size if isinstance(module.output_size, tuple | list) else (module.output_size,) * module.axes
    return tuple(int(n) if m is None else m for n, m in zip(sizes, asked, strict=True))


class AdaptiveMaxPool1d(AdaptiveMaxPooling):
    """The largest number of each of output_size windows of equal size, but for rounding, for each channel.

    window i goes from floor(i L / n) to ceil((i + 1) L / n), for n windows

    output_size     the number of windows, one number or one per axis; None keeps an axis as it is
    return_indices  whether the output is a tuple (y, places)

    Shapes    x (B, C, L) or (C, L)   y the same, with output_size places
    Backward  as in MaxPool1d
    Source    torch.nn.AdaptiveMaxPool1d

    Raises the same errors as MaxPool1d.
    """

    axes = 1


class AdaptiveMaxPool2d(AdaptiveMaxPooling):
    """The largest number of each of output_size windows (see AdaptiveMaxPool1d).

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, with output_size places
    Backward  as in MaxPool1d
    Source    torch.nn.AdaptiveMaxPool2d

    Raises the same errors as MaxPool1d.
    """

    axes = 2


class AdaptiveMaxPool3d(AdaptiveMaxPooling):
    """The largest number of each of output_size windows (see AdaptiveMaxPool1d).

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, with output_size places
    Backward  as in MaxPool1d
    Source    torch.nn.AdaptiveMaxPool3d

    Raises the same errors as MaxPool1d.
    """

    axes = 3
