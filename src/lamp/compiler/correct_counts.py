"""Counts of correct predictions, computed by the kernel itself.

The compiled engine reads accuracies from them, so that the network's outputs need not be kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.loss_rules import ColumnTargets, masked
from lamp.compiler.stages import Plan
from lamp.formulas import on_same_side

# How outputs become predictions: "largest" takes the class of the largest output; a number is a threshold, above which
# an output means yes.
Answer = float | Literal["largest"]


def is_counted(answer: Answer, plan: Plan, labels: bool, weighted: bool) -> bool:
    """Whether a kernel can count these predictions for targets of this kind.

    labels    whether targets are class numbers; else there is one number per output
    weighted  whether samples have weights
    """
    if weighted:
        return False
    return plan.output_shape[:1] not in ((), (1,)) if answer == "largest" else not labels


def right(block: ColumnBlock, target: ColumnTargets, answer: Answer) -> Lane:
    """The number of correct predictions in a block's columns, per lane."""
    code, outputs, output_offset = block.code, block.plan.outputs, block.plan.output_offset
    with code.carrying(0, block.columns, [code.lane(0.0)]) as (s, state):
        counts = target.counts(s)

        def output(c: Index, s: Index = s) -> Lane:
            return block.activation(code.plus(c, output_offset), s)

        def wanted(c: Index, s: Index = s) -> Lane:
            return target.number(c, s)

        if answer == "largest":
            classes, places = block.plan.output_shape[0], math.prod(block.plan.output_shape[1:])
            hits = [code.lane(0.0)]
            for p in code.each(0, places, hits):

                def at(number: Callable[[Index], Lane], p: Index = p) -> Callable[[Index], Lane]:
                    return number if places == 1 else lambda c: number(code.plus(code.times(c, places), p))

                label = largest(code, classes, at(wanted)) if target.label is None else target.label(p, s)
                hit = code.lane(1.0).where(largest(code, classes, at(output)) == label, 0.0)
                hits[0] = hit if places == 1 else hits[0] + hit
            found = hits[0]
        else:
            with code.carrying(0, outputs, [code.lane(0.0)]) as (c, sums):
                sums[0] = sums[0] + code.lane(1.0).where(on_same_side(output(c), wanted(c), answer), 0.0)
            found = sums[0]
        state[0] = state[0] + masked(found, counts)
    return state[0]


def largest(code: Code, count: int, number: Callable[[Index], Lane]) -> Lane:
    """The index of the largest number, the first one if there are several. NaN counts as largest, as in
    torch.argmax."""
    with code.carrying(1, count, [number(0), code.lane(0.0)]) as (c, state):
        best, x = state[0], number(c)
        better = (x > best) | ((x != x) & (best == best))
        state[:] = x.where(better, best), code.number(c).where(better, state[1])
    return state[1]
