"""The rules for windows of images as columns: Unfold, which copies them, and Fold, which adds them up to an image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.rules.chain import apply_chain, give_gradients, note_all_given
from lamp.compiler.rules.pad import cropped, padded
from lamp.compiler.rules.rule import Rule
from lamp.compiler.rules.views import View, Viewed
from lamp.compiler.rules.windows import Axis, flat
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


def _axes(op: Op, sizes: Sequence[int]) -> tuple[Axis, ...]:
    """The windows along each axis of images of these sizes, with their borders."""
    given, found = op.attributes, []
    options = (given["padding"], given["kernel_size"], given["stride"], given["dilation"])
    for size, padding, kernel, stride, dilation in zip(sizes, *options, strict=True):
        wide = size + 2 * padding
        found.append(Axis(wide, (wide - dilation * (kernel - 1) - 1) // stride + 1, kernel, stride, dilation))
    return tuple(found)


class Unfold(Viewed):
    """y holds the numbers of each window: a view of the image, whose windows may share numbers.

    Backward  dx = the sum of dy over the windows that hold x
    """

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Sequence[Stage]:
        (before,), (channels, *sizes) = inputs, op.inputs[0].shape
        axes, pads = _axes(op, sizes), [(n, n) for n in op.attributes["padding"]]
        of_channel, *strides = View.of((channels, *(axis.size for axis in axes))).strides
        of_tap, of_window = (
            [stride * step for stride, step in zip(strides, op.attributes[name], strict=True)]
            for name in ("dilation", "stride")
        )
        shape = (channels, *(axis.kernel for axis in axes), *(axis.outputs for axis in axes))
        view = View(0, shape, (of_channel, *of_tap, *of_window))
        image = padded(before, op.inputs[0].shape, [(0, 0), *pads], 0.0)
        return [Stage("View", [image], math.prod(shape), attributes={"view": view})]


class Fold(Rule):
    """y = the sum of the numbers of all windows at a place. The stage computes the borders too; a view leaves them out.

    Backward  dx = dy at the place that x was added to
    """

    reads_inputs = False

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Sequence[Stage]:
        channels, *sizes = op.output.shape
        axes, pads = _axes(op, sizes), [(-n, -n) for n in op.attributes["padding"]]
        shape = (channels, *(axis.size for axis in axes))
        stage = Stage(op.kind, inputs, math.prod(shape), attributes={"channels": channels, "axes": axes})
        return [cropped(stage, shape, [(0, 0), *pads])[0]]

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), axes = block.code, stage.inputs, stage.attributes["axes"]
        sizes, of_image = _sizes(axes), tuple(axis.size for axis in axes)
        columns = (0, block.columns)
        for readers in itertools.product(*(axis.readers for axis in axes)):
            ranges = [(0, stage.attributes["channels"]), *((0, each.count) for each in readers), columns]
            with code.nest(ranges) as ((channel, *at, s), _):
                taps = [each.taps_at(code, a) for each, a in zip(readers, at, strict=True)]
                with code.nest(taps, [code.lane(0.0)]) as (t, sums):
                    through = [each.tap(code, k) for each, k in zip(readers, t, strict=True)]
                    windows = [each.output(code, *which) for each, *which in zip(readers, at, t, strict=True)]
                    unit = flat(code, channel, [*through, *windows], sizes)
                    sums[0] = sums[0] + block.activation(code.plus(unit, before.output_offset), s)
                places = [
                    code.plus(code.times(a, axis.stride), each.remainder)
                    for a, axis, each in zip(at, axes, readers, strict=True)
                ]
                apply_chain(block, stage, flat(code, channel, places, of_image), s, sums[0])

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), axes = block.code, stage.inputs, stage.attributes["axes"]
        if not before.learns:
            return
        sizes, of_image = _sizes(axes), tuple(axis.size for axis in axes)
        ranges = [(0, n) for n in (stage.attributes["channels"], *sizes, block.columns)]
        with code.nest(ranges) as ((channel, *at, s), _):
            pairs = zip(axes, at[: len(axes)], at[len(axes) :], strict=True)
            places = [axis.read(code, window, tap) for axis, tap, window in pairs]
            dy = block.gradient(code.plus(flat(code, channel, places, of_image), stage.gradient_offset), s)
            give_gradients(block, before, flat(code, channel, at, sizes), {s: dy})
        note_all_given(block, before)


def _sizes(axes: Sequence[Axis]) -> tuple[int, ...]:
    """The sizes of the axes of columns: the places in a window, then the windows."""
    return (*(axis.kernel for axis in axes), *(axis.outputs for axis in axes))
