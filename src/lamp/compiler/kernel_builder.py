"""The training loop as one function: batches, forward, loss, backward, clipping and the optimizer's rule.

Two ways to lay networks into vectors:

replica lanes   W networks of a population a vector; a column is one sample. Nothing is added across lanes.
sample lanes    one network; a column is W samples. Its gradients are vectors of partial sums, added up once a batch.
"""

from __future__ import annotations

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
from lamp.compiler.rules import feature_major, weighted_rule_of
from lamp.compiler.rules.chain import keeps_zero
from lamp.compiler.stages import Stage
from lamp.compiler.storage import of_widths
from lamp.compiler.tiling import tiled
from lamp.compiler.updates import Updates
from lamp.nn import Dropout
from lamp.randomness import below, bits, scatter


class KernelBuilder:
    """Writes a kernel by a backend's `Code`: `text` is what that makes of it."""

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
            self.plan = of_widths(spec.plan, [Count(code, width) for width in widths])
            self.ranges = [[(0, self.plan.parameters)]]
        self._all: Index = self.plan.parameters  # how many vectors a network's parameters are
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
                code.meet()
                self._update(None)
                code.meet()
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
        )  # of the order

    def _update(self, part: Index | None) -> None:
        """The optimizer's rule: for all parameters, or a slice of them."""
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
        """The loss and the gradients of a part of the batch's columns."""
        code = self.code
        lower, upper = (
            code.quotient(code.times(self.vectors, code.plus(part, k)), self.tiling.parts) for k in range(2)
        )
        self.gradients_of_part = code.beyond(self.arguments.gradients, code.times(part, self.tiling.numbers))
        self._part(lower, upper, part)

    def _part(self, lower: Index, upper: Index, part: Index) -> None:
        """The loss and the gradients of the batch's columns from lower to upper."""
        code, spec = self.code, self.spec
        share = self._share()
        if spec.wants_gradients:
            with code.loop(0, self._all) as i:
                code.store(self.gradients_of_part, i, 0.0)
            code.meet()
        with code.carrying(lower, upper, self._sums, self.tiling.chunk) as (start, state):
            count = code.least(code.minus(upper, start), self.tiling.chunk)
            block = self._block(1, start, 0)
            if self.tiling.wide:
                feature_major.forward(block, self.plan.layers[0], count, self.arguments.inputs, self._row_from(start))
            state[:] = _added(state, self._columns(start, count, share))
            if spec.one_network and spec.wants_gradients:
                for layer in self.plan.layers:
                    if self.tiling.wide and layer is self.plan.layers[0]:
                        feature_major.add_gradients(block, layer, count, self.arguments.inputs, self._row_from(start))
                    else:
                        weighted_rule_of(layer).weight_gradient_of_samples(block, layer, count)
        place = code.plus(code.times(self.step, self.tiling.parts), part)
        self._keep_number(self.arguments.losses, place, state[0] * share)
        for k, number in enumerate(state[1:]):
            self._keep_number(self.arguments.right_answers, code.plus(code.times(place, len(spec.answers)), k), number)

    @property
    def _sums(self) -> list[Lane]:
        """What is summed over columns, before the first: the loss, and right answers."""
        return [self.code.lane(0.0)] * (1 + len(self.spec.answers))

    def _keep_number(self, pointer: Pointer, place: Index, number: Lane) -> None:
        """Keep a network's own number, which in sample lanes is the sum of all lanes."""
        if self.spec.one_network:
            self.code.store_first(pointer, place, number.added_up())
        else:
            self.code.store(pointer, place, number)

    def _columns(self, start: Index, count: Index, share: Lane) -> list[Lane]:
        """Forward and back for `count` columns of the batch; what is summed over them."""
        code, whole = self.code, count
        if self.tiling.ragged:
            whole = code.index(code.times(code.quotient(count, self.tiling.columns), self.tiling.columns))
        with code.carrying(0, whole, self._sums, self.tiling.columns) as (column, state):
            state[:] = _added(state, self._pass(self._block(self.tiling.columns, start, column), share))
        if self.tiling.ragged:
            with code.carrying(whole, count, state, 1) as (column, rest):
                rest[:] = _added(rest, self._pass(self._block(1, start, column), share))
            state = rest
        return state

    def _block(self, columns: int, start: Index, column: Index) -> ColumnBlock:
        """Columns of the batch from number start + column on; in sample lanes they are all kept, up to a chunk."""
        spec = self.spec
        at = self.code.plus(start, column)
        first, stride = (column, self.tiling.chunk) if spec.one_network else (0, None)
        arguments = self.arguments._replace(gradients=self.gradients_of_part)
        keep = self._keep_of(at)
        return ColumnBlock(
            self.code, self.plan, columns, arguments, spec.one_network, keep, self._present, first, stride, at
        )

    def _pass(self, block: ColumnBlock, share: Lane) -> list[Lane]:
        """Forward and back; what is summed over the columns."""
        if not self.tiling.wide:
            self._gather(block, block.column)
        lowering.forward(block, computed=self.plan.layers[0] if self.tiling.wide else None)
        if self.spec.keeps_outputs:
            self._keep_outputs(block, block.column)
        target = self._target(block.column)
        sums = [self.spec.loss.emit(block, target, share)]
        sums += [right(block, target, answer) for answer in self.spec.answers]
        if self.spec.wants_gradients:
            lowering.backward(block)
        return sums

    # ---- samples -----------------------------------------------------------------------------------------------
    def _rows(self, first: Index, column: Index) -> Index | Whole:
        """Which rows of the data a column holds: one number, or a vector of them, a lane each."""
        code, order = self.code, self.arguments.order
        at = code.plus(self.first, code.plus(first, column))
        if self.spec.one_network or self.spec.per_replica_order:
            return code.load_wholes(order, code.times(at, self.tiling.lanes))
        return code.load_index(order, at)

    def _row_from(self, start: Index) -> feature_major.Row:
        """Where rows of data begin, by the number of the sample from a column of the batch on."""
        code = self.code
        first = code.times(code.plus(self.first, start), self.tiling.lanes)

        def row(sample: Index) -> Index:
            return code.times(code.load_index(self.arguments.order, code.plus(first, sample)), self.plan.features)

        return row

    def _fetch(self, pointer: Pointer, rows: Index | Whole, width: int, i: Index) -> Lane:
        """Number i of these rows of an array (n, width)."""
        code = self.code
        if isinstance(rows, Whole):
            return code.gathered(pointer, rows, width, i)
        return code.load_one(pointer, code.plus(code.times(rows, width), i))

    def _gather(self, block: ColumnBlock, first: Index) -> None:
        """The inputs of a block's samples into their places, through what stands before the first layer."""
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
        """Which lanes of a column hold a sample: those of the last may go beyond the batch."""
        if not self.tiling.spare:
            return None
        code = self.code
        numbers = code.counted(code.times(code.plus(first, column), self.tiling.lanes))
        return numbers < code.wholes(code.whole(self.arguments.batch))

    def _keep_outputs(self, block: ColumnBlock, first: Index) -> None:
        """(columns of the epoch, outputs) vectors."""
        code, outputs = self.code, self.plan.outputs
        epoch = code.times(self.step, self.vectors)
        with code.loop(0, outputs) as c:
            for s in range(block.columns):
                place = code.times(code.plus(epoch, code.plus(first, s)), outputs)
                y = block.activation(code.plus(c, self.plan.put_out), s)
                code.store(self.arguments.outputs, code.plus(place, c), y)

    # ---- the loss ----------------------------------------------------------------------------------------------
    def _share(self) -> Lane:
        """What each value counts in the loss: 1 over what a mean divides by."""
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
        return 1.0 / (state[0].added_up() if self.spec.one_network else state[0])

    # ---- networks of several sizes -----------------------------------------------------------------------------
    def _place_of_sizes(self, layer: int) -> int:
        """Where it stands how wide a hidden layer is: in the group, and next to that in each of its networks."""
        return layer * (1 + self.tiling.lanes)

    def _own_widths(self, layer: int) -> Whole:
        return self.code.load_wholes(self.arguments.sizes, self._place_of_sizes(layer) + 1)

    def _hidden(self, stage: Stage) -> int | None:
        """The number of a layer whose width is each network's own."""
        if self.spec.plan.sizes is None or stage is self.plan.last:
            return None
        return stage.layer

    def _present(self, stage: Stage, unit: Index) -> Mask | None:
        """Which networks have this unit of a stage, where those that have not would put out more than zeros."""
        layer = self._hidden(stage)
        if layer is None or keeps_zero(stage):
            return None
        code = self.code
        units = code.wholes(code.whole(unit))
        return units < self._own_widths(layer)

    # ---- dropout -----------------------------------------------------------------------------------------------
    def _keep_of(self, first: Index) -> Any:
        """The masks of Dropout, as lamp.randomness draws them for a tensor (B, units)."""
        code, spec, keys = self.code, self.spec, self.arguments.keys
        numbers = {id(module): k for k, module in enumerate(spec.plan.dropouts)}

        def keep(module: Dropout, stage: Stage, unit: Index, column: Index) -> Lane:
            units, layer = stage.units, self._hidden(stage)
            sample = code.plus(first, column)
            at = code.times(code.plus(code.times(self.step, len(numbers)), numbers[id(module)]), 2)
            if spec.one_network:
                sample = code.times(sample, self.tiling.lanes)
                scattered = scatter(code.counted(code.plus(code.times(sample, units), unit), units))
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
