"""The first layer of one network with many features: its products run along the features, as a row of data lies.

In sample lanes the samples of a vector must be fetched one by one, and each weight's gradient is a vector of partial
sums to be added up. With W features a vector a sample's row is read as it is, and the gradients of W neighbouring
weights are a vector; the sums that are left, one for each unit and sample forward, have `features` terms each.
"""

from __future__ import annotations

from collections.abc import Callable

from lamp.compiler.code import Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.affine import weight_place
from lamp.compiler.rules.weight_gradients import add_bias_gradients
from lamp.compiler.stages import Stage

Row = Callable[[Index], Index]  # where the row of a sample begins among the data's numbers, by its number in the chunk

MANY = 32  # registers: with so many, tiles are larger


def forward(block: ColumnBlock, layer: Stage, columns: Index, x: Pointer, row: Row) -> None:
    """W x + b for the samples of so many columns, kept where what follows the affine map finds it."""
    code, (inputs, outputs) = block.code, layer.width
    samples = min(code.lanes, 8 if code.machine.registers >= MANY else 4)
    place = layer.first_kept
    with code.loop(0, code.times(columns, code.lanes), samples) as n:
        rows = [row(code.plus(n, k)) for k in range(samples)]
        for j, units in block.tiles(outputs, 2):
            biases = [_bias(block, layer, code.plus(j, r)) for r in range(units)]
            start = [bias for bias in biases for _ in range(samples)]
            with code.carrying(0, inputs, start, code.lanes) as (i, sums):
                of_samples = [code.load_unaligned(x, code.plus(each, i)) for each in rows]
                for r in range(units):
                    w = code.load_unaligned(block.arguments.parameters, weight_place(block, layer, code.plus(j, r), i))
                    for k in range(samples):
                        sums[r * samples + k] = w.times_plus(of_samples[k], sums[r * samples + k])
            added = code.added_up(sums)
            for r in range(units):
                at = code.plus(block.first_number(code.plus(code.plus(j, r), place)), n)
                code.store_some(block.arguments.activations, at, added, r * samples, samples)


def add_gradients(block: ColumnBlock, layer: Stage, columns: Index, x: Pointer, row: Row) -> None:
    """dW += dy x^T and db += dy of the samples of so many columns."""
    code, (inputs, outputs) = block.code, layer.width
    rows, vectors = (4, 6) if code.machine.registers >= MANY else (2, 4)
    for i, tile_vectors in block.tiles(inputs // code.lanes, vectors):
        for j, tile_rows in block.tiles(outputs, rows):
            with code.carrying(0, code.times(columns, code.lanes), [code.lane(0.0)] * (tile_rows * tile_vectors)) as (
                n,
                sums,
            ):
                begin = code.plus(row(n), code.times(i, code.lanes))
                of_sample = [code.load_unaligned(x, code.plus(begin, c * code.lanes)) for c in range(tile_vectors)]
                for r in range(tile_rows):
                    unit = code.plus(j, layer.gradients + r)
                    dy = code.load_one(block.arguments.activation_gradients, code.plus(block.first_number(unit), n))
                    for c in range(tile_vectors):
                        sums[r * tile_vectors + c] = dy.times_plus(of_sample[c], sums[r * tile_vectors + c])
            for r in range(tile_rows):
                for c in range(tile_vectors):
                    feature = code.times(code.plus(i, c), code.lanes)
                    at = weight_place(block, layer, code.plus(j, r), feature)
                    dw = code.load_unaligned(block.arguments.gradients, at) + sums[r * tile_vectors + c]
                    code.store_unaligned(block.arguments.gradients, at, dw)
    add_bias_gradients(block, layer, columns)


def _bias(block: ColumnBlock, layer: Stage, unit: Index) -> Lane:
    """A vector whose lanes add up to the bias of a unit."""
    code = block.code
    if layer.bias is None:
        return code.lane(0.0)
    return code.load_first(block.arguments.parameters, code.plus(unit, layer.bias))
