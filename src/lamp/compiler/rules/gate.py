"""The rule for gated linear units."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import apply_chain, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Gate(Rule):
    """y = a sigmoid(b), where a and b are the halves of an axis: GLU.

    Backward  da = dy sigmoid(b)    db = dy a sigmoid(b) (1 - sigmoid(b))
    """

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage, axis = super().stage(op, inputs, offsets), op.attributes["axis"]
        half = math.prod(op.output.shape[axis:])
        stage.attributes = {"rows": stage.units // half, "half": half}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        rows, half = stage.attributes["rows"], stage.attributes["half"]
        with block.code.nest([(0, rows), (0, half), (0, block.columns)]) as ((row, k, s), _):
            a, gate = self._halves(block, stage, row, k, s)
            apply_chain(block, stage, block.code.plus(block.code.times(row, half), k), s, a * gate)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), half = block.code, stage.inputs, stage.attributes["half"]
        if not before.learns:
            return
        with code.nest([(0, stage.attributes["rows"]), (0, half), (0, block.columns)]) as ((row, k, s), _):
            a, gate = self._halves(block, stage, row, k, s)
            unit = code.plus(code.times(row, half), k)
            da = block.gradient(code.plus(unit, stage.gradient_offset), s) * gate
            first = code.plus(code.times(row, 2 * half), k)
            give_gradients(block, before, first, {s: da})
            give_gradients(block, before, code.plus(first, half), {s: da * a * (1.0 - gate)})
        note_all_given(block, before)

    @staticmethod
    def _halves(block: ColumnBlock, stage: Stage, row: Index, k: Index, s: Index) -> tuple[Lane, Lane]:
        """a and sigmoid(b)."""
        code, (before,), half = block.code, stage.inputs, stage.attributes["half"]
        first = code.plus(code.plus(code.times(row, 2 * half), k), before.output_offset)
        return block.activation(first, s), block.activation(code.plus(first, half), s).sigmoid()
