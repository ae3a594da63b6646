"""A function under construction: numbers of which each is many, loops, and memory.

Lanes (see lamp.compiler.lanes) are written into the function that their `Code` builds, where its builder stands.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from llvmlite import ir

from lamp.compiler.indices import I64, Index, Sum, Written
from lamp.compiler.lanes import Lane, Operand, Unwritable, Whole
from lamp.compiler.target import Target

I1, I32 = ir.IntType(1), ir.IntType(32)

FEW = 3  # turns of a loop that are written out
SPINS = 2**9  # looks at a counter between two times that a waiting thread lets others run
LINE = 64  # bytes of a cache line: what different threads write to stands that far apart


class Count:
    """A whole number that the program finds when it runs; sums and products of it are written out as it goes."""

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value

    def __add__(self, other: Count | int) -> Count:
        return Count(self.code, self.code.index(self.code.plus(self, other)))

    def __mul__(self, other: Count | int) -> Count:
        return Count(self.code, self.code.index(self.code.times(self, other)))

    __radd__, __rmul__ = __add__, __mul__


class Code:
    """A function under construction: its builder, and the type of vector it computes with.

    dtype   torch.float32 or torch.float64
    shared  whether other threads write to the same memory at the same time
    """

    def __init__(
        self, name: str, arguments: Sequence[str], target: Target, dtype: torch.dtype, *, shared: bool = False
    ) -> None:
        self.target, self.dtype, self.lanes = target, dtype, target.lanes(dtype)
        self.real: ir.Type = ir.FloatType() if dtype is torch.float32 else ir.DoubleType()
        self.integer = ir.IntType(8 * dtype.itemsize)
        self.vector = ir.VectorType(self.real, self.lanes)
        self.integers = ir.VectorType(self.integer, self.lanes)
        self._constants: dict[str, ir.Constant] = {}
        self.module = ir.Module()
        self.module.triple = target.triple
        types = [self.real.as_pointer() if each.endswith("_") else I64 for each in arguments]
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), name)
        self.arguments = dict(zip(arguments, self.function.args, strict=True))
        for value, each in self.arguments.items():
            each.name = value
            if value.endswith("_") and not shared:
                each.add_attribute("noalias")
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self._written = Written(self.b)

    # ---- numbers -----------------------------------------------------------------------------------------------
    def lane(self, x: Operand) -> Lane:
        """A number as a vector that holds it in every lane."""
        if isinstance(x, Lane):
            return x
        try:
            number = self._rounded(float(x))
        except (TypeError, ValueError, RuntimeError):
            raise Unwritable(f"a lane meets numbers, not a {type(x).__name__}") from None
        known = self._constants.get(repr(number))
        if known is None:
            known = self._constants[repr(number)] = ir.Constant(self.vector, [number] * self.lanes)
        return Lane(self, known)

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
        return Lane(self, self._in_every_lane(scalar))

    def _in_every_lane(self, scalar: ir.Value) -> ir.Value:
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.b.insert_element(undefined, scalar, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(first, undefined, zeros)

    def number(self, x: Index) -> Lane:
        """A whole number as a lane."""
        return self.lane(float(x)) if isinstance(x, int) else self.spread(self.b.sitofp(self.index(x), self.real))

    # ---- whole numbers -----------------------------------------------------------------------------------------
    def whole(self, x: Index) -> Whole:
        """A whole number as one that wraps around at 32 bits."""
        return Whole(self, I32(x) if isinstance(x, int) else self.b.trunc(self.index(x), I32))

    def wholes(self, x: Whole) -> Whole:
        """One whole number as a vector that holds it in every lane."""
        return Whole(self, self._in_every_lane(x.value))

    def counted(self, first: Index, step: int = 1) -> Whole:
        """first, first + step, first + 2 step, ..., a lane each."""
        numbers = ir.Constant(ir.VectorType(I32, self.lanes), [step * k for k in range(self.lanes)])
        return self.wholes(self.whole(first)) + Whole(self, numbers)

    def load_wholes(self, pointer: ir.Value, at: Index) -> Whole:
        """W neighbouring int32, from number `at` of an array of them on."""
        kind = ir.VectorType(I32, self.lanes)
        return Whole(
            self, self.b.load(self.b.bitcast(self.b.gep(pointer, [self.index(at)]), kind.as_pointer()), align=4)
        )

    def load_whole(self, pointer: ir.Value, at: Index) -> Whole:
        """The int32 number `at` of an array of them."""
        return Whole(self, self.b.load(self.b.gep(pointer, [self.index(at)]), align=4))

    def intrinsic(self, name: str, *operands: Lane) -> Lane:
        """An operation that LLVM knows by name, of vectors."""
        kind = "f32" if self.dtype is torch.float32 else "f64"
        full = f"llvm.{name}.v{self.lanes}{kind}"
        known = self.module.globals.get(full)
        if known is None:
            known = ir.Function(self.module, ir.FunctionType(self.vector, [self.vector] * len(operands)), full)
        return Lane(self, self.b.call(known, [each.value for each in operands]))

    def turned(self, x: Lane, places: int) -> Lane:
        """Lane k holds what lane k + places held, round and round."""
        mask = ir.Constant(ir.VectorType(I32, self.lanes), [(k + places) % self.lanes for k in range(self.lanes)])
        return Lane(self, self.b.shuffle_vector(x.value, x.value, mask))

    # ---- indices -----------------------------------------------------------------------------------------------
    def index(self, x: Index) -> ir.Value:
        """A whole number as a value of the program."""
        return self._written.value(x.value if isinstance(x, Count) else x)

    def plus(self, x: Index, y: Index) -> Index:
        """x + y, at once where both are known."""
        x, y = (each.value if isinstance(each, Count) else each for each in (x, y))
        return Sum.of(x).plus(Sum.of(y)).simplest

    def times(self, x: Index, y: Index) -> Index:
        """x y, at once where both are known."""
        x, y = (each.value if isinstance(each, Count) else each for each in (x, y))
        if isinstance(x, int):
            x, y = y, x
        if isinstance(y, int):
            return Sum.of(x).times(y).simplest
        return self.b.mul(self.index(x), self.index(y))

    # ---- loops -------------------------------------------------------------------------------------------------
    @contextmanager
    def loop(self, start: Index, stop: Index, step: Index = 1) -> Iterator[ir.Value]:
        """What stands within runs for start, start + step, ... below stop; not at all where start is not below."""
        with self.carrying(start, stop, [], step) as (i, _):
            yield i

    @contextmanager
    def carrying(
        self, start: Index, stop: Index, carried: Sequence[Lane], step: Index = 1
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
        following = b.add(i, self.index(step))
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

    def each(self, start: Index, stop: Index, state: list[Lane]) -> Iterator[Index]:
        """start, start + 1, ... below stop: a few written out one by one, else a loop. It carries a list of lanes,
        whose members the body replaces."""
        if isinstance(start, int) and isinstance(stop, int) and stop - start <= FEW:
            yield from range(start, stop)
            return
        with self.carrying(start, stop, state) as (i, inner):
            state[:] = inner
            yield i
            inner[:] = state
        state[:] = inner

    @contextmanager
    def tasks(self, counters: ir.Value, each: int, phases: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
        """Tasks for the threads that run this function together: `each` of them a phase, by number.

        Whichever thread is free takes the next. A phase begins when all of the one before is done; all threads go on
        when the last is. A thread that the system has put aside between two tasks keeps nobody waiting.

        counters  two int64, 0 in the beginning, a cache line apart
        """
        b = self.b
        taken, done = counters, b.gep(counters, [I64(LINE // 8)])
        following, body, after = (b.append_basic_block(name) for name in ("next", "task", "all"))
        b.branch(following)
        b.position_at_end(following)
        number = b.atomic_rmw("add", taken, I64(1), "acq_rel")
        phase, which = b.udiv(number, I64(each)), b.urem(number, I64(each))
        b.cbranch(b.icmp_signed("<", phase, phases), body, after)
        b.position_at_end(body)
        self._wait_until(done, b.mul(phase, I64(each)))
        yield phase, which
        b.atomic_rmw("add", done, I64(1), "acq_rel")
        b.branch(following)
        b.position_at_end(after)
        self._wait_until(done, b.mul(phases, I64(each)))

    def _wait_until(self, counter: ir.Value, number: ir.Value) -> None:
        """Until the counter is at least that."""
        b = self.b
        waiting, reached, before = b.append_basic_block("waiting"), b.append_basic_block("reached"), b.block
        b.branch(waiting)
        b.position_at_end(waiting)
        calls = b.phi(I64)
        calls.add_incoming(I64(1), before)
        if os.name == "posix":  # who waits for long gives its processor to whom it waits for
            known = self.module.globals.get("sched_yield")
            known = known or ir.Function(self.module, ir.FunctionType(I32, []), "sched_yield")
            with b.if_then(b.icmp_signed("==", b.and_(calls, I64(SPINS - 1)), I64(0)), likely=False):
                b.call(known, [])
        here = b.icmp_signed(">=", b.load_atomic(counter, "acquire", 8), number)
        calls.add_incoming(b.add(calls, I64(1)), b.block)
        b.cbranch(here, reached, waiting)
        b.position_at_end(reached)

    # ---- memory ------------------------------------------------------------------------------------------------
    def load(self, pointer: ir.Value, at: Index) -> Lane:
        """The vector number `at` of an aligned array of vectors."""
        place = self._written.place(self._written.cast(pointer, self.vector), at)
        return Lane(self, self.b.load(place, align=self.target.bits // 8))

    def store(self, pointer: ir.Value, at: Index, lane: Operand) -> None:
        """Put a vector at number `at` of an aligned array of vectors."""
        place = self._written.place(self._written.cast(pointer, self.vector), at)
        self.b.store(self.lane(lane).value, place, align=self.target.bits // 8)

    def load_unaligned(self, pointer: ir.Value, at: Index) -> Lane:
        """W neighbouring numbers, from number `at` of an array of numbers on."""
        return Lane(self, self.b.load(self._vector_at(pointer, at), align=self.dtype.itemsize))

    def store_unaligned(self, pointer: ir.Value, at: Index, lane: Lane) -> None:
        """Put a vector at number `at` of an array of numbers."""
        self.b.store(lane.value, self._vector_at(pointer, at), align=self.dtype.itemsize)

    def load_one(self, pointer: ir.Value, at: Index) -> Lane:
        """The number `at` of an array of numbers, in every lane."""
        return self.spread(self.b.load(self._written.place(pointer, at)))

    def store_first(self, pointer: ir.Value, at: Index, lane: Lane) -> None:
        """Put what the first lane holds at number `at` of an array of numbers."""
        self.b.store(self.b.extract_element(lane.value, I32(0)), self.b.gep(pointer, [self.index(at)]))

    def _vector_at(self, pointer: ir.Value, at: Index) -> ir.Value:
        return self.b.bitcast(self._written.place(pointer, at), self.vector.as_pointer())

    def finish(self) -> str:
        """End the function; the module's text."""
        self.b.ret_void()
        return str(self.module)
