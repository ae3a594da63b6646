"""Affine maps of a single network for batches of few samples: here lanes are units instead of samples.

With samples as lanes, a batch of 2 would use 2 lanes of 16. With units as lanes, W neighbouring weights are loaded as
one vector, and the gradients of W neighbouring weights are one vector.

The values of a hidden stage lie in rows, one per sample, side by side: W of them are a vector, to which a chain of
formulas is applied at once. The values of the last stage lie as the loss reads them, with samples as lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from lamp.compiler.code import Code, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.affine import weight_place
from lamp.compiler.rules.chain import apply_chain, chain_backward, chain_backward_of_all, rule_of
from lamp.compiler.rules.elementwise import Formula
from lamp.compiler.rules.feature_major import bias_to_sum, sums_over, vector_tiles
from lamp.compiler.rules.rule import ChunkRule, Rows
from lamp.compiler.rules.weight_gradients import add_bias_gradients
from lamp.compiler.stages import INPUT, Plan, Stage

SUMS = 12  # so many vectors of sums are computed together, at most


class FewSamples(ChunkRule):
    """y = W x + b, for batches of so few samples that all are computed at once.

    Backward  dx = W^T dy    dW = sum of dy x^T over samples    db = sum of dy over samples

    samples  in a batch, at most; those that a smaller batch lacks are computed too, with gradients of 0
    """

    overwrites: ClassVar[bool] = True

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def forward(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows) -> None:
        self._compute(block, stage, *self._inputs(block, stage, columns, rows))
        self._apply_chain(block, stage)

    def _compute(self, block: ColumnBlock, stage: Stage, array: Pointer, x: Sequence[Index]) -> None:
        """Store the source's values.

        x  where in the array the inputs of each sample begin
        """
        code, (_, outputs), samples = block.code, stage.width, self.samples
        for j, units in block.tiles(outputs, _even(outputs, max(1, code.lanes // samples))):
            sums = self._products(block, stage, j, units, array, x)  # (units, samples)
            if stage is block.plan.last:
                added = code.lane_sums(sums)
                for r in range(units):
                    at = self._value(block, stage, code.plus(j, r), 0)
                    code.store_some(block.arguments.activations, at, added, r * samples, samples)
            else:
                added = code.lane_sums([sums[r * samples + n] for n in range(samples) for r in range(units)])
                for n in range(samples):
                    at = self._value(block, stage, j, n)
                    code.store_some(block.arguments.activations, at, added, n * units, units)

    def _products(
        self, block: ColumnBlock, stage: Stage, j: Index, units: int, array: Pointer, x: Sequence[Index]
    ) -> list[Lane]:
        """Vectors whose lanes sum to the source's values, of so many units from j on: (units, samples)."""
        code, samples = block.code, self.samples

        def add(sums: list[Lane], i: Index, count: int) -> None:
            of_samples = [code.load_some(array, code.plus(each, i), count) for each in x]
            for r in range(units):
                w = code.load_some(block.arguments.parameters, weight_place(block, stage, code.plus(j, r), i), count)
                for n in range(samples):
                    sums[r * samples + n] = w.times_plus(of_samples[n], sums[r * samples + n])

        biases = [bias_to_sum(block, stage, code.plus(j, r)) for r in range(units)]
        return sums_over(code, stage.width[0], [bias for bias in biases for _ in range(samples)], add)

    def _apply_chain(self, block: ColumnBlock, stage: Stage) -> None:
        code, place = block.code, stage.source_offset
        if stage is block.plan.last:
            columns = -(-self.samples // code.lanes)
            with code.loop(0, stage.units) as unit, code.loop(0, columns) as s:
                # lanes without a sample become the same numbers in every step
                (y,) = block.counted([block.activation(code.plus(unit, place), s)], [s])
                apply_chain(block, stage, unit, s, y)
        elif stage.chain:
            with code.loop(0, self._vectors(block, stage)) as v:
                apply_chain(block, stage, 0, v, block.activation(place, v))

    def backward(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        code, (before,) = block.code, stage.inputs
        if stage is block.plan.last:
            chain_backward_of_all(block, stage, columns)
        elif stage.chain:
            with code.loop(0, self._vectors(block, stage)) as v:
                chain_backward(block, stage, 0, {v: block.gradient(stage.gradient_offset, v)})
        if before.learns:
            self._give_back(block, stage)
            block.given_gradients.add(before)

    def _give_back(self, block: ColumnBlock, stage: Stage) -> None:
        """Store the gradients of the inputs."""
        for i, counts in vector_tiles(block, stage.width[0], max(1, SUMS // self.samples), again=True):
            self._give_vectors(block, stage, i, counts)

    def _give_vectors(self, block: ColumnBlock, stage: Stage, i: Index, counts: Sequence[int]) -> None:
        """Store the gradients of the inputs from i on, in vectors of so many."""
        code, samples, (before,) = block.code, self.samples, stage.inputs
        gradients = block.arguments.activation_gradients
        with code.carrying(0, stage.units, [code.lane(0.0)] * (len(counts) * samples)) as (j, sums):
            dy = [code.load_one(gradients, self._gradient(block, stage, j, n)) for n in range(samples)]
            for c, count in enumerate(counts):
                at = weight_place(block, stage, j, code.plus(i, c * code.lanes))
                w = code.load_some(block.arguments.parameters, at, count)
                for n in range(samples):
                    sums[c * samples + n] = w.times_plus(dy[n], sums[c * samples + n])
        for c, count in enumerate(counts):
            for n in range(samples):
                at = self._gradient(block, before, code.plus(i, c * code.lanes), n)
                code.store_some(gradients, at, [sums[c * samples + n]], 0, count)

    def weight_gradient(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows, add: bool) -> None:
        code, outputs = block.code, stage.units
        of_values, of_weights = block.arguments.activation_gradients, block.arguments.gradients
        self._add_weight_products(block, stage, *self._inputs(block, stage, columns, rows), add)
        if stage is block.plan.last:
            add_bias_gradients(block, stage, columns)
        elif stage.bias_offset is not None:
            for j, counts in vector_tiles(block, outputs, 1):
                dy = [
                    code.load_some(of_values, self._gradient(block, stage, j, n), counts[0])
                    for n in range(self.samples)
                ]
                _store_sum(code, of_weights, code.plus(j, stage.bias_offset), dy, counts[0], add=True)

    def _add_weight_products(
        self, block: ColumnBlock, stage: Stage, array: Pointer, starts: Sequence[Index], add: bool
    ) -> None:
        """Store the gradients of the weights, or add to them; arguments as in `_compute`."""
        code, (inputs, outputs), samples = block.code, stage.width, self.samples
        of_values, of_weights = block.arguments.activation_gradients, block.arguments.gradients
        for i, counts in vector_tiles(block, inputs, max(1, SUMS // samples), again=not add):
            x = [
                [code.load_some(array, code.plus(start, code.plus(i, c * code.lanes)), count) for start in starts]
                for c, count in enumerate(counts)
            ]
            with code.loop(0, outputs) as j:
                dy = [code.load_one(of_values, self._gradient(block, stage, j, n)) for n in range(samples)]
                for c, count in enumerate(counts):
                    at = weight_place(block, stage, j, code.plus(i, c * code.lanes))
                    products = [each * of_sample for each, of_sample in zip(dy, x[c], strict=True)]
                    _store_sum(code, of_weights, at, products, count, add)

    # ---- memory ------------------------------------------------------------------------------------------------
    def _inputs(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows) -> tuple[Pointer, list[Index]]:
        """An array, and where in it the inputs of each sample begin. Those that the columns lack repeat the last."""
        code, (before,) = block.code, stage.inputs
        if before.kind == INPUT:
            last = code.minus(code.times(columns, code.lanes), 1)
            held = [n if n < code.lanes else code.least(n, last) for n in range(self.samples)]
            return rows.array, [code.index(rows.first(n)) for n in held]
        place = block.first_number(before.output_offset)
        return block.arguments.activations, [self._number(block, before, place, 0, n) for n in range(self.samples)]

    def _value(self, block: ColumnBlock, stage: Stage, unit: Index, sample: int) -> Index:
        """The position of the source's value of a unit and a sample."""
        return self._number(block, stage, block.first_number(stage.source_offset), unit, sample)

    def _gradient(self, block: ColumnBlock, stage: Stage, unit: Index, sample: int) -> Index:
        """The position of the gradient of a unit and a sample."""
        return self._number(block, stage, block.first_number(stage.gradient_offset), unit, sample)

    def _number(self, block: ColumnBlock, stage: Stage, first: Index, unit: Index, sample: int) -> Index:
        code = block.code
        if stage is block.plan.last:
            return code.plus(first, code.plus(code.times(unit, block.stride * code.lanes), sample))
        return code.plus(first, code.plus(unit, sample * self._row(block, stage)))

    def _row(self, block: ColumnBlock, stage: Stage) -> int:
        """The length of a sample's row of a hidden stage: whole vectors, if they fit."""
        lanes, units = block.code.lanes, stage.units
        whole = -(-units // lanes) * lanes
        return int(whole if whole * self.samples <= units * lanes * block.stride else units)

    def _vectors(self, block: ColumnBlock, stage: Stage) -> int:
        """The number of vectors that the values of a hidden stage fill."""
        return -(-self._row(block, stage) * self.samples // block.code.lanes)


def is_row_of_formulas(plan: Plan) -> bool:
    """Whether a plan is a row of affine maps of whole samples, each followed by nothing but formulas, as FewSamples
    needs."""
    given = plan.stages[0]
    return not given.chain and all(
        stage.kind == "Affine"
        and stage.inputs == [before]
        and stage.places == 1
        and all(isinstance(rule_of(element), Formula) for element in stage.chain)
        for before, stage in pairwise(plan.stages)
    )


def _even(count: int, most: int) -> int:
    """The size of tiles that cover so many, at most `most`, as evenly as possible."""
    return -(-count // -(-count // most))


def _store_sum(code: Code, pointer: Pointer, at: Index, terms: Sequence[Lane], count: int, add: bool) -> None:
    """Store the sum of these vectors as `count` numbers of an array, or add it to these."""
    total = code.load_some(pointer, at, count) if add else terms[0]
    for term in terms if add else terms[1:]:
        total = total + term
    code.store_some(pointer, at, [total], 0, count)
