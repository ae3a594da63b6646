"""The rule for affine maps, y = W x + b: a Linear layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules import weight_gradients
from lamp.compiler.rules.chain import apply_chain_to_all, give_gradients, is_long, keep_source, note_all_given
from lamp.compiler.rules.contraction import contracted
from lamp.compiler.rules.rule import WeightedRule, total
from lamp.compiler.stages import Stage
from lamp.graph import Op, single_shape
from lamp.parameter import Parameter


class Affine(WeightedRule):
    """y = W x + b per sample, or for each place of it.

    Backward  dx = W^T dy    dW = sum of dy x^T over samples and places    db = sum of dy over them
    """

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage = super().stage(op, inputs, offsets)
        *places, features = op.inputs[0].shape
        first, _ = op.attributes.get("part", (0, 0))  # with these rows of W and b alone, of one that has more
        parts = {"weight": first * features, "bias": first}
        longer = {name for name, each in op.parameters.items() if single_shape(each)[0] > op.output.shape[-1]}
        stage.parameters = {name: at + (parts[name] if name in longer else 0) for name, at in stage.parameters.items()}
        stage.attributes = {"places": math.prod(places)} if places else {}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (inputs, outputs), (before,), long = block.code, stage.width, stage.inputs, is_long(block, stage)
        sums = contracted(
            block,
            outputs,
            stage.places,
            inputs,
            lambda j: bias_of(block, stage, j),
            lambda j, i: weight_place(block, stage, j, i),
            lambda p, i, s: block.activation(code.plus(at_place(code, p, inputs, i), before.output_offset), s),
            light=block.is_light(stage),
        )
        for j, p, of_columns in sums:
            for s, y in enumerate(of_columns):
                keep_source(block, stage, at_place(code, p, outputs, j), s, y, long)
        if long:
            apply_chain_to_all(block, stage)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (inputs, outputs), (before,) = block.code, stage.width, stage.inputs
        if not before.learns:
            return
        sums = contracted(
            block,
            inputs,
            stage.places,
            outputs,
            lambda i: code.lane(0.0),
            lambda i, j: weight_place(block, stage, j, i),
            lambda p, j, s: block.gradient(code.plus(at_place(code, p, outputs, j), stage.gradient_offset), s),
            light=block.is_light(stage),
        )
        for i, p, of_columns in sums:
            give_gradients(block, before, at_place(code, p, inputs, i), dict(enumerate(of_columns)))
        note_all_given(block, before)

    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        if stage.places > 1:  # then the sums are over so much that they are worth a tile of registers
            self.weight_gradient_of_samples(block, stage, block.columns)
            return
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


def at_place(code: Code, place: Index, width: Index, feature: Index) -> Index:
    """The number of a feature at a place, among values that lie place by place."""
    return feature if place == 0 else code.plus(code.times(place, width), feature)


def bias_of(block: ColumnBlock, stage: Stage, j: Index) -> Lane:
    """The bias of an output; 0 without one."""
    if stage.bias_offset is None:
        return block.code.lane(0.0)
    return block.parameter(block.code.plus(j, stage.bias_offset))


def weight_place(block: ColumnBlock, stage: Stage, j: Index, i: Index) -> Index:
    """The position of W[j, i] among a network's parameters."""
    code = block.code
    return code.plus(code.plus(code.times(j, stage.width[0]), i), stage.weight_offset)
