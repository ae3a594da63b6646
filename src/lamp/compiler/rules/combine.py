"""The rules for operations that combine values: sums, products, concatenation, and a value unchanged."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import apply_chain, each_column, give_gradients, note_all_given
from lamp.compiler.rules.constant import shift_by
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Element, Stage
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

    def merged(self, op: Op, inputs: list[Stage], alone: list[bool]) -> Stage | None:
        """Fixed numbers are added where the other value is computed."""
        for k, numbers in enumerate(map(shift_by, inputs)):
            other = 1 - k
            if len(inputs) == 2 and numbers is not None and alone[other] and shift_by(inputs[other]) is None:
                inputs[other].chain.append(Element("Shift", op.module, numbers=numbers))
                return inputs[other]
        return None

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
    """The inputs concatenated along an axis of a sample: in each of `rows` rows, the values of one lie behind those of
    the other."""

    reads_inputs = False

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage = super().stage(op, inputs, offsets)
        stage.attributes = {"rows": math.prod(op.output.shape[: op.attributes["axis"]])}
        return stage

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code = block.code
        for each, first in self._parts(stage):
            with self._each(block, stage, each, first) as (unit, place), each_column(block, stage) as columns:
                for s in columns:
                    apply_chain(block, stage, place, s, block.activation(code.plus(unit, each.output_offset), s))

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code = block.code
        for before, first in self._parts(stage):
            if before.learns:
                with (
                    self._each(block, stage, before, first) as (unit, place),
                    each_column(block, before, backward=True) as columns,
                ):
                    dy = code.plus(place, stage.gradient_offset)
                    give_gradients(block, before, unit, {s: block.gradient(dy, s) for s in columns})
                note_all_given(block, before)

    @staticmethod
    def _parts(stage: Stage) -> Iterator[tuple[Stage, int]]:
        """The inputs, each with its place in a row."""
        first = 0
        for each in stage.inputs:
            yield each, first
            first += each.units // stage.attributes["rows"]

    @staticmethod
    @contextmanager
    def _each(block: ColumnBlock, stage: Stage, part: Stage, first: int) -> Iterator[tuple[Index, Index]]:
        """A loop over the values of an input; yields the unit there, and the one among the outputs."""
        code, rows = block.code, stage.attributes["rows"]
        with code.nest([*([(0, rows)] if rows > 1 else []), (0, part.units // rows)]) as ((*row, i), _):
            unit, place = (code.plus(code.times(row[0], each.units // rows), i) if row else i for each in (part, stage))
            yield unit, code.plus(place, first)
