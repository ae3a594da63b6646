"""The rules for numbers that compare two values line by line: CosineSimilarity and PairwiseDistance."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.chain import apply_chain, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

Options = Mapping[str, Any]  # the attributes of the stage


class Comparison(Rule):
    """A rule for operations that compute one number from each line along an axis of two values of one shape."""

    keeps_source = True

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        stage, shape = super().stage(op, inputs, offsets), op.inputs[0].shape
        axis = op.attributes.get("axis", len(shape) - 1)
        lines = (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
        stage.attributes = {**op.attributes, "lines": lines}
        return stage

    def kept(self, stage: Stage) -> int:
        return self.lengths(stage.attributes) * int(stage.units)

    # ---- what the operations differ in -----------------------------------------------------------------------------
    @abstractmethod
    def lengths(self, given: Options) -> int:
        """How many numbers of a line backward needs beside its result."""

    @abstractmethod
    def begun(self, given: Options) -> Sequence[float]:
        """What is known of a line before its first pair of numbers."""

    @abstractmethod
    def seen(self, given: Options, known: Sequence[Lane], x1: Lane, x2: Lane) -> list[Lane]:
        """What is known of a line, with one more pair of its numbers."""

    @abstractmethod
    def result(self, given: Options, known: Sequence[Lane]) -> tuple[Lane, Sequence[Lane]]:
        """The result of a line, and what backward needs beside it."""

    @abstractmethod
    def slope(
        self, given: Options, which: int, dy: Lane, y: Lane, kept: Sequence[Lane]
    ) -> Callable[[Lane, Lane], Lane]:
        """From a pair of numbers of a line to the gradient of the first of them, or of the second if `which` is 1.

        kept  what `result` has returned beside y
        """

    # ---- code ------------------------------------------------------------------------------------------------------
    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, given = block.code, stage.attributes
        for line, s, unit in _lines(block, stage):
            begun = [code.lane(each) for each in self.begun(given)]
            with code.carrying(0, given["lines"][1], begun) as (k, known):
                known[:] = self.seen(given, known, *_pair(block, stage, unit(k), s))
            y, kept = self.result(given, known)
            for number, each in enumerate(kept):
                block.keep_activation(_kept_at(block, stage, number, line), s, each)
            apply_chain(block, stage, line, s, y)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, given = block.code, stage.attributes
        for which, before in enumerate(stage.inputs):
            if not before.learns:
                continue
            for line, s, unit in _lines(block, stage):
                dy = block.gradient(code.plus(line, stage.gradient_offset), s)
                y = block.activation(code.plus(line, stage.value_offsets[0]), s)
                numbers = range(self.lengths(given))
                kept = [block.activation(_kept_at(block, stage, number, line), s) for number in numbers]
                slope = self.slope(given, which, dy, y, kept)
                with code.loop(0, given["lines"][1]) as k:
                    give_gradients(block, before, unit(k), {s: slope(*_pair(block, stage, unit(k), s))})
            note_all_given(block, before)


def _lines(block: ColumnBlock, stage: Stage) -> Iterator[tuple[Index, Index, Callable[[Index], Index]]]:
    """Loops over the lines and columns; yields the number of the line, the column, and where its numbers lie."""
    code, (lead, n, rest) = block.code, stage.attributes["lines"]
    with code.nest([(0, lead), (0, rest), (0, block.columns)]) as ((i, j, s), _):
        first = code.plus(code.times(i, n * rest), j)
        yield code.plus(code.times(i, rest), j), s, lambda k: code.plus(first, code.times(k, rest))


def _pair(block: ColumnBlock, stage: Stage, unit: Index, s: Index) -> tuple[Lane, Lane]:
    """The numbers of both inputs at this unit."""
    x1, x2 = (block.activation(block.code.plus(unit, before.output_offset), s) for before in stage.inputs)
    return x1, x2


def _kept_at(block: ColumnBlock, stage: Stage, number: int, line: Index) -> Index:
    return block.code.plus(line, stage.kept_offset + number * stage.units)


class Cosine(Comparison):
    """y = sum of x1 x2 / (n1 n2),   n = max(|x|, eps)

    Backward  dx1 = dy (x2 / (n1 n2) - y x1 / n1^2), without the second term where |x1| < eps;   dx2 likewise
    """

    def lengths(self, given: Options) -> int:
        return 2

    def begun(self, given: Options) -> Sequence[float]:
        return (0.0, 0.0, 0.0)

    def seen(self, given: Options, known: Sequence[Lane], x1: Lane, x2: Lane) -> list[Lane]:
        product, *squares = known
        return [x1.times_plus(x2, product), *(x.times_plus(x, each) for x, each in zip((x1, x2), squares, strict=True))]

    def result(self, given: Options, known: Sequence[Lane]) -> tuple[Lane, Sequence[Lane]]:
        product, *squares = known
        n1, n2 = lengths = [each.sqrt() for each in squares]
        return product / n1.clamp(min=given["eps"]) / n2.clamp(min=given["eps"]), lengths

    def slope(
        self, given: Options, which: int, dy: Lane, y: Lane, kept: Sequence[Lane]
    ) -> Callable[[Lane, Lane], Lane]:
        eps = given["eps"]
        own, other = (kept[k].clamp(min=eps) for k in (which, 1 - which))
        across, along = dy / own / other, (dy * y / own / own).where(kept[which] > eps, 0.0)

        def dx(x1: Lane, x2: Lane) -> Lane:
            return x2 * across - x1 * along if which == 0 else x1 * across - x2 * along

        return dx


class Distance(Comparison):
    """y = (sum of |d|^p)^(1/p),   d = x1 - x2 + eps;   for p = infinity the largest |d|

    Backward  dx1 = dy sign(d) |d|^(p - 1) y^(1 - p), and 0 where d or y is 0;   dx2 = -dx1
              For p = infinity the largest |d| share dy equally.
    """

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        if not op.attributes["p"] > 0:
            raise NotCompiled("is compiled for p > 0", module=op.module)
        return super().stage(op, inputs, offsets)

    def lengths(self, given: Options) -> int:
        return int(math.isinf(given["p"]))  # for p = infinity, how many |d| are the largest

    def begun(self, given: Options) -> Sequence[float]:
        return (0.0, 0.0) if math.isinf(given["p"]) else (0.0,)

    def seen(self, given: Options, known: Sequence[Lane], x1: Lane, x2: Lane) -> list[Lane]:
        size = (x1 - x2 + given["eps"]).abs()
        if not math.isinf(given["p"]):
            return [known[0] + _power(size, given["p"])]
        largest, count = known
        again = (count + 1.0).where(size == largest, count)
        return [largest.maximum(size), size.code.lane(1.0).where(size > largest, again)]

    def result(self, given: Options, known: Sequence[Lane]) -> tuple[Lane, Sequence[Lane]]:
        return (known[0], known[1:]) if math.isinf(given["p"]) else (_power(known[0], 1.0 / given["p"]), ())

    def slope(
        self, given: Options, which: int, dy: Lane, y: Lane, kept: Sequence[Lane]
    ) -> Callable[[Lane, Lane], Lane]:
        p, sign = float(given["p"]), 1.0 if which == 0 else -1.0
        of_line = dy * sign / kept[0] if kept else dy * sign / _power(y, p - 1.0)

        def dx(x1: Lane, x2: Lane) -> Lane:
            d, zero = x1 - x2 + given["eps"], dy.code.lane(0.0)
            if kept:
                return zero.where(d.abs() != y, of_line * d.sign())
            change = of_line * d if p == 2 else of_line * d.sign() * _power(d.abs(), p - 1.0)
            return zero.where((d == 0.0) | (y == 0.0), change)

        return dx


def _power(x: Lane, p: float) -> Lane:
    """x^p of numbers from 0 on."""
    if p in (0.0, 1.0):
        return x if p else x.code.lane(1.0)
    if p in (0.5, 2.0):
        return x.square() if p > 1 else x.sqrt()
    y: Lane = (x.log() * p).exp()
    return y
