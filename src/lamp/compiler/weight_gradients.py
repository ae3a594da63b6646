"""The gradients of weights in sample lanes: products summed over the samples of a vector, and over vectors.

dW[j, i] = sum over samples of dy[j] x[i]. A tile of rows x columns of dW is summed in as many registers, each a vector
of partial sums; then the lanes of W such vectors are added up at once, by pairs: W vectors become one, of W sums.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from lamp.compiler.block import Block
from lamp.compiler.code import I32, Code
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.stages import Stage


def add_gradients(block: Block, layer: Stage, vectors: Index) -> None:
    """Add dW and db of the samples in so many vectors."""
    code, (inputs, outputs) = block.code, layer.width
    rows, columns = _tile(code, inputs, outputs)
    for j, tile_rows in block.tiles(outputs, rows):
        for i, tile_columns in block.tiles(inputs, columns):
            _add_tile(block, layer, j, tile_rows, i, tile_columns, vectors)
    add_bias_gradients(block, layer, vectors)


def add_bias_gradients(block: Block, layer: Stage, vectors: Index) -> None:
    """Add db of the samples in so many vectors."""
    code, outputs = block.code, layer.units
    if layer.bias is not None:
        for j, count in block.tiles(outputs, min(code.lanes, 16)):
            zeros = [code.lane(0.0)] * count
            with code.carrying(0, vectors, zeros) as (s, sums):
                for r in range(count):
                    sums[r] = sums[r] + block.gradient(code.plus(j, layer.gradients + r), s)
            _add_numbers(block, code.plus(j, layer.bias), added_up(code, sums), list(range(count)))


def _tile(code: Code, inputs: int, outputs: int) -> tuple[int, int]:
    """How many rows and columns of dW are summed together: what registers hold, and best without a rest."""
    most = code.target.registers

    def cost(rows: int, columns: int) -> float:
        tiles = -(-outputs // rows) * -(-inputs // columns)
        return tiles * (rows * columns + 0.5 * (rows + columns))

    fitting = [(r, c) for r in (1, 2, 3, 4, 5) for c in (1, 2, 3, 4, 5, 6) if r * c + min(r, c) + 1 < most]
    return min(fitting, key=lambda tile: cost(*tile))


def _add_tile(block: Block, layer: Stage, j: Index, rows: int, i: Index, columns: int, vectors: Index) -> None:
    code = block.code
    with code.carrying(0, vectors, [code.lane(0.0)] * (rows * columns)) as (s, sums):
        x = [block.activation(code.plus(i, layer.inputs[0].outputs + c), s) for c in range(columns)]
        for r in range(rows):
            dy = block.gradient(code.plus(j, layer.gradients + r), s)
            for c in range(columns):
                sums[r * columns + c] = dy.times_plus(x[c], sums[r * columns + c])
    added = added_up(code, sums)
    for r in range(rows):
        at = code.plus(code.plus(code.times(code.plus(j, r), layer.width[0]), i), layer.weight)
        _add_numbers(block, at, added, list(range(r * columns, (r + 1) * columns)))


def _add_numbers(block: Block, at: Index, added: Sequence[Lane], places: list[int]) -> None:
    """Add some of the sums to neighbouring numbers of the gradient."""
    code, b, width = block.code, block.code.b, block.code.lanes
    while places:
        vector = places[0] // width
        pair = [added[vector].value, added[min(vector + 1, len(added) - 1)].value]
        now = [place for place in places if place < (vector + 2) * width][:width]
        mask = ir.Constant(ir.VectorType(I32, len(now)), [place - vector * width for place in now])
        some = b.shuffle_vector(*pair, mask)
        place = b.bitcast(b.gep(block.g, [code.index(at)]), some.type.as_pointer())
        size = code.dtype.itemsize
        b.store(b.fadd(b.load(place, align=size), some), place, align=size)
        places, at = places[len(now) :], code.plus(at, len(now))


def added_up(code: Code, vectors: Sequence[Lane]) -> list[Lane]:
    """The sum of each vector's lanes: those of the first W in the lanes of the first result, and so on."""
    width = code.lanes
    found = []
    for first in range(0, len(vectors), width):
        some = list(vectors[first : first + width])
        some += [some[-1]] * (width - len(some))
        while len(some) > 1:
            some = [_of_pairs(code, x, y) for x, y in zip(some[::2], some[1::2], strict=True)]
        found.append(some[0])
    return found


def _of_pairs(code: Code, x: Lane, y: Lane) -> Lane:
    """The sums of neighbouring lanes: those of x, then those of y."""
    even, odd = (ir.Constant(ir.VectorType(I32, code.lanes), [2 * k + s for k in range(code.lanes)]) for s in (0, 1))
    first, second = (Lane(code, code.b.shuffle_vector(x.value, y.value, mask)) for mask in (even, odd))
    return first + second
