"""A small language of vectors: numbers of which each is many, loops, and memory.

`Lane` is a vector of W floats in a register that behaves like a number: it offers every operation that lamp.formulas
lists, so an activation, a loss or an optimizer's rule, called with lanes in place of tensors, writes its own machine
code. What is computed is the same in each lane, and nothing goes from one lane to another.

A lane is written into the function that its `Code` builds, where the builder stands at the moment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, Union

import torch
from llvmlite import ir

from lamp.compiler.target import Target

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
CONTRACT = ("contract",)  # a product and a sum may become one operation, rounded once; nothing else is rearranged

Operand = Union["Lane", float, int]
Index: TypeAlias = Any | int  # a value of the program, or one that is known

TRANSCENDENTAL: dict[str, Callable[[Lane], Lane]] = {}  # exp, log, ...: lamp.compiler.functions puts them here


class Code:
    """A function under construction: its builder, and the type of vector it computes with.

    dtype  torch.float32 or torch.float64
    """

    def __init__(self, name: str, arguments: Sequence[str], target: Target, dtype: torch.dtype) -> None:
        self.target, self.dtype, self.lanes = target, dtype, target.lanes(dtype)
        self.real: ir.Type = ir.FloatType() if dtype is torch.float32 else ir.DoubleType()
        self.integer = ir.IntType(8 * dtype.itemsize)
        self.vector = ir.VectorType(self.real, self.lanes)
        self.integers = ir.VectorType(self.integer, self.lanes)
        self.module = ir.Module()
        self.module.triple = target.triple
        types = [self.real.as_pointer() if each.endswith("_") else I64 for each in arguments]
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), name)
        self.arguments = dict(zip(arguments, self.function.args, strict=True))
        for value, each in self.arguments.items():
            each.name = value
            if value.endswith("_"):
                each.add_attribute("noalias")
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))

    # ---- numbers -----------------------------------------------------------------------------------------------
    def lane(self, x: Operand) -> Lane:
        """A number as a vector that holds it in every lane."""
        if isinstance(x, Lane):
            return x
        return Lane(self, ir.Constant(self.vector, [self._rounded(float(x))] * self.lanes))

    def _rounded(self, x: float) -> float:
        """The nearest number of the vectors' type."""
        if self.dtype is torch.float64:
            return x
        try:
            return struct.unpack("f", struct.pack("f", x))[0]  # type: ignore[no-any-return]
        except OverflowError:
            return float("inf") if x > 0 else float("-inf")

    def spread(self, scalar: ir.Value) -> Lane:
        """One number in a register as a vector that holds it in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.b.insert_element(undefined, scalar, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return Lane(self, self.b.shuffle_vector(first, undefined, zeros))

    def intrinsic(self, name: str, *operands: Lane) -> Lane:
        """An operation that LLVM knows by name, of vectors."""
        kind = "f32" if self.dtype is torch.float32 else "f64"
        full = f"llvm.{name}.v{self.lanes}{kind}"
        known = self.module.globals.get(full)
        if known is None:
            known = ir.Function(self.module, ir.FunctionType(self.vector, [self.vector] * len(operands)), full)
        return Lane(self, self.b.call(known, [each.value for each in operands]))

    def library(self, name: str, x: Lane) -> Lane:
        """A function of the C library, called for one lane after another."""
        known = self.module.globals.get(name) or ir.Function(self.module, ir.FunctionType(self.real, [self.real]), name)
        result = ir.Constant(self.vector, ir.Undefined)
        for k in range(self.lanes):
            value = self.b.call(known, [self.b.extract_element(x.value, I32(k))])
            result = self.b.insert_element(result, value, I32(k))
        return Lane(self, result)

    # ---- indices -----------------------------------------------------------------------------------------------
    def index(self, x: Index) -> ir.Value:
        """A whole number as a value of the program."""
        return I64(x) if isinstance(x, int) else x

    def plus(self, x: Index, y: Index) -> Index:
        """x + y, at once where both are known."""
        if isinstance(x, int) and isinstance(y, int):
            return x + y
        if x == 0 and isinstance(x, int):
            return y
        if y == 0 and isinstance(y, int):
            return x
        return self.b.add(self.index(x), self.index(y))

    def times(self, x: Index, y: Index) -> Index:
        """x y, at once where both are known."""
        if isinstance(x, int) and isinstance(y, int):
            return x * y
        if isinstance(x, int):
            x, y = y, x
        if isinstance(y, int) and y in (0, 1):
            return x if y else 0
        return self.b.mul(self.index(x), self.index(y))

    # ---- loops -------------------------------------------------------------------------------------------------
    @contextmanager
    def loop(self, start: Index, stop: Index, step: int = 1) -> Iterator[ir.Value]:
        """What stands within runs for start, start + step, ... below stop; not at all where start is not below."""
        with self.carrying(start, stop, [], step) as (i, _):
            yield i

    @contextmanager
    def carrying(
        self, start: Index, stop: Index, carried: Sequence[Lane], step: int = 1
    ) -> Iterator[tuple[ir.Value, list[Lane]]]:
        """A loop that carries lanes in registers: a list, whose members the body replaces, and which after the loop
        holds what they are then."""
        b = self.b
        first, end = self.index(start), self.index(stop)
        certain = isinstance(start, int) and isinstance(stop, int) and start < stop
        before = b.block
        body, after = b.append_basic_block("loop"), b.append_basic_block("after")
        if certain:
            b.branch(body)
        else:
            b.cbranch(b.icmp_signed("<", first, end), body, after)
        b.position_at_end(body)
        i = b.phi(I64)
        i.add_incoming(first, before)
        phis = [b.phi(self.vector) for _ in carried]
        for phi, lane in zip(phis, carried, strict=True):
            phi.add_incoming(lane.value, before)
        state = [Lane(self, phi) for phi in phis]
        yield i, state
        following = b.add(i, I64(step))
        last = b.block
        i.add_incoming(following, last)
        for phi, lane in zip(phis, state, strict=True):
            phi.add_incoming(lane.value, last)
        b.cbranch(b.icmp_signed("<", following, end), body, after)
        b.position_at_end(after)
        for k, (lane, initial) in enumerate(zip(list(state), carried, strict=True)):
            if certain:
                continue
            joined = b.phi(self.vector)
            joined.add_incoming(lane.value, last)
            joined.add_incoming(initial.value, before)
            state[k] = Lane(self, joined)

    # ---- memory ------------------------------------------------------------------------------------------------
    def load(self, pointer: ir.Value, at: Index) -> Lane:
        """The vector number `at` of an aligned array of vectors."""
        return Lane(self, self.b.load(self._place(pointer, at), align=self.target.bits // 8))

    def store(self, pointer: ir.Value, at: Index, lane: Operand) -> None:
        """Put a vector at number `at` of an aligned array of vectors."""
        self.b.store(self.lane(lane).value, self._place(pointer, at), align=self.target.bits // 8)

    def load_one(self, pointer: ir.Value, at: Index) -> Lane:
        """The number `at` of an array of numbers, in every lane."""
        return self.spread(self.b.load(self.b.gep(pointer, [self.index(at)])))

    def store_first(self, pointer: ir.Value, at: Index, lane: Lane) -> None:
        """Put what the first lane holds at number `at` of an array of numbers."""
        self.b.store(self.b.extract_element(lane.value, I32(0)), self.b.gep(pointer, [self.index(at)]))

    def _place(self, pointer: ir.Value, at: Index) -> ir.Value:
        offset = self.times(at, self.lanes)
        return self.b.bitcast(self.b.gep(pointer, [self.index(offset)]), self.vector.as_pointer())

    def finish(self) -> str:
        """End the function; the module's text."""
        self.b.ret_void()
        return str(self.module)


class Mask:
    """A condition, lane by lane."""

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.code, self.code.b.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.code, self.code.b.or_(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.code, self.code.b.not_(self.value))

    def __bool__(self) -> bool:
        raise TypeError("lanes differ: a condition of theirs chooses with x.where(condition, other)")


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
        if isinstance(other, Lane):
            return self.code.intrinsic("maximum", self, other)
        bound = self.code.lane(other)
        return bound.where(bound > self, self)

    def minimum(self, other: Operand) -> Lane:
        """The smaller of the two; NaN of self stays, and of a lane."""
        if isinstance(other, Lane):
            return self.code.intrinsic("minimum", self, other)
        bound = self.code.lane(other)
        return bound.where(bound < self, self)

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Lane:
        """self, but no less than min and no more than max."""
        low = self if min is None else self.maximum(min)
        return low if max is None else low.minimum(max)

    # ---- functions ---------------------------------------------------------------------------------------------
    def abs(self) -> Lane:
        return self.code.intrinsic("fabs", self)

    def sign(self) -> Lane:
        zero = self.code.lane(0.0)
        return self.code.lane(1.0).where(self > 0.0, zero) - self.code.lane(1.0).where(self < 0.0, zero)

    def square(self) -> Lane:
        return self * self

    def sqrt(self) -> Lane:
        return self.code.intrinsic("sqrt", self)

    def rsqrt(self) -> Lane:
        return 1.0 / self.sqrt()

    def reciprocal(self) -> Lane:
        return 1.0 / self

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
            raise AttributeError(f"a lane has no {name!r}: lamp.formulas lists what numbers offer")
        return lambda: formula(self)


def _power_of_two(x: float) -> bool:
    from math import frexp

    return abs(frexp(x)[0]) == 0.5
