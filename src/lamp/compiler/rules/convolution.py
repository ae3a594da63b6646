"""The rules for convolutions and transposed ones, over any number of axes, in loops whose sums stay in registers.

A convolution has windows that move over its input: the inputs are its *wide* side, the outputs its *narrow* one. In a
transposed convolution the outputs are the wide side. Values go from the wide side to the narrow one in `gathered`, and
back in `scattered`; the gradients of the weights are sums of products of both.

The sums of a tile are those of a few channels at a few neighbouring places. So a weight is loaded once for all places
of the tile, and a value once for all its channels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.affine import bias_of
from lamp.compiler.rules.chain import apply_chain_to_all, give_gradients, is_long, keep_source, note_all_given
from lamp.compiler.rules.contraction import add_products, rows_of, width_of
from lamp.compiler.rules.pad import padded
from lamp.compiler.rules.rule import WeightedRule
from lamp.compiler.rules.views import View
from lamp.compiler.rules.windows import Axis, Readers, flat
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

BIASES = 8  # channels whose biases' gradients are summed together

Read = Callable[[Index, Index], Lane]  # the value of a unit and a column
Start = Callable[[Index], Lane]  # what the sums of a channel begin with
Sums = tuple[Index, dict[Index, Lane]]  # a unit, and its sum for each column


@dataclass(frozen=True)
class Form:
    """The form of a convolution: per group, so many channels on the wide and the narrow side, and windows along each
    axis, which read the wide side.

    A weight belongs to a narrow channel, counted through all groups, a wide channel, counted within its group, and
    taps. Outside of weights, channels are counted through all groups.
    """

    groups: int
    wide: int
    narrow: int
    axes: tuple[Axis, ...]

    @property
    def wide_sizes(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def narrow_sizes(self) -> tuple[int, ...]:
        return tuple(axis.outputs for axis in self.axes)

    @property
    def kernel(self) -> tuple[int, ...]:
        return tuple(axis.kernel for axis in self.axes)


class Windowed(WeightedRule):
    """Base of both rules: the gradients of weights and biases."""

    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        self.weight_gradient_of_samples(block, stage, block.columns)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        self._bias_gradients(block, stage, vectors)
        self._weight_gradients(block, stage, vectors)

    def _sides(self, block: ColumnBlock, stage: Stage) -> tuple[Read, Read]:
        """What the gradients of the weights are made of: the values on the wide side, and those on the narrow one."""
        raise NotImplementedError

    def _bias_gradients(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        """Add the gradients of the biases, summed over so many columns and all places."""
        code, (channels, sizes) = block.code, stage.attributes["outputs"]
        if stage.bias_offset is None:
            return
        for channel, count in block.tiles(channels, BIASES):
            with code.nest([(0, columns), *((0, n) for n in sizes)], [code.lane(0.0)] * count) as ((s, *places), sums):
                for r in range(count):
                    unit = flat(code, code.plus(channel, r), places, sizes)
                    sums[r] = sums[r] + block.gradient(code.plus(unit, stage.gradient_offset), s)
            block.add_to_gradients(code.plus(channel, stage.bias_offset), sums)

    def _weight_gradients(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        """Add the gradients of the weights, summed over so many columns and all windows."""
        code, form, (wide, narrow) = block.code, form_of(stage), self._sides(block, stage)
        *outer, last = form.axes
        width = width_of(block, form.narrow, last.kernel, columns=1)
        samples = [(0, columns), *((0, axis.outputs) for axis in form.axes)]
        with code.loop(0, form.groups) as group:
            for row, channels in block.tiles(form.narrow, rows_of(block, form.narrow, width, columns=1)):
                outputs = [code.plus(code.times(group, form.narrow), code.plus(row, r)) for r in range(channels)]
                with code.nest([(0, form.wide), *((0, axis.kernel) for axis in outer)]) as ((i, *taps), _):
                    given = code.plus(code.times(group, form.wide), i)
                    for tap, count in block.tiles(last.kernel, width):
                        with code.nest(samples, [code.lane(0.0)] * (channels * count)) as ((s, *places), sums):
                            through = [[*taps, code.plus(tap, t)] for t in range(count)]
                            x = [wide(_read(block, form, given, places, each), s) for each in through]
                            y = [narrow(flat(code, each, places, form.narrow_sizes), s) for each in outputs]
                            add_products(sums, y, x)
                        for r, output in enumerate(outputs):
                            at = _weight_place(block, stage, output, i, [*taps, tap])
                            block.add_to_gradients(at, sums[r * count : (r + 1) * count])


class Convolution(Windowed):
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
        padded_sizes = [size + 2 * n for size, n in zip(sizes, op.attributes["padding"], strict=True)]
        groups = op.attributes["groups"]
        form = Form(groups, channels // groups, outputs // groups, _axes(op, padded_sizes, places))
        stage.attributes = {"windows": form, "outputs": (outputs, form.narrow_sizes)}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        _store(block, stage, gathered(block, stage, _biases(block, stage), _values(block, stage.inputs[0])))

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        _give(block, stage, scattered(block, stage, _zero(block), _gradients(block, stage)))

    def _sides(self, block: ColumnBlock, stage: Stage) -> tuple[Read, Read]:
        return _values(block, stage.inputs[0]), _gradients(block, stage)


class TransposedConvolution(Windowed):
    """y = the sum over input channels, and the taps through which the windows of x hold this place, of w x, plus b.

    The stage computes all places that windows reach; a view then leaves out the padding.

    Backward  dx = the sum over output channels and taps of w dy
              dw = the sum over samples and places of x dy    db = the sum over samples and places of dy
    """

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Sequence[Stage]:
        stage, (_, *sizes), pads = self.stage(op, inputs, offsets), op.output.shape, op.attributes["padding"]
        (channels, all_sizes) = stage.attributes["outputs"]
        if all_sizes == tuple(sizes):
            return [stage]
        whole = View.of((channels, *all_sizes))
        view = View(whole.unit_of([0, *pads]), op.output.shape, whole.strides)
        return [Stage("View", [stage], math.prod(op.output.shape), attributes={"view": view})]

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage = super().stage(op, inputs, offsets)
        (channels, *places), (outputs, *sizes), groups = op.inputs[0].shape, op.output.shape, op.attributes["groups"]
        given = op.attributes
        steps = zip(places, given["stride"], given["dilation"], given["kernel_size"], strict=True)
        reached = [(n - 1) * stride + dilation * (kernel - 1) + 1 for n, stride, dilation, kernel in steps]
        wanted = [n + size for n, size in zip(given["padding"], sizes, strict=True)]
        form = Form(groups, outputs // groups, channels // groups, _axes(op, list(map(max, reached, wanted)), places))
        stage.units = outputs * math.prod(form.wide_sizes)
        stage.attributes = {"windows": form, "outputs": (outputs, form.wide_sizes)}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        _store(block, stage, scattered(block, stage, _biases(block, stage), _values(block, stage.inputs[0])))

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        _give(block, stage, gathered(block, stage, _zero(block), _gradients(block, stage)))

    def _sides(self, block: ColumnBlock, stage: Stage) -> tuple[Read, Read]:
        return _gradients(block, stage), _values(block, stage.inputs[0])


# ---- from one side to the other --------------------------------------------------------------------------------------
def gathered(block: ColumnBlock, stage: Stage, start: Start, wide: Read) -> Iterator[Sums]:
    """The sums over wide channels and taps of w x, for each narrow channel and place."""
    code, form = block.code, form_of(stage)
    *outer, last = form.axes
    width = width_of(block, form.narrow, last.outputs)
    with code.nest([(0, form.groups), *((0, axis.outputs) for axis in outer)]) as ((group, *places), _):
        for place, count in block.tiles(last.outputs, width):
            tile = [([*places, code.plus(place, p)], s) for p in range(count) for s in range(block.columns)]
            for row, channels in block.tiles(form.narrow, rows_of(block, form.narrow, count)):
                outputs = [code.plus(code.times(group, form.narrow), code.plus(row, r)) for r in range(channels)]
                begin = [lane for output in outputs for lane in [start(output)] * len(tile)]
                with code.nest([(0, form.wide), *((0, k) for k in form.kernel)], begin) as ((i, *taps), sums):
                    given = code.plus(code.times(group, form.wide), i)
                    x = [wide(_read(block, form, given, at, taps), s) for at, s in tile]
                    weights = [block.parameter(_weight_place(block, stage, each, i, taps)) for each in outputs]
                    add_products(sums, weights, x)
                left = iter(sums)
                for output, p in itertools.product(outputs, range(count)):
                    unit = flat(code, output, [*places, code.plus(place, p)], form.narrow_sizes)
                    yield unit, {s: next(left) for s in range(block.columns)}


def scattered(block: ColumnBlock, stage: Stage, start: Start, narrow: Read) -> Iterator[Sums]:
    """The sums over narrow channels, and the taps through which their windows hold a place, of w y, for each wide
    channel and place."""
    for readers in itertools.product(*(axis.readers for axis in form_of(stage).axes)):
        yield from _scattered(block, stage, start, narrow, readers)


def _scattered(
    block: ColumnBlock, stage: Stage, start: Start, narrow: Read, readers: Sequence[Readers]
) -> Iterator[Sums]:
    """The sums for the places that are read by these windows, per axis."""
    code, form = block.code, form_of(stage)
    *outer, last = readers
    width = width_of(block, form.wide, last.inner[1] - last.inner[0])
    with code.nest([(0, form.groups), *((0, each.count) for each in outer)]) as ((group, *a), _):
        taps = [each.taps_at(code, place) for each, place in zip(outer, a, strict=True)]
        for place, count, taps_of_last in _along(block, last, width):
            tile = [[*a, code.plus(place, p)] for p in range(count)]
            for row, channels in block.tiles(form.wide, rows_of(block, form.wide, count)):
                rows = [code.plus(row, r) for r in range(channels)]
                inputs = [code.plus(code.times(group, form.wide), each) for each in rows]
                begin = [lane for each in inputs for lane in [start(each)] * (count * block.columns)]
                with code.nest([(0, form.narrow), *taps, taps_of_last], begin) as ((o, *t), sums):
                    output = code.plus(code.times(group, form.narrow), o)
                    y = []
                    for at in tile:
                        places = [each.output(code, *which) for each, *which in zip(readers, at, t, strict=True)]
                        unit = flat(code, output, places, form.narrow_sizes)
                        y += [narrow(unit, s) for s in range(block.columns)]
                    through = [each.tap(code, k) for each, k in zip(readers, t, strict=True)]
                    weights = [block.parameter(_weight_place(block, stage, output, each, through)) for each in rows]
                    add_products(sums, weights, y)
                left = iter(sums)
                for channel, at in itertools.product(inputs, tile):
                    held = [
                        code.plus(code.times(which, axis.stride), each.remainder)
                        for which, axis, each in zip(at, form.axes, readers, strict=True)
                    ]
                    yield flat(code, channel, held, form.wide_sizes), {s: next(left) for s in range(block.columns)}


def _store(block: ColumnBlock, stage: Stage, sums: Iterator[Sums]) -> None:
    """Keep the outputs of a stage, and apply its chain to them."""
    long = is_long(block, stage)
    for unit, of_columns in sums:
        for s, y in of_columns.items():
            keep_source(block, stage, unit, s, y, long)
    if long:
        apply_chain_to_all(block, stage)


def _give(block: ColumnBlock, stage: Stage, sums: Iterator[Sums]) -> None:
    """Give the stage before the gradients of its outputs, if it learns."""
    (before,) = stage.inputs
    if before.learns:
        for unit, dx in sums:
            give_gradients(block, before, unit, dx)
        note_all_given(block, before)


# ---- numbers and where they lie --------------------------------------------------------------------------------------
def form_of(stage: Stage) -> Form:
    form = stage.attributes["windows"]
    assert isinstance(form, Form)
    return form


def _axes(op: Op, sizes: Sequence[int], places: Sequence[int]) -> tuple[Axis, ...]:
    """The windows along each axis, of this many numbers on the wide and on the narrow side."""
    options = [op.attributes[name] for name in ("kernel_size", "stride", "dilation")]
    return tuple(Axis(*numbers) for numbers in zip(sizes, places, *options, strict=True))


def _values(block: ColumnBlock, stage: Stage) -> Read:
    return lambda unit, s: block.activation(block.code.plus(unit, stage.output_offset), s)


def _gradients(block: ColumnBlock, stage: Stage) -> Read:
    return lambda unit, s: block.gradient(block.code.plus(unit, stage.gradient_offset), s)


def _biases(block: ColumnBlock, stage: Stage) -> Start:
    return lambda channel: bias_of(block, stage, channel)


def _zero(block: ColumnBlock) -> Start:
    return lambda channel: block.code.lane(0.0)


def _read(block: ColumnBlock, form: Form, channel: Index, places: list[Index], taps: list[Index]) -> Index:
    """The unit on the wide side that the windows at these places hold under these taps."""
    read = [axis.read(block.code, place, tap) for axis, place, tap in zip(form.axes, places, taps, strict=True)]
    return flat(block.code, channel, read, form.wide_sizes)


def _weight_place(block: ColumnBlock, stage: Stage, narrow: Index, wide: Index, taps: list[Index]) -> Index:
    """The position of a weight among the parameters."""
    code, form = block.code, form_of(stage)
    channel = code.plus(code.times(narrow, form.wide), wide)
    return code.plus(flat(code, channel, taps, form.kernel), stage.weight_offset)


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
