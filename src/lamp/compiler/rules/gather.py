"""The rule for rows of a table that are looked up by index: an Embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Whole
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain
from lamp.compiler.rules.rule import WeightedRule
from lamp.compiler.stages import Stage
from lamp.graph import Numbers, Op, single_shape
from lamp.nn.embedding import Lookup
from lamp.parameter import Parameter

LARGEST = 2**24  # numbers of a table; up to here, float32 holds every index, and positions in memory have 32 bits


class Gather(WeightedRule):
    """y = W[x], the row of the table with this index, for each index of a sample. Indices are stored as floats.

    Backward  dW[x] += dy, sample by sample, since several may have the same index
    """

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        module = op.module
        if isinstance(module, Lookup) and (module.max_norm is not None or module.scale_grad_by_freq):
            option = "scale_grad_by_freq" if module.max_norm is None else "max_norm"
            raise NotCompiled(f"is not compiled with {option}", module=module)
        if math.prod(single_shape(op.parameters["weight"])) > LARGEST:
            raise NotCompiled("is not compiled: its table has more than 2^24 numbers", module=module)
        stage = super().stage(op, inputs, offsets)
        padding = module.padding_idx if isinstance(module, Lookup) else None
        width = op.output.shape[-1]
        numbers = inputs[0].attributes.get("numbers")
        if isinstance(numbers, Numbers) and not inputs[0].chain and padding is None:
            rows = numbers.data.flatten()
            if torch.equal(rows, torch.arange(len(rows)) + rows[:1]):  # neighbouring rows of the table
                first = stage.weight_offset + int(rows[0]) * width
                return Stage("Constant", [], stage.units, {"weight": first})
        stage.attributes = {"width": width, "padding": padding}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, width = block.code, stage.attributes["width"]
        with code.loop(0, stage.inputs[0].units) as place, code.loop(0, block.columns) as s:
            index = self._index(block, stage, place, s)
            with code.loop(0, width) as k:
                row = block.row_element(stage.weight_offset, index, width, k)
                apply_chain(block, stage, code.plus(code.times(place, width), k), s, row)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        """An index has no gradient."""

    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        self.weight_gradient_of_samples(block, stage, block.columns)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        code, (before,), width = block.code, stage.inputs, stage.attributes["width"]
        with code.loop(0, vectors) as s, code.loop(0, before.units) as place:
            first = code.plus(code.times(place, width), stage.gradient_offset)
            if stage.attributes["padding"] is not None:  # that row has no gradient
                kept = (self._index(block, stage, place, s) - stage.attributes["padding"]).is_true()
                with code.loop(0, width) as k:
                    at = code.plus(first, k)
                    block.keep_gradient(at, s, block.gradient(at, s).where(kept, 0.0))
            block.add_to_rows(stage.weight_offset, width, code.plus(place, before.output_offset), first, s)

    def _index(self, block: ColumnBlock, stage: Stage, place: Index, s: Index) -> Whole:
        (before,) = stage.inputs
        return block.activation(block.code.plus(place, before.output_offset), s).truncated()
