"""Right answers, counted over lanes: what accuracies are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.loss_rules import ColumnTargets, counted
from lamp.compiler.stages import Plan
from lamp.formulas import on_same_side

# How outputs are read: as the class whose score is largest, or as a yes each where they are above a number.
Answer = float | Literal["largest"]


def is_counted(answer: Answer, plan: Plan, labels: bool, weighted: bool) -> bool:
    """Whether a kernel counts these for such targets: a class in labels or in a number each, a yes in numbers."""
    if weighted:
        return False
    return plan.outputs > 1 if answer == "largest" else not labels


def right(block: ColumnBlock, target: ColumnTargets, answer: Answer) -> Lane:
    """How many answers of a block's columns are right, lane by lane."""
    code, outputs, put_out = block.code, block.plan.outputs, block.plan.put_out
    with code.carrying(0, block.columns, [code.lane(0.0)]) as (s, state):
        counts = target.counts(s)

        def output(c: Index, s: Index = s) -> Lane:
            return block.activation(code.plus(c, put_out), s)

        def wanted(c: Index, s: Index = s) -> Lane:
            return target.number(c, s)

        if answer == "largest":
            label = largest(code, outputs, wanted) if target.label is None else target.label(s)
            found = code.lane(1.0).where(largest(code, outputs, output) == label, 0.0)
        else:
            with code.carrying(0, outputs, [code.lane(0.0)]) as (c, sums):
                sums[0] = sums[0] + code.lane(1.0).where(on_same_side(output(c), wanted(c), answer), 0.0)
            found = sums[0]
        state[0] = state[0] + counted(found, counts)
    return state[0]


def largest(code: Code, count: int, number: Callable[[Index], Lane]) -> Lane:
    """Which of some numbers is the first of the largest ones; NaN is larger than all, as torch.argmax has it."""
    with code.carrying(1, count, [number(0), code.lane(0.0)]) as (c, state):
        best, x = state[0], number(c)
        better = (x > best) | ((x != x) & (best == best))
        state[:] = x.where(better, best), code.number(c).where(better, state[1])
    return state[1]
