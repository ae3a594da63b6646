"""Gradients of an affine map's weights in sample lanes: products summed over all samples of a chunk.

dW[j, i] = sum over samples of dy[j] x[i]. A tile of rows x columns of dW is summed in as many registers, each a vector
of W partial sums. At the end the lanes of W such vectors are summed together, by pairs, into one vector of W sums.
"""

from __future__ import annotations

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.stages import Stage

FEW = 16  # registers for the tiles of a light layer, whose code should be short
BIASES = 4  # so many gradients of biases are summed together


def add_products(block: ColumnBlock, layer: Stage, vectors: Index) -> None:
    """Add the samples in so many vectors to dW."""
    code, (inputs, outputs) = block.code, layer.width
    rows, columns = _tile(inputs, outputs, FEW if block.is_light(layer) else code.machine.registers)
    for j, tile_rows in block.tiles(outputs, rows):
        for i, tile_columns in block.tiles(inputs, columns):
            _add_tile(block, layer, j, tile_rows, i, tile_columns, vectors)


def add_bias_gradients(block: ColumnBlock, layer: Stage, vectors: Index) -> None:
    """Add the samples in so many vectors to db."""
    code, outputs = block.code, layer.units
    if layer.bias_offset is not None:
        for j, count in block.tiles(outputs, BIASES):
            zeros = [code.lane(0.0)] * count
            with code.carrying(0, vectors, zeros) as (s, sums):
                for r in range(count):
                    sums[r] = sums[r] + block.gradient(code.plus(j, layer.gradient_offset + r), s)
            code.add_some(block.arguments.gradients, code.plus(j, layer.bias_offset), code.lane_sums(sums), 0, count)


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
    with code.carrying(0, vectors, [code.lane(0.0)] * (rows * columns)) as (s, sums):
        x = [block.activation(code.plus(i, layer.inputs[0].output_offset + c), s) for c in range(columns)]
        for r in range(rows):
            dy = block.gradient(code.plus(j, layer.gradient_offset + r), s)
            for c in range(columns):
                sums[r * columns + c] = dy.times_plus(x[c], sums[r * columns + c])
    added = code.lane_sums(sums)
    for r in range(rows):
        at = code.plus(code.plus(code.times(code.plus(j, r), layer.width[0]), i), layer.weight_offset)
        code.add_some(block.arguments.gradients, at, added, r * columns, columns)
