"""Softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import all_given, give, through
from lamp.compiler.rules.rule import Rule, one_axis
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Softmax(Rule):
    """y = exp(x) / sum of exp(x): dx = y (dy - sum of dy y). Its logarithm: dx = dy - exp(y) sum of dy."""

    keeps_source = True

    def stage(self, op: Op, inputs: list[Stage], places: Mapping[Parameter, int]) -> Stage:
        one_axis(op, op.inputs[0])
        return super().stage(op, inputs, places)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, place, log = block.code, stage.inputs[0].outputs, stage.attributes["log"]
        for s in range(block.columns):
            largest, total = log_sum_exp(block, place, stage.units, s)
            log_total = total.log() if log else None
            with code.loop(0, stage.units) as c:
                x = block.activation(code.plus(c, place), s) - largest
                through(block, stage, c, s, x - log_total if log_total is not None else x.exp() / total)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, units, log, (before,) = block.code, stage.units, stage.attributes["log"], stage.inputs
        if not before.learns:
            return

        def at(c: Index, s: Index) -> tuple[Lane, Lane]:
            dy = block.gradient(code.plus(c, stage.gradients), s)
            return dy, block.activation(code.plus(c, stage.values[0]), s)

        for s in range(block.columns):
            with code.carrying(0, units, [code.lane(0.0)]) as (c, state):
                dy, y = at(c, s)
                state[0] = state[0] + (dy if log else dy * y)
            with code.loop(0, units) as c:
                dy, y = at(c, s)
                give(block, before, c, {s: dy - y.exp() * state[0] if log else y * (dy - state[0])})
        all_given(block, before)


def log_sum_exp(
    block: ColumnBlock, place: Index, units: int, column: Index, keep: Index | None = None
) -> tuple[Lane, Lane]:
    """The largest of some activations, and the sum of exp(x - largest), each kept among the gradients at `keep`."""
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
