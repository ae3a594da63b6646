"""Lanes: symbolic vectors that formulas are called with in order to write machine code.

A `Lane` stands for a vector of W floats in a register and behaves like a number: it has every operation that
lamp.formulas lists. When an activation, a loss or an optimizer's rule is called with lanes in place of tensors, each
operation writes an instruction, so the formula writes its own machine code. All lanes of a vector compute the same, and
no value moves from one lane to another. The instructions are the few that `Vectors` requires of a backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import frexp
from typing import Any, Literal, Union

import torch

Operand = Union["Lane", float, int]
Value = Any  # a vector, a condition or integers, in the backend's representation
Real = Literal["add", "subtract", "multiply", "divide", "negate", "fma", "abs", "sqrt", "copysign"]
Integer = Literal["add", "subtract", "multiply", "and", "xor", "shift left", "shift right", "shift right unsigned"]
Logic = Literal["and", "or", "xor", "not"]
Sign = Literal["<", "<=", ">", ">=", "==", "!="]


class Unwritable(TypeError, AttributeError):
    """An operation of a formula that lanes do not support."""


class Vectors(ABC):
    """The operations on vectors in registers that a backend implements.

    lanes  W, the number of floats in a vector
    dtype  their type, torch.float32 or torch.float64
    """

    lanes: int
    dtype: torch.dtype

    def lane(self, x: Operand) -> Lane:
        """A vector that holds this number in every lane. Raises Unwritable for what is no number."""
        if isinstance(x, Lane):
            return x
        try:
            number = float(x)
        except (TypeError, ValueError, RuntimeError):
            raise Unwritable(f"a lane is combined with numbers, not with a {type(x).__name__}") from None
        return Lane(self, self.number_value(number))

    @abstractmethod
    def number_value(self, x: float) -> Value:
        """x in every lane, rounded to the vectors' dtype."""

    @abstractmethod
    def real(self, operation: Real, *operands: Value) -> Value:
        """An operation on floats, rounded once. "fma" is x y + z, rounded once; other products and sums may be
        contracted to it."""

    @abstractmethod
    def compared(self, sign: Sign, x: Value, y: Value) -> Value:
        """A comparison of floats, per lane. With NaN only "!=" is true."""

    @abstractmethod
    def chosen(self, condition: Value, x: Value, y: Value) -> Value:
        """x where the condition holds, y elsewhere."""

    @abstractmethod
    def logic(self, operation: Logic, *conditions: Value) -> Value:
        """A logical operation on conditions, per lane."""

    @abstractmethod
    def integer(self, operation: Integer, x: Value, y: Value) -> Value:
        """An operation on signed integers that wrap around. "shift right" keeps the sign."""

    @abstractmethod
    def integer_like(self, x: Value, n: int) -> Value:
        """The constant n with the bit width of x, and in every lane if x is a vector."""

    @abstractmethod
    def integers_compared(self, sign: Sign, x: Value, y: Value) -> Value:
        """A comparison of signed integers."""

    @abstractmethod
    def bits_of(self, x: Value) -> Value:
        """The bits of floats, as integers of the same width."""

    @abstractmethod
    def of_bits(self, x: Value) -> Value:
        """The floats that have these bits."""

    @abstractmethod
    def converted(self, x: Value) -> Value:
        """Integers, converted to floats of the same width."""

    @abstractmethod
    def truncated(self, x: Value) -> Value:
        """Floats, converted to integers of 32 bits; what stands behind the point is left out."""

    @abstractmethod
    def turned(self, x: Lane, places: int) -> Lane:
        """x, rotated: lane k holds what lane k + places (modulo W) held."""

    @abstractmethod
    def formula(self, name: str) -> Callable[[Lane], Lane] | None:
        """The function of lanes of this name (exp, tanh, ...); None if there is none."""


class Whole:
    """A signed integer that wraps around, or a vector of them. It has 32 bits (lamp.randomness computes with these) or
    as many bits as a float of the vectors' dtype."""

    def __init__(self, code: Vectors, value: Value) -> None:
        self.code, self.value = code, value

    def _of(self, operation: Integer, other: Whole | int) -> Whole:
        return Whole(self.code, self.code.integer(operation, self.value, self._whole(other)))

    def _whole(self, other: Whole | int) -> Value:
        return other.value if isinstance(other, Whole) else self.code.integer_like(self.value, other)

    def __add__(self, other: Whole | int) -> Whole:
        return self._of("add", other)

    def __sub__(self, other: Whole | int) -> Whole:
        return self._of("subtract", other)

    def __mul__(self, other: Whole | int) -> Whole:
        return self._of("multiply", other)

    def __xor__(self, other: Whole | int) -> Whole:
        return self._of("xor", other)

    def __and__(self, other: Whole | int) -> Whole:
        return self._of("and", other)

    def __lshift__(self, places: int) -> Whole:
        return self._of("shift left", places)

    def __rshift__(self, places: int) -> Whole:
        return self._of("shift right", places)

    def shifted_unsigned(self, places: int) -> Whole:
        """Shifted right, filled with zeros whatever the sign."""
        return self._of("shift right unsigned", places)

    def _compared(self, sign: Sign, other: Whole | int) -> Mask:
        return Mask(self.code, self.code.integers_compared(sign, self.value, self._whole(other)))

    def __lt__(self, other: Whole | int) -> Mask:
        return self._compared("<", other)

    def __ge__(self, other: Whole | int) -> Mask:
        return self._compared(">=", other)

    def is_true(self) -> Mask:
        """The condition that it is not 0."""
        return self._compared("!=", 0)

    def as_bits(self) -> Lane:
        """The floats that have these bits."""
        return Lane(self.code, self.code.of_bits(self.value))

    def as_numbers(self) -> Lane:
        """These numbers, converted to floats."""
        return Lane(self.code, self.code.converted(self.value))


class Mask:
    """A condition, true or false in each lane."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Vectors, value: Value) -> None:
        self.code, self.value = code, value

    def _of(self, operation: Logic, *others: Mask) -> Mask:
        return Mask(self.code, self.code.logic(operation, self.value, *(other.value for other in others)))

    def __and__(self, other: Mask) -> Mask:
        return self._of("and", other)

    def __or__(self, other: Mask) -> Mask:
        return self._of("or", other)

    def __invert__(self) -> Mask:
        return self._of("not")

    def __eq__(self, other: Mask) -> Mask:  # type: ignore[override]
        return ~self._of("xor", other)

    def __bool__(self) -> bool:
        raise Unwritable("a condition may differ between lanes, so `if` cannot use it: write x.where(condition, other)")


class Lane:
    """A vector of floats that behaves like a number: it has the operations of lamp.formulas, applied in every lane."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Vectors, value: Value) -> None:
        self.code, self.value = code, value
        self.known: dict[str, Callable[[], Lane]] = {}

    def _of(self, operation: Real, *others: Operand) -> Lane:
        return Lane(self.code, self.code.real(operation, self.value, *[self.code.lane(each).value for each in others]))

    # ---- arithmetic --------------------------------------------------------------------------------------------
    def __add__(self, other: Operand) -> Lane:
        return self._of("add", other)

    def __sub__(self, other: Operand) -> Lane:
        return self._of("subtract", other)

    def __mul__(self, other: Operand) -> Lane:
        return self._of("multiply", other)

    def __truediv__(self, other: Operand) -> Lane:
        if isinstance(other, float | int) and other != 0 and (1.0 / other) * other == 1.0 and _power_of_two(other):
            return self * (1.0 / other)
        return self._of("divide", other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Operand) -> Lane:
        return self.code.lane(other) - self

    def __rtruediv__(self, other: Operand) -> Lane:
        return self.code.lane(other) / self

    def __neg__(self) -> Lane:
        return self._of("negate")

    def times_plus(self, factor: Lane, term: Lane) -> Lane:
        """self * factor + term, rounded once."""
        return self._of("fma", factor, term)

    # ---- conditions --------------------------------------------------------------------------------------------
    def _compared(self, sign: Sign, other: Operand) -> Mask:
        return Mask(self.code, self.code.compared(sign, self.value, self.code.lane(other).value))

    def __lt__(self, other: Operand) -> Mask:
        return self._compared("<", other)

    def __le__(self, other: Operand) -> Mask:
        return self._compared("<=", other)

    def __gt__(self, other: Operand) -> Mask:
        return self._compared(">", other)

    def __ge__(self, other: Operand) -> Mask:
        return self._compared(">=", other)

    def __eq__(self, other: Operand) -> Mask:  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: Operand) -> Mask:  # type: ignore[override]
        return self._compared("!=", other)

    def where(self, condition: Mask, other: Operand) -> Lane:
        """self where the condition holds, other elsewhere."""
        return Lane(self.code, self.code.chosen(condition.value, self.value, self.code.lane(other).value))

    def maximum(self, other: Operand) -> Lane:
        """The larger of the two. NaN if self is NaN, or if other is a lane and NaN."""
        bound = self.code.lane(other)
        larger = bound.where(bound > self, self)
        return bound.where(bound != bound, larger) if isinstance(other, Lane) else larger

    def minimum(self, other: Operand) -> Lane:
        """The smaller of the two. NaN if self is NaN, or if other is a lane and NaN."""
        bound = self.code.lane(other)
        smaller = bound.where(bound < self, self)
        return bound.where(bound != bound, smaller) if isinstance(other, Lane) else smaller

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Lane:
        """self, limited to at least min and at most max."""
        low = self if min is None else self.maximum(min)
        return low if max is None else low.minimum(max)

    # ---- functions ---------------------------------------------------------------------------------------------
    def abs(self) -> Lane:
        return self._of("abs")

    def with_sign_of(self, other: Operand) -> Lane:
        """The absolute value of self, with the sign of other."""
        return self._of("copysign", other)

    def bits(self) -> Whole:
        """Its bits, as integers of the same width."""
        return Whole(self.code, self.code.bits_of(self.value))

    def truncated(self) -> Whole:
        """The numbers without what stands behind the point, as integers of 32 bits."""
        return Whole(self.code, self.code.truncated(self.value))

    def sign(self) -> Lane:
        return self.code.lane(1.0).with_sign_of(self).where(self.abs() > 0.0, 0.0)

    def step(self) -> Lane:
        return self.code.lane(1.0).where(self > 0.0, 0.0)

    def square(self) -> Lane:
        return self * self

    def sqrt(self) -> Lane:
        return self._of("sqrt")

    def rsqrt(self) -> Lane:
        return 1.0 / self.sqrt()

    def reciprocal(self) -> Lane:
        return 1.0 / self

    def sum_of_lanes(self) -> Lane:
        """The sum of all lanes, in every lane."""
        total, width = self, self.code.lanes
        while width > 1:
            width //= 2
            total = total + self.code.turned(total, width)
        return total

    def lerp(self, other: Operand, weight: Operand) -> Lane:
        return self + (self.code.lane(other) - self) * weight

    def knowing(self, name: str, value: Callable[[], Lane]) -> Lane:
        """This lane; its function of this name will return a value that is known already, instead of computing it."""
        self.known[name] = value
        return self

    def __getattr__(self, name: str) -> Any:
        if name in vars(self).get("known", ()):
            return self.known[name]
        formula = self.code.formula(name)
        if formula is None:
            raise Unwritable(f"a lane has no {name!r}: lamp.formulas lists the operations of numbers")
        return lambda: formula(self)


def _power_of_two(x: float) -> bool:
    return abs(frexp(x)[0]) == 0.5
