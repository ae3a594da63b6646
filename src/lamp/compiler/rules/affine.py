"""The rule for affine maps, y = W x + b: a Linear layer."""

from __future__ import annotations

from collections.abc import Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules import weight_gradients
from lamp.compiler.rules.chain import apply_chain_to_all, give_gradients, is_long, keep_source, note_all_given
from lamp.compiler.rules.contraction import contracted
from lamp.compiler.rules.rule import WeightedRule, one_axis, total
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Affine(WeightedRule):
    """y = W x + b per sample.

    Backward  dx = W^T dy    dW = sum of dy x^T over samples    db = sum of dy over samples
    """

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        one_axis(op, op.inputs[0])
        if "part" in op.attributes:
            raise NotCompiled("is not compiled: it uses a part of its weight", module=op.module)
        return super().stage(op, inputs, offsets)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (inputs, outputs), (before,), long = block.code, stage.width, stage.inputs, is_long(block, stage)
        sums = contracted(
            block,
            outputs,
            inputs,
            lambda j: bias_of(block, stage, j),
            lambda j, i: weight_place(block, stage, j, i),
            lambda i, s: block.activation(code.plus(i, before.output_offset), s),
            light=block.is_light(stage),
        )
        for unit, of_columns in sums:
            for s, y in enumerate(of_columns):
                keep_source(block, stage, unit, s, y, long)
        if long:
            apply_chain_to_all(block, stage)

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
            lambda j, s: block.gradient(code.plus(j, stage.gradient_offset), s),
            light=block.is_light(stage),
        )
        for unit, of_columns in sums:
            give_gradients(block, before, unit, dict(enumerate(of_columns)))
        note_all_given(block, before)

    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        code, columns, (inputs, outputs) = block.code, block.columns, stage.width
        gradients = block.arguments.gradients
        for j, rows in block.tiles(outputs, block.rows_of_gradient):
            dy = [
                [block.gradient(code.plus(j, stage.gradient_offset + r), s) for s in range(columns)]
                for r in range(rows)
            ]
            if stage.bias_offset is not None:
                for r in range(rows):
                    block.add_to_gradient(code.plus(j, stage.bias_offset + r), total(dy[r]))
            with code.loop(0, inputs) as i:
                x = [block.activation(code.plus(i, stage.inputs[0].output_offset), s) for s in range(columns)]
                for r in range(rows):
                    at = weight_place(block, stage, code.plus(j, r), i)
                    dw = code.load(gradients, at)
                    for s in range(columns):
                        dw = dy[r][s].times_plus(x[s], dw)
                    code.store(gradients, at, dw)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        weight_gradients.add_products(block, stage, vectors)
        weight_gradients.add_bias_gradients(block, stage, vectors)


def bias_of(block: ColumnBlock, stage: Stage, j: Index) -> Lane:
    """The bias of an output; 0 without one."""
    if stage.bias_offset is None:
        return block.code.lane(0.0)
    return block.parameter(block.code.plus(j, stage.bias_offset))


def weight_place(block: ColumnBlock, stage: Stage, j: Index, i: Index) -> Index:
    """The position of W[j, i] among a network's parameters."""
    code = block.code
    return code.plus(code.plus(code.times(j, stage.width[0]), i), stage.weight_offset)
