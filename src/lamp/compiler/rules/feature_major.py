"""The first layer of a single network with many features: here lanes are features instead of samples.

With samples as lanes, the samples of a vector would have to be loaded one by one, and each weight's gradient would be a
vector of partial sums. With W features as lanes, a row of the data is loaded as it lies in memory, and the gradients of
W neighbouring weights are one vector. Only forward sums across lanes, once per unit and sample.
"""

from __future__ import annotations

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
            start = [bias for bias in biases for _ in range(samples)]
            with code.carrying(0, inputs, start, code.lanes) as (i, sums):
                of_samples = [code.load_unaligned(data.array, code.plus(each, i)) for each in rows]
                for r in range(units):
                    w = code.load_unaligned(block.arguments.parameters, weight_place(block, layer, code.plus(j, r), i))
                    for k in range(samples):
                        sums[r * samples + k] = w.times_plus(of_samples[k], sums[r * samples + k])
            added = code.lane_sums(sums)
            for r in range(units):
                at = code.plus(block.first_number(code.plus(code.plus(j, r), place)), n)
                code.store_some(block.arguments.activations, at, added, r * samples, samples)


def _add_products(block: ColumnBlock, layer: Stage, columns: Index, data: Rows) -> None:
    """Add dy x^T to dW, summed over the samples of so many columns."""
    code, (inputs, outputs) = block.code, layer.width
    rows, vectors = (4, 6) if code.machine.registers >= MANY else (2, 4)
    for i, tile_vectors in block.tiles(inputs // code.lanes, vectors):
        for j, tile_rows in block.tiles(outputs, rows):
            with code.carrying(0, code.times(columns, code.lanes), [code.lane(0.0)] * (tile_rows * tile_vectors)) as (
                n,
                sums,
            ):
                begin = code.plus(data.first(n), code.times(i, code.lanes))
                of_sample = [
                    code.load_unaligned(data.array, code.plus(begin, c * code.lanes)) for c in range(tile_vectors)
                ]
                for r in range(tile_rows):
                    unit = code.plus(j, layer.gradient_offset + r)
                    dy = code.load_one(block.arguments.activation_gradients, code.plus(block.first_number(unit), n))
                    for c in range(tile_vectors):
                        sums[r * tile_vectors + c] = dy.times_plus(of_sample[c], sums[r * tile_vectors + c])
            for r in range(tile_rows):
                for c in range(tile_vectors):
                    feature = code.times(code.plus(i, c), code.lanes)
                    at = weight_place(block, layer, code.plus(j, r), feature)
                    dw = code.load_unaligned(block.arguments.gradients, at) + sums[r * tile_vectors + c]
                    code.store_unaligned(block.arguments.gradients, at, dw)


def bias_to_sum(block: ColumnBlock, layer: Stage, unit: Index) -> Lane:
    """A vector whose lanes sum to the bias of a unit."""
    code = block.code
    if layer.bias_offset is None:
        return code.lane(0.0)
    return code.load_first(block.arguments.parameters, code.plus(unit, layer.bias_offset))
