"""Lowering of a chunk: forward, loss and backward of the columns whose activations are kept at once.

Wide layers of a single network are computed for the whole chunk, and so is what couples the samples of a batch. They
divide the stages into segments; the other stages
of a segment are computed block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lamp.compiler import lowering
from lamp.compiler.batch_columns import BatchColumns
from lamp.compiler.code import Condition
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.correct_counts import right
from lamp.compiler.indices import Index
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Lane
from lamp.compiler.rules import weighted_rule_of
from lamp.compiler.rules.rule import Batch
from lamp.compiler.tiling import Tiling


class Chunk:
    """Writes the code for `count` columns, those of `whole` and the following ones.

    whole     a block with the first column of the chunk
    batch     for stages that couple samples: the blocks of all parts, and how many columns these have
    is_first  whether this part of the batch is the first one; None if there is only one
    sums      what the chunk adds to: the loss, then the counts of correct predictions
    """

    def __init__(
        self,
        spec: KernelSpec,
        tiling: Tiling,
        columns: BatchColumns,
        whole: ColumnBlock,
        count: Index,
        sums: list[Lane],
        batch: Batch = (),
        is_first: Condition = None,
    ) -> None:
        self.spec, self.tiling, self.columns, self.whole, self.count = spec, tiling, columns, whole, count
        self.sums, self.batch, self.is_first = sums, batch, is_first
        self.segments = lowering.segments(whole.plan, {**tiling.heads, **tiling.couplings})
        self.rows = columns.rows_from(whole.column)

    def emit(self, share: Lane) -> list[Lane]:
        """Write all phases. Returns the sums, with what the chunk adds to them."""
        found = list[Lane]()
        for _ in self.phases(lambda: share, lambda sums, share: found.extend(sums)):
            pass
        return found

    def phases(self, share: Callable[[], Lane], keep: Callable[[list[Lane], Lane], None]) -> Iterator[None]:
        """Write forward and loss, and backward if the kernel computes gradients. Yields where a phase ends: what
        follows needs what this phase stores for all parts of the batch.

        share  the weight of each value in the loss
        keep   called with the sums, with what the chunk adds to them, and the share
        """
        *earlier, last = self.segments
        for segment in earlier:
            yield from self._head_forward(segment)
            if self._has_forward(segment):
                with self._blocks([]) as (block, _):
                    self._forward(block, segment)
        yield from self._head_forward(last)
        of_value = share()
        with self._blocks(self.sums) as (block, state):
            self._forward(block, last)
            state[:] = [x + y for x, y in zip(state, self._loss(block, of_value), strict=True)]
            if self.spec.wants_gradients:
                lowering.backward(block, last.rest)
        keep(state, of_value)
        if self.spec.wants_gradients:
            yield from self._backward()

    @contextmanager
    def _blocks(self, sums: list[Lane]) -> Iterator[tuple[ColumnBlock, list[Lane]]]:
        """A loop over the blocks of the chunk, which carries sums. After it the list holds the final ones."""
        with self.whole.code.carrying(0, self.count, sums, self.tiling.columns) as (column, state):
            yield self.whole.part(column, self.tiling.columns), state

    # ---- forward -----------------------------------------------------------------------------------------------
    def _head_forward(self, segment: lowering.Segment) -> Iterator[None]:
        head = segment.head
        if head is not None and head in self.tiling.couplings:
            rule = self.tiling.couplings[head]
            rule.begin_forward(self.whole, head, self._covered(), self.batch)
            yield
            rule.forward(self.whole, head, self._covered(), self.batch, self.is_first)
        elif head is not None:
            self.tiling.heads[head].forward(self.whole, head, self.count, self.rows)

    def _covered(self) -> Index:
        """The number of columns, with those beyond the last sample that the last block reaches."""
        code, each = self.whole.code, self.tiling.columns
        if not self.tiling.ragged:
            return self.count
        return code.times(code.quotient(code.plus(self.count, each - 1), each), each)

    def _has_forward(self, segment: lowering.Segment) -> bool:
        return bool(segment.rest) or self._gathers(segment)

    def _gathers(self, segment: lowering.Segment) -> bool:
        """Whether a segment begins with the network's inputs."""
        return segment.head is None and not self.tiling.rows

    def _forward(self, block: ColumnBlock, segment: lowering.Segment) -> None:
        if self._gathers(segment):
            self.columns.gather(block)
        lowering.forward(block, segment.rest)

    def _loss(self, block: ColumnBlock, share: Lane) -> list[Lane]:
        """The loss of a block and the gradients of its outputs; returns the sums over its columns."""
        if self.spec.keeps_outputs:
            self.columns.keep_outputs(block)
        targets = self.columns.targets(block)
        sums = [self.spec.loss.emit(block, targets, share)]
        return sums + [right(block, targets, answer) for answer in self.spec.answers]

    # ---- backward ----------------------------------------------------------------------------------------------
    def _backward(self) -> Iterator[None]:
        """Backward of what comes before the last segment's blocks, then the gradients of weights over the chunk."""
        for segment in reversed(self.segments):
            if segment is not self.segments[-1] and any(stage.learns for stage in segment.rest):
                with self._blocks([]) as (block, _):
                    lowering.backward(block, segment.rest)
            head = segment.head
            if head is not None and head in self.tiling.couplings:
                rule = self.tiling.couplings[head]
                rule.begin_backward(self.whole, head, self._covered(), self.batch)
                yield
                rule.backward(self.whole, head, self._covered(), self.batch)
            elif head is not None:
                self.tiling.heads[head].backward(self.whole, head, self.count)
        if self.spec.one_network:
            self._weight_gradients()

    def _weight_gradients(self) -> None:
        stored = set[Index]()  # where weights lie whose gradients are stored: several layers may share them
        for layer in self.whole.plan.layers:
            if layer in self.tiling.heads:
                add = not self.tiling.overwrites or layer.weight_offset in stored
                self.tiling.heads[layer].weight_gradient(self.whole, layer, self.count, self.rows, add=add)
                stored.add(layer.weight_offset)
            else:
                weighted_rule_of(layer).weight_gradient_of_samples(self.whole, layer, self.count)
