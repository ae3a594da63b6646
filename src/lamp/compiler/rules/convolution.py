"""The rule for convolutions over any number of axes, in loops whose sums stay in registers.

The sums of a tile are those of a few channels at a few neighbouring places. So a weight is loaded once for all places
of the tile, and a value once for all its channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.affine import bias_of
from lamp.compiler.rules.chain import apply_chain_to_all, give_gradients, is_long, keep_source, note_all_given
from lamp.compiler.rules.contraction import add_products, rows_of, width_of
from lamp.compiler.rules.pad import padded
from lamp.compiler.rules.rule import WeightedRule
from lamp.compiler.rules.windows import Axis, Readers, flat
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

BIASES = 8  # channels whose biases' gradients are summed together


@dataclass(frozen=True)
class Form:
    """The form of a convolution: per group, so many input and output channels, and windows along each axis."""

    groups: int
    inputs: int
    outputs: int
    axes: tuple[Axis, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the input."""
        return tuple(axis.size for axis in self.axes)

    @property
    def places(self) -> tuple[int, ...]:
        """The sizes of the output."""
        return tuple(axis.outputs for axis in self.axes)

    @property
    def kernel(self) -> tuple[int, ...]:
        return tuple(axis.kernel for axis in self.axes)


class Convolution(WeightedRule):
    """y = the sum over input channels and taps of w x, plus b, for each output channel and place.

    Backward  dx = the sum over output channels and the taps through which they read x of w dy
              dw = the sum over samples and places of dy x    db = the sum over samples and places of dy
    """

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        (value,), (before,) = op.inputs, inputs
        return [padded(before, value.shape, [(0, 0), *((n, n) for n in op.attributes["padding"])], 0.0)]

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage = super().stage(op, inputs, offsets)
        (channels, *sizes), (outputs, *places) = op.inputs[0].shape, op.output.shape
        given, groups = op.attributes, op.attributes["groups"]
        names = ("kernel_size", "stride", "dilation")
        options = zip(sizes, given["padding"], places, *(given[name] for name in names), strict=True)
        axes = tuple(Axis(size + 2 * pads, *others) for size, pads, *others in options)
        stage.attributes = {"windows": Form(groups, channels // groups, outputs // groups, axes)}
        return stage

    # ---- forward ---------------------------------------------------------------------------------------------------
    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, form, numbers, long = block.code, _form(stage), Numbers(block, stage), is_long(block, stage)
        *outer, last = form.axes
        width = width_of(block, form.outputs, last.outputs)
        with code.nest([(0, form.groups), *((0, axis.outputs) for axis in outer)]) as ((group, *places), _):
            for place, count in block.tiles(last.outputs, width):
                tile = [([*places, code.plus(place, p)], s) for p in range(count) for s in range(block.columns)]
                for row, channels in block.tiles(form.outputs, rows_of(block, form.outputs, count)):
                    outputs = [code.plus(code.times(group, form.outputs), code.plus(row, r)) for r in range(channels)]
                    start = [bias for output in outputs for bias in [bias_of(block, stage, output)] * len(tile)]
                    with code.nest([(0, form.inputs), *((0, k) for k in form.kernel)], start) as ((i, *taps), sums):
                        given = code.plus(code.times(group, form.inputs), i)
                        x = [numbers.input(given, at, taps, s) for at, s in tile]
                        add_products(sums, [numbers.weight(output, i, taps) for output in outputs], x)
                    for (output, (at, s)), y in zip(itertools.product(outputs, tile), sums, strict=True):
                        unit = flat(code, output, at, form.places)
                        keep_source(block, stage, unit, s, y, long)
        if long:
            apply_chain_to_all(block, stage)

    # ---- backward --------------------------------------------------------------------------------------------------
    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        form, (before,) = _form(stage), stage.inputs
        if not before.learns:
            return
        for readers in itertools.product(*(axis.readers for axis in form.axes)):
            self._input_gradients(block, stage, readers)
        note_all_given(block, before)

    def _input_gradients(self, block: ColumnBlock, stage: Stage, readers: Sequence[Readers]) -> None:
        """The gradients of the inputs that are read by these outputs, per axis."""
        code, form, numbers, (before,) = block.code, _form(stage), Numbers(block, stage), stage.inputs
        *outer, last = readers
        width = width_of(block, form.inputs, last.inner[1] - last.inner[0])
        with code.nest([(0, form.groups), *((0, each.count) for each in outer)]) as ((group, *a), _):
            taps = [each.taps_at(code, place) for each, place in zip(outer, a, strict=True)]
            for place, count, taps_of_last in _along(block, last, width):
                tile = [[*a, code.plus(place, p)] for p in range(count)]
                for row, channels in block.tiles(form.inputs, rows_of(block, form.inputs, count)):
                    zeros = [code.lane(0.0)] * (channels * count * block.columns)
                    with code.nest([(0, form.outputs), *taps, taps_of_last], zeros) as ((o, *t), sums):
                        output = code.plus(code.times(group, form.outputs), o)
                        dy = []
                        for at in tile:
                            places = [each.output(code, *which) for each, *which in zip(readers, at, t, strict=True)]
                            dy += [numbers.output_gradient(output, places, s) for s in range(block.columns)]
                        through = [each.tap(code, k) for each, k in zip(readers, t, strict=True)]
                        weights = [numbers.weight(output, code.plus(row, r), through) for r in range(channels)]
                        add_products(sums, weights, dy)
                    left = iter(sums)
                    for r, at in itertools.product(range(channels), tile):
                        channel = code.plus(code.times(group, form.inputs), code.plus(row, r))
                        inputs = [
                            code.plus(code.times(which, axis.stride), each.remainder)
                            for which, axis, each in zip(at, form.axes, readers, strict=True)
                        ]
                        dx = {s: next(left) for s in range(block.columns)}
                        give_gradients(block, before, flat(code, channel, inputs, form.sizes), dx)

    # ---- gradients of the weights ----------------------------------------------------------------------------------
    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        self._bias_gradients(block, stage, block.columns)
        self._weight_gradients(block, stage, block.columns)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        self._bias_gradients(block, stage, vectors)
        self._weight_gradients(block, stage, vectors)

    def _bias_gradients(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        """Add the gradients of the biases, summed over so many columns."""
        code, form, numbers = block.code, _form(stage), Numbers(block, stage)
        if stage.bias_offset is None:
            return
        for channel, count in block.tiles(form.groups * form.outputs, BIASES):
            samples = [(0, columns), *((0, axis.outputs) for axis in form.axes)]
            with code.nest(samples, [code.lane(0.0)] * count) as ((s, *places), sums):
                for r in range(count):
                    sums[r] = sums[r] + numbers.output_gradient(code.plus(channel, r), places, s)
            block.add_to_gradients(code.plus(channel, stage.bias_offset), sums)

    def _weight_gradients(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        """Add the gradients of the weights, summed over so many columns."""
        code, form, numbers = block.code, _form(stage), Numbers(block, stage)
        *outer, last = form.axes
        width = width_of(block, form.outputs, last.kernel, columns=1)
        samples = [(0, columns), *((0, axis.outputs) for axis in form.axes)]
        with code.loop(0, form.groups) as group:
            for row, channels in block.tiles(form.outputs, rows_of(block, form.outputs, width, columns=1)):
                outputs = [code.plus(code.times(group, form.outputs), code.plus(row, r)) for r in range(channels)]
                with code.nest([(0, form.inputs), *((0, axis.kernel) for axis in outer)]) as ((i, *taps), _):
                    given = code.plus(code.times(group, form.inputs), i)
                    for tap, count in block.tiles(last.kernel, width):
                        with code.nest(samples, [code.lane(0.0)] * (channels * count)) as ((s, *places), sums):
                            through = [[*taps, code.plus(tap, t)] for t in range(count)]
                            x = [numbers.input(given, places, each, s) for each in through]
                            add_products(sums, [numbers.output_gradient(each, places, s) for each in outputs], x)
                        for r, output in enumerate(outputs):
                            at = numbers.weight_place(output, i, [*taps, tap])
                            block.add_to_gradients(at, sums[r * count : (r + 1) * count])


class Numbers:
    """The numbers of a convolution in a block of columns, by channel, places along the axes, and taps.

    Channels are counted through all groups, but for the input channel i of a weight, which is counted within its group.
    """

    def __init__(self, block: ColumnBlock, stage: Stage) -> None:
        self.block, self.code, self.stage, self.form = block, block.code, stage, _form(stage)

    def input(self, channel: Index, places: list[Index], taps: list[Index], s: Index) -> Lane:
        """What the output at these places reads through these taps."""
        code, form, (before,) = self.code, self.form, self.stage.inputs
        read = [axis.read(code, place, tap) for axis, place, tap in zip(form.axes, places, taps, strict=True)]
        return self.block.activation(code.plus(flat(code, channel, read, form.sizes), before.output_offset), s)

    def output_gradient(self, channel: Index, places: list[Index], s: Index) -> Lane:
        unit = flat(self.code, channel, places, self.form.places)
        return self.block.gradient(self.code.plus(unit, self.stage.gradient_offset), s)

    def weight_place(self, output: Index, i: Index, taps: list[Index]) -> Index:
        """The position of a weight among the parameters."""
        code, form = self.code, self.form
        channel = code.plus(code.times(output, form.inputs), i)
        return code.plus(flat(code, channel, taps, form.kernel), self.stage.weight_offset)

    def weight(self, output: Index, i: Index, taps: list[Index]) -> Lane:
        return self.block.parameter(self.weight_place(output, i, taps))


def _form(stage: Stage) -> Form:
    form = stage.attributes["windows"]
    assert isinstance(form, Form)
    return form


def _along(block: ColumnBlock, readers: Readers, width: int) -> Iterator[tuple[Index, int, tuple[Index, Index]]]:
    """Loops over the inputs of an axis: tiles of those that are read through every tap, and the others one by one.

    Yields the first input, the number of inputs, and the range of taps.
    """
    code, (first, stop) = block.code, readers.inner
    for begin, end in ((0, first), (stop, readers.count)):
        if begin < end:
            with code.loop(begin, end) as a:
                yield a, 1, readers.taps_at(code, a)
    for tile, count in block.tiles(stop - first, width):
        yield code.plus(tile, first), count, (0, readers.taps)
