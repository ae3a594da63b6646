"""Affine maps, y = W x + b."""

from __future__ import annotations

from collections.abc import Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.rules import weight_gradients
from lamp.compiler.rules.chain import all_given, give, is_long, through, through_all
from lamp.compiler.rules.contraction import contracted
from lamp.compiler.rules.rule import WeightedRule, one_axis, total
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Affine(WeightedRule):
    """y = W x + b of each sample; dx = W^T dy, dW = dy x^T, db = dy, both summed over samples."""

    def stage(self, op: Op, inputs: list[Stage], places: Mapping[Parameter, int]) -> Stage:
        one_axis(op, op.inputs[0])
        return super().stage(op, inputs, places)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (inputs, outputs), (before,), long = block.code, stage.width, stage.inputs, is_long(block, stage)
        sums = contracted(
            block,
            outputs,
            inputs,
            lambda j: code.lane(0.0) if stage.bias is None else block.parameter(code.plus(j, stage.bias)),
            lambda j, i: weight_place(block, stage, j, i),
            lambda i, s: block.activation(code.plus(i, before.outputs), s),
        )
        for unit, of_columns in sums:
            for s, y in enumerate(of_columns):
                if long:
                    block.keep_activation(code.plus(unit, stage.first_kept), s, y)
                else:
                    through(block, stage, unit, s, y)
        if long:
            through_all(block, stage)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (inputs, outputs), (before,) = block.code, stage.width, stage.inputs
        if not before.learns:
            return
        sums = contracted(
            block,
            inputs,
            outputs,
            lambda i: code.lane(0.0),
            lambda i, j: weight_place(block, stage, j, i),
            lambda j, s: block.gradient(code.plus(j, stage.gradients), s),
        )
        for unit, of_columns in sums:
            give(block, before, unit, dict(enumerate(of_columns)))
        all_given(block, before)

    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        code, columns, (inputs, outputs) = block.code, block.columns, stage.width
        gradients = block.arguments.gradients
        for j, rows in block.tiles(outputs, block.rows_of_gradient):
            dy = [[block.gradient(code.plus(j, stage.gradients + r), s) for s in range(columns)] for r in range(rows)]
            if stage.bias is not None:
                for r in range(rows):
                    block.add_to_gradient(code.plus(j, stage.bias + r), total(dy[r]))
            with code.loop(0, inputs) as i:
                x = [block.activation(code.plus(i, stage.inputs[0].outputs), s) for s in range(columns)]
                for r in range(rows):
                    at = weight_place(block, stage, code.plus(j, r), i)
                    dw = code.load(gradients, at)
                    for s in range(columns):
                        dw = dy[r][s].times_plus(x[s], dw)
                    code.store(gradients, at, dw)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        weight_gradients.add_products(block, stage, vectors)
        weight_gradients.add_bias_gradients(block, stage, vectors)


def weight_place(block: ColumnBlock, stage: Stage, j: Index, i: Index) -> Index:
    """Where the weight from input i to unit j stands among a network's parameters."""
    code = block.code
    return code.plus(code.plus(code.times(j, stage.width[0]), i), stage.weight)
