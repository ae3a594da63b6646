"""The rule for values that hold the elements of another one in another order: Permute, Select and Expand.

A view says where the elements of a value lie among the units of a stage. A matrix product reads its inputs through
views; for all other operations the elements are copied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import apply_chain, begin_gradients, each_column, give_gradients, note_all_given
from lamp.compiler.rules.rule import Rule
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


@dataclass(frozen=True)
class View:
    """Where the elements of a value lie: the one at these places of its axes, at first + the sum of stride x place.

    sizes  of its axes
    """

    first: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, shape: Sequence[int]) -> View:
        """Elements that lie one after another."""
        behind = list(accumulate(reversed(shape[1:]), int.__mul__, initial=1))
        return cls(0, tuple(shape), tuple(reversed(behind)) if shape else ())

    def unit(self, code: Code, places: Sequence[Index]) -> Index:
        """Where the element at these places lies."""
        unit: Index = self.first
        for place, stride in zip(places, self.strides, strict=True):
            unit = code.plus(unit, code.times(place, stride))
        return unit

    def unit_of(self, places: Sequence[int]) -> int:
        """Where the element at these places, which are known, lies."""
        return self.first + sum(place * stride for place, stride in zip(places, self.strides, strict=True))

    def permuted(self, axes: Sequence[int]) -> View:
        """The axes in another order."""
        return View(self.first, tuple(self.sizes[k] for k in axes), tuple(self.strides[k] for k in axes))

    def selected(self, axis: int, place: int) -> View:
        """The elements at one place of an axis, without that axis."""
        sizes, strides = list(self.sizes), list(self.strides)
        del sizes[axis]
        return View(self.first + place * strides.pop(axis), tuple(sizes), tuple(strides))

    def expanded(self, shape: Sequence[int]) -> View:
        """Repeated along axes of size 1, and along new ones in front."""
        new = len(shape) - len(self.sizes)
        own = [0] * new + [0 if n == 1 else stride for n, stride in zip(self.sizes, self.strides, strict=True)]
        return View(self.first, tuple(shape), tuple(own))

    def repeated(self, counts: Sequence[int]) -> View:
        """Each element so many times in a row along each axis, as an axis of its own behind it."""
        sizes = [n for pair in zip(self.sizes, counts, strict=True) for n in pair]
        return View(self.first, tuple(sizes), tuple(n for stride in self.strides for n in (stride, 0)))

    @property
    def transposed(self) -> View:
        """The last two axes exchanged."""
        *others, rows, columns = range(len(self.sizes))
        return self.permuted([*others, columns, rows])

    def holds_all(self, stage: Stage) -> bool:
        """Whether each unit of the stage is among the elements, once along the axes that repeat nothing."""
        count = math.prod(n for n, stride in zip(self.sizes, self.strides, strict=True) if stride or n == 1)
        return bool(count == stage.units) and not self._overlaps

    @property
    def _overlaps(self) -> bool:
        """Whether an element may be at several places, as where windows overlap, apart from axes that repeat all."""
        reach, steps = 0, zip(map(abs, self.strides), self.sizes, strict=True)
        for stride, n in sorted((stride, n) for stride, n in steps if stride and n > 1):
            if stride <= reach:
                return True
            reach += stride * (n - 1)
        return False


def viewed(stage: Stage, shape: Sequence[int]) -> tuple[Stage, View]:
    """The stage that holds the elements of a value of this shape, which this stage gives, and where they lie there."""
    view = stage.attributes.get("view")
    if isinstance(view, View) and not stage.chain and view.sizes == tuple(shape):
        return stage.inputs[0], view
    return stage, View.of(shape)


class Viewed(Rule):
    """y at these places = x where the view says.

    Backward  dx = the sum of dy over the places where x is read
    """

    reads_inputs = False

    def merged(self, op: Op, inputs: list[Stage], alone: list[bool]) -> Stage | None:
        """A matrix product stores its values in the other order at once."""
        (before,), sizes = inputs, op.inputs[0].shape
        product = before.kind == "MatMul" and alone[0] and not before.chain
        if op.kind != "Permute" or not product or before.attributes["out"] != View.of(sizes):
            return None
        axes = op.attributes["axes"]
        strides = dict(zip(axes, View.of(op.output.shape).strides, strict=True))
        out = View(0, sizes, tuple(strides[k] for k in range(len(sizes))))
        before.attributes = {**before.attributes, "out": out}
        return before

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        before, view = viewed(inputs[0], op.inputs[0].shape)
        if op.kind == "Permute":
            view = view.permuted(op.attributes["axes"])
        elif op.kind == "Select":
            view = view.selected(op.attributes["axis"], op.attributes["index"])
        else:
            view = view.expanded(op.output.shape)
        return Stage("View", [before], math.prod(op.output.shape), attributes={"view": view})

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), view = block.code, stage.inputs, stage.attributes["view"]
        with code.nest([(0, n) for n in view.sizes]) as (places, _), each_column(block, stage) as columns:
            unit, source = View.of(view.sizes).unit(code, places), view.unit(code, places)
            for s in columns:
                apply_chain(block, stage, unit, s, block.activation(code.plus(source, before.output_offset), s))

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), view = block.code, stage.inputs, stage.attributes["view"]
        if not before.learns:
            return
        own = [k for k, stride in enumerate(view.strides) if stride]
        repeated = [k for k, stride in enumerate(view.strides) if not stride]
        whole = view.holds_all(before)
        if not whole:
            begin_gradients(block, before)

        def sum_of(given: Sequence[Index], s: Index) -> Lane:
            with code.nest([(0, view.sizes[k]) for k in repeated], [code.lane(0.0)]) as (others, sums):
                at = dict(zip((*own, *repeated), (*given, *others), strict=True))
                unit = View.of(view.sizes).unit(code, [at[k] for k in range(len(at))])
                sums[0] = sums[0] + block.gradient(code.plus(unit, stage.gradient_offset), s)
            return sums[0]

        with (
            code.nest([(0, view.sizes[k]) for k in own]) as (places, _),
            each_column(block, before, backward=True) as columns,
        ):
            at = dict(zip(own, places, strict=True))
            unit = view.unit(code, [at.get(k, 0) for k in range(len(view.sizes))])
            give_gradients(block, before, unit, {s: sum_of(places, s) for s in columns}, whole=whole)
        if whole:
            note_all_given(block, before)
