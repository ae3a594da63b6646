"""The rule for Softmax and LogSoftmax, and the log-sum-exp that CrossEntropyLoss shares with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import apply_chain, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

LOWEST = -3e38  # lower than any score, and a number of float32
Units = Callable[[Index], Index]  # from the number of a term to its unit


class Softmax(Rule):
    """Softmax: y = exp(x) / sum of exp(x), dx = y (dy - sum of dy y).  LogSoftmax: dx = dy - exp(y) sum of dy.

    The sums are over an axis of a sample, for each place of the others.
    """

    keeps_source = True
    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage, shape, axis = super().stage(op, inputs, offsets), op.output.shape, op.attributes["axis"]
        sizes = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        stage.attributes = {"log": op.attributes["log"], "sizes": sizes, "masked": op.attributes.get("masked", False)}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, place, log = block.code, stage.inputs[0].output_offset, stage.attributes["log"]
        count = stage.attributes["sizes"][1]
        for s, unit in _rows(block, stage):
            if log:
                largest, total = log_sum_exp(block, place, count, s, unit)
                log_total = total.log()
                with code.loop(0, count) as c:
                    x = block.activation(code.plus(unit(c), place), s)
                    apply_chain(block, stage, unit(c), s, x - largest - log_total)
                continue
            own = stage.source_offset  # each exp(x - largest) is stored there, so that it is computed once
            masked = stage.attributes["masked"]
            _, total = log_sum_exp(block, place, count, s, unit, partial(self._keep, block, own, s), masked)
            reciprocal = 1.0 / (total.maximum(1.0) if masked else total)  # where not all are -inf, it is at least 1
            with code.loop(0, count) as c:
                power = block.activation(code.plus(unit(c), own), s)
                apply_chain(block, stage, unit(c), s, power * reciprocal)

    @staticmethod
    def _keep(block: ColumnBlock, offset: Index, s: Index, unit: Index, power: Lane) -> None:
        block.keep_activation(block.code.plus(unit, offset), s, power)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (_, count, _), log, (before,) = (
            block.code,
            stage.attributes["sizes"],
            stage.attributes["log"],
            stage.inputs,
        )
        if not before.learns:
            return

        def at(unit: Index, s: Index) -> tuple[Lane, Lane]:
            dy = block.gradient(code.plus(unit, stage.gradient_offset), s)
            return dy, block.activation(code.plus(unit, stage.value_offsets[0]), s)

        for s, unit in _rows(block, stage):
            with code.carrying(0, count, [code.lane(0.0)]) as (c, state):
                dy, y = at(unit(c), s)
                state[0] = state[0] + (dy if log else dy * y)
            with code.loop(0, count) as c:
                dy, y = at(unit(c), s)
                give_gradients(block, before, unit(c), {s: dy - y.exp() * state[0] if log else y * (dy - state[0])})
        note_all_given(block, before)


def _rows(block: ColumnBlock, stage: Stage) -> Iterator[tuple[Index, Units]]:
    """Loops over columns and over the places of the axes that the sums are not over. Yields the column, and the unit of
    each term of the sum."""
    code, (outer, count, inner) = block.code, stage.attributes["sizes"]
    for s in range(block.columns):
        if outer == inner == 1:
            yield s, each
            continue
        with code.nest([(0, outer), (0, inner)]) as ((before, after), _):
            first = code.plus(code.times(before, count * inner), after)
            yield s, partial(_spaced, code, first, inner)


def each(c: Index) -> Index:
    """The units of values that lie side by side."""
    return c


def _spaced(code: Code, first: Index, step: int, c: Index) -> Index:
    return code.plus(first, code.times(c, step))


def log_sum_exp(
    block: ColumnBlock,
    place: Index,
    count: Index,
    column: Index,
    unit: Units,
    keep: Callable[[Index, Lane], None] | None = None,
    masked: bool = False,
) -> tuple[Lane, Lane]:
    """The largest of so many activations x of a column, and the sum of exp(x - largest).

    place, unit  the activations are those of these units of a value at this offset
    keep         stores exp(x - largest) of a unit; None to store none
    masked       whether all of them may be -inf; then the sum is 0
    """
    code = block.code
    state = [block.activation(code.plus(unit(0), place), column)]
    for c in code.each(1, count, state):
        state[0] = state[0].maximum(block.activation(code.plus(unit(c), place), column))
    largest, state = state[0].maximum(LOWEST) if masked else state[0], [code.lane(0.0)]
    for c in code.each(0, count, state):
        power = (block.activation(code.plus(unit(c), place), column) - largest).exp()
        if keep is not None:
            keep(unit(c), power)
        state[0] = state[0] + power
    return largest, state[0]
