"""The rules for operations that combine values: sums, products, concatenation, and a value unchanged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.lanes import Lane
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Pointwise(Rule):
    """A rule for operations that compute each output from the same unit of every input."""

    @abstractmethod
    def combined(self, x: Lane, other: Lane) -> Lane:
        """The combination of two numbers. Several inputs are combined from left to right."""

    def gradient(self, dy: Lane, others: Sequence[Lane]) -> Lane:
        """The gradient of one input, given that of the output and the other inputs."""
        return dy

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code = block.code
        with code.loop(0, stage.units) as unit, each_column(block, stage) as columns:
            for s in columns:
                x, *others = [block.activation(code.plus(unit, each.output_offset), s) for each in stage.inputs]
                for other in others:
                    x = self.combined(x, other)
                apply_chain(block, stage, unit, s, x)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        for k, before in enumerate(stage.inputs):
            if before.learns:
                if not (self.gives_its_gradient and before.gradient_offset == stage.gradient_offset):
                    self._backward_of(block, stage, before, stage.inputs[:k] + stage.inputs[k + 1 :])
                note_all_given(block, before)

    def _backward_of(self, block: ColumnBlock, stage: Stage, before: Stage, others: Sequence[Stage]) -> None:
        code = block.code
        with code.loop(0, stage.units) as unit, each_column(block, before, backward=True) as columns:
            dx = {}
            for s in columns:
                dy = block.gradient(code.plus(unit, stage.gradient_offset), s)
                dx[s] = self.gradient(dy, [block.activation(code.plus(unit, each.output_offset), s) for each in others])
            give_gradients(block, before, unit, dx)


class Add(Pointwise):
    """The sum of the inputs. The gradient of each input is that of the sum, so they can share memory."""

    reads_inputs = False
    gives_its_gradient = True

    def combined(self, x: Lane, other: Lane) -> Lane:
        return x + other


class Multiply(Pointwise):
    """The product of the inputs. The gradient of one input is dy times the other inputs."""

    def combined(self, x: Lane, other: Lane) -> Lane:
        return x * other

    def gradient(self, dy: Lane, others: Sequence[Lane]) -> Lane:
        for other in others:
            dy = dy * other
        return dy


class Same(Pointwise):
    """The input unchanged: the source of a chain that cannot join the stage before, whose outputs have other users."""

    reads_inputs = False

    def combined(self, x: Lane, other: Lane) -> Lane:
        raise AssertionError("there is one input")


class Concat(Rule):
    """The inputs concatenated along the first axis of a sample: the values of one lie behind those of the other."""

    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        if op.attributes["axis"] != 0:
            raise NotCompiled("is compiled along the first axis of a sample alone", module=op.module)
        return super().stage(op, inputs, offsets)

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, first = block.code, 0
        for each in stage.inputs:
            with code.loop(0, each.units) as unit, each_column(block, stage) as columns:
                for s in columns:
                    x = block.activation(code.plus(unit, each.output_offset), s)
                    apply_chain(block, stage, code.plus(unit, first), s, x)
            first += each.units

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, first = block.code, stage.gradient_offset
        for before in stage.inputs:
            if before.learns:
                with code.loop(0, before.units) as unit, each_column(block, before, backward=True) as columns:
                    give_gradients(block, before, unit, {s: block.gradient(code.plus(unit, first), s) for s in columns})
                note_all_given(block, before)
            first = first + before.units
