"""The first layer of a single network with many features: here lanes are features instead of samples.

With samples as lanes, the samples of a vector would have to be loaded one by one, and each weight's gradient would be a
vector of partial sums. With W features as lanes, a row of the data is loaded as it lies in memory, and the gradients of
W neighbouring weights are one vector. Only forward sums across lanes, once per unit and sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.affine import weight_place
from lamp.compiler.rules.chain import apply_chain_to_all, chain_backward_of_all
from lamp.compiler.rules.rule import ChunkRule, Rows
from lamp.compiler.rules.weight_gradients import add_bias_gradients
from lamp.compiler.stages import Stage

MANY = 32  # least number of registers for the larger tiles


class FeatureMajor(ChunkRule):
    """y = W x + b, from the rows of the data.

    Backward  dW = sum of dy x^T over samples    db = sum of dy over samples
    """

    def forward(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows) -> None:
        _contracted(block, stage, columns, rows)
        if stage.chain:
            apply_chain_to_all(block, stage, columns)

    def backward(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        chain_backward_of_all(block, stage, columns)

    def weight_gradient(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows, add: bool) -> None:
        _add_products(block, stage, columns, rows)
        add_bias_gradients(block, stage, columns)


def _contracted(block: ColumnBlock, layer: Stage, columns: Index, data: Rows) -> None:
    """Compute W x + b for the samples of so many columns, and store it as the stage's source."""
    code, (inputs, outputs) = block.code, layer.width
    samples = min(code.lanes, 8 if code.machine.registers >= MANY else 4)
    place = layer.source_offset
    with code.loop(0, code.times(columns, code.lanes), samples) as n:
        rows = [data.first(code.plus(n, k)) for k in range(samples)]
        for j, units in block.tiles(outputs, 2):
            biases = [bias_to_sum(block, layer, code.plus(j, r)) for r in range(units)]

            def add(sums: list[Lane], i: Index, count: int, j: Index = j, units: int = units) -> None:
                of_samples = [code.load_some(data.array, code.plus(each, i), count) for each in rows]
                for r in range(units):
                    at = weight_place(block, layer, code.plus(j, r), i)
                    w = code.load_some(block.arguments.parameters, at, count)
                    for k in range(samples):
                        sums[r * samples + k] = w.times_plus(of_samples[k], sums[r * samples + k])

            sums = sums_over(code, inputs, [bias for bias in biases for _ in range(samples)], add)
            added = code.lane_sums(sums)
            for r in range(units):
                at = code.plus(block.first_number(code.plus(code.plus(j, r), place)), n)
                code.store_some(block.arguments.activations, at, added, r * samples, samples)


def _add_products(block: ColumnBlock, layer: Stage, columns: Index, data: Rows) -> None:
    """Add dy x^T to dW, summed over the samples of so many columns."""
    code, (inputs, outputs) = block.code, layer.width
    rows, vectors = (4, 6) if code.machine.registers >= MANY else (2, 4)
    for i, counts in vector_tiles(block, inputs, vectors):
        for j, tile_rows in block.tiles(outputs, rows):
            zeros = [code.lane(0.0)] * (tile_rows * len(counts))
            with code.carrying(0, code.times(columns, code.lanes), zeros) as (n, sums):
                begin = code.plus(data.first(n), i)
                of_sample = [
                    code.load_some(data.array, code.plus(begin, c * code.lanes), count)
                    for c, count in enumerate(counts)
                ]
                for r in range(tile_rows):
                    unit = code.plus(j, layer.gradient_offset + r)
                    dy = code.load_one(block.arguments.activation_gradients, code.plus(block.first_number(unit), n))
                    for c in range(len(counts)):
                        sums[r * len(counts) + c] = dy.times_plus(of_sample[c], sums[r * len(counts) + c])
            for r in range(tile_rows):
                for c, count in enumerate(counts):
                    at = weight_place(block, layer, code.plus(j, r), code.plus(i, c * code.lanes))
                    code.add_some(block.arguments.gradients, at, [sums[r * len(counts) + c]], 0, count)


def bias_to_sum(block: ColumnBlock, layer: Stage, unit: Index) -> Lane:
    """A vector whose lanes sum to the bias of a unit."""
    code = block.code
    if layer.bias_offset is None:
        return code.lane(0.0)
    return code.load_first(block.arguments.parameters, code.plus(unit, layer.bias_offset))


def sums_over(code: Code, count: int, start: list[Lane], add: Callable[[list[Lane], Index, int], None]) -> list[Lane]:
    """Sums over `count` numbers, W at a time: `add` adds those from i on to them."""
    whole = count - count % code.lanes
    if whole:
        with code.carrying(0, whole, start, code.lanes) as (i, start):
            add(start, i, code.lanes)
    if whole < count:
        add(start, whole, count - whole)
    return start


def vector_tiles(
    block: ColumnBlock, count: int, most: int, *, again: bool = False
) -> Iterator[tuple[Index, list[int]]]:
    """Loops over `count` numbers, at most so many vectors at a time; yields the first number of each tile, and how many
    numbers each of its vectors holds.

    again  whether numbers may come twice. Then single vectors need no second copy of the code for the last numbers:
           these come with some of those before
    """
    code = block.code
    if again and most == 1 and count > code.lanes:
        with code.loop(0, count, code.lanes) as i:
            yield code.least(i, count - code.lanes), [code.lanes]
        return
    for v, vectors in block.tiles(count // code.lanes, most):
        yield code.times(v, code.lanes), [code.lanes] * vectors
    if rest := count % code.lanes:
        yield count - rest, [rest]
