"""Sums of products, tiled for registers: the matrix products of affine maps and convolutions.

The sums of a tile are those of a few rows at a few neighbouring places. So a weight is loaded once for all places of
the tile, and a value once for all its rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane

MOST = 8  # the most rows of a tile, and the most places


def contracted(
    block: ColumnBlock,
    count: Index,
    places: int,
    terms: Index,
    start: Callable[[Index], Lane],
    parameter: Callable[[Index, Index], Index],
    value: Callable[[Index, Index, Index], Lane],
    light: bool,
    most: int | None = None,
) -> Iterator[tuple[Index, Index, list[Lane]]]:
    """start(k) + sum over i < terms of p[parameter(k, i)] value(place, i, column), for each k < count, each place and
    column.

    Yields each k and place with a list of its sums, one per column of the block.

    light  whether the code should be short, since little of the work is done here
    most   for a single place: the most rows of a tile, to be chosen as those of several places are
    """
    code, columns, one = block.code, block.columns, places == 1
    width = 1 if one else width_of(block, count, places)
    for place, wide in [(0, 1)] if one else block.tiles(places, width):
        tile = [(code.plus(place, p), s) for p in range(wide) for s in range(columns)]
        simple = one and most is None
        together = block.rows(count, light) if simple else rows_of(block, count, wide, most=most or MOST)
        for first, rows in block.tiles(count, together):
            before = [lane for r in range(rows) for lane in [start(code.plus(first, r))] * len(tile)]
            with code.carrying(0, terms, before) as (i, sums):
                x = [value(at, i, s) for at, s in tile]
                for r in range(rows):
                    w = block.parameter(parameter(code.plus(first, r), i))
                    for k in range(len(tile)):
                        sums[r * len(tile) + k] = w.times_plus(x[k], sums[r * len(tile) + k])
            for r, p in itertools.product(range(rows), range(wide)):
                begin = (r * wide + p) * columns
                yield code.plus(first, r), code.plus(place, p), sums[begin : begin + columns]


def add_products(sums: list[Lane], rows: Sequence[Lane], columns: Sequence[Lane]) -> None:
    """Add the product of each row with each column to its sum."""
    for k, (row, column) in enumerate(itertools.product(rows, columns)):
        sums[k] = row.times_plus(column, sums[k])


def width_of(block: ColumnBlock, channels: int, places: int, columns: int | None = None) -> int:
    """How many of these places to compute together: those of the tile that takes the least time."""
    columns = block.columns if columns is None else columns
    most = range(1, min(places, MOST) + 1) or [1]
    return min(
        most, key=lambda width: _cost(channels, rows_of(block, channels, width, columns), places, width, columns)
    )


def rows_of(block: ColumnBlock, channels: int, width: int, columns: int | None = None, most: int = MOST) -> int:
    """How many channels to compute together with so many places: as many as fit in registers, preferably without
    remainder."""
    columns, registers = block.columns if columns is None else columns, block.code.machine.registers
    values = width * columns
    fitting = [r for r in range(1, min(channels, most) + 1) if r == 1 or r * values + min(r, values) + 1 < registers]
    return min(fitting, key=lambda rows: _cost(channels, rows, width, width, columns))


def _cost(channels: int, rows: int, places: int, width: int, columns: int) -> float:
    """The time that one term of all sums takes in such tiles, in cycles: what its products, its loads, all its
    instructions or the latency of one sum take at least."""

    def of_tile(rows: int, width: int) -> float:
        loads, products = rows + width * columns, rows * width * columns
        return max(products / 2, loads / 2, (products + loads + 4) / 6, 4.0) + loads / 8 + 0.5

    def parts(count: int, size: int) -> list[int]:
        return [size] * (count // size) + [count % size] * (count % size > 0)

    return sum(of_tile(r, w) for r in parts(channels, rows) for w in parts(places, width))
