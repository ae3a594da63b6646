"""The lowering pass: from a KernelSpec and its Tiling to one function that contains the whole training loop.

The function loops over steps and, in each step, over the columns of a batch: forward, loss, backward, then clipping and
the optimizer's rule. There are two ways to assign work to the W lanes of a vector:

replica lanes   a lane is one of W networks of a population; a column is one sample. Nothing is summed across lanes.
sample lanes    a lane is one of W samples of one network; a column is W samples. Gradients are vectors of partial sums,
                whose lanes are summed once per batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamp.compiler.arguments import KINDS, KernelArguments
from lamp.compiler.batch_columns import BatchColumns
from lamp.compiler.chunk import Chunk
from lamp.compiler.code import Code, Count, Machine, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Lane, Whole
from lamp.compiler.loss_rules import masked
from lamp.compiler.stages import Element, Stage
from lamp.compiler.storage import with_widths
from lamp.compiler.tiling import tiled
from lamp.compiler.unit_masks import UnitMasks, place_of_sizes
from lamp.compiler.updates import Updates


class KernelBuilder:
    """Writes a kernel through a backend's `Code`. `text` is the result, in the backend's language."""

    def __init__(self, spec: KernelSpec, machine: Machine, backend: type[Code]) -> None:
        self.spec, self.tiling = spec, tiled(spec, machine)
        self.code = backend("train", KINDS, machine, spec.dtype, shared=self.tiling.parts > 1)
        self._emit()
        self.text = self.code.finish()

    # ---- the loop over steps -----------------------------------------------------------------------------------
    def _emit(self) -> None:
        code, spec = self.code, self.spec
        arguments = self.arguments = KernelArguments(**code.arguments)
        self.plan, self.ranges = spec.plan, spec.ranges
        if spec.plan.sizes is not None:
            hidden = range(len(spec.plan.layers) - 1)
            widths = [code.load_index(arguments.sizes, place_of_sizes(k, self.tiling.lanes)) for k in hidden]
            self.plan = with_widths(spec.plan, [Count(code, width) for width in widths])
            self.ranges = [[(0, self.plan.parameters)]]
        self._all: Index = self.plan.parameters  # the number of vectors that hold a network's parameters
        if spec.one_network:
            self._all = self.tiling.numbers // self.tiling.lanes
        self.samples = code.number(arguments.batch)
        up = code.plus(arguments.batch, self.tiling.lanes - 1)
        self.vectors = code.quotient(up, self.tiling.lanes) if spec.one_network else arguments.batch
        number = code.load_one if spec.one_network else code.load
        names = enumerate(spec.hyperparameters)
        spec.loss.of_lanes(code, {name: number(arguments.loss_hyperparameters, i) for i, name in names})
        if self.tiling.parts == 1:
            self.gradients_of_part = arguments.gradients
            with code.loop(0, arguments.steps) as step:
                self._begin(step)
                if spec.entry != "update":
                    for _ in (self._coupled_part if self.tiling.couplings else self._part)(0, self.vectors, 0):
                        pass
                code.barrier()
                self._update(None)
                code.barrier()
            return
        each = self.tiling.phases + (spec.optimizer is not None)
        with code.tasks(arguments.counters, self.tiling.parts, code.times(arguments.steps, each)) as (phase, part):
            self._begin(code.quotient(phase, each))
            self._write_phases(self._part_of_batch(part), code.remainder(phase, each), part, self.tiling.phases)

    def _write_phases(self, phases: Iterator[None], which: Index, part: Index, left: int) -> None:
        """Write the phases of a step that are left, as alternatives of which one runs; the update is the last one."""
        if not left:
            self._update(part)
        elif left == 1 and self.spec.optimizer is None:
            next(phases, None)
        else:
            with self.code.either(self.code.equal(which, 0)) as (now, later):
                with now:
                    next(phases, None)
                with later:
                    self._write_phases(phases, self.code.minus(which, 1), part, left - 1)

    def _begin(self, step: Index) -> None:
        self.step = step

    def _update(self, part: Index | None) -> None:
        """The optimizer's rule, for all parameters or for the slice that belongs to a part."""
        spec = self.spec
        if spec.optimizer is not None:
            Updates(
                self.code,
                spec,
                self.arguments,
                self.step,
                vectors=self._all,
                parts=self.tiling.parts,
                part=part,
                ranges=self.ranges,
            ).emit(spec.optimizer)

    def _part_of_batch(self, part: Index) -> Iterator[None]:
        """The loss and the gradients of one part of the batch. Yields where a phase ends."""
        lower, upper = self._bounds(part)
        self.gradients_of_part = self.code.beyond(self.arguments.gradients, self.code.times(part, self.tiling.numbers))
        if self.tiling.couplings:
            return self._coupled_part(lower, upper, part)
        return self._part(lower, upper, part)

    def _bounds(self, part: Index) -> tuple[Index, Index]:
        """The first column of a part, and that after its last one."""
        code = self.code
        lower, upper = (
            code.quotient(code.times(self.vectors, code.plus(part, k)), self.tiling.parts) for k in range(2)
        )
        return lower, upper

    def _part(self, lower: Index, upper: Index, part: Index) -> Iterator[None]:
        """The loss and the gradients of the columns from lower to upper, in one phase."""
        code, spec = self.code, self.spec
        share = self._share()
        if spec.wants_gradients:
            self._begin_gradients(code.minus(upper, lower))
            code.barrier()
        with code.carrying(lower, upper, self._no_sums(), self.tiling.chunk) as (start, state):
            count = code.least(code.minus(upper, start), self.tiling.chunk)
            columns = self._columns(code.plus(start, count))
            state[:] = Chunk(spec, self.tiling, columns, self._block(columns, start), count, state).emit(share)
        self._keep_sums(state, share, part)
        yield

    def _coupled_part(self, lower: Index, upper: Index, part: Index) -> Iterator[None]:
        """The same in several phases, because samples of all parts depend on each other. The columns are one chunk."""
        code, tiling = self.code, self.tiling
        batch = []
        for k in range(tiling.parts):
            first, stop = self._bounds(k) if tiling.parts > 1 else (lower, upper)
            batch.append((self._block(self._columns(stop), first, k), code.minus(stop, first)))
        columns, is_first = self._columns(upper), None if tiling.parts == 1 else code.equal(part, 0)
        whole, count = self._block(columns, lower, part), code.minus(upper, lower)
        chunk = Chunk(self.spec, tiling, columns, whole, count, self._no_sums(), batch, is_first)
        return self._coupled_phases(chunk, part)  # what is written up to here is known in all phases

    def _coupled_phases(self, chunk: Chunk, part: Index) -> Iterator[None]:
        self._begin_gradients(chunk.count)
        self.code.barrier()
        yield from chunk.phases(self._share, lambda sums, share: self._keep_sums(sums, share, part))

    def _no_sums(self) -> list[Lane]:
        """The sums of a part before its first column: the loss, then the counts of correct predictions."""
        return [self.code.lane(0.0)] * (1 + len(self.spec.answers))

    def _keep_sums(self, sums: Sequence[Lane], share: Lane, part: Index) -> None:
        """Store the sums of a part of the batch."""
        code, answers = self.code, len(self.spec.answers)
        place = code.plus(code.times(self.step, self.tiling.parts), part)
        self._keep_number(self.arguments.losses, place, sums[0] * share)
        for k, number in enumerate(sums[1:]):
            self._keep_number(self.arguments.right_answers, code.plus(code.times(place, answers), k), number)

    def _columns(self, stop: Index) -> BatchColumns:
        """The columns of this step's batch up to `stop`."""
        vectors = self.vectors
        return BatchColumns(self.code, self.spec, self.plan, self.tiling, self.arguments, self.step, vectors, stop)

    def _block(self, columns: BatchColumns, start: Index, part: Index = 0) -> ColumnBlock:
        """The column at which a chunk begins.

        part  whose scratch memory it has, if the chunks of all parts are kept at once
        """
        masks = UnitMasks(self.code, self.spec, self.arguments, self.step)

        def random(element: Element, stage: Stage, unit: Index, column: Index) -> Whole:
            return masks.bits(element, stage, unit, columns.existing(column))

        arguments = self.arguments._replace(gradients=self.gradients_of_part)
        if self.tiling.chunks > 1:
            code, lanes = self.code, self.tiling.lanes
            values, gradients = (
                code.beyond(array, code.times(part, size * lanes))
                for array, size in (
                    (arguments.activations, self.tiling.activations),
                    (arguments.activation_gradients, self.tiling.gradients),
                )
            )
            arguments = arguments._replace(activations=values, activation_gradients=gradients)
        one_network, light, stride = self.spec.one_network, self.tiling.light, self.tiling.stride
        about = (random, masks.present, columns.counts, light)
        return ColumnBlock(self.code, self.plan, 1, arguments, one_network, *about, start, stride)

    def _begin_gradients(self, columns: Index) -> None:
        """Set the gradients of a part with so many columns to 0, except those that rules will overwrite."""
        code, lanes, zeroed = self.code, self.tiling.lanes, 0
        if self.tiling.overwrites:
            empty = code.minus(1, code.least(columns, 1))  # 1 for a part without columns, which computes none
            overwritten = [stage for stage, rule in self.tiling.heads.items() if rule.overwrites]
            for stage in sorted(overwritten, key=lambda stage: stage.weight_offset):
                inputs, outputs = stage.width
                first, stop = -(-stage.weight_offset // lanes), (stage.weight_offset + inputs * outputs) // lanes
                self._set_to_zero(zeroed, first)
                self._set_to_zero(first, code.plus(first, code.times(empty, stop - first)))
                zeroed = stop
        self._set_to_zero(zeroed, self._all)

    def _set_to_zero(self, first: Index, stop: Index) -> None:
        with self.code.loop(first, stop) as i:
            self.code.store(self.gradients_of_part, i, 0.0)

    def _keep_number(self, pointer: Pointer, place: Index, number: Lane) -> None:
        """Store one number per network; in sample lanes it is the sum over lanes."""
        if self.spec.one_network:
            self.code.store_first(pointer, place, number.sum_of_lanes())
        else:
            self.code.store(pointer, place, number)

    def _share(self) -> Lane:
        """The weight of each value in the loss: 1 / the divisor of the mean."""
        code, loss = self.code, self.spec.loss
        divisor = loss.divisor(self.samples)
        if divisor is not None:
            return 1.0 / divisor
        columns = self._columns(self.vectors)
        with code.carrying(0, self.vectors, [code.lane(0.0)]) as (column, state):
            for p in code.each(0, loss.places, state):
                weight = loss.weight_of_label(self.arguments.loss_constants, columns.label(column, p))
                state[0] = state[0] + masked(weight, columns.counts(column))
        return 1.0 / (state[0].sum_of_lanes() if self.spec.one_network else state[0])
