"""CPUCode: writes a kernel as LLVM IR. A vector of lanes is one vector register of the CPU."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from llvmlite import ir

from lamp.compiler.arguments import COUNT, INT32, LINE, NUMBERS, Kind
from lamp.compiler.backends.cpu import blas
from lamp.compiler.backends.cpu.addresses import I64, Written
from lamp.compiler.backends.cpu.target import CPU
from lamp.compiler.backends.cpu.waiting import wait_until
from lamp.compiler.code import Code, Matrix
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Integer, Lane, Logic, Operand, Real, Sign, Whole

I1, I32 = ir.IntType(1), ir.IntType(32)

CONTRACT = ("contract",)  # LLVM may fuse a product and a sum into one operation, but rearrange nothing else

INTRINSICS = {"fma": "fma", "abs": "fabs", "sqrt": "sqrt", "copysign": "copysign"}
ARITHMETIC = {"add": "fadd", "subtract": "fsub", "multiply": "fmul"}
INTEGERS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "and": "and_",
    "xor": "xor",
    "shift left": "shl",
    "shift right": "ashr",
    "shift right unsigned": "lshr",
}
LOGIC = {"and": "and_", "or": "or_", "xor": "xor", "not": "not_"}


class CPUCode(Code):
    """A function under construction, in LLVM IR. `b` writes the instructions."""

    def __init__(
        self, name: str, arguments: Mapping[str, Kind], target: CPU, dtype: torch.dtype, *, shared: bool = False
    ) -> None:
        self.machine, self.target = target, target
        self.dtype, self.lanes = dtype, target.lanes(dtype)
        self.real_type: ir.Type = ir.FloatType() if dtype is torch.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.real_type, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * dtype.itemsize), self.lanes)
        self._threads_before: ir.Value | None = None  # how many threads MKL used before, if the function calls it
        self._constants: dict[tuple[str, str], ir.Constant] = {}
        self.module = ir.Module()
        self.module.triple = target.triple
        types = [self.real_type.as_pointer() if kind == NUMBERS else I64 for kind in arguments.values()]
        self.written = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), name)
        self.b = ir.IRBuilder(self.written.append_basic_block("entry"))
        self._written = Written(self.b)
        self.arguments = {}
        for (argument, kind), value in zip(arguments.items(), self.written.args, strict=True):
            value.name = argument
            if kind == NUMBERS and not shared:
                value.add_attribute("noalias")
            if kind not in (NUMBERS, COUNT):
                value = self.b.inttoptr(value, (I32 if kind == INT32 else I64).as_pointer())
            self.arguments[argument] = value

    @property
    def size(self) -> int:
        return sum(len(block.instructions) for block in self.written.blocks)

    def finish(self) -> str:
        if self._threads_before is not None:
            self.b.call(self.external(blas.MKL_THREADS, I32, [I32]), [self._threads_before])
        self.b.ret_void()
        return str(self.module)

    # ---- vectors in registers ----------------------------------------------------------------------------------
    def number_value(self, x: float) -> ir.Value:
        return self._same(self.vector, self._rounded(x))

    def _constant(self, kind: ir.Type, values: Sequence[float]) -> ir.Constant:
        """A constant vector. It is made once, because making and writing one takes as long as ten instructions."""
        key = str(kind), repr(values)
        known = self._constants.get(key)
        if known is None:
            known = self._constants[key] = ir.Constant(kind, values)
        return known

    def _same(self, kind: ir.Type, value: float) -> ir.Constant:
        """A constant vector with this value in each lane."""
        return self._constant(kind, [value] * kind.count)

    def _rounded(self, x: float) -> float:
        """The number of the vectors' dtype that is nearest to x."""
        if self.dtype is torch.float64:
            return x
        try:
            return struct.unpack("f", struct.pack("f", x))[0]  # type: ignore[no-any-return]
        except OverflowError:
            return float("inf") if x > 0 else float("-inf")

    def real(self, operation: Real, *operands: ir.Value) -> ir.Value:
        if operation in ARITHMETIC:
            return getattr(self.b, ARITHMETIC[operation])(*operands, flags=CONTRACT)
        if operation in INTRINSICS:
            return self._intrinsic(INTRINSICS[operation], *operands)
        return self.b.fdiv(*operands) if operation == "divide" else self.b.fneg(*operands)

    def _intrinsic(self, name: str, *operands: ir.Value) -> ir.Value:
        """An operation that LLVM knows by name, of vectors."""
        full = f"llvm.{name}.v{self.lanes}{'f32' if self.dtype is torch.float32 else 'f64'}"
        known = self.module.globals.get(full)
        if known is None:
            known = ir.Function(self.module, ir.FunctionType(self.vector, [self.vector] * len(operands)), full)
        return self.b.call(known, operands)

    def compared(self, sign: Sign, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.b.fcmp_unordered(sign, x, y) if sign == "!=" else self.b.fcmp_ordered(sign, x, y)

    def chosen(self, condition: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.b.select(condition, x, y)

    def logic(self, operation: Logic, *conditions: ir.Value) -> ir.Value:
        return getattr(self.b, LOGIC[operation])(*conditions)

    def integer(self, operation: Integer, x: ir.Value, y: ir.Value) -> ir.Value:
        return getattr(self.b, INTEGERS[operation])(x, y)

    def integer_like(self, x: ir.Value, n: int) -> ir.Value:
        return self._same(x.type, n) if isinstance(x.type, ir.VectorType) else ir.Constant(x.type, n)

    def integers_compared(self, sign: Sign, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.b.icmp_signed(sign, x, y)

    def bits_of(self, x: ir.Value) -> ir.Value:
        return self.b.bitcast(x, self.integers)

    def of_bits(self, x: ir.Value) -> ir.Value:
        return self.b.bitcast(x, self.vector)

    def converted(self, x: ir.Value) -> ir.Value:
        return self.b.sitofp(x, self.vector)

    def truncated(self, x: ir.Value) -> ir.Value:
        return self.b.fptosi(x, ir.VectorType(I32, self.lanes))

    def turned(self, x: Lane, places: int) -> Lane:
        return Lane(self, self._shuffled(x, x, [(k + places) % self.lanes for k in range(self.lanes)]))

    def _shuffled(self, x: Lane, y: Lane, places: Sequence[int]) -> ir.Value:
        """A vector of the elements at these positions of x and y, counted through both."""
        return self.b.shuffle_vector(x.value, y.value, self._constant(ir.VectorType(I32, len(places)), list(places)))

    # ---- whole numbers of lanes --------------------------------------------------------------------------------
    def _in_every_lane(self, scalar: ir.Value) -> ir.Value:
        undefined = self._same(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.b.insert_element(undefined, scalar, I32(0))
        return self.b.shuffle_vector(first, undefined, self._same(ir.VectorType(I32, self.lanes), 0))

    def number(self, x: Index) -> Lane:
        if isinstance(x, int):
            return self.lane(float(x))
        return Lane(self, self._in_every_lane(self.b.sitofp(self.index(x), self.real_type)))

    def whole(self, x: Index) -> Whole:
        return Whole(self, I32(x) if isinstance(x, int) else self.b.trunc(self.index(x), I32))

    def wholes(self, x: Whole) -> Whole:
        return Whole(self, self._in_every_lane(x.value))

    def arange(self, first: Index, step: int = 1) -> Whole:
        numbers = self._constant(ir.VectorType(I32, self.lanes), [step * k for k in range(self.lanes)])
        return self.wholes(self.whole(first)) + Whole(self, numbers)

    # ---- indices -----------------------------------------------------------------------------------------------
    def index(self, x: Index) -> ir.Value:
        return self._written.value(x)

    def product(self, x: Index, y: Index) -> ir.Value:
        return self.b.mul(self.index(x), self.index(y))

    def minus(self, x: Index, y: Index) -> ir.Value:
        return self.b.sub(self.index(x), self.index(y))

    def quotient(self, x: Index, y: Index) -> ir.Value:
        return self.b.udiv(self.index(x), self.index(y))

    def remainder(self, x: Index, y: Index) -> ir.Value:
        return self.b.urem(self.index(x), self.index(y))

    def least(self, x: Index, y: Index) -> ir.Value:
        return self._either_of("<", x, y)

    def greatest(self, x: Index, y: Index) -> ir.Value:
        return self._either_of(">", x, y)

    def _either_of(self, sign: Sign, x: Index, y: Index) -> ir.Value:
        x, y = self.index(x), self.index(y)
        return self.b.select(self.b.icmp_signed(sign, x, y), x, y)

    # ---- control -----------------------------------------------------------------------------------------------
    @contextmanager
    def carrying(
        self, start: Index, stop: Index, carried: Sequence[Lane], step: Index = 1
    ) -> Iterator[tuple[ir.Value, list[Lane]]]:
        b, carried = self.b, list(carried)  # the body may change the caller's list
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

    def equal(self, x: Index, y: Index) -> ir.Value:
        return self.b.icmp_signed("==", self.index(x), self.index(y))

    def either(
        self, condition: ir.Value
    ) -> AbstractContextManager[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        return self.b.if_else(condition)  # type: ignore[no-any-return]

    def barrier(self) -> None:
        """Do nothing: the lanes of a register are stored together."""

    @contextmanager
    def tasks(self, counters: ir.Value, each: int, phases: Index) -> Iterator[tuple[ir.Value, ir.Value]]:
        """See `Code.tasks`. A free thread takes the next task, so a thread that the system has suspended between two
        tasks keeps no other waiting.

        counters  two int64, a cache line apart and 0 at first: tasks taken, and tasks done
        """
        b, phases = self.b, self.index(phases)
        taken, done = counters, b.gep(counters, [I64(LINE // 8)])
        following, body, after = (b.append_basic_block(name) for name in ("next", "task", "all"))
        b.branch(following)
        b.position_at_end(following)
        number = b.atomic_rmw("add", taken, I64(1), "acq_rel")
        phase, which = b.udiv(number, I64(each)), b.urem(number, I64(each))
        b.cbranch(b.icmp_signed("<", phase, phases), body, after)
        b.position_at_end(body)
        wait_until(b, self.external, done, b.mul(phase, I64(each)))
        yield phase, which
        b.atomic_rmw("add", done, I64(1), "acq_rel")
        b.branch(following)
        b.position_at_end(after)
        wait_until(b, self.external, done, b.mul(phases, I64(each)))

    # ---- memory ------------------------------------------------------------------------------------------------
    def beyond(self, pointer: ir.Value, at: Index) -> ir.Value:
        return self.b.gep(pointer, [self.index(at)])

    def load(self, pointer: ir.Value, at: Index) -> Lane:
        place = self._written.place(self._written.cast(pointer, self.vector), at)
        return Lane(self, self.b.load(place, align=self.target.bits // 8))

    def store(self, pointer: ir.Value, at: Index, lane: Operand) -> None:
        place = self._written.place(self._written.cast(pointer, self.vector), at)
        self.b.store(self.lane(lane).value, place, align=self.target.bits // 8)

    def load_unaligned(self, pointer: ir.Value, at: Index) -> Lane:
        return Lane(self, self.b.load(self._vector_at(pointer, at), align=self.dtype.itemsize))

    def load_some(self, pointer: ir.Value, at: Index, count: int) -> Lane:
        kind = ir.VectorType(self.real_type, count)
        some = self.b.load(
            self.b.bitcast(self._written.place(pointer, at), kind.as_pointer()), align=self.dtype.itemsize
        )
        places = [min(k, count) for k in range(self.lanes)]  # the first place beyond `some` holds a zero
        shuffle = self._constant(ir.VectorType(I32, self.lanes), places)
        return Lane(self, self.b.shuffle_vector(some, self._same(kind, 0.0), shuffle))

    def store_unaligned(self, pointer: ir.Value, at: Index, lane: Lane) -> None:
        self.b.store(lane.value, self._vector_at(pointer, at), align=self.dtype.itemsize)

    def load_one(self, pointer: ir.Value, at: Index) -> Lane:
        return Lane(self, self._in_every_lane(self.b.load(self._written.place(pointer, at))))

    def store_first(self, pointer: ir.Value, at: Index, lane: Lane) -> None:
        self.b.store(self.b.extract_element(lane.value, I32(0)), self.beyond(pointer, at))

    def _vector_at(self, pointer: ir.Value, at: Index) -> ir.Value:
        return self.b.bitcast(self._written.place(pointer, at), self.vector.as_pointer())

    def gathered(self, pointer: ir.Value, rows: Whole, width: int, i: Index) -> Lane:
        b, kind = self.b, ir.VectorType(I64, self.lanes)
        place = b.mul(b.sext(rows.value, kind), self._same(kind, width))
        result = self._same(self.vector, ir.Undefined)
        for lane in range(self.lanes):
            at = b.add(b.extract_element(place, I32(lane)), self.index(i))
            result = b.insert_element(result, b.load(b.gep(pointer, [at])), I32(lane))
        return Lane(self, result)

    def matrix_product(
        self, result: Matrix, x: Matrix, y: Matrix, rows: Index, columns: Index, terms: Index, *, add: bool
    ) -> None:
        """By BLAS, on the calling thread alone: MKL is told so here, OpenBLAS by those who call kernels."""
        if self._threads_before is None and self.target.products == "mkl":
            with self.b.goto_entry_block():
                self._threads_before = self.b.call(self.external(blas.MKL_THREADS, I32, [I32]), [I32(1)])
        blas.write_product(
            self.b,
            self.external,
            blas.libraries()[self.target.products],
            self.dtype,
            [each.transposed for each in (x, y)],
            [self.whole(size).value for size in (rows, columns, terms)],
            [(self.beyond(each.array, each.first), self.whole(each.leading).value) for each in (x, y, result)],
            add,
        )

    def external(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        """A function outside the kernel, by its name."""
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, arguments), name)

    def load_index(self, pointer: ir.Value, at: Index) -> ir.Value:
        return self.b.sext(self.load_whole(pointer, at).value, I64)

    def load_number(self, pointer: ir.Value, at: Index) -> ir.Value:
        return self.b.fptosi(self.b.load(self._written.place(pointer, at)), I64)

    def load_whole(self, pointer: ir.Value, at: Index) -> Whole:
        return Whole(self, self.b.load(self.beyond(pointer, at), align=4))

    def load_wholes(self, pointer: ir.Value, at: Index) -> Whole:
        kind = ir.VectorType(I32, self.lanes)
        return Whole(self, self.b.load(self.b.bitcast(self.beyond(pointer, at), kind.as_pointer()), align=4))

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

    def store_some(self, pointer: ir.Value, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        vector, offset = divmod(first, self.lanes)
        pair = numbers[vector], numbers[min(vector + 1, len(numbers) - 1)]
        some = self._shuffled(*pair, [offset + k for k in range(count)])
        place = self.b.bitcast(self.beyond(pointer, at), some.type.as_pointer())
        self.b.store(some, place, align=self.dtype.itemsize)

    def add_some(self, pointer: ir.Value, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        b, width, places = self.b, self.lanes, list(range(first, first + count))
        while places:
            vector = places[0] // width
            pair = numbers[vector], numbers[min(vector + 1, len(numbers) - 1)]
            now = [place for place in places if place < (vector + 2) * width][:width]
            some = self._shuffled(*pair, [place - vector * width for place in now])
            place = b.bitcast(self.beyond(pointer, at), some.type.as_pointer())
            size = self.dtype.itemsize
            b.store(b.fadd(b.load(place, align=size), some), place, align=size)
            places, at = places[len(now) :], self.plus(at, len(now))
