"""The rule for LocalResponseNorm: numbers divided by what is in the channels beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

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
        ranges = [(0, given["channels"]), (0, given["places"]), (0, block.columns)]
        with code.nest(ranges) as ((channel, place, s), _):
            squares = self._sum(
                block,
                stage,
                channel,
                place,
                given["size"] // 2,
                lambda unit: block.activation(code.plus(unit, before.output_offset), s).square(),
            )
            log = (squares * scale + given["k"]).log()
            unit = self._unit(block, stage, channel, place)
            block.keep_activation(code.plus(unit, stage.kept_offset), s, log)
            x = block.activation(code.plus(unit, before.output_offset), s)
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
        ranges = [(0, given["channels"]), (0, given["places"]), (0, block.columns)]
        with code.nest(ranges) as ((channel, place, s), _):
            through_d = self._sum(
                block,
                stage,
                channel,
                place,
                (given["size"] - 1) // 2,
                lambda unit: block.activation(code.plus(unit, terms), s),
            )
            unit = self._unit(block, stage, channel, place)
            dy, x, log = dy_x_log(unit, s)
            dx = dy * (log * -given["beta"]).exp() + x * (through_d * factor)
            give_gradients(block, before, unit, {s: dx})
        note_all_given(block, before)

    @staticmethod
    def _unit(block: ColumnBlock, stage: Stage, channel: Index, place: Index) -> Index:
        return block.code.plus(block.code.times(channel, stage.attributes["places"]), place)

    def _sum(
        self,
        block: ColumnBlock,
        stage: Stage,
        channel: Index,
        place: Index,
        before: int,
        value: Callable[[Index], Lane],
    ) -> Lane:
        """The sum of a value over `size` channels, of which so many come before this one, as far as they exist."""
        code, given = block.code, stage.attributes
        first = code.greatest(code.minus(channel, before), 0)
        stop = code.least(code.plus(channel, given["size"] - before), given["channels"])
        with code.carrying(first, stop, [code.lane(0.0)]) as (c, sums):
            sums[0] = sums[0] + value(self._unit(block, stage, c, place))
        return sums[0]
