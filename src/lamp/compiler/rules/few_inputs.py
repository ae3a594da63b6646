"""Affine maps with few inputs and many outputs, for batches of few samples: here lanes are outputs.

A row of their weights fills only some lanes of a vector. With W neighbouring outputs as lanes, all of them are used,
and nothing is summed across lanes for each output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamp.compiler.code import Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.affine import weight_place
from lamp.compiler.rules.feature_major import vector_tiles
from lamp.compiler.rules.few_samples import SUMS, FewSamples
from lamp.compiler.stages import Plan, Stage

INPUTS = 3  # at most: so many numbers of the array of weights lie between those of two lanes


class FewInputs(FewSamples):
    """y = W x + b of a hidden stage, likewise.

    Backward  dx = W^T dy    dW = sum of dy x^T over samples    db = sum of dy over samples
    """

    def _compute(self, block: ColumnBlock, stage: Stage, array: Pointer, x: Sequence[Index]) -> None:
        code, inputs = block.code, range(stage.width[0])
        of_samples = [[code.load_one(array, code.plus(start, i)) for i in inputs] for start in x]
        for j, _ in vector_tiles(block, stage.units, 1, again=True):
            weights = [_weights(block, stage, j, i) for i in inputs]
            bias = code.lane(0.0)
            if stage.bias_offset is not None:
                bias = code.load_unaligned(block.arguments.parameters, code.plus(j, stage.bias_offset))
            for n, of_sample in enumerate(of_samples):
                y = bias
                for weight, each in zip(weights, of_sample, strict=True):
                    y = weight.times_plus(each, y)
                code.store_unaligned(block.arguments.activations, self._value(block, stage, j, n), y)

    def _give_back(self, block: ColumnBlock, stage: Stage) -> None:
        code, (inputs, outputs), (before,) = block.code, stage.width, stage.inputs
        gradients = block.arguments.activation_gradients
        together = max(1, SUMS // inputs)  # samples
        for first in range(0, self.samples, together):
            samples = range(first, min(first + together, self.samples))

            def add(sums: list[Lane], j: Index, known: int, samples: range = samples) -> None:
                weights = [_weights(block, stage, j, i) for i in range(inputs)]
                for k, n in enumerate(samples):
                    dy = code.load_unaligned(gradients, self._gradient(block, stage, j, n))
                    if known:
                        dy = dy.where(code.arange(0) >= known, 0.0)
                    for i, weight in enumerate(weights):
                        sums[k * inputs + i] = weight.times_plus(dy, sums[k * inputs + i])

            sums = [code.lane(0.0)] * (len(samples) * inputs)
            whole = outputs - outputs % code.lanes
            with code.carrying(0, whole, sums, code.lanes) as (j, sums):
                add(sums, j, 0)
            if whole < outputs:
                add(sums, outputs - code.lanes, code.lanes - outputs % code.lanes)
            for k, n in enumerate(samples):
                added = code.lane_sums(sums[k * inputs : (k + 1) * inputs])
                code.store_some(gradients, self._gradient(block, before, 0, n), added, 0, inputs)

    def _add_weight_products(
        self, block: ColumnBlock, stage: Stage, array: Pointer, starts: Sequence[Index], add: bool
    ) -> None:
        code, inputs = block.code, range(stage.width[0])
        x = [[code.load_one(array, code.plus(start, i)) for i in inputs] for start in starts]
        for j, known in self._vectors_of_outputs(block, stage, add):
            dy = [
                code.load_unaligned(block.arguments.activation_gradients, self._gradient(block, stage, j, n))
                for n in range(self.samples)
            ]
            for i in inputs:
                dw = dy[0] * x[0][i]
                for of_values, of_sample in zip(dy[1:], x[1:], strict=True):
                    dw = of_values.times_plus(of_sample[i], dw)
                self._keep(block, stage, j, i, dw, known, add)

    def _keep(self, block: ColumnBlock, stage: Stage, j: Index, i: int, dw: Lane, known: int, add: bool) -> None:
        """Store gradients of the weights of W outputs and an input, without the first `known` ones."""
        code, of_weights = block.code, block.arguments.gradients
        if stage.width[0] == 1:
            at, count = weight_place(block, stage, code.plus(j, known), 0), code.lanes - known
            if add:
                code.add_some(of_weights, at, [dw], known, count)
            else:
                code.store_some(of_weights, at, [dw], known, count)
            return
        for k in range(known, code.lanes):
            at, number = weight_place(block, stage, code.plus(j, k), i), code.turned(dw, k)
            code.store_first(of_weights, at, code.load_first(of_weights, at) + number if add else number)

    def _vectors_of_outputs(self, block: ColumnBlock, stage: Stage, add: bool) -> Iterator[tuple[Index, int]]:
        """The first output of each vector of W, and how many of them must be left out, since an earlier vector has
        them, too: the last vector holds the last W outputs."""
        code, outputs = block.code, stage.units
        if not add:
            yield from ((j, 0) for j, _ in vector_tiles(block, outputs, 1, again=True))
            return
        over = outputs % code.lanes
        with code.loop(0, outputs - over, code.lanes) as j:
            yield j, 0
        if over:
            yield outputs - code.lanes, code.lanes - over


def has_few_inputs(plan: Plan, stage: Stage, lanes: int) -> bool:
    """Whether a stage has few inputs, and enough outputs for a vector."""
    inputs, outputs = stage.width
    return bool(inputs <= INPUTS and outputs >= lanes and stage is not plan.last)


def _weights(block: ColumnBlock, stage: Stage, j: Index, i: int) -> Lane:
    """The weights of an input and W outputs, from j on."""
    code, inputs = block.code, stage.width[0]
    if inputs == 1:
        return code.load_unaligned(block.arguments.parameters, weight_place(block, stage, j, i))
    return code.gathered(block.arguments.parameters, code.arange(j), inputs, code.plus(stage.weight_offset, i))
