"""What all pooling modules share: the sizes of windows, the form of inputs, and their errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import ArgumentError, NotTraceable, ShapeError
from lamp.module import Module
from lamp.nn.arguments import a_flag, per_axis
from lamp.nn.checks import explain_axes, explain_gradient, explain_numbers

Sizes = tuple[int, ...]
NAMES = {1: "L", 2: "H, W", 3: "D, H, W"}


class PoolingModule(Module):
    """Base of the pooling modules. An input (B, C, sizes...) or (C, sizes...) has `axes` sizes; each channel is pooled
    by itself, so replicas, samples and channels are all the same to it.
    """

    axes: ClassVar[int]

    def as_given(self, name: str, value: Any, least: int = 1) -> Any:
        """A number for all axes, or a tuple of one per axis, as torch keeps it. Raises ArgumentError for others."""
        sizes = per_axis(self, name, value, self.axes, least=least)
        return sizes[0] if not isinstance(value, tuple | list) else (sizes if isinstance(value, tuple) else list(sizes))

    def per_axis(self, value: Any) -> Sizes:
        """An option as one number per axis."""
        return (value,) * self.axes if isinstance(value, int) else tuple(value)

    def planes(self, x: Any) -> Tensor:
        """The input as (N, C, sizes...). Raises an error for an input that has other axes."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        lead = x.dim() - self.axes - standing(0, self.replicas)
        if lead not in (1, 2):
            sizes, replicas = NAMES[self.axes], "" if self.replicas is None else "K, "
            forms = f"({replicas}B, C, {sizes}) or ({replicas}C, {sizes})"
            raise explain_axes(self, x, forms, "x.unsqueeze(0) makes a channel, or a batch of one sample")
        return x.reshape(-1, *x.shape[-self.axes - 1 :])

    def like(self, y: Tensor, x: Tensor) -> Tensor:
        """An output (N, C, sizes...) with the other axes of the input."""
        return y.view(*x.shape[: -self.axes], *y.shape[-self.axes :])

    def checked(self, dy: Any, shape: torch.Size) -> Tensor:
        """The gradient of the output as (N, C, sizes...)."""
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return dy.reshape(-1, *dy.shape[-self.axes - 1 :])

    def in_graph(self, x: Any, outputs: Sizes, tracer: Any, kind: str, **options: Any) -> Any:
        """The pooled value, as an operation of a graph."""
        return tracer.op(kind, self, [x], (x.shape[0], *outputs), **options)

    def sizes_in_graph(self, x: Any) -> Sizes:
        """The sizes of a value's axes that are pooled. Raises NotTraceable for a value without channels."""
        if len(x.shape) != self.axes + 1:
            raise NotTraceable(
                "it needs samples with channels",
                expected=f"inputs (B, C, {NAMES[self.axes]})",
                got=f"(B, {', '.join(map(str, x.shape))})",
                fix="give each sample an axis of channels",
            )
        return tuple(x.shape[1:])


class WindowedPooling(PoolingModule):
    """Base of the pooling modules with windows of one size, at regular steps.

    out = floor((size + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1; with ceil_mode rounded up, as far as
    the last window begins within the input or the padding before it
    """

    kernel_size: Any
    stride: Any
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: bool = False

    def configure(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: Any, dilation: Any = 1) -> None:
        """Check and store the arguments."""
        self.kernel_size = self.as_given("kernel_size", kernel_size)
        self.stride = self.as_given("stride", kernel_size if stride is None else stride)
        self.padding = self.as_given("padding", padding, least=0)
        self.dilation = self.as_given("dilation", dilation)
        self.ceil_mode = a_flag(self, "ceil_mode", ceil_mode)
        kernel, _, pads, dilations = self.windows()
        if any(p > (d * (k - 1) + 1) // 2 for k, p, d in zip(kernel, pads, dilations, strict=True)):
            raise ArgumentError(
                f"{type(self).__name__}: a window may not lie in the padding alone",
                expected="padding of at most half the window",
                got=f"padding={self.padding}, kernel_size={self.kernel_size}",
                fix="pad less; lamp.nn has modules that pad",
            )

    def windows(self) -> tuple[Sizes, Sizes, Sizes, Sizes]:
        """Kernel size, stride, padding and dilation, as one number per axis each."""
        stride = self.kernel_size if self.stride is None else self.stride
        kernel, steps, pads, dilations = map(self.per_axis, (self.kernel_size, stride, self.padding, self.dilation))
        return kernel, steps, pads, dilations

    def outputs(self, sizes: Sequence[int], shape: Any = None) -> Sizes:
        """The number of windows along each axis. Raises ShapeError if there is none."""
        found = []
        for size, k, s, p, d in zip(sizes, *self.windows(), strict=True):
            room = size + 2 * p - d * (k - 1) - 1
            count = -(-room // s) + 1 if self.ceil_mode else room // s + 1
            if self.ceil_mode and (count - 1) * s >= size + p:
                count -= 1
            found.append(count)
        if min(found) < 1:
            raise ShapeError(
                "the input is smaller than a window",
                expected=f"at least {self.kernel_size} along each of the last {self.axes} axes",
                got=tuple(sizes) if shape is None else tuple(shape),
                fix="choose a smaller kernel_size",
            )
        return tuple(found)

    def bounds(self, size: int, axis: int, count: int) -> Iterator[tuple[int, int]]:
        """The first and last place, plus 1, of each window along an axis, which may lie in the padding."""
        k, s, p, _ = (each[axis] for each in self.windows())
        for i in range(count):
            start = i * s - p
            yield start, min(start + k, size + p)

    def options(self) -> dict[str, Any]:
        """The attributes of the operation in a graph."""
        names = ("kernel_size", "stride", "padding", "dilation")
        return {**dict(zip(names, self.windows(), strict=True)), "ceil_mode": self.ceil_mode}


def volume(sizes: Sequence[int]) -> int:
    """The number of places in a window or a plane."""
    return math.prod(sizes)
