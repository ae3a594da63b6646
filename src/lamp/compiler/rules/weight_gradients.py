"""Gradients of an affine map's weights: products summed over all samples of a chunk, and all places.

dW[j, i] = sum over samples of dy[j] x[i]. A tile of rows x columns of dW is summed in as many registers, each a vector
of W partial sums. At the end the lanes of W such vectors are summed together, by pairs, into one vector of W sums.
"""

from __future__ import annotations

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.rules.contraction import rows_of, width_of
from lamp.compiler.stages import Stage

FEW = 16  # registers for the tiles of a light layer, whose code should be short
BIASES = 4  # so many gradients of biases are summed together


def add_products(block: ColumnBlock, layer: Stage, vectors: Index) -> None:
    """Add the samples in so many vectors to dW."""
    code, (inputs, outputs) = block.code, layer.width
    rows, columns = _tile(inputs, outputs, FEW if block.is_light(layer) else code.machine.registers)
    if layer.places > 1:  # the sums are over so much that it pays to leave none over
        columns = width_of(block, outputs, inputs, 1)
        rows = rows_of(block, outputs, columns, 1)
    for j, tile_rows in block.tiles(outputs, rows):
        for i, tile_columns in block.tiles(inputs, columns):
            _add_tile(block, layer, j, tile_rows, i, tile_columns, vectors)


def _samples(block: ColumnBlock, layer: Stage, vectors: Index) -> list[tuple[Index, Index]]:
    """The ranges over which the gradients are summed: columns, and the places of a sample."""
    return [(0, vectors), *([(0, layer.places)] if layer.places > 1 else [])]


def add_bias_gradients(block: ColumnBlock, layer: Stage, vectors: Index) -> None:
    """Add the samples in so many vectors to db."""
    code, (_, outputs) = block.code, layer.width
    if layer.bias_offset is not None:
        for j, count in block.tiles(outputs, BIASES):
            zeros = [code.lane(0.0)] * count
            with code.nest(_samples(block, layer, vectors), zeros) as ((s, *place), sums):
                first = _at(code, place, outputs, j)
                for r in range(count):
                    sums[r] = sums[r] + block.gradient(code.plus(first, layer.gradient_offset + r), s)
            block.add_to_gradients(code.plus(j, layer.bias_offset), sums)


def _tile(inputs: int, outputs: int, most: int) -> tuple[int, int]:
    """The rows and columns of dW to sum together: as many as fit in so many registers, preferably without
    remainder."""

    def cost(rows: int, columns: int) -> float:
        tiles = -(-outputs // rows) * -(-inputs // columns)
        return tiles * (rows * columns + 0.5 * (rows + columns))

    fitting = [(r, c) for r in (1, 2, 3, 4, 5) for c in (1, 2, 3, 4, 5, 6) if r * c + min(r, c) + 1 < most]
    return min(fitting, key=lambda tile: cost(*tile))


def _add_tile(block: ColumnBlock, layer: Stage, j: Index, rows: int, i: Index, columns: int, vectors: Index) -> None:
    code = block.code
    inputs, outputs = layer.width
    with code.nest(_samples(block, layer, vectors), [code.lane(0.0)] * (rows * columns)) as ((s, *place), sums):
        first = code.plus(_at(code, place, inputs, i), layer.inputs[0].output_offset)
        x = [block.activation(code.plus(first, c), s) for c in range(columns)]
        first = code.plus(_at(code, place, outputs, j), layer.gradient_offset)
        for r in range(rows):
            dy = block.gradient(code.plus(first, r), s)
            for c in range(columns):
                sums[r * columns + c] = dy.times_plus(x[c], sums[r * columns + c])
    block.add_rows_to_gradients(
        [code.plus(code.plus(code.times(code.plus(j, r), inputs), i), layer.weight_offset) for r in range(rows)], sums
    )


def _at(code: Code, place: list[Index], width: Index, feature: Index) -> Index:
    """The number of a feature at this place, or of a sample that has only one."""
    return code.plus(code.times(place[0], width), feature) if place else feature
