"""Numbers of which each is many: what formulas are called with to write machine code.

`Lane` is a vector of W floats in a register that behaves like a number: it offers every operation that lamp.formulas
lists, so an activation, a loss or an optimizer's rule, called with lanes in place of tensors, writes its own machine
code. What is computed is the same in each lane, and nothing goes from one lane to another.
"""

from __future__ import annotations

from collections.abc import Callable
from math import frexp
from typing import TYPE_CHECKING, Any, Union

from llvmlite import ir

if TYPE_CHECKING:
    from lamp.compiler.code import Code

CONTRACT = ("contract",)  # a product and a sum may become one operation, rounded once; nothing else is rearranged

Operand = Union["Lane", float, int]

TRANSCENDENTAL: dict[str, Callable[[Lane], Lane]] = {}  # exp, log, ...: lamp.compiler.functions puts them here


class Unwritable(TypeError, AttributeError):
    """What a formula asks of lanes that they do not do."""


class Whole:
    """Signed 32-bit integers that wrap around, one or a vector of them: what lamp.randomness draws its bits from."""

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value

    def _whole(self, other: Whole | int) -> ir.Value:
        if isinstance(other, Whole):
            return other.value
        kind = self.value.type
        return ir.Constant(kind, [other] * kind.count if isinstance(kind, ir.VectorType) else other)

    def __add__(self, other: Whole | int) -> Whole:
        return Whole(self.code, self.code.b.add(self.value, self._whole(other)))

    def __sub__(self, other: Whole | int) -> Whole:
        return Whole(self.code, self.code.b.sub(self.value, self._whole(other)))

    def __mul__(self, other: Whole | int) -> Whole:
        return Whole(self.code, self.code.b.mul(self.value, self._whole(other)))

    def __xor__(self, other: Whole | int) -> Whole:
        return Whole(self.code, self.code.b.xor(self.value, self._whole(other)))

    def __and__(self, other: Whole | int) -> Whole:
        return Whole(self.code, self.code.b.and_(self.value, self._whole(other)))

    def __rshift__(self, places: int) -> Whole:
        return Whole(self.code, self.code.b.ashr(self.value, self._whole(places)))

    def is_true(self) -> Mask:
        """Where it is not 0."""
        return Mask(self.code, self.code.b.icmp_signed("!=", self.value, self._whole(0)))


class Mask:
    """A condition, lane by lane."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.code, self.code.b.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.code, self.code.b.or_(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.code, self.code.b.not_(self.value))

    def __eq__(self, other: Mask) -> Mask:  # type: ignore[override]
        return ~Mask(self.code, self.code.b.xor(self.value, other.value))

    def __bool__(self) -> bool:
        raise Unwritable("lanes differ: a condition of theirs chooses with x.where(condition, other)")


class Lane:
    """A vector of floats that behaves like a number: the operations of lamp.formulas, in every lane."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value
        self.known: dict[str, Callable[[], Lane]] = {}

    def _lane(self, value: ir.Value) -> Lane:
        return Lane(self.code, value)

    # ---- arithmetic --------------------------------------------------------------------------------------------
    def __add__(self, other: Operand) -> Lane:
        return self._lane(self.code.b.fadd(self.value, self.code.lane(other).value, flags=CONTRACT))

    def __sub__(self, other: Operand) -> Lane:
        return self._lane(self.code.b.fsub(self.value, self.code.lane(other).value, flags=CONTRACT))

    def __mul__(self, other: Operand) -> Lane:
        return self._lane(self.code.b.fmul(self.value, self.code.lane(other).value, flags=CONTRACT))

    def __truediv__(self, other: Operand) -> Lane:
        if isinstance(other, float | int) and other != 0 and (1.0 / other) * other == 1.0 and _power_of_two(other):
            return self * (1.0 / other)
        return self._lane(self.code.b.fdiv(self.value, self.code.lane(other).value))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Operand) -> Lane:
        return self.code.lane(other) - self

    def __rtruediv__(self, other: Operand) -> Lane:
        return self.code.lane(other) / self

    def __neg__(self) -> Lane:
        return self._lane(self.code.b.fneg(self.value))

    def times_plus(self, factor: Lane, term: Lane) -> Lane:
        """self factor + term, rounded once."""
        return self.code.intrinsic("fma", self, factor, term)

    # ---- conditions --------------------------------------------------------------------------------------------
    def _compared(self, sign: str, other: Operand) -> Mask:
        return Mask(self.code, self.code.b.fcmp_ordered(sign, self.value, self.code.lane(other).value))

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
        return Mask(self.code, self.code.b.fcmp_unordered("!=", self.value, self.code.lane(other).value))

    def where(self, condition: Mask, other: Operand) -> Lane:
        """This where the condition holds, other elsewhere."""
        return self._lane(self.code.b.select(condition.value, self.value, self.code.lane(other).value))

    def maximum(self, other: Operand) -> Lane:
        """The larger of the two; NaN of self stays, and of a lane."""
        bound = self.code.lane(other)
        larger = bound.where(bound > self, self)
        return bound.where(bound != bound, larger) if isinstance(other, Lane) else larger

    def minimum(self, other: Operand) -> Lane:
        """The smaller of the two; NaN of self stays, and of a lane."""
        bound = self.code.lane(other)
        smaller = bound.where(bound < self, self)
        return bound.where(bound != bound, smaller) if isinstance(other, Lane) else smaller

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Lane:
        """self, but no less than min and no more than max."""
        low = self if min is None else self.maximum(min)
        return low if max is None else low.minimum(max)

    # ---- functions ---------------------------------------------------------------------------------------------
    def abs(self) -> Lane:
        return self.code.intrinsic("fabs", self)

    def sign(self) -> Lane:
        return self.code.intrinsic("copysign", self.code.lane(1.0), self).where(self.abs() > 0.0, 0.0)

    def step(self) -> Lane:
        return self.code.lane(1.0).where(self > 0.0, 0.0)

    def square(self) -> Lane:
        return self * self

    def sqrt(self) -> Lane:
        return self.code.intrinsic("sqrt", self)

    def rsqrt(self) -> Lane:
        return 1.0 / self.sqrt()

    def reciprocal(self) -> Lane:
        return 1.0 / self

    def added_up(self) -> Lane:
        """The sum of all lanes, in every lane."""
        total, width = self, self.code.lanes
        while width > 1:
            width //= 2
            total = total + self.code.turned(total, width)
        return total

    def lerp(self, other: Operand, weight: Operand) -> Lane:
        return self + (self.code.lane(other) - self) * weight

    def knowing(self, name: str, value: Callable[[], Lane]) -> Lane:
        """This lane, which answers to one of its functions with a value that is known already."""
        self.known[name] = value
        return self

    def __getattr__(self, name: str) -> Any:
        if name in vars(self).get("known", ()):
            return self.known[name]

        formula = TRANSCENDENTAL.get(name)
        if formula is None:
            raise Unwritable(f"a lane has no {name!r}: lamp.formulas lists what numbers offer")
        return lambda: formula(self)


def _power_of_two(x: float) -> bool:
    return abs(frexp(x)[0]) == 0.5
