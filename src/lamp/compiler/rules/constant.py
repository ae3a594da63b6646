"""The rules for values that are the same for every sample: a parameter or fixed numbers."""

from __future__ import annotations

from collections.abc import Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain, each_column
from lamp.compiler.rules.rule import WeightedRule
from lamp.compiler.rules.views import View
from lamp.compiler.stages import Stage
from lamp.graph import Numbers, Op
from lamp.parameter import Parameter

TOGETHER = 8  # parameters whose gradients are summed together


class Constant(WeightedRule):
    """y = a parameter, or fixed numbers, for each sample.

    Backward  dw = sum of dy over samples
    """

    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        if op.buffers:
            raise NotCompiled("is not compiled: it has a buffer, whose numbers may change", module=op.module)
        stage = super().stage(op, inputs, offsets)
        stage.parameters = dict(zip(("weight",), stage.parameters.values(), strict=False))
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code = block.code
        with code.loop(0, stage.units) as unit, each_column(block, stage) as columns:
            if stage.parameters:
                x = block.parameter(code.plus(unit, stage.weight_offset))
            else:
                x = block.constant(stage.attributes["numbers"], unit)
            for s in columns:
                apply_chain(block, stage, unit, s, x)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        """There is no input."""

    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        self.weight_gradient_of_samples(block, stage, block.columns)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        code = block.code
        for first, together in block.tiles(stage.units, TOGETHER):
            with code.carrying(0, vectors, [code.lane(0.0)] * together) as (s, sums):
                for r in range(together):
                    sums[r] = sums[r] + block.gradient(code.plus(first, stage.gradient_offset + r), s)
            block.add_to_gradients(code.plus(first, stage.weight_offset), sums)


def shift_by(stage: Stage) -> Numbers | None:
    """The fixed numbers that a stage gives, repeated along the first axes; None if it gives something else."""
    view = stage.attributes.get("view")
    if isinstance(view, View) and not stage.chain:
        own = View.of(view.sizes).strides
        axes = [(n, stride, mine) for n, stride, mine in zip(view.sizes, view.strides, own, strict=True) if n > 1]
        repeated = next((k for k, (_, stride, _) in enumerate(axes) if stride), len(axes))
        (stage,) = stage.inputs
        if view.first or any(stride != mine for _, stride, mine in axes[repeated:]):
            return None
    numbers = stage.attributes.get("numbers")
    return numbers if stage.kind == "Constant" and not stage.chain and isinstance(numbers, Numbers) else None
