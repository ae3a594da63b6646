"""Pooling by the largest number of windows at random places, which shrinks the input by a fraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NotTraceable, ShapeError
from lamp.nn.arguments import a_flag
from lamp.nn.dropout import RandomMask
from lamp.nn.max_pooling import ChoosingPooling
from lamp.nn.pooling_module import Sizes
from lamp.parameter import Buffer
from lamp.randomness import uniform


class FractionalMaxPooling(RandomMask, ChoosingPooling):
    """Base of FractionalMaxPool2d and FractionalMaxPool3d; the first of these explains its arguments."""

    options = ()

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        self.kernel_size = self.per_axis(self.as_given("kernel_size", kernel_size))
        self.return_indices = a_flag(self, "return_indices", return_indices)
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(
                f"{type(self).__name__} needs the size of its output, or its ratio to the input's",
                expected="output_size or output_ratio",
                got="both" if output_size is not None else "neither",
                fix="output_ratio=0.7, for example",
            )
        self.output_size = None if output_size is None else self.per_axis(self.as_given("output_size", output_size))
        self.output_ratio = None if output_ratio is None else self._ratios(output_ratio)
        given = _random_samples.data if isinstance(_random_samples, Buffer) else _random_samples
        right = isinstance(given, Tensor) and given.dim() == 3 and given.shape[-1] == self.axes
        if given is not None and not right:
            raise ArgumentError(
                f"{type(self).__name__}: _random_samples are the places of the windows",
                expected=f"a tensor (B, C, {self.axes}) of numbers from 0 to 1, or None",
                got=tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__,
                fix="leave it out: they are drawn",
            )
        self._random_samples = None if given is None else Buffer(given)
        self.reset_parameters()

    def _ratios(self, given: Any) -> tuple[float, ...]:
        """One ratio per axis, between 0 and 1. Raises ArgumentError for others."""
        ratios = tuple(given) if isinstance(given, tuple | list) else (given,) * self.axes
        if len(ratios) != self.axes or not all(type(ratio) in (int, float) and 0 < ratio < 1 for ratio in ratios):
            raise ArgumentError(
                f"{type(self).__name__}: output_ratio is out of range",
                expected=f"a number between 0 and 1, or {self.axes} of them",
                got=f"{given!r}"[:80],
                fix="output_ratio=0.7, for example",
            )
        return tuple(map(float, ratios))

    def forward(self, input: Tensor) -> Any:
        x = self.planes(input)
        outputs = self._outputs(x.shape[2:])
        pool = torch.ops.aten.fractional_max_pool2d if self.axes == 2 else torch.ops.aten.fractional_max_pool3d
        y, places = pool(x, self.kernel_size, outputs, self._samples(input, x))
        return self.chosen(y, places, input)

    def trace(self, tracer: Any, x: Any) -> Any:
        raise NotTraceable(
            "its windows are at random places",
            expected="windows that stay where they are, as in MaxPool2d",
            got=type(self).__name__,
            fix="it trains with the eager engine",
        )

    def _outputs(self, sizes: Sequence[int]) -> Sizes:
        """The sizes of the output. Raises ShapeError if the windows do not fit into the input."""
        if self.output_size is not None:
            outputs = self.output_size
        else:
            assert self.output_ratio is not None
            outputs = tuple(int(n * ratio) for n, ratio in zip(sizes, self.output_ratio, strict=True))
        if min(outputs) < 1 or any(m + k - 1 > n for n, m, k in zip(sizes, outputs, self.kernel_size, strict=True)):
            raise ShapeError(
                "the input is too small for such windows",
                expected=f"an output of at least 1, and output + {self.kernel_size} - 1 of at most the input",
                got=f"{tuple(sizes)}, and an output {outputs}",
                fix="choose a smaller kernel_size or output_size",
            )
        return outputs

    def _samples(self, input: Tensor, x: Tensor) -> Tensor:
        """The random numbers that place the windows, (N, C, axes)."""
        if self._random_samples is not None:
            given = self._random_samples.data
            # There may be more of them than samples in the batch; then torch uses the first ones.
            return given if self.replicas is None else given[:, : len(x) // self.replicas].flatten(0, 1)
        drawn = self._mask(input)
        if not self.training:
            self.step -= 1
        return drawn.reshape(*x.shape[:2], self.axes)

    def _mask_shape(self, x: Tensor) -> tuple[int, ...]:
        return (*x.shape[: -self.axes], self.axes)

    def _draw(self, pairs: Sequence[tuple[int, int]], shape: Sequence[int], x: Tensor) -> Tensor:
        return uniform(pairs, shape, 0.0, 1.0, x.dtype, x.device)

    def extra_repr(self) -> str:
        return ""


class FractionalMaxPool2d(FractionalMaxPooling):
    """The largest number of each window, where steps of one and two places alternate at random, for each channel.

    kernel_size     the size of a window, a number or one per axis
    output_size     the number of windows, a number or one per axis; or output_ratio, that as a part of the input's size
    return_indices  whether the output is a tuple (y, places)

    The random numbers are a function of seed and step, as in Dropout. In eval mode they stay those of the last step.

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, with output_size places
    Backward  as in MaxPool1d
    Source    torch.nn.FractionalMaxPool2d; Graham 2014, arXiv:1412.6071

    Raises ArgumentError for wrong constructor arguments; ShapeError for an input with other axes or too small,
    DTypeError for an input that is not a floating-point tensor.
    """

    axes = 2


class FractionalMaxPool3d(FractionalMaxPooling):
    """The largest number of each window at random steps, for each channel (see FractionalMaxPool2d).

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, with output_size places
    Backward  as in MaxPool1d
    Source    torch.nn.FractionalMaxPool3d

    Raises the same errors as FractionalMaxPool2d.
    """

    axes = 3
