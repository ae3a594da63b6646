"""Values as they are, their sums and products, and values one after another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import all_given, each_column, give, through
from lamp.compiler.rules.rule import Rule, one_axis
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Pointwise(Rule):
    """One number of each input becomes a number of the output."""

    @abstractmethod
    def combined(self, x: Lane, other: Lane) -> Lane:
        """What becomes of two numbers; of more, of the first two and then of each further one."""

    def gradient(self, dy: Lane, others: Sequence[Lane]) -> Lane:
        """The gradient of one input, whose others these are."""
        return dy

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code = block.code
        with code.loop(0, stage.units) as unit, each_column(block, stage) as columns:
            for s in columns:
                x, *others = [block.activation(code.plus(unit, each.outputs), s) for each in stage.inputs]
                for other in others:
                    x = self.combined(x, other)
                through(block, stage, unit, s, x)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        for k, before in enumerate(stage.inputs):
            if before.learns:
                if not (self.gives_its_gradient and before.gradients == stage.gradients):
                    self._backward_of(block, stage, before, stage.inputs[:k] + stage.inputs[k + 1 :])
                all_given(block, before)

    def _backward_of(self, block: ColumnBlock, stage: Stage, before: Stage, others: Sequence[Stage]) -> None:
        code = block.code
        with code.loop(0, stage.units) as unit, each_column(block, before, backward=True) as columns:
            dx = {}
            for s in columns:
                dy = block.gradient(code.plus(unit, stage.gradients), s)
                dx[s] = self.gradient(dy, [block.activation(code.plus(unit, each.outputs), s) for each in others])
            give(block, before, unit, dx)


class Add(Pointwise):
    """The sum of values. An input that goes nowhere else has the very gradients of the sum."""

    gives_its_gradient = True

    def combined(self, x: Lane, other: Lane) -> Lane:
        return x + other


class Multiply(Pointwise):
    """The product of values; the gradient of one is dy times the others."""

    def combined(self, x: Lane, other: Lane) -> Lane:
        return x * other

    def gradient(self, dy: Lane, others: Sequence[Lane]) -> Lane:
        for other in others:
            dy = dy * other
        return dy


class Same(Pointwise):
    """A value as it is, for a chain that does not join the stage before it: others take that one's outputs too."""

    def combined(self, x: Lane, other: Lane) -> Lane:
        raise AssertionError("there is one input")


class Concat(Rule):
    """Values one after another."""

    def stage(self, op: Op, inputs: list[Stage], places: Mapping[Parameter, int]) -> Stage:
        one_axis(op, op.inputs[0])
        return super().stage(op, inputs, places)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, first = block.code, 0
        for each in stage.inputs:
            with code.loop(0, each.units) as unit, each_column(block, stage) as columns:
                for s in columns:
                    x = block.activation(code.plus(unit, each.outputs), s)
                    through(block, stage, code.plus(unit, first), s, x)
            first += each.units

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, first = block.code, stage.gradients
        for before in stage.inputs:
            if before.learns:
                with code.loop(0, before.units) as unit, each_column(block, before, backward=True) as columns:
                    give(block, before, unit, {s: block.gradient(code.plus(unit, first), s) for s in columns})
                all_given(block, before)
            first = first + before.units
