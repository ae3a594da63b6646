"""The rule for LocalResponseNorm: numbers divided by what is in the channels beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import apply_chain, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class ResponseNorm(Rule):
    """y = x d^-beta,   d = k + alpha / size (sum of x^2 over `size` channels about this one)

    Backward  dx = dy d^-beta - 2 alpha beta / size x (sum of dy x d^(-beta - 1) over the channels whose window has x)
    """

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage, (channels, *places) = super().stage(op, inputs, offsets), op.output.shape
        stage.attributes = {**op.attributes, "channels": channels, "places": math.prod(places)}
        return stage

    def kept(self, stage: Stage) -> int:
        """log d of each number, then its term of the sums in backward."""
        return 2 * int(stage.units)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, given, (before,) = block.code, stage.attributes, stage.inputs
        scale = given["alpha"] / given["size"]

        def value(unit: Index, s: Index) -> Lane:
            x: Lane = block.activation(code.plus(unit, before.output_offset), s)
            return x

        for unit, s, squares in _sums(block, stage, given["size"] // 2, lambda unit, s: value(unit, s).square()):
            log = (squares * scale + given["k"]).log()
            block.keep_activation(code.plus(unit, stage.kept_offset), s, log)
            x = value(unit, s)
            apply_chain(block, stage, unit, s, x * (log * -given["beta"]).exp())

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, given, (before,) = block.code, stage.attributes, stage.inputs
        if not before.learns:
            return
        terms = stage.kept_offset + stage.units

        def dy_x_log(unit: Index, s: Index) -> tuple[Lane, Lane, Lane]:
            dy = block.gradient(code.plus(unit, stage.gradient_offset), s)
            x = block.activation(code.plus(unit, before.output_offset), s)
            return dy, x, block.activation(code.plus(unit, stage.kept_offset), s)

        with code.nest([(0, stage.units), (0, block.columns)]) as ((unit, s), _):
            dy, x, log = dy_x_log(unit, s)
            block.keep_activation(code.plus(unit, terms), s, dy * x * (log * (-given["beta"] - 1.0)).exp())
        factor = -2.0 * given["alpha"] * given["beta"] / given["size"]

        def term(unit: Index, s: Index) -> Lane:
            found: Lane = block.activation(code.plus(unit, terms), s)
            return found

        for unit, s, through_d in _sums(block, stage, (given["size"] - 1) // 2, term):
            dy, x, log = dy_x_log(unit, s)
            dx = dy * (log * -given["beta"]).exp() + x * (through_d * factor)
            give_gradients(block, before, unit, {s: dx})
        note_all_given(block, before)


def _sums(
    block: ColumnBlock, stage: Stage, before: int, value: Callable[[Index, Index], Lane]
) -> Iterator[tuple[Index, Index, Lane]]:
    """Loops over units and columns; yields with each the sum of a value over `size` channels, of which so many come
    before the unit's, as far as they exist."""
    code, given = block.code, stage.attributes

    def unit_of(channel: Index, place: Index) -> Index:
        return code.plus(code.times(channel, given["places"]), place)

    with code.nest([(0, given["channels"]), (0, given["places"]), (0, block.columns)]) as ((channel, place, s), _):
        first = code.greatest(code.minus(channel, before), 0)
        stop = code.least(code.plus(channel, given["size"] - before), given["channels"])
        with code.carrying(first, stop, [code.lane(0.0)]) as (c, sums):
            sums[0] = sums[0] + value(unit_of(c, place), s)
        yield unit_of(channel, place), s, sums[0]
