"""The rules for activations: those given by formulas, and PReLU, whose slopes are learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lamp.compiler.arguments import NUMBERS
from lamp.compiler.code import Code
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.formula_calls import call_formula
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.rule import ElementRule, ElementUnit, total
from lamp.compiler.stages import Element
from lamp.formulas import step
from lamp.graph import Op
from lamp.module import Module
from lamp.nn import Activation, PReLU
from lamp.nn.activations_piecewise import leaky
from lamp.parameter import Parameter


class Formula(ElementRule):
    """An activation: y = sigma(x), dx = dy dsigma(x, y). The code is written by calling the formulas with lanes."""

    kind, module = "Elementwise", Activation

    def needs(self, module: Activation) -> str:
        return module.remembers

    def of_number(self, module: Activation, x: Any) -> Any:
        return module.sigma(x)

    def instructions(self, block: ColumnBlock, module: Activation, backward: bool) -> int:
        lengths, key = block.code.lengths, (type(module), repr(module), backward)  # layers often have equal ones
        if key not in lengths:
            lengths[key] = _length(block.code, module, backward)
        return lengths[key]

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        y: Lane = call_formula(_formulas(at.element).sigma, x)
        return y

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        dsigma = _formulas(at.element).dsigma
        return [each * call_formula(dsigma, *pair) for each, *pair in zip(dy, x, y, strict=True)]


def _length(code: Code, module: Activation, backward: bool) -> int:
    """The number of instructions of a formula, or of its derivative, written into a function that is thrown away."""
    scratch = type(code)("length", {"x": NUMBERS}, code.machine, code.dtype)
    x, y = (scratch.load(scratch.arguments["x"], place) for place in range(2))
    before = scratch.size
    if backward:
        call_formula(module.dsigma, x if "x" in module.remembers else None, y if "y" in module.remembers else None)
    else:
        call_formula(module.sigma, x)
    return scratch.size - before


def _formulas(element: Element) -> Activation:
    assert isinstance(element.module, Activation)
    return element.module


class Minus(ElementRule):
    """y = -x, dx = -dy."""

    kind, module = "Negative", Module

    def of_number(self, module: Any, x: Any) -> Any:
        return -x

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        return -x

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        return [-each for each in dy]


class Shift(ElementRule):
    """y = x + c, where c are fixed numbers, the same for each place of the first axes, such as a mask of attention."""

    kind, module = "Shift", Module

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        numbers = at.element.numbers
        assert numbers is not None
        count = numbers.data.numel()
        place = at.unit if count == at.stage.units else at.block.code.remainder(at.unit, count)
        return x + at.block.constant(numbers, place)

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        return list(dy)


class Exclude(ElementRule):
    """y = -inf where the input is true, else 0. The input is a mask of the data, which has no gradient."""

    kind, module = "Exclude", Module

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        return at.block.code.lane(0.0).where(x == 0.0, -math.inf)

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        raise AssertionError("a mask of the data learns nothing")


class Slopes(ElementRule):
    """PReLU: y = max(x, 0) + a min(x, 0), with one slope a per channel, which may be a single unit, or one for all.

    Backward  dx = dy (1 if x > 0 else a)    da = sum of dy min(x, 0)
    """

    kind, module = "Elementwise", PReLU

    def element(self, op: Op, offsets: Mapping[Parameter, int]) -> Element:
        return replace(super().element(op, offsets), neighbours=math.prod(op.inputs[0].shape[1:]))

    def needs(self, module: PReLU) -> str:
        return "x"

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        y: Lane = leaky(x, at.block.parameter(self._place(at)))
        return y

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        block, place = at.block, self._place(at)
        slope = block.parameter(place)
        dslope = [each * x_s.clamp(max=0.0) for each, x_s in zip(dy, x, strict=True)]
        block.add_to_gradient(place, total(block.counted(dslope, columns)))
        return [each * slope.lerp(1.0, step(x_s)) for each, x_s in zip(dy, x, strict=True)]

    @staticmethod
    def _place(at: ElementUnit) -> Index:
        """The position of a unit's slope among the parameters."""
        code, element, first = at.block.code, at.element, at.element.parameters["weight"]
        if slopes_of(element) == 1:
            return first
        return code.plus(at.unit if element.neighbours == 1 else code.quotient(at.unit, element.neighbours), first)


def slopes_of(element: Element) -> int:
    """The number of slopes of an element: 1 for all units, or one per unit; 0 if it is not a PReLU."""
    return element.module.num_parameters if isinstance(element.module, PReLU) else 0
