"""The rule for padding, which also prepares the inputs of windows.

Borders of a constant are a stage of their own. Others are views of the value, concatenated with it; a crop is a view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.rules.views import View
from lamp.compiler.rules.windows import flat
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

Pads = Sequence[tuple[int, int]]  # numbers before and after, per axis


class Pad(Rule):
    """y has x in its middle and a constant around it; dx is the middle of dy."""

    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        (before,), shape, mode = inputs, op.inputs[0].shape, op.attributes["mode"]
        pairs = list(zip(op.attributes["pads"][::2], op.attributes["pads"][1::2], strict=True))[::-1]
        pads = [(0, 0)] * (len(shape) - len(pairs)) + pairs
        wider = [(max(first, 0), max(last, 0)) for first, last in pads]
        if mode == "circular":  # the end that a border continues with is that of the cropped value
            return bordered(*cropped(before, shape, pads), wider, mode)
        if mode != "constant":
            before = bordered(before, shape, wider, mode)
            return cropped(before, [n + sum(pad) for n, pad in zip(shape, wider, strict=True)], pads)[0]
        return padded(*cropped(before, shape, pads), wider, op.attributes["value"])

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,) = block.code, stage.inputs
        border = code.lane(stage.attributes["value"])
        with code.loop(0, stage.units) as unit, each_column(block, stage) as columns:
            for s in columns:
                apply_chain(block, stage, unit, s, border)
        with _middle(block, stage) as (unit, inner), each_column(block, stage) as columns:
            for s in columns:
                x = block.activation(code.plus(inner, before.output_offset), s)
                apply_chain(block, stage, unit, s, x)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,) = block.code, stage.inputs
        if not before.learns:
            return
        with _middle(block, stage) as (unit, inner), each_column(block, before, backward=True) as columns:
            dy = {s: block.gradient(code.plus(unit, stage.gradient_offset), s) for s in columns}
            give_gradients(block, before, inner, dy)
        note_all_given(block, before)


def padded(before: Stage, shape: Sequence[int], pads: Pads, value: float) -> Stage:
    """The stage that pads the values (shape) of another one. Without pads it is that stage itself."""
    if not any(map(any, pads)):
        return before
    sizes = tuple(size + sum(pad) for size, pad in zip(shape, pads, strict=True))
    middle = {"shape": tuple(shape), "sizes": sizes, "before": tuple(first for first, _ in pads), "value": value}
    return Stage("Pad", [before], math.prod(sizes), attributes=middle)


def cropped(before: Stage, shape: Sequence[int], pads: Pads) -> tuple[Stage, tuple[int, ...]]:
    """The stage without what negative pads leave out of the values (shape) of another one, and its shape."""
    left_out = [(max(-first, 0), max(-last, 0)) for first, last in pads]
    if not any(map(any, left_out)):
        return before, tuple(shape)
    whole, sizes = View.of(shape), tuple(n - sum(ends) for n, ends in zip(shape, left_out, strict=True))
    return _seen(before, whole.unit_of([first for first, _ in left_out]), sizes, whole.strides), sizes


def bordered(before: Stage, shape: Sequence[int], pads: Pads, mode: str) -> Stage:
    """The stage with borders that are copies of the values (shape): see lamp.nn.borders."""
    sizes = list(shape)
    for axis, (first, last) in enumerate(pads):
        n, whole = sizes[axis], View.of(sizes)
        begin, end, step = {  # where the borders begin to read, and the step from one number to the next
            "reflect": (first, n - 2, -1),
            "replicate": (0, n - 1, 0),
            "circular": (n - first, 0, 1),
        }[mode]
        parts = []
        for count, start in ((first, begin), (last, end)):
            border, strides = list(sizes), list(whole.strides)
            border[axis], strides[axis] = count, step * whole.strides[axis]
            parts.append(_seen(before, start * whole.strides[axis], border, strides) if count else None)
        sizes[axis] += first + last
        joined = [part for part in (parts[0], before, parts[1]) if part is not None]
        if len(joined) > 1:
            before = Stage("Concat", joined, math.prod(sizes), attributes={"rows": math.prod(sizes[:axis])})
    return before


def _seen(before: Stage, first: int, sizes: Sequence[int], strides: Sequence[int]) -> Stage:
    return Stage("View", [before], math.prod(sizes), attributes={"view": View(first, tuple(sizes), tuple(strides))})


@contextmanager
def _middle(block: ColumnBlock, stage: Stage) -> Iterator[tuple[Index, Index]]:
    """Loops over the middle. Yields the number of each unit among all units, and among those of the input."""
    code, given = block.code, stage.attributes
    with code.nest([(0, size) for size in given["shape"]]) as (places, _):
        moved = [code.plus(place, first) for place, first in zip(places, given["before"], strict=True)]
        yield flat(code, 0, moved, given["sizes"]), flat(code, 0, places, given["shape"])
