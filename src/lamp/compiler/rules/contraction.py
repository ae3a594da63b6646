"""Sums of products of parameters and values, tiled for registers: the matrix products of affine maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane


def contracted(
    block: ColumnBlock,
    count: Index,
    terms: Index,
    start: Callable[[Index], Lane],
    parameter: Callable[[Index, Index], Index],
    value: Callable[[Index, Index], Lane],
    light: bool,
) -> Iterator[tuple[Index, list[Lane]]]:
    """start(k) + sum over i < terms of p[parameter(k, i)] value(i, column), for each k < count and each column.

    Yields each k with a list of its sums, one per column of the block. Several k are summed together, each sum in a
    register, so that each parameter is loaded once for all columns, and each value once for these k.

    light  whether the code should be short, since little of the work is done here
    """
    code, columns = block.code, block.columns
    for first, rows in block.tiles(count, block.rows(count, light)):
        before = [lane for r in range(rows) for lane in [start(code.plus(first, r))] * columns]
        with code.carrying(0, terms, before) as (i, sums):
            x = [value(i, s) for s in range(columns)]
            for r in range(rows):
                w = block.parameter(parameter(code.plus(first, r), i))
                for s in range(columns):
                    sums[r * columns + s] = w.times_plus(x[s], sums[r * columns + s])
        for r in range(rows):
            yield code.plus(first, r), sums[r * columns : (r + 1) * columns]
