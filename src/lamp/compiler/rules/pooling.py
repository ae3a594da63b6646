"""The rules for pools: the largest number of each window, its mean, or its p-norm."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, keep_gradients, note_all_given
from lamp.compiler.rules.pad import padded
from lamp.compiler.rules.rule import Rule
from lamp.compiler.rules.windows import Axis, EqualShares, flat, shares
from lamp.compiler.stages import Element, Stage
from lamp.graph import Op
from lamp.parameter import Parameter

FEW = 9  # windows of up to so many numbers are unrolled
LARGEST_POWER = 16  # the largest p of a p-norm that is compiled: x^p is written as products


@dataclass
class Window:
    """One window of a channel: the place of its output, and the range of its taps along each axis."""

    code: Code
    axes: tuple[Axis | EqualShares, ...]
    channel: Index
    places: list[Index]

    @property
    def taps(self) -> list[tuple[Index, Index]]:
        return [(0, axis.taps(self.code, place)) for axis, place in zip(self.axes, self.places, strict=True)]

    def unit(self, taps: list[Index]) -> Index:
        """The unit of the input that these taps read."""
        of_axes = zip(self.axes, self.places, taps, strict=True)
        read = [axis.read(self.code, place, tap) for axis, place, tap in of_axes]
        return flat(self.code, self.channel, read, tuple(axis.size for axis in self.axes))


class Pool(Rule):
    """A rule for operations that compute one number from each window of each channel.

    border  the number that stands around the inputs, as far as the windows reach
    """

    border: ClassVar[float]

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        (value,), (before,) = op.inputs, inputs
        sides = zip(value.shape[1:], self.borders(op), self.axes(op), strict=True)
        pads = [(border, axis.size - size - border) for size, border, axis in sides]
        return [padded(before, value.shape, [(0, 0), *pads], self.border)]

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage = super().stage(op, inputs, offsets)
        stage.attributes = {**op.attributes, "shape": op.inputs[0].shape, "windows": self.axes(op)}
        return stage

    def borders(self, op: Op) -> tuple[int, ...]:
        """The widths of the borders before the inputs."""
        return op.attributes["padding"]  # type: ignore[no-any-return]

    def axes(self, op: Op) -> tuple[Axis | EqualShares, ...]:
        """The windows along each axis of the inputs with their borders."""
        given, found = op.attributes, []
        options = (given["kernel_size"], given["stride"], given["dilation"])
        sides = zip(op.inputs[0].shape[1:], self.borders(op), op.output.shape[1:], *options, strict=True)
        for size, border, outputs, kernel, stride, dilation in sides:
            reach = (outputs - 1) * stride + dilation * (kernel - 1) + 1
            found.append(Axis(max(reach, size + border), outputs, kernel, stride, dilation))
        return tuple(found)

    # ---- what the pools differ in ----------------------------------------------------------------------------------
    @abstractmethod
    def begun(self, x: Lane) -> Lane:
        """The value of a window of which nothing but the first number, x, is known."""

    @abstractmethod
    def seen(self, y: Lane, x: Lane) -> Lane:
        """The value y of a window, now with one of its numbers."""

    def share(self, code: Code, stage: Stage, window: Window) -> Lane | None:
        """What the value of a window is multiplied by in the end; None for nothing."""
        return None

    @abstractmethod
    def taken(self, left: Lane, x: Any, y: Any) -> tuple[Lane, Lane]:
        """The gradient of a number x of a window, and what is left of the window's gradient after it."""

    # ---- code ------------------------------------------------------------------------------------------------------
    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,) = block.code, stage.inputs
        with self._windows(block, stage) as (window, unit), each_column(block, stage) as columns:
            first = code.plus(window.unit([0] * len(window.places)), before.output_offset)
            values = [self.begun(block.activation(first, s)) for s in columns]
            for taps in code.each_of(window.taps, values, FEW):
                at = code.plus(window.unit(taps), before.output_offset)
                values[:] = [self.seen(y, block.activation(at, s)) for y, s in zip(values, columns, strict=True)]
            share = self.share(code, stage, window)
            for y, s in zip(values, columns, strict=True):
                apply_chain(block, stage, unit, s, y if share is None else y * share)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, axes, (before,) = block.code, _axes(stage), stage.inputs
        if not before.learns:
            return
        overlap = any(axis.overlaps for axis in axes)
        if before not in block.given_gradients and (overlap or not all(axis.covers for axis in axes)):
            with code.loop(0, before.units) as unit, code.loop(0, block.columns) as s:
                keep_gradients(block, before, unit, {s: code.lane(0.0)}, add=False)
        with self._windows(block, stage) as (window, unit), each_column(block, before, backward=True) as columns:
            share = self.share(code, stage, window)
            dy = [block.gradient(code.plus(unit, stage.gradient_offset), s) for s in columns]
            y = [self._result(block, stage, unit, s) for s in columns]
            left = dy if share is None else [each * share for each in dy]
            for taps in code.each_of(window.taps, left, FEW):
                place, dx = window.unit(taps), {}
                for k, s in enumerate(columns):
                    x = block.activation(code.plus(place, before.output_offset), s) if self.reads_inputs else None
                    dx[s], left[k] = self.taken(left[k], x, y[k])
                if overlap:
                    keep_gradients(block, before, place, dx, add=True)
                else:
                    give_gradients(block, before, place, dx)
        if overlap:
            block.given_gradients.add(before)
        else:
            note_all_given(block, before)

    def _result(self, block: ColumnBlock, stage: Stage, unit: Index, s: Index) -> Lane | None:
        """The value of a window, if backward reads it."""
        return block.activation(block.code.plus(unit, stage.value_offsets[0]), s) if self.keeps_source else None

    @staticmethod
    @contextmanager
    def _windows(block: ColumnBlock, stage: Stage) -> Iterator[tuple[Window, Index]]:
        """Loops over the windows; yields each with the unit of its output."""
        code, axes = block.code, _axes(stage)
        outputs = tuple(axis.outputs for axis in axes)
        with code.nest([(0, size) for size in (stage.attributes["shape"][0], *outputs)]) as ((channel, *places), _):
            yield Window(code, axes, channel, places), flat(code, channel, places, outputs)


def _axes(stage: Stage) -> tuple[Axis | EqualShares, ...]:
    return stage.attributes["windows"]  # type: ignore[no-any-return]


class MaxPool(Pool):
    """y = the largest number of a window. Backward: the first number that equals it gets dy, the others 0."""

    keeps_source = True
    border = -math.inf

    def begun(self, x: Lane) -> Lane:
        return x

    def seen(self, y: Lane, x: Lane) -> Lane:
        return y.maximum(x)

    def taken(self, left: Lane, x: Any, y: Any) -> tuple[Lane, Lane]:
        nothing, largest = left.code.lane(0.0), x == y
        return left.where(largest, nothing), nothing.where(largest, left)


class AvgPool(Pool):
    """y = the sum of a window / n. Backward: each number of a window gets dy / n.

    n is the number of places of a window that count: those within the input, or within it and its padding, or what
    divisor_override says.
    """

    reads_inputs = False
    border = 0.0

    def begun(self, x: Lane) -> Lane:
        return x.code.lane(0.0)

    def seen(self, y: Lane, x: Lane) -> Lane:
        return y + x

    def taken(self, left: Lane, x: Any, y: Any) -> tuple[Lane, Lane]:
        return left, left

    def share(self, code: Code, stage: Stage, window: Window) -> Lane | None:
        return 1.0 / code.number(self.count(code, stage, window))

    def count(self, code: Code, stage: Stage, window: Window) -> Index:
        """n of a window."""
        given, count = stage.attributes, 1
        if given["divisor_override"]:
            return given["divisor_override"]
        sides = zip(given["shape"][1:], given["padding"], window.axes, window.places, strict=True)
        for size, border, axis, place in sides:
            low, high = (0, size + 2 * border) if given["count_include_pad"] else (border, border + size)
            count = code.times(count, _within(code, axis, place, low, high))
        return count


def _within(code: Code, axis: Any, place: Index, low: int, high: int) -> Index:
    """How many inputs of a window without dilation lie between low and high."""
    begins = [o * axis.stride for o in range(axis.outputs)]
    counts = {min(begin + axis.kernel, high) - max(begin, low) for begin in begins}
    if len(counts) == 1:
        return counts.pop()
    first = axis.read(code, place, 0)
    return code.minus(code.least(code.plus(first, axis.kernel), high), code.greatest(first, low))


class NormPool(AvgPool):
    """y = (n mean of x^p)^(1/p), where n is the number of places of a whole window: a power before a pool of means, and
    a root behind it."""

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        (before,), p = inputs, op.attributes["p"]
        if p not in range(1, LARGEST_POWER + 1):
            raise NotCompiled(
                f"is compiled for a norm_type that is a whole number up to {LARGEST_POWER}", module=op.module
            )
        power = Stage("Elementwise", [before], before.units, chain=[Element("Power", op.module)])
        return super().prepared(op, [power])

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage = super().stage(op, inputs, offsets)
        stage.kind, stage.chain = "AvgPool", [Element("Root", op.module)]
        stage.attributes = {**stage.attributes, "count_include_pad": False, "divisor_override": None}
        return stage


class AdaptivePool(Pool):
    """A pool whose windows follow from the number of outputs."""

    def borders(self, op: Op) -> tuple[int, ...]:
        return (0,) * (len(op.inputs[0].shape) - 1)

    def axes(self, op: Op) -> tuple[Axis | EqualShares, ...]:
        return tuple(map(shares, op.inputs[0].shape[1:], op.output.shape[1:]))


class AdaptiveMaxPool(AdaptivePool, MaxPool):
    """MaxPool with the windows of an adaptive pool."""


class AdaptiveAvgPool(AdaptivePool, AvgPool):
    """AvgPool with the windows of an adaptive pool. n is the size of the window."""

    def count(self, code: Code, stage: Stage, window: Window) -> Index:
        count: Index = 1
        for _, taps in window.taps:
            count = code.times(count, taps)
        return count
