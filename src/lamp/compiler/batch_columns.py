"""The columns of a batch: the samples that they hold, and where the data of these lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

from lamp.compiler import lowering
from lamp.compiler.arguments import KernelArguments
from lamp.compiler.code import Code, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Lane, Mask, Whole
from lamp.compiler.loss_rules import ColumnTargets
from lamp.compiler.rules.rule import Rows
from lamp.compiler.stages import Plan
from lamp.compiler.tiling import Tiling


class BatchColumns:
    """The columns of a batch up to `stop`, in one step.

    Columns are computed in blocks, and the last block may reach beyond `stop`. Its columns there hold the samples of
    the last one and are masked: they count neither in the loss nor in gradients.

    first  the first column of this step in `order`
    """

    def __init__(
        self,
        code: Code,
        spec: KernelSpec,
        plan: Plan,
        tiling: Tiling,
        arguments: KernelArguments,
        step: Index,
        vectors: Index,
        stop: Index,
    ) -> None:
        self.code, self.spec, self.plan, self.tiling, self.arguments = code, spec, plan, tiling, arguments
        self.first, self.stop = code.times(step, vectors), stop

    def existing(self, column: Index) -> Index:
        """The number of a column, or of the last one for those beyond it."""
        return self.code.least(column, self.code.minus(self.stop, 1)) if self.tiling.ragged else column

    def counts(self, column: Index) -> Mask | None:
        """Which lanes of a column hold a sample that counts; None if all do."""
        code, lanes = self.code, self.tiling.lanes
        if not self.tiling.spare:
            return None
        if not self.spec.one_network:
            return code.wholes(code.whole(column)) < code.wholes(code.whole(self.stop))
        stop = self.arguments.batch
        if self.tiling.ragged:
            stop = code.least(stop, code.times(self.stop, lanes))
        return code.arange(code.times(column, lanes)) < code.wholes(code.whole(stop))

    # ---- data --------------------------------------------------------------------------------------------------
    def gather(self, block: ColumnBlock) -> None:
        """Load the inputs of a block's samples, apply the input stage's chain to them, and store them."""
        if not self.spec.one_network:
            self._gather(block, range(block.columns))
            return
        with self.code.loop(0, block.columns) as s:  # the code is long
            if self.plan.features >= self.code.lanes and not self.plan.stages[0].chain:
                self._gather_rows(block, s)
            else:
                self._gather(block, [s])  # each lane is loaded by itself

    def _gather(self, block: ColumnBlock, columns: Sequence[Index]) -> None:
        code, features = self.code, self.plan.features
        held = [self._rows(code.plus(block.column, s)) for s in columns]
        with code.loop(0, features) as i:
            for s, rows in zip(columns, held, strict=True):
                lowering.take_input(block, i, s, self._fetch(self.arguments.inputs, rows, features, i))

    def _gather_rows(self, block: ColumnBlock, s: Index) -> None:
        """The inputs of a column of one network: W features of W samples at a time, as they lie in the data."""
        code, features = self.code, self.plan.features
        rows = self.rows_from(self.existing(code.plus(block.column, s)))
        starts = [code.index(rows.first(k)) for k in range(code.lanes)]
        whole = features - features % code.lanes

        def take(first: Index) -> None:
            of_samples = [code.load_unaligned(rows.array, code.plus(start, first)) for start in starts]
            for k, x in enumerate(code.transposed(of_samples)):
                lowering.take_input(block, code.plus(first, k), s, x)

        with code.loop(0, whole, code.lanes) as i:
            take(i)
        if whole < features:  # the last ones, and some of those before once more
            take(features - code.lanes)

    def rows_from(self, start: Index) -> Rows:
        """The rows of the samples of a chunk, which begins at column `start`. For sample lanes."""
        code = self.code
        first = code.times(code.plus(self.first, start), self.tiling.lanes)

        def row(sample: Index) -> Index:
            return code.times(code.load_index(self.arguments.order, code.plus(first, sample)), self.plan.features)

        return Rows(self.arguments.inputs, row)

    def targets(self, block: ColumnBlock) -> ColumnTargets:
        """The targets of a block."""
        code, width = self.code, self.plan.outputs + self.spec.loss.weighted

        def number(c: Index, s: Index) -> Lane:
            return self._target(code.plus(block.column, s), width, c)

        return ColumnTargets(
            label=(lambda p, s: self.label(code.plus(block.column, s), p)) if self.spec.loss.labels else None,
            number=number,
            counts=lambda s: self.counts(code.plus(block.column, s)),
        )

    def label(self, column: Index, place: Index) -> Lane:
        """The labels of a column at a place of its samples."""
        return self._target(column, self.spec.loss.places, place)

    def _target(self, column: Index, width: int, c: Index) -> Lane:
        return self._fetch(self.arguments.targets, self._rows(column), width, c)

    def _rows(self, column: Index) -> Index | Whole:
        """The rows of the data that a column holds: one index for all lanes, or a vector with one per lane."""
        code, order = self.code, self.arguments.order
        at = code.plus(self.first, self.existing(column))
        if self.spec.one_network or self.spec.per_replica_order:
            return code.load_wholes(order, code.times(at, self.tiling.lanes))
        return code.load_index(order, at)

    def _fetch(self, pointer: Pointer, rows: Index | Whole, width: int, i: Index) -> Lane:
        """Element i of these rows of an array (n, width)."""
        code = self.code
        if isinstance(rows, Whole):
            return code.gathered(pointer, rows, width, i)
        return code.load_one(pointer, code.plus(code.times(rows, width), i))

    # ---- results -----------------------------------------------------------------------------------------------
    def keep_outputs(self, block: ColumnBlock) -> None:
        """Store the outputs of a block's columns, as vectors (columns of all steps, outputs)."""
        code, outputs = self.code, self.plan.outputs
        columns = [self.existing(code.plus(block.column, s)) for s in range(block.columns)]
        with code.loop(0, outputs) as c:
            for s, column in enumerate(columns):
                place = code.times(code.plus(self.first, column), outputs)
                y = block.activation(code.plus(c, self.plan.output_offset), s)
                code.store(self.arguments.outputs, code.plus(place, c), y)
