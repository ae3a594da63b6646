"""The rule for Softmax and LogSoftmax, and the log-sum-exp that CrossEntropyLoss shares with it."""

from __future__ import annotations

from collections.abc import Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import apply_chain, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule, one_axis
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Softmax(Rule):
    """Softmax: y = exp(x) / sum of exp(x), dx = y (dy - sum of dy y).  LogSoftmax: dx = dy - exp(y) sum of dy."""

    keeps_source = True
    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        one_axis(op, op.inputs[0])
        return super().stage(op, inputs, offsets)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, place, log = block.code, stage.inputs[0].output_offset, stage.attributes["log"]
        for s in range(block.columns):
            largest, total = log_sum_exp(block, place, stage.units, s)
            log_total = total.log() if log else None
            with code.loop(0, stage.units) as c:
                x = block.activation(code.plus(c, place), s) - largest
                apply_chain(block, stage, c, s, x - log_total if log_total is not None else x.exp() / total)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, units, log, (before,) = block.code, stage.units, stage.attributes["log"], stage.inputs
        if not before.learns:
            return

        def at(c: Index, s: Index) -> tuple[Lane, Lane]:
            dy = block.gradient(code.plus(c, stage.gradient_offset), s)
            return dy, block.activation(code.plus(c, stage.value_offsets[0]), s)

        for s in range(block.columns):
            with code.carrying(0, units, [code.lane(0.0)]) as (c, state):
                dy, y = at(c, s)
                state[0] = state[0] + (dy if log else dy * y)
            with code.loop(0, units) as c:
                dy, y = at(c, s)
                give_gradients(block, before, c, {s: dy - y.exp() * state[0] if log else y * (dy - state[0])})
        note_all_given(block, before)


def log_sum_exp(
    block: ColumnBlock, place: Index, units: int, column: Index, keep: Index | None = None
) -> tuple[Lane, Lane]:
    """The largest of a column's activations x, and the sum of exp(x - largest).

    keep  the offset among the gradients at which to store each exp(x - largest); None to store none
    """
    code = block.code
    state = [block.activation(place, column)]
    for c in code.each(1, units, state):
        state[0] = state[0].maximum(block.activation(code.plus(c, place), column))
    largest, state = state[0], [code.lane(0.0)]
    for c in code.each(0, units, state):
        power = (block.activation(code.plus(c, place), column) - largest).exp()
        if keep is not None:
            block.keep_gradient(code.plus(c, keep), column, power)
        state[0] = state[0] + power
    return largest, state[0]
