"""The rule for padding with a constant, which also prepares the inputs of windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.rules.windows import flat
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

Pads = Sequence[tuple[int, int]]  # numbers before and after, per axis


class Pad(Rule):
    """y has x in its middle and a constant around it; dx is the middle of dy."""

    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        pads, shape = op.attributes["pads"], op.inputs[0].shape
        if op.attributes["mode"] != "constant" or min(pads, default=0) < 0:
            raise NotCompiled(
                "is compiled for borders of one number, not for mirrored or cropped ones", module=op.module
            )
        of_axes = [(pads[2 * k], pads[2 * k + 1]) for k in range(len(pads) // 2)][::-1]
        of_axes = [(0, 0)] * (len(shape) - len(of_axes)) + of_axes
        return padded(inputs[0], shape, of_axes, op.attributes["value"])

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


@contextmanager
def _middle(block: ColumnBlock, stage: Stage) -> Iterator[tuple[Index, Index]]:
    """Loops over the middle. Yields the number of each unit among all units, and among those of the input."""
    code, given = block.code, stage.attributes
    with code.nest([(0, size) for size in given["shape"]]) as (places, _):
        moved = [code.plus(place, first) for place, first in zip(places, given["before"], strict=True)]
        yield flat(code, 0, moved, given["sizes"]), flat(code, 0, places, given["shape"])
