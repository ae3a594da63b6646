"""The rule for InstanceNorm that tracks running statistics: each sample is standardised by itself, and the statistics
move with the batch."""

from __future__ import annotations

from lamp.compiler.code import Condition
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.batch_norm import in_first_part, over_batch
from lamp.compiler.rules.chain import chain_backward_of_all
from lamp.compiler.rules.norm import MEAN, TOGETHER, VAR, Standardise
from lamp.compiler.rules.rule import Batch, CouplingRule
from lamp.compiler.stages import Stage


class BySample(CouplingRule):
    """`Standardise`, sample by sample. The running statistics move towards the means over the batch of mean and of
    n / (n - 1) var; nothing else depends on other samples."""

    def __init__(self) -> None:
        self.of_samples = Standardise()

    def begin_forward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        with block.code.loop(0, columns) as s:
            self.of_samples.forward(block.part(s, 1), stage)

    def forward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch, is_first: Condition) -> None:
        in_first_part(block, is_first, lambda: _move_statistics(block, stage, batch))

    def begin_backward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        chain_backward_of_all(block, stage, columns)

    def backward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        with block.code.loop(0, columns) as s:
            self.of_samples.backward(block.part(s, 1), stage)


def _move_statistics(block: ColumnBlock, stage: Stage, batch: Batch) -> None:
    """Move the running statistics towards the means of the samples'."""
    code, given, samples = block.code, stage.attributes, block.code.number(block.arguments.batch)
    rows, n, momentum = given["rows"], given["n"], given["momentum"] or 0.0
    for what, name, factor in ((MEAN, "running_mean", 1.0), (VAR, "running_var", n / (n - 1))):
        for first, together in block.tiles(rows, TOGETHER):

            def value(of: ColumnBlock, r: int, s: Index, first: Index = first, what: int = what) -> Lane:
                return of.activation(code.plus(code.plus(first, r), stage.kept_offset + what * rows), s)

            for r, total in enumerate(over_batch(block, batch, together, value)):
                at = code.plus(code.plus(first, r), stage.statistics[name])
                block.keep_statistic(at, block.statistic(at).lerp(total * factor / samples, momentum))
