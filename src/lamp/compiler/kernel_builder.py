"""The lowering pass: from a KernelSpec and its Tiling to one function that contains the whole training loop.

The function loops over steps and, in each step, over the columns of a batch: forward, loss, backward, then clipping and
the optimizer's rule. There are two ways to assign work to the W lanes of a vector:

replica lanes   a lane is one of W networks of a population; a column is one sample. Nothing is summed across lanes.
sample lanes    a lane is one of W samples of one network; a column is W samples. Gradients are vectors of partial sums,
                whose lanes are summed once per batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lamp.compiler import lowering
from lamp.compiler.arguments import KINDS, KernelArguments
from lamp.compiler.code import Code, Count, Machine, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.correct_counts import right
from lamp.compiler.indices import Index
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Lane, Mask, Whole
from lamp.compiler.loss_rules import ColumnTargets
from lamp.compiler.rules import weighted_rule_of
from lamp.compiler.rules.chain import keeps_zero
from lamp.compiler.rules.products import Products
from lamp.compiler.rules.rule import Rows
from lamp.compiler.stages import Stage
from lamp.compiler.storage import with_widths
from lamp.compiler.tiling import tiled
from lamp.compiler.updates import Updates
from lamp.nn import Dropout
from lamp.randomness import below, bits, scatter


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
            widths = [code.load_index(arguments.sizes, self._place_of_sizes(k)) for k in hidden]
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
        self.first = self.code.times(
            step, self.vectors if self.spec.one_network else self.arguments.batch
        )  # the first column of this step in `order`

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
        with code.carrying(lower, upper, self._sums, self.tiling.chunk) as (start, state):
            count = code.least(code.minus(upper, start), self.tiling.chunk)
            state[:] = _added(state, self._chunk(start, count, share))
        place = code.plus(code.times(self.step, self.tiling.parts), part)
        self._keep_number(self.arguments.losses, place, state[0] * share)
        for k, number in enumerate(state[1:]):
            self._keep_number(self.arguments.right_answers, code.plus(code.times(place, len(spec.answers)), k), number)

    def _begin_gradients(self, columns: Index) -> None:
        """Set the gradients of a part with so many columns to 0, except those that matrix products will overwrite."""
        code, lanes, zeroed = self.code, self.tiling.lanes, 0
        if self.tiling.overwrites:
            empty = code.minus(1, code.least(columns, 1))  # 1 for a part without columns, which computes no products
            products = [stage for stage, rule in self.tiling.heads.items() if isinstance(rule, Products)]
            for stage in sorted(products, key=lambda stage: stage.weight_offset):
                inputs, outputs = stage.width
                first, stop = -(-stage.weight_offset // lanes), (stage.weight_offset + inputs * outputs) // lanes
                self._set_to_zero(zeroed, first)
                self._set_to_zero(first, code.plus(first, code.times(empty, stop - first)))
                zeroed = stop
        self._set_to_zero(zeroed, self._all)

    def _set_to_zero(self, first: Index, stop: Index) -> None:
        with self.code.loop(first, stop) as i:
            self.code.store(self.gradients_of_part, i, 0.0)

    @property
    def _sums(self) -> list[Lane]:
        """The initial values of what is summed over columns: the loss, then the counts of correct predictions."""
        return [self.code.lane(0.0)] * (1 + len(self.spec.answers))

    def _keep_number(self, pointer: Pointer, place: Index, number: Lane) -> None:
        """Store one number per network; in sample lanes it is the sum over lanes."""
        if self.spec.one_network:
            self.code.store_first(pointer, place, number.sum_of_lanes())
        else:
            self.code.store(pointer, place, number)

    def _chunk(self, start: Index, count: Index, share: Lane) -> list[Lane]:
        """Forward and backward for `count` columns from `start` on; returns the sums over them (see `_sums`)."""
        heads, rows, learns = self.tiling.heads, self._rows_from(start), self.spec.wants_gradients
        *earlier, last = lowering.segments(self.plan, heads)
        whole = self._block(1, start, 0)
        given, gone = {self.plan.last}, set[Stage]()

        def columns(write: Callable[[ColumnBlock], list[Lane]], sums: list[Lane]) -> list[Lane]:
            nonlocal given, gone
            result, given, gone = self._columns(start, count, write, sums, given, gone)
            whole.given_gradients, whole.gone_back = given, gone
            return result

        def forward(block: ColumnBlock, segment: lowering.Segment) -> list[Lane]:
            if segment.head is None and not self.tiling.rows:
                self._gather(block, block.column)
            lowering.forward(block, segment.rest)
            return []

        def backward(block: ColumnBlock, segment: lowering.Segment) -> list[Lane]:
            lowering.backward(block, segment.rest)
            return []

        def to_loss_and_back(block: ColumnBlock, segment: lowering.Segment) -> list[Lane]:
            forward(block, segment)
            sums = self._loss(block, share)
            if learns:
                backward(block, segment)
            return sums

        for segment in earlier:
            if segment.head is not None:
                heads[segment.head].forward(whole, segment.head, count, rows)
            if segment.rest or (segment.head is None and not self.tiling.rows):
                columns(partial(forward, segment=segment), [])
        if last.head is not None:
            heads[last.head].forward(whole, last.head, count, rows)
        sums = columns(partial(to_loss_and_back, segment=last), self._sums)
        if learns:
            for segment, before in zip([last, *reversed(earlier)], [*reversed(earlier), None], strict=True):
                if segment.head is not None:
                    heads[segment.head].backward(whole, segment.head, count)
                if before is not None and any(stage.learns for stage in before.rest):
                    columns(partial(backward, segment=before), [])
            stored = set[Index]()  # where weights lie whose gradients are stored: several layers may share them
            for layer in self.plan.layers if self.spec.one_network else ():
                if layer in heads:
                    add = not self.tiling.overwrites or layer.weight_offset in stored
                    heads[layer].weight_gradient(whole, layer, count, rows, add=add)
                    stored.add(layer.weight_offset)
                else:
                    weighted_rule_of(layer).weight_gradient_of_samples(whole, layer, count)
        return sums

    def _columns(
        self,
        start: Index,
        count: Index,
        write: Callable[[ColumnBlock], list[Lane]],
        sums: list[Lane],
        given: set[Stage],
        gone: set[Stage],
    ) -> tuple[list[Lane], set[Stage], set[Stage]]:
        """Write code for `count` columns from `start` on, in a loop over blocks of them. Returns the sums, with those
        of each block added, and the stages whose gradients are given and gone back after it (see ColumnBlock)."""
        code, whole = self.code, count

        def block_of(columns: int, column: Index, state: list[Lane]) -> ColumnBlock:
            block = self._block(columns, start, column)
            block.given_gradients, block.gone_back = set(given), set(gone)
            state[:] = _added(state, write(block))
            return block

        if self.tiling.ragged:
            whole = code.index(code.times(code.quotient(count, self.tiling.columns), self.tiling.columns))
        with code.carrying(0, whole, sums, self.tiling.columns) as (column, state):
            block = block_of(self.tiling.columns, column, state)
        if self.tiling.ragged:
            with code.carrying(whole, count, state, 1) as (column, rest):
                block = block_of(1, column, rest)
            state = rest
        return state, block.given_gradients, block.gone_back

    def _block(self, columns: int, start: Index, column: Index) -> ColumnBlock:
        """The block of columns that begins at start + column. In sample lanes the activations of a whole chunk are
        kept, because weight gradients are summed over it."""
        spec = self.spec
        at = self.code.plus(start, column)
        first, stride = (column, self.tiling.chunk) if spec.one_network else (0, None)
        arguments = self.arguments._replace(gradients=self.gradients_of_part)
        keep = self._keep_of(at)
        return ColumnBlock(
            self.code, self.plan, columns, arguments, spec.one_network, keep, self._present, first, stride, at
        )

    def _loss(self, block: ColumnBlock, share: Lane) -> list[Lane]:
        """The loss of a block and its gradients; returns the sums over its columns (see `_sums`)."""
        if self.spec.keeps_outputs:
            self._keep_outputs(block, block.column)
        target = self._target(block.column)
        sums = [self.spec.loss.emit(block, target, share)]
        return sums + [right(block, target, answer) for answer in self.spec.answers]

    # ---- samples -----------------------------------------------------------------------------------------------
    def _rows(self, first: Index, column: Index) -> Index | Whole:
        """The rows of the data that a column holds: one index for all lanes, or a vector with one per lane."""
        code, order = self.code, self.arguments.order
        at = code.plus(self.first, code.plus(first, column))
        if self.spec.one_network or self.spec.per_replica_order:
            return code.load_wholes(order, code.times(at, self.tiling.lanes))
        return code.load_index(order, at)

    def _rows_from(self, start: Index) -> Rows:
        """The rows of the samples of a chunk, which begins at column `start`."""
        code = self.code
        first = code.times(code.plus(self.first, start), self.tiling.lanes)

        def row(sample: Index) -> Index:
            return code.times(code.load_index(self.arguments.order, code.plus(first, sample)), self.plan.features)

        return Rows(self.arguments.inputs, row)

    def _fetch(self, pointer: Pointer, rows: Index | Whole, width: int, i: Index) -> Lane:
        """Element i of these rows of an array (n, width)."""
        code = self.code
        if isinstance(rows, Whole):
            return code.gathered(pointer, rows, width, i)
        return code.load_one(pointer, code.plus(code.times(rows, width), i))

    def _gather(self, block: ColumnBlock, first: Index) -> None:
        """Load the inputs of a block's samples, apply the input stage's chain to them, and store them."""
        code, features = self.code, self.plan.features
        held = [self._rows(first, s) for s in range(block.columns)]
        with code.loop(0, features) as i:
            for s, rows in enumerate(held):
                lowering.take_input(block, i, s, self._fetch(self.arguments.inputs, rows, features, i))

    def _target(self, first: Index) -> ColumnTargets:
        t, width = self.arguments.targets, self.plan.outputs + self.spec.loss.weighted
        return ColumnTargets(
            label=(lambda s: self._fetch(t, self._rows(first, s), 1, 0)) if self.spec.loss.labels else None,
            number=lambda c, s: self._fetch(t, self._rows(first, s), width, c),
            counts=lambda s: self._counts(first, s),
        )

    def _counts(self, first: Index, column: Index) -> Mask | None:
        """Which lanes of a column hold a sample: the last column may reach beyond the batch. None if all do."""
        if not self.tiling.spare:
            return None
        code = self.code
        numbers = code.arange(code.times(code.plus(first, column), self.tiling.lanes))
        return numbers < code.wholes(code.whole(self.arguments.batch))

    def _keep_outputs(self, block: ColumnBlock, first: Index) -> None:
        """Store the outputs of a block's columns, as vectors (columns of all steps, outputs)."""
        code, outputs = self.code, self.plan.outputs
        epoch = code.times(self.step, self.vectors)
        with code.loop(0, outputs) as c:
            for s in range(block.columns):
                place = code.times(code.plus(epoch, code.plus(first, s)), outputs)
                y = block.activation(code.plus(c, self.plan.output_offset), s)
                code.store(self.arguments.outputs, code.plus(place, c), y)

    # ---- the loss ----------------------------------------------------------------------------------------------
    def _share(self) -> Lane:
        """The weight of each value in the loss: 1 / the divisor of the mean."""
        code, loss = self.code, self.spec.loss
        divisor = loss.divisor(self.samples)
        if divisor is not None:
            return 1.0 / divisor
        with code.carrying(0, self.vectors, [code.lane(0.0)]) as (column, state):
            rows = self._rows(column, 0)
            label = self._fetch(self.arguments.targets, rows, 1, 0)
            weight = loss.weight_of_label(self.arguments.loss_constants, label)
            counts = self._counts(column, 0)
            state[0] = state[0] + (weight if counts is None else weight.where(counts, 0.0))
        return 1.0 / (state[0].sum_of_lanes() if self.spec.one_network else state[0])

    # ---- networks of several sizes -----------------------------------------------------------------------------
    def _place_of_sizes(self, layer: int) -> int:
        """The position of a hidden layer in `sizes`: first the group's largest width, then each network's."""
        return layer * (1 + self.tiling.lanes)

    def _own_widths(self, layer: int) -> Whole:
        return self.code.load_wholes(self.arguments.sizes, self._place_of_sizes(layer) + 1)

    def _hidden(self, stage: Stage) -> int | None:
        """The number of a stage's layer if its width differs between networks, else None."""
        if self.spec.plan.sizes is None or stage is self.plan.last:
            return None
        return stage.layer

    def _present(self, stage: Stage, unit: Index) -> Mask | None:
        """Which networks have this unit of a stage; None if all do, or if a missing unit outputs 0 anyway."""
        layer = self._hidden(stage)
        if layer is None or keeps_zero(stage):
            return None
        code = self.code
        units = code.wholes(code.whole(unit))
        return units < self._own_widths(layer)

    # ---- dropout -----------------------------------------------------------------------------------------------
    def _keep_of(self, first: Index) -> Any:
        """A function that draws Dropout's masks, the same that lamp.randomness draws for a tensor (B, units)."""
        code, spec, keys = self.code, self.spec, self.arguments.keys
        numbers = {id(module): k for k, module in enumerate(spec.plan.dropouts)}

        def keep(module: Dropout, stage: Stage, unit: Index, column: Index) -> Lane:
            units, layer = stage.units, self._hidden(stage)
            sample = code.plus(first, column)
            at = code.times(code.plus(code.times(self.step, len(numbers)), numbers[id(module)]), 2)
            if spec.one_network:
                sample = code.times(sample, self.tiling.lanes)
                scattered = scatter(code.arange(code.plus(code.times(sample, units), unit), units))
                pair = [code.wholes(code.load_whole(keys, code.plus(at, k))) for k in range(2)]
            else:
                if layer is None:
                    scattered = code.wholes(scatter(code.whole(code.plus(code.times(sample, units), unit))))
                else:
                    rows = code.wholes(code.whole(sample)) * self._own_widths(layer)
                    scattered = scatter(rows + code.wholes(code.whole(unit)))
                pair = [code.load_wholes(keys, code.times(code.plus(at, k), self.tiling.lanes)) for k in range(2)]
            kept = below(bits(scattered, *pair), round((1.0 - module.p) * 2**31)).is_true()
            return code.lane(1.0 / (1.0 - module.p) if module.p < 1 else 1.0).where(kept, 0.0)

        return keep


def _added(sums: list[Lane], more: list[Lane]) -> list[Lane]:
    return [x + y for x, y in zip(sums, more, strict=True)]
