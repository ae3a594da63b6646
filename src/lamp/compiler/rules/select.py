"""The rule for one place on an axis, as in y[:, -1]."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Select(Rule):
    """y = x at the place `index` among `count`, in each of `outer` rows, of `inner` values to a place.

    Backward  dx = dy there, 0 elsewhere
    """

    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        shape, axis = op.inputs[0].shape, op.attributes["axis"]
        sizes = {"outer": math.prod(shape[:axis]), "count": shape[axis], "inner": math.prod(shape[axis + 1 :])}
        return Stage("Select", inputs, math.prod(op.output.shape), attributes=sizes | {"index": op.attributes["index"]})

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), given = block.code, stage.inputs, stage.attributes
        with code.nest([(0, given["outer"]), (0, given["inner"])]) as ((row, i), _):
            read = code.plus(self._unit(block, stage, row, given["index"], i), before.output_offset)
            with each_column(block, stage) as columns:
                for s in columns:
                    unit = code.plus(code.times(row, given["inner"]), i)
                    apply_chain(block, stage, unit, s, block.activation(read, s))

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), given = block.code, stage.inputs, stage.attributes
        if not before.learns:
            return
        index, zero = given["index"], code.lane(0.0)
        places = [(index, index + 1)]
        if before not in block.given_gradients:
            places += [(0, index), (index + 1, given["count"])]
        for first, stop in places:
            if first == stop:
                continue
            with code.nest([(0, given["outer"]), (first, stop), (0, given["inner"])]) as ((row, place, i), _):
                dy = code.plus(code.plus(code.times(row, given["inner"]), i), stage.gradient_offset)
                with each_column(block, before, backward=True) as columns:
                    of = {s: block.gradient(dy, s) if first == index else zero for s in columns}
                    give_gradients(block, before, self._unit(block, stage, row, place, i), of)
        note_all_given(block, before)

    @staticmethod
    def _unit(block: ColumnBlock, stage: Stage, row: Index, place: Index, i: Index) -> Index:
        code, given = block.code, stage.attributes
        at = code.plus(code.times(row, given["count"]), place)
        return code.plus(code.times(at, given["inner"]), i)
