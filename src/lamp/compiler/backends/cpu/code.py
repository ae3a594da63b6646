"""CPUCode: writes a kernel as LLVM IR. A vector of lanes is one vector register of the CPU."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch

from lamp.compiler.arguments import COUNT, LINE, NUMBERS, Kind
from lamp.compiler.backends.cpu import blas
from lamp.compiler.backends.cpu.addresses import Written
from lamp.compiler.backends.cpu.builder import (
    DOUBLE,
    FLOAT,
    I32,
    I64,
    POINTER,
    Builder,
    Value,
    vector,
    whole,
    wholes,
)
from lamp.compiler.backends.cpu.target import CPU
from lamp.compiler.backends.cpu.waiting import wait_until
from lamp.compiler.code import Code, Matrix
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Integer, Lane, Logic, Operand, Real, Sign, Whole

# With "contract", LLVM may fuse a product and a sum into one operation, but rearrange nothing else.
ARITHMETIC = {"add": "fadd contract", "subtract": "fsub contract", "multiply": "fmul contract", "divide": "fdiv"}
INTRINSICS = {"fma": "fma", "abs": "fabs", "sqrt": "sqrt", "copysign": "copysign"}
INTEGERS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "and": "and",
    "xor": "xor",
    "shift left": "shl",
    "shift right": "ashr",
    "shift right unsigned": "lshr",
}


class CPUCode(Code):
    """A function under construction, in LLVM IR. `b` writes the instructions."""

    def __init__(
        self, name: str, arguments: Mapping[str, Kind], target: CPU, dtype: torch.dtype, *, shared: bool = False
    ) -> None:
        self.machine, self.target = target, target
        self.dtype, self.lanes = dtype, target.lanes(dtype)
        self.real_type, self._format = (FLOAT, "f") if dtype is torch.float32 else (DOUBLE, "d")
        self.vector = vector(self.real_type, self.lanes)
        self.integers = vector(f"i{8 * dtype.itemsize}", self.lanes)
        self._ending = f"v{self.lanes}f{8 * dtype.itemsize}"  # of the names of LLVM's functions of such vectors
        self._threads_before: Value | None = None  # how many threads MKL used before, if the function calls it
        self._numbers: dict[bytes, Value] = {}  # constant vectors, by the bits of the number in each lane
        unshared = "" if shared else " noalias"
        kinds = {name: POINTER + unshared if kind == NUMBERS else I64 for name, kind in arguments.items()}
        self.b = Builder(name, kinds, target.triple)
        self._written = Written(self.b)
        self.arguments = {}
        for argument, kind in arguments.items():
            value = Value(POINTER if kind == NUMBERS else I64, f"%{argument}")
            if kind not in (NUMBERS, COUNT):
                value = self.b.converted("inttoptr", value, POINTER)
            self.arguments[argument] = value

    @property
    def size(self) -> int:
        return self.b.size

    def finish(self) -> str:
        if self._threads_before is not None:
            self.b.call(I32, blas.MKL_THREADS, [self._threads_before])
        self.b.finish()
        return self.b.text

    # ---- vectors in registers ----------------------------------------------------------------------------------
    def number_value(self, x: float) -> Value:
        try:
            bits = struct.pack(self._format, x)
        except OverflowError:  # x is beyond the largest float32
            bits = struct.pack(self._format, math.copysign(math.inf, x))
        known = self._numbers.get(bits)
        if known is None:
            (rounded,) = struct.unpack(self._format, bits)
            known = self._numbers[bits] = Value(self.vector, f"splat ({self.real_type} {_in_hexadecimal(rounded)})")
        return known

    def real(self, operation: Real, *operands: Value) -> Value:
        if operation in ARITHMETIC:
            return self.b.binary(ARITHMETIC[operation], *operands)
        if operation == "negate":
            return self.b.unary("fneg", *operands)
        return self.b.call(self.vector, f"llvm.{INTRINSICS[operation]}.{self._ending}", operands)

    def compared(self, sign: Sign, x: Value, y: Value) -> Value:
        return self.b.floats_compared(sign, x, y)

    def chosen(self, condition: Value, x: Value, y: Value) -> Value:
        return self.b.chosen(condition, x, y)

    def logic(self, operation: Logic, *conditions: Value) -> Value:
        if operation == "not":
            (x,) = conditions
            return self.b.binary("xor", x, whole(x.type, -1))
        return self.b.binary(operation, *conditions)

    def integer(self, operation: Integer, x: Value, y: Value) -> Value:
        return self.b.binary(INTEGERS[operation], x, y)

    def integer_like(self, x: Value, n: int) -> Value:
        return whole(x.type, n)

    def integers_compared(self, sign: Sign, x: Value, y: Value) -> Value:
        return self.b.compared(sign, x, y)

    def bits_of(self, x: Value) -> Value:
        return self.b.converted("bitcast", x, self.integers)

    def of_bits(self, x: Value) -> Value:
        return self.b.converted("bitcast", x, self.vector)

    def converted(self, x: Value) -> Value:
        return self.b.converted("sitofp", x, self.vector)

    def truncated(self, x: Value) -> Value:
        return self.b.converted("fptosi", x, vector(I32, self.lanes))

    def turned(self, x: Lane, places: int) -> Lane:
        return Lane(self, self._shuffled(x, x, [(k + places) % self.lanes for k in range(self.lanes)]))

    def _shuffled(self, x: Lane, y: Lane, places: Sequence[int]) -> Value:
        """A vector of the elements at these positions of x and y, counted through both."""
        return self.b.shuffled(x.value, y.value, places)

    # ---- whole numbers of lanes --------------------------------------------------------------------------------
    def _in_every_lane(self, scalar: Value) -> Value:
        undefined = Value(vector(scalar.type, self.lanes), "undef")
        return self.b.shuffled(self.b.with_element(undefined, scalar, 0), undefined, [0] * self.lanes)

    def number(self, x: Index) -> Lane:
        if isinstance(x, int):
            return self.lane(float(x))
        return Lane(self, self._in_every_lane(self.b.converted("sitofp", self.index(x), self.real_type)))

    def whole(self, x: Index) -> Whole:
        return Whole(self, whole(I32, x) if isinstance(x, int) else self.b.converted("trunc", self.index(x), I32))

    def wholes(self, x: Whole) -> Whole:
        return Whole(self, self._in_every_lane(x.value))

    def arange(self, first: Index, step: int = 1) -> Whole:
        numbers = wholes(I32, *(step * k for k in range(self.lanes)))
        return self.wholes(self.whole(first)) + Whole(self, numbers)

    # ---- indices -----------------------------------------------------------------------------------------------
    def index(self, x: Index) -> Value:
        return self._written.value(x)

    def product(self, x: Index, y: Index) -> Value:
        return self.b.binary("mul", self.index(x), self.index(y))

    def minus(self, x: Index, y: Index) -> Value:
        return self.b.binary("sub", self.index(x), self.index(y))

    def quotient(self, x: Index, y: Index) -> Value:
        return self.b.binary("udiv", self.index(x), self.index(y))

    def remainder(self, x: Index, y: Index) -> Value:
        return self.b.binary("urem", self.index(x), self.index(y))

    def least(self, x: Index, y: Index) -> Value:
        return self._either_of("<", x, y)

    def greatest(self, x: Index, y: Index) -> Value:
        return self._either_of(">", x, y)

    def _either_of(self, sign: Sign, x: Index, y: Index) -> Value:
        x, y = self.index(x), self.index(y)
        return self.b.chosen(self.b.compared(sign, x, y), x, y)

    # ---- control -----------------------------------------------------------------------------------------------
    @contextmanager
    def carrying(
        self, start: Index, stop: Index, carried: Sequence[Lane], step: Index = 1
    ) -> Iterator[tuple[Value, list[Lane]]]:
        b, carried = self.b, list(carried)  # the body may change the caller's list
        first, end = self.index(start), self.index(stop)
        certain = isinstance(start, int) and isinstance(stop, int) and start < stop
        before, body, after = b.block, b.new_block("loop"), b.new_block("after")
        if certain:
            b.jump(body)
        else:
            b.jump_if(b.compared("<", first, end), body, after)
        b.block = body
        i = b.phi(I64)
        i.add_incoming(first, before)
        phis = [b.phi(self.vector) for _ in carried]
        for phi, lane in zip(phis, carried, strict=True):
            phi.add_incoming(lane.value, before)
        state = [Lane(self, phi) for phi in phis]
        yield i, state
        following, last = b.binary("add", i, self.index(step)), b.block
        i.add_incoming(following, last)
        for phi, lane in zip(phis, state, strict=True):
            phi.add_incoming(lane.value, last)
        b.jump_if(b.compared("<", following, end), body, after)
        b.block = after
        for k, (lane, initial) in enumerate(zip(list(state), carried, strict=True)):
            if certain:
                continue
            joined = b.phi(self.vector)
            joined.add_incoming(lane.value, last)
            joined.add_incoming(initial.value, before)
            state[k] = Lane(self, joined)

    def equal(self, x: Index, y: Index) -> Value:
        return self.b.compared("==", self.index(x), self.index(y))

    def either(
        self, condition: Value
    ) -> AbstractContextManager[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        return self.b.either(condition)

    def barrier(self) -> None:
        """Do nothing: the lanes of a register are stored together."""

    @contextmanager
    def tasks(self, counters: Value, each: int, phases: Index) -> Iterator[tuple[Value, Value]]:
        """See `Code.tasks`. A free thread takes the next task, so a thread that the system has suspended between two
        tasks keeps no other waiting.

        counters  two int64, a cache line apart and 0 at first: tasks taken, and tasks done
        """
        b, phases = self.b, self.index(phases)
        taken, done = counters, b.place(I64, counters, whole(I64, LINE // 8))
        following, body, after = (b.new_block(name) for name in ("next", "task", "all"))
        b.jump(following)
        b.block = following
        number = b.add_atomic(taken, 1)
        phase, which = self.quotient(number, each), self.remainder(number, each)
        b.jump_if(b.compared("<", phase, phases), body, after)
        b.block = body
        wait_until(b, done, self.product(phase, each))
        yield phase, which
        b.add_atomic(done, 1)
        b.jump(following)
        b.block = after
        wait_until(b, done, self.product(phases, each))

    # ---- memory ------------------------------------------------------------------------------------------------
    def beyond(self, pointer: Value, at: Index) -> Value:
        return self.b.place(self.real_type, pointer, self.index(at))

    def load(self, pointer: Value, at: Index) -> Lane:
        place = self._written.place(self.vector, pointer, at)
        return Lane(self, self.b.load(self.vector, place, self.target.bits // 8))

    def store(self, pointer: Value, at: Index, lane: Operand) -> None:
        place = self._written.place(self.vector, pointer, at)
        self.b.store(self.lane(lane).value, place, self.target.bits // 8)

    def load_unaligned(self, pointer: Value, at: Index) -> Lane:
        return Lane(self, self.b.load(self.vector, self._place(pointer, at), self.dtype.itemsize))

    def load_some(self, pointer: Value, at: Index, count: int) -> Lane:
        kind = vector(self.real_type, count)
        some = self.b.load(kind, self._place(pointer, at), self.dtype.itemsize)
        places = [min(k, count) for k in range(self.lanes)]  # the first place beyond `some` holds a zero
        return Lane(self, self.b.shuffled(some, Value(kind, "zeroinitializer"), places))

    def store_unaligned(self, pointer: Value, at: Index, lane: Lane) -> None:
        self.b.store(lane.value, self._place(pointer, at), self.dtype.itemsize)

    def load_one(self, pointer: Value, at: Index) -> Lane:
        return Lane(self, self._in_every_lane(self.b.load(self.real_type, self._place(pointer, at))))

    def store_first(self, pointer: Value, at: Index, lane: Lane) -> None:
        self.b.store(self.b.element(lane.value, 0, self.real_type), self.beyond(pointer, at))

    def _place(self, pointer: Value, at: Index) -> Value:
        """The address of number `at` of an array."""
        return self._written.place(self.real_type, pointer, at)

    def gathered(self, pointer: Value, rows: Whole, width: int, i: Index) -> Lane:
        b, kind = self.b, vector(I64, self.lanes)
        place = b.binary("mul", b.converted("sext", rows.value, kind), whole(kind, width))
        result = Value(self.vector, "undef")
        for lane in range(self.lanes):
            at = b.binary("add", b.element(place, lane, I64), self.index(i))
            result = b.with_element(result, b.load(self.real_type, b.place(self.real_type, pointer, at)), lane)
        return Lane(self, result)

    def matrix_product(
        self, result: Matrix, x: Matrix, y: Matrix, rows: Index, columns: Index, terms: Index, *, add: bool
    ) -> None:
        """By BLAS, on the calling thread alone: MKL is told so here, OpenBLAS by those who call kernels."""
        if self._threads_before is None and self.target.products == "mkl":
            with self.b.at_entry():
                self._threads_before = self.b.call(I32, blas.MKL_THREADS, [whole(I32, 1)])
        blas.write_product(
            self.b,
            blas.libraries()[self.target.products],
            self.dtype,
            [each.transposed for each in (x, y)],
            [self.whole(size).value for size in (rows, columns, terms)],
            [(self.beyond(each.array, each.first), self.whole(each.leading).value) for each in (x, y, result)],
            add,
        )

    def load_index(self, pointer: Value, at: Index) -> Value:
        return self.b.converted("sext", self.load_whole(pointer, at).value, I64)

    def load_number(self, pointer: Value, at: Index) -> Value:
        return self.b.converted("fptosi", self.b.load(self.real_type, self._place(pointer, at)), I64)

    def load_whole(self, pointer: Value, at: Index) -> Whole:
        return Whole(self, self._load_wholes(I32, pointer, at))

    def load_wholes(self, pointer: Value, at: Index) -> Whole:
        return Whole(self, self._load_wholes(vector(I32, self.lanes), pointer, at))

    def _load_wholes(self, type: str, pointer: Value, at: Index) -> Value:
        return self.b.load(type, self.b.place(I32, pointer, self.index(at)), 4)

    # ---- across lanes ------------------------------------------------------------------------------------------
    def lane_sums(self, vectors: Sequence[Lane]) -> list[Lane]:
        """Sums by pairs: W vectors become W / 2 vectors of sums of neighbouring lanes, and so on until one is left.
        One that is over is paired with itself."""
        found = []
        for first in range(0, len(vectors), self.lanes):
            some = list(vectors[first : first + self.lanes])
            for _ in range(self.lanes.bit_length() - 1):
                some = [self._of_pairs(x, y) for x, y in zip(some[::2], [*some[1::2], some[-1]], strict=False)]
            found.append(some[0])
        return found

    def _of_pairs(self, x: Lane, y: Lane) -> Lane:
        """The sums of neighbouring lanes, first those of x, then those of y."""
        first, second = (self.shuffled(x, y, [2 * k + odd for k in range(self.lanes)]) for odd in (0, 1))
        return first + second

    def shuffled(self, x: Lane, y: Lane, places: Sequence[int]) -> Lane:
        return Lane(self, self._shuffled(x, y, places))

    def store_some(self, pointer: Value, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        vector, offset = divmod(first, self.lanes)
        pair = numbers[vector], numbers[min(vector + 1, len(numbers) - 1)]
        some = self._shuffled(*pair, [offset + k for k in range(count)])
        self.b.store(some, self.beyond(pointer, at), self.dtype.itemsize)

    def add_some(self, pointer: Value, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        b, width, places = self.b, self.lanes, list(range(first, first + count))
        while places:
            vector = places[0] // width
            pair = numbers[vector], numbers[min(vector + 1, len(numbers) - 1)]
            now = [place for place in places if place < (vector + 2) * width][:width]
            some = self._shuffled(*pair, [place - vector * width for place in now])
            place, size = self.beyond(pointer, at), self.dtype.itemsize
            b.store(b.binary("fadd", b.load(some.type, place, size), some), place, size)
            places, at = places[len(now) :], self.plus(at, len(now))


def _in_hexadecimal(x: float) -> str:
    """A number as LLVM writes it exactly: the bits of a double."""
    return f"0x{struct.unpack('Q', struct.pack('d', x))[0]:016x}"
