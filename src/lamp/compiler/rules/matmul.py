"""The rule for products of two values as matrices, such as the scores and the outputs of attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import (
    apply_chain_to_all,
    begin_gradients,
    give_gradients,
    is_long,
    keep_source,
    note_all_given,
)
from lamp.compiler.rules.contraction import add_products, rows_of, width_of
from lamp.compiler.rules.rule import Rule
from lamp.compiler.rules.views import View, viewed
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

Read = Callable[[Sequence[Index], Index], Lane]  # (the places on all axes, a column) -> a number


class MatMul(Rule):
    """z = scale x y over the last two axes, for each place of the others.

    Backward  dx = scale dz y^T    dy = scale x^T dz
    """

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage = super().stage(op, inputs, offsets)
        (left, x), (right, y) = (viewed(each, value.shape) for each, value in zip(inputs, op.inputs, strict=True))
        stage.inputs = [left, right]
        stage.attributes = {
            "x": x,  # (..., rows, terms)
            "y": y if op.attributes.get("transposed") else y.transposed,  # (..., columns, terms)
            "out": View.of(op.output.shape),  # (..., rows, columns)
            "scale": op.attributes.get("scale", 1.0),
        }
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (x, y, out), long = block.code, _views(stage), is_long(block, stage)
        left, right = (self._values(block, before, view) for before, view in zip(stage.inputs, (x, y), strict=True))
        for places, s, total in self._products(block, stage, left, right, out.sizes, x.sizes[-1]):
            keep_source(block, stage, out.unit(code, places), s, total, long)
        if long:
            apply_chain_to_all(block, stage)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        x, y, out = _views(stage)
        left, right = stage.inputs
        dz = self._gradients(block, stage, out)
        dz_by_column = self._gradients(block, stage, out.transposed)
        if left.learns:
            of_y = self._values(block, right, y.transposed)
            self._give(block, stage, left, x, dz, of_y, out.sizes[-1])
        if right.learns:
            of_x = self._values(block, left, x.transposed)
            self._give(block, stage, right, y, dz_by_column, of_x, out.sizes[-2])

    def _give(
        self, block: ColumnBlock, stage: Stage, before: Stage, view: View, left: Read, right: Read, terms: int
    ) -> None:
        """Give an input, seen through a view, its gradients: the sums of these products."""
        whole = view.holds_all(before)
        if not whole:
            begin_gradients(block, before)
        for places, s, total in self._products(block, stage, left, right, view.sizes, terms):
            give_gradients(block, before, view.unit(block.code, places), {s: total}, whole=whole)
        if whole:
            note_all_given(block, before)

    @staticmethod
    def _values(block: ColumnBlock, stage: Stage, view: View) -> Read:
        """The numbers of a stage, seen through a view."""
        code = block.code
        return lambda places, s: block.activation(code.plus(view.unit(code, places), stage.output_offset), s)

    @staticmethod
    def _gradients(block: ColumnBlock, stage: Stage, view: View) -> Read:
        """The gradients of a stage's source, seen through a view."""
        code = block.code
        return lambda places, s: block.gradient(code.plus(view.unit(code, places), stage.gradient_offset), s)

    def _products(
        self, block: ColumnBlock, stage: Stage, left: Read, right: Read, sizes: Sequence[int], terms: int
    ) -> Iterator[tuple[list[Index], Index, Lane]]:
        """scale times the sum over terms of left(..., row, term) right(..., column, term).

        sizes  (..., rows, columns)

        Yields the places (..., row, column), the column of the block, and the sum.
        """
        code, scale = block.code, stage.attributes["scale"]
        *batch, rows, columns = sizes
        width = width_of(block, rows, columns, 1)
        with code.nest([(0, n) for n in batch]) as (b, _), code.loop(0, block.columns) as s:
            for c, wide in block.tiles(columns, width):
                for r, high in block.tiles(rows, rows_of(block, rows, wide, 1)):
                    with code.carrying(0, terms, [code.lane(0.0)] * (high * wide)) as (t, sums):
                        of_rows = [left([*b, code.plus(r, k), t], s) for k in range(high)]
                        add_products(sums, of_rows, [right([*b, code.plus(c, k), t], s) for k in range(wide)])
                    for (k, m), total in zip(itertools.product(range(high), range(wide)), sums, strict=True):
                        scaled = total if scale == 1.0 else total * scale
                        yield [*b, code.plus(r, k), code.plus(c, m)], s, scaled


def _views(stage: Stage) -> tuple[View, View, View]:
    given = stage.attributes
    return given["x"], given["y"], given["out"]
