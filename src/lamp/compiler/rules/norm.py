"""The rules for norms of each sample: LayerNorm, RMSNorm, GroupNorm and InstanceNorm, as two stages.

The first one standardises rows of a sample's values, the second multiplies by weights and adds biases. What the first
one puts out is what the gradients of the weights are computed from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule, WeightedRule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

TOGETHER = 8  # weights whose gradients are summed together
SCALE, MEAN, VAR = range(3)  # what is kept of each row; the last two where running statistics are tracked
ROWS = 4  # rows that are standardised together: the additions of one row wait for each other


class Standardise(Rule):
    """y = (x - mean) s for each row of n values, s = 1 / sqrt(mean of (x - mean)^2 + eps); without a mean if the norm
    is not centred.

    Backward  dx = s (dy - mean(dy) - y mean(dy y)), likewise without mean(dy)
    """

    keeps_source = True

    def kept(self, stage: Stage) -> int:
        """The scale of each row; where running statistics are tracked, its mean and variance too."""
        return int(stage.attributes["rows"]) * (3 if stage.attributes["tracks"] else 1)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,) = block.code, stage.inputs
        n = stage.attributes["n"]
        for rows, s in self._rows(block, stage):
            means, variances = self._moments(block, stage, rows, s)
            scales = [(each + stage.attributes["eps"]).rsqrt() for each in variances]
            kept = {SCALE: scales, MEAN: means, VAR: variances} if stage.attributes["tracks"] else {SCALE: scales}
            for what, of_rows in kept.items():
                first = stage.kept_offset + what * stage.attributes["rows"]
                for row, number in zip(rows, of_rows, strict=True):
                    block.keep_activation(code.plus(row, first), s, number)
            with code.loop(0, n) as k:
                for row, mean, scale in zip(rows, means, scales, strict=True):
                    unit = code.plus(code.times(row, n), k)
                    x = block.activation(code.plus(unit, before.output_offset), s)
                    apply_chain(block, stage, unit, s, (x if mean is None else x - mean) * scale)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,) = block.code, stage.inputs
        if not before.learns:
            return
        n = stage.attributes["n"]

        def at(unit: Index, s: Index) -> tuple[Lane, Lane]:
            dy = block.gradient(code.plus(unit, stage.gradient_offset), s)
            return dy, block.activation(code.plus(unit, stage.value_offsets[0]), s)

        for rows, s in self._rows(block, stage):
            firsts, count = [code.times(row, n) for row in rows], len(rows)
            scales = [block.activation(code.plus(row, stage.kept_offset), s) for row in rows]
            with code.carrying(0, n, [code.lane(0.0)] * (2 * count)) as (k, sums):
                for r, first in enumerate(firsts):
                    dy, y = at(code.plus(first, k), s)
                    sums[r], sums[count + r] = sums[r] + dy, dy.times_plus(y, sums[count + r])
            means = [each * (1.0 / n) for each in sums]
            with code.loop(0, n) as k:
                for r, first in enumerate(firsts):
                    dy, y = at(code.plus(first, k), s)
                    dx = dy - y * means[count + r]
                    dx = (dx - means[r] if stage.attributes["centred"] else dx) * scales[r]
                    give_gradients(block, before, code.plus(first, k), {s: dx})
        note_all_given(block, before)

    @staticmethod
    def _rows(block: ColumnBlock, stage: Stage) -> Iterator[tuple[list[Index], Index]]:
        """Loops over some rows at a time, and columns."""
        for first, count in block.tiles(stage.attributes["rows"], ROWS):
            with block.code.loop(0, block.columns) as s:
                yield [block.code.plus(first, r) for r in range(count)], s

    def _moments(
        self, block: ColumnBlock, stage: Stage, rows: list[Index], s: Index
    ) -> tuple[list[Lane | None], list[Lane]]:
        """The mean of each row, None if it is not needed, and its variance around it."""
        code, (before,), n = block.code, stage.inputs, stage.attributes["n"]
        firsts = [code.plus(code.times(row, n), before.output_offset) for row in rows]
        zeros, means = [code.lane(0.0)] * len(rows), list[Lane | None]([None] * len(rows))
        if stage.attributes["centred"]:
            with code.carrying(0, n, zeros) as (k, sums):
                sums[:] = [
                    total + block.activation(code.plus(at, k), s) for total, at in zip(sums, firsts, strict=True)
                ]
            means = [each * (1.0 / n) for each in sums]
        with code.carrying(0, n, zeros) as (k, sums):
            for r, (first, mean) in enumerate(zip(firsts, means, strict=True)):
                x = block.activation(code.plus(first, k), s)
                x = x if mean is None else x - mean
                sums[r] = x.times_plus(x, sums[r])
        return means, [each * (1.0 / n) for each in sums]


class Norm(WeightedRule):
    """y = w x + b for standardised x. Each weight belongs to `inner` neighbouring values, in each of `outer` rows.

    Backward  dx = w dy    dw = sum of dy x    db = sum of dy    (over samples, rows and neighbours)
    """

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        shape, given = op.inputs[0].shape, op.attributes
        rows = given.get("groups") or math.prod(shape[: len(shape) - len(given["axes"])])
        about = {"rows": rows, "n": math.prod(shape) // rows, "eps": given["eps"], "centred": given["centred"]}
        about |= {"tracks": bool(op.buffers), "momentum": vars(op.module).get("momentum")}
        return [Stage("Standardise", inputs, math.prod(shape), attributes=about)]

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        (standardised,) = inputs
        if not op.parameters:
            return standardised
        stage = super().stage(op, inputs, offsets)
        of_rows = op.kind == "Norm" and "groups" not in op.attributes  # a weight for each value of a row
        count = standardised.attributes["n"] if of_rows else op.output.shape[0]
        outer = standardised.attributes["rows"] if of_rows else 1
        stage.attributes = {"outer": outer, "count": count, "inner": stage.units // outer // count}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,) = block.code, stage.inputs
        with self._each(block, stage) as (k, unit), each_column(block, stage) as columns:
            w, b = self._weights(block, stage, k)
            for s in columns:
                x = block.activation(code.plus(unit, before.output_offset), s)
                y = x if w is None else x * w
                apply_chain(block, stage, unit, s, y if b is None else y + b)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,) = block.code, stage.inputs
        if not before.learns:
            return
        with self._each(block, stage) as (k, unit), each_column(block, before, backward=True) as columns:
            w, _ = self._weights(block, stage, k)
            dy = {s: block.gradient(code.plus(unit, stage.gradient_offset), s) for s in columns}
            give_gradients(block, before, unit, dy if w is None else {s: each * w for s, each in dy.items()})
        note_all_given(block, before)

    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        self.weight_gradient_of_samples(block, stage, block.columns)

    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        code, (before,), given = block.code, stage.inputs, stage.attributes
        for name in stage.parameters:
            for first, together in block.tiles(given["count"], TOGETHER):
                ranges = [(0, vectors), (0, given["outer"]), (0, given["inner"])]
                with code.nest(ranges, [code.lane(0.0)] * together) as ((s, outer, inner), sums):
                    for r in range(together):
                        unit = self._unit(block, stage, outer, code.plus(first, r), inner)
                        dy = block.gradient(code.plus(unit, stage.gradient_offset), s)
                        if name == "weight":
                            dy = dy * block.activation(code.plus(unit, before.output_offset), s)
                        sums[r] = sums[r] + dy
                block.add_to_gradients(code.plus(first, stage.parameters[name]), sums)

    def _weights(self, block: ColumnBlock, stage: Stage, k: Index) -> tuple[Lane | None, Lane | None]:
        """The weight and the bias of this number, None where there is none."""
        of_stage = stage.parameters
        w, b = (
            block.parameter(block.code.plus(k, of_stage[name])) if name in of_stage else None
            for name in ("weight", "bias")
        )
        return w, b

    @contextmanager
    def _each(self, block: ColumnBlock, stage: Stage) -> Iterator[tuple[Index, Index]]:
        """Loops over the values; yields the number of the weight and that of the unit."""
        ranges = [(0, stage.attributes[name]) for name in ("outer", "count", "inner")]
        with block.code.nest(ranges) as ((outer, k, inner), _):
            yield k, self._unit(block, stage, outer, k, inner)

    @staticmethod
    def _unit(block: ColumnBlock, stage: Stage, outer: Index, k: Index, inner: Index) -> Index:
        code, given = block.code, stage.attributes
        return code.plus(code.times(code.plus(code.times(outer, given["count"]), k), given["inner"]), inner)
