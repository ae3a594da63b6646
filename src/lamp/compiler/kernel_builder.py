"""The lowering pass: from a KernelSpec and its Tiling to one function that contains the whole training loop.

The function loops over steps and, in each step, over the columns of a batch: forward, loss, backward, then clipping and
the optimizer's rule. There are two ways to assign work to the W lanes of a vector:

replica lanes   a lane is one of W networks of a population; a column is one sample. Nothing is summed across lanes.
sample lanes    a lane is one of W samples of one network; a column is W samples. Gradients are vectors of partial sums,
                whose lanes are summed once per batch.
"""

from __future__ import annotations

from lamp.compiler.arguments import KINDS, KernelArguments
from lamp.compiler.batch_columns import BatchColumns
from lamp.compiler.chunk import Chunk
from lamp.compiler.code import Code, Count, Machine, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Lane
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
                    self._part(0, self.vectors, 0)
                code.barrier()
                self._update(None)
                code.barrier()
            return
        updates = spec.optimizer is not None
        phases = code.times(arguments.steps, 2) if updates else arguments.steps
        with code.tasks(arguments.counters, self.tiling.parts, phases) as (phase, part):
            if not updates:
                self._begin(phase)
                self._part_of_batch(part)
                return
            self._begin(code.quotient(phase, 2))
            with code.either(code.is_odd(phase)) as (second, first):
                with first:
                    self._part_of_batch(part)
                with second:
                    self._update(part)

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

    def _part_of_batch(self, part: Index) -> None:
        """The loss and the gradients of one part of the batch."""
        code = self.code
        lower, upper = (
            code.quotient(code.times(self.vectors, code.plus(part, k)), self.tiling.parts) for k in range(2)
        )
        self.gradients_of_part = code.beyond(self.arguments.gradients, code.times(part, self.tiling.numbers))
        self._part(lower, upper, part)

    def _part(self, lower: Index, upper: Index, part: Index) -> None:
        """The loss and the gradients of the columns from lower to upper."""
        code, spec = self.code, self.spec
        share = self._share()
        if spec.wants_gradients:
            self._begin_gradients(code.minus(upper, lower))
            code.barrier()
        sums = [code.lane(0.0)] * (1 + len(spec.answers))  # the loss, then the counts of correct predictions
        with code.carrying(lower, upper, sums, self.tiling.chunk) as (start, state):
            count = code.least(code.minus(upper, start), self.tiling.chunk)
            columns = self._columns(code.plus(start, count))
            state[:] = Chunk(spec, self.tiling, columns, self._block(columns, start), count).emit(state, share)
        place = code.plus(code.times(self.step, self.tiling.parts), part)
        self._keep_number(self.arguments.losses, place, state[0] * share)
        for k, number in enumerate(state[1:]):
            self._keep_number(self.arguments.right_answers, code.plus(code.times(place, len(spec.answers)), k), number)

    def _columns(self, stop: Index) -> BatchColumns:
        """The columns of this step's batch up to `stop`."""
        vectors = self.vectors
        return BatchColumns(self.code, self.spec, self.plan, self.tiling, self.arguments, self.step, vectors, stop)

    def _block(self, columns: BatchColumns, start: Index) -> ColumnBlock:
        """The column at which a chunk begins."""
        masks = UnitMasks(self.code, self.spec, self.arguments, self.step)

        def keep(element: Element, stage: Stage, unit: Index, column: Index) -> Lane:
            return masks.kept(element, stage, unit, columns.existing(column))

        arguments = self.arguments._replace(gradients=self.gradients_of_part)
        one_network, light, stride = self.spec.one_network, self.tiling.light, self.tiling.stride
        about = (keep, masks.present, columns.counts, light)
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
