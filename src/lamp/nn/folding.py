"""`Unfold`, which copies all windows of an image side by side, and `Fold`, which adds such windows up to an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.axes import merged, parted, standing
from lamp.errors import LampError, NotTraceable, ShapeError
from lamp.module import Module
from lamp.nn.arguments import per_axis
from lamp.nn.checks import explain_axes, explain_gradient, explain_numbers
from lamp.nn.correlation import Windows

Pair = int | tuple[int, int]


def windows_of(image: Tensor, kernel: tuple[int, ...], windows: Windows) -> Tensor:
    """The windows of images (B, C, H, W) as columns: (B, C kernel height kernel width, positions)."""
    (above, left), (by_row, by_column), (down, across) = windows.padding, windows.stride, windows.dilation
    outputs = windows.outputs(tuple(image.shape[2:]), kernel)
    image = torch.constant_pad_nd(image, (left, left, above, above))
    of_batch, of_channel, of_row, of_column = image.stride()
    strides = (of_batch, of_channel, of_row * down, of_column * across, of_row * by_row, of_column * by_column)
    return image.as_strided((*image.shape[:2], *kernel, *outputs), strides).flatten(1, 3).flatten(2)


def image_of(columns: Tensor, sizes: tuple[int, ...], kernel: tuple[int, ...], windows: Windows) -> Tensor:
    """The sum of windows (B, C kernel height kernel width, positions), each at its place: (B, C, *sizes)."""
    (above, left), (by_row, by_column), (down, across) = windows.padding, windows.stride, windows.dilation
    height, width = windows.outputs(sizes, kernel)
    parts = columns.unflatten(1, (-1, *kernel)).unflatten(-1, (height, width))  # (B, C, *kernel, height, width)
    image = columns.new_zeros(*parts.shape[:2], sizes[0] + 2 * above, sizes[1] + 2 * left)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            at = image[:, :, row * down :: by_row, column * across :: by_column]
            at[:, :, :height, :width].add_(parts[:, :, row, column])
    return image[:, :, above : above + sizes[0], left : left + sizes[1]]


class WindowModule(Module):
    """Base of Fold and Unfold, whose forwards are each other's backwards."""

    input_axes: int  # of one sample

    def __init__(self, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1) -> None:
        self.kernel_size = self._pair("kernel_size", kernel_size)
        self.dilation = self._pair("dilation", dilation)
        self.padding = self._pair("padding", padding, least=0)
        self.stride = self._pair("stride", stride)

    def _pair(self, name: str, value: Any, least: int = 1) -> Any:
        """The checked option, an integer or a pair, as it was given."""
        pair = per_axis(self, name, value, 2, least)
        return pair if isinstance(value, tuple | list) else pair[0]

    def _kernel(self) -> tuple[int, ...]:
        return _both(self.kernel_size)

    def _windows(self) -> Windows:
        return Windows(_both(self.stride), _both(self.padding), _both(self.dilation), 1)

    def _batch(self, x: Tensor) -> tuple[Tensor, bool]:
        """x as one batch of all replicas' samples, and whether it is a single sample. Raises for what does not fit."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        lead = standing(0, self.replicas)
        wrong = self._misfit(tuple(x.shape[lead:]), x)
        if wrong is not None:
            raise wrong
        is_sample = x.dim() == lead + self.input_axes
        return merged(x.unsqueeze(lead) if is_sample else x, self.replicas), is_sample

    def _as_given(self, y: Tensor, is_sample: bool) -> Tensor:
        y = parted(y, self.replicas)
        return y.squeeze(standing(0, self.replicas)) if is_sample else y

    def _remembered(self, dy: Any) -> tuple[Tensor, Any, bool]:
        """dy as a batch, the sizes that forward remembered, and whether the input was a sample."""
        shape, sizes, is_sample = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return merged(dy.unsqueeze(standing(0, self.replicas)) if is_sample else dy, self.replicas), sizes, is_sample

    def _traced(self, tracer: Any, kind: str, x: Any, shape: Sequence[int], **options: Any) -> Any:
        windows = self._windows()
        return tracer.op(
            kind,
            self,
            [x],
            shape,
            kernel_size=self._kernel(),
            stride=windows.stride,
            padding=windows.padding,
            dilation=windows.dilation,
            **options,
        )

    def _check_value(self, x: Any) -> None:
        if len(x.shape) == self.input_axes - 1:
            raise NotTraceable(
                "it works along the axis of the batch",
                expected=f"samples with {self.input_axes} axes",
                got=f"({', '.join(map(str, x.shape))})",
                fix="give the input an axis of the batch: x.unsqueeze(0)",
            )
        wrong = self._misfit(("B", *x.shape))
        if wrong is not None:
            raise wrong

    def _misfit(self, shape: tuple[Any, ...], x: object = None) -> LampError | None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Unfold(WindowModule):
    """Copies each window of an image into a column.

    y[b, (c, t), i] = x[b, c, i stride + t dilation - padding], where t and i are positions in the window and of the
    window, each of two axes; 0 outside of the image

    A convolution is the product of its weight (out, C kernel height kernel width) with these columns.

    Shapes    x (B, C, H, W) or (C, H, W)   y (B, C kernel height kernel width, L), L the number of windows
    Backward  dx = Fold of dy: each number of x gets the sum of the gradients of its copies
    Source    torch.nn.Unfold

    Raises ArgumentError for wrong sizes; ShapeError or DTypeError for an input or a gradient that does not fit.
    """

    input_axes = 3

    def forward(self, input: Tensor) -> Tensor:
        x, is_sample = self._batch(input)
        y = self._as_given(windows_of(x, self._kernel(), self._windows()), is_sample)
        self.remember((y.shape, x.shape[2:], is_sample))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        self._check_value(x)
        (height, width), (rows, columns) = self._windows().outputs(x.shape[1:], self._kernel()), self._kernel()
        return self._traced(tracer, "Unfold", x, (x.shape[0] * rows * columns, height * width))

    def backward(self, dy: Tensor) -> Tensor:
        columns, sizes, is_sample = self._remembered(dy)
        return self._as_given(image_of(columns, sizes, self._kernel(), self._windows()), is_sample)  # dx

    def _misfit(self, shape: tuple[Any, ...], x: object = None) -> LampError | None:
        if len(shape) not in (3, 4):
            return _wrong_axes(self, shape, x, "(B, C, H, W) or (C, H, W)")
        if min(self._windows().outputs(shape[-2:], self._kernel())) < 1:
            return _too_small(shape, f"images of at least {self._windows().least_inputs((1, 1), self._kernel())}")
        return None


class Fold(WindowModule):
    """Adds up windows, given as columns, to an image: each at the place that Unfold would take it from.

    y[b, c, j] = sum of x[b, (c, t), i] over positions i and t with i stride + t dilation - padding = j

    Shapes    x (B, C kernel height kernel width, L) or without B   y (B, C, *output_size); L is the number of windows
              that such an image has
    Backward  dx = Unfold of dy: each number of x was added to one number of y, whose gradient it gets
    Source    torch.nn.Fold

    Raises ArgumentError for wrong sizes; ShapeError or DTypeError for an input or a gradient that does not fit.
    """

    input_axes = 2

    def __init__(
        self, output_size: Pair, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1
    ) -> None:
        self.output_size = self._pair("output_size", output_size)
        super().__init__(kernel_size, dilation, padding, stride)

    def forward(self, input: Tensor) -> Tensor:
        x, is_sample = self._batch(input)
        y = self._as_given(image_of(x, _both(self.output_size), self._kernel(), self._windows()), is_sample)
        self.remember((y.shape, None, is_sample))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        self._check_value(x)
        rows, columns = self._kernel()
        shape = (x.shape[0] // (rows * columns), *_both(self.output_size))
        return self._traced(tracer, "Fold", x, shape)

    def backward(self, dy: Tensor) -> Tensor:
        image, _, is_sample = self._remembered(dy)
        return self._as_given(windows_of(image, self._kernel(), self._windows()), is_sample)  # dx

    def _misfit(self, shape: tuple[Any, ...], x: object = None) -> LampError | None:
        (rows, columns), (height, width) = (
            self._kernel(),
            self._windows().outputs(_both(self.output_size), self._kernel()),
        )
        window, positions = rows * columns, max(height, 0) * max(width, 0)
        if len(shape) not in (2, 3):
            return _wrong_axes(self, shape, x, f"(B, C {window}, {positions}) or (C {window}, {positions})")
        if positions == 0:
            return _too_small(_both(self.output_size), "an output_size with a place for a window")
        if shape[-2] % window or not shape[-2] or shape[-1] != positions:
            return ShapeError(
                "these are not the windows of such an image",
                expected=f"(B, C {window}, {positions})",
                got=str(shape).replace("'", ""),
                fix="choose output_size, and the options of the windows, as in the Unfold that made them",
            )
        return None

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"


def _both(value: Any) -> tuple[int, int]:
    """An integer for both axes as a pair."""
    return value if isinstance(value, tuple) else (value, value)


def _wrong_axes(module: Module, shape: tuple[Any, ...], x: object, expected: str) -> LampError:
    return (
        explain_axes(module, x, expected, "reshape the input")
        if isinstance(x, Tensor)
        else ShapeError(
            "the input does not have the axes needed", expected=expected, got=str(shape), fix="reshape the input"
        )
    )


def _too_small(shape: tuple[Any, ...], expected: str) -> LampError:
    return ShapeError(
        "there is no place for a window",
        expected=expected,
        got=str(shape).replace("'", ""),
        fix="a smaller kernel, less dilation or more padding",
    )
