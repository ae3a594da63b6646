"""Wide affine maps of a single network: products of matrices, by the machine's own routine, for a chunk of samples.

In sample lanes, a unit's values for all samples of a chunk lie side by side. So the values of a stage are a matrix with
a column per unit, and those of the data, copied row by row, one with a column per sample.
"""

from __future__ import annotations

from typing import ClassVar

from lamp.compiler.code import Matrix, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.rules.chain import apply_chain, chain_backward_of_all
from lamp.compiler.rules.rule import ChunkRule, Rows
from lamp.compiler.rules.weight_gradients import add_bias_gradients
from lamp.compiler.stages import INPUT, Stage


class Products(ChunkRule):
    """Y = X W^T + b for all samples of a chunk.

    Backward  dX = dY W    dW = dY^T X    db = sum of dY over samples

    from_rows  whether X is copied from the rows of the data; else the network's inputs are stored as values of units
    """

    overwrites: ClassVar[bool] = True

    def __init__(self, from_rows: bool) -> None:
        self.from_rows = from_rows

    def forward(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows) -> None:
        code, (inputs, outputs) = block.code, stage.width
        if self._of_data(stage):
            self._copy(block, stage, columns, rows)
        y = _values(block, block.arguments.activations, stage.source_offset)
        samples = code.times(columns, code.lanes)
        code.matrix_product(
            y, self._inputs(block, stage), _weights(block, stage).t, samples, outputs, inputs, add=False
        )
        if stage.bias_offset is None and not stage.chain:
            return
        with code.loop(0, outputs) as unit:
            bias = None if stage.bias_offset is None else block.parameter(code.plus(unit, stage.bias_offset))
            with code.loop(0, columns) as s:
                value = block.activation(code.plus(unit, stage.source_offset), s)
                apply_chain(block, stage, unit, s, value if bias is None else value + bias)

    def backward(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        code, (inputs, outputs), (before,) = block.code, stage.width, stage.inputs
        chain_backward_of_all(block, stage, columns)
        if before.learns:
            dx = _values(block, block.arguments.activation_gradients, before.gradient_offset)
            dy = _values(block, block.arguments.activation_gradients, stage.gradient_offset)
            given = before in block.given_gradients
            samples = code.times(columns, code.lanes)
            code.matrix_product(dx, dy, _weights(block, stage), samples, inputs, outputs, add=given)
            block.given_gradients.add(before)

    def weight_gradient(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows, add: bool) -> None:
        code, (inputs, outputs) = block.code, stage.width
        dw = _weights(block, stage)._replace(array=block.arguments.gradients)
        dy = _values(block, block.arguments.activation_gradients, stage.gradient_offset)
        samples = code.times(columns, code.lanes)
        code.matrix_product(dw.t, self._inputs(block, stage).t, dy, inputs, outputs, samples, add=add)
        add_bias_gradients(block, stage, columns)

    def _of_data(self, stage: Stage) -> bool:
        return self.from_rows and stage.inputs[0].kind == INPUT

    def _inputs(self, block: ColumnBlock, stage: Stage) -> Matrix:
        """The inputs of a stage, samples x units."""
        (before,) = stage.inputs
        values = _values(block, block.arguments.activations, before.output_offset)
        return values._replace(leading=before.units).t if self._of_data(stage) else values

    def _copy(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows) -> None:
        """Copy the rows of the samples, one after another, to where the values of the inputs are stored."""
        code, (features, _), to = block.code, stage.width, block.arguments.activations
        whole = features - features % code.lanes
        first = block.first_number(stage.inputs[0].output_offset)
        with code.loop(0, code.times(columns, code.lanes)) as n:
            source, place = rows.first(n), code.plus(first, code.times(n, features))
            with code.loop(0, whole, code.lanes) as i:
                code.store_unaligned(to, code.plus(place, i), code.load_unaligned(rows.array, code.plus(source, i)))
            with code.loop(whole, features) as i:
                code.store_first(to, code.plus(place, i), code.load_first(rows.array, code.plus(source, i)))


def _values(block: ColumnBlock, array: Pointer, offset: Index) -> Matrix:
    """The values, or their gradients, that are stored at an offset: samples x units."""
    return Matrix(array, block.first_number(offset), block.code.times(block.stride, block.code.lanes))


def _weights(block: ColumnBlock, stage: Stage) -> Matrix:
    """The weights of a stage, outputs x inputs."""
    return Matrix(block.arguments.parameters, stage.weight_offset, stage.width[0]).t
