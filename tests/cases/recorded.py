"""A second backend, in Python: it records a kernel as a list of operations, and runs them with numpy.

It is slow and does not use LLVM. It shows that rules, losses and optimizers use only the methods of a backend that
`lamp.compiler.code` lists.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from lamp.compiler.arguments import INT32, NUMBERS, KernelArguments, Kind
from lamp.compiler.code import Code, Count, Machine, Matrix
from lamp.compiler.indices import Index, Sum
from lamp.compiler.kernel_builder import KernelBuilder
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Lane, Whole

UNSIGNED = {np.dtype(np.int32): np.uint32, np.dtype(np.int64): np.uint64}
REAL: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negate": np.negative,
    "fma": lambda x, y, z: x * y + z,  # rounded twice, but in float64
    "abs": np.abs,
    "sqrt": np.sqrt,
    "copysign": np.copysign,
}
INTEGER: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "and": np.bitwise_and,
    "xor": np.bitwise_xor,
    "shift left": np.left_shift,
    "shift right": np.right_shift,
    "shift right unsigned": lambda x, y: (x.view(UNSIGNED[x.dtype]) >> y.astype(UNSIGNED[x.dtype])).view(x.dtype),
}
COMPARED: dict[str, Callable[..., Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
LOGIC: dict[str, Callable[..., Any]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "not": np.logical_not,
}


class Value:
    """The result of an operation, which is known when the program runs."""


Known = dict[Value, Any]


def value_of(known: Known, x: Any) -> Any:
    return known[x] if isinstance(x, Value) else x


@dataclass
class Operation:
    """result = function(operands)."""

    result: Value
    function: Callable[..., Any]
    operands: tuple[Any, ...]

    def run(self, known: Known) -> None:
        known[self.result] = self.function(*[value_of(known, each) for each in self.operands])


@dataclass
class Loop:
    """start, start + step, ... below stop; what is carried from turn to turn is `state` within, and then `results`."""

    start: Any
    stop: Any
    step: Any
    before: list[Any]
    i: Value = field(default_factory=Value)
    state: list[Value] = field(default_factory=list)
    after: list[Any] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    body: list[Any] = field(default_factory=list)

    def run(self, known: Known) -> None:
        carried = [value_of(known, each) for each in self.before]
        for k in range(*(value_of(known, each) for each in (self.start, self.stop, self.step))):
            known[self.i] = k
            known.update(zip(self.state, carried, strict=True))
            run(self.body, known)
            carried = [value_of(known, each) for each in self.after]
        known.update(zip(self.results, carried, strict=True))


@dataclass
class Either:
    """A branch: one of two blocks is run."""

    condition: Any
    first: list[Any] = field(default_factory=list)
    second: list[Any] = field(default_factory=list)

    def run(self, known: Known) -> None:
        run(self.first if value_of(known, self.condition) else self.second, known)


def run(block: Sequence[Any], known: Known) -> None:
    for each in block:
        each.run(known)


@dataclass(frozen=True)
class Abacus(Machine):
    """Four lanes, and few registers."""

    registers: int = 11
    products: bool = False

    def lanes(self, dtype: torch.dtype) -> int:
        return 4


@dataclass(frozen=True)
class Memory:
    """An array in memory: its address and the type of its elements."""

    address: int
    dtype: Any

    def part(self, at: int, count: int) -> np.ndarray[Any, Any]:
        """A view of `count` elements from index `at` on."""
        kind = np.dtype(self.dtype)
        memory = (ctypes.c_char * (count * kind.itemsize)).from_address(self.address + at * kind.itemsize)
        return np.frombuffer(memory, dtype=kind)


class RecordedCode(Code):
    """A function as a list of operations; `call` runs it."""

    def __init__(
        self, name: str, arguments: Mapping[str, Kind], machine: Machine, dtype: torch.dtype, *, shared: bool = False
    ) -> None:
        self.machine, self.dtype, self.lanes = machine, dtype, machine.lanes(dtype)
        self.number_type = np.float32 if dtype is torch.float32 else np.float64
        self.kinds, self.arguments = arguments, {each: Value() for each in arguments}
        self.program: list[Any] = []
        self._block, self._size = self.program, 0

    @property
    def size(self) -> int:
        return self._size

    def finish(self) -> str:
        return f"{self._size} operations"

    def call(self, arguments: Sequence[int]) -> None:
        """Run the function with these addresses and numbers."""
        types = {NUMBERS: self.number_type, INT32: np.int32}
        known: Known = {}
        for (name, kind), given in zip(self.kinds.items(), arguments, strict=True):
            known[self.arguments[name]] = Memory(given, types[kind]) if kind in types else given
        with np.errstate(all="ignore"):
            run(self.program, known)

    def _do(self, function: Callable[..., Any], *operands: Any) -> Value:
        result = Value()
        self._block.append(Operation(result, function, operands))
        self._size += 1
        return result

    @contextmanager
    def _within(self, block: list[Any]) -> Iterator[None]:
        before, self._block = self._block, block
        yield
        self._block = before

    # ---- vectors in registers ----------------------------------------------------------------------------------
    def number_value(self, x: float) -> Any:
        return np.full(self.lanes, x, self.number_type)

    def real(self, operation: Any, *operands: Any) -> Value:
        return self._do(REAL[operation], *operands)

    def compared(self, sign: Any, x: Any, y: Any) -> Value:
        return self._do(COMPARED[sign], x, y)

    def chosen(self, condition: Any, x: Any, y: Any) -> Value:
        return self._do(np.where, condition, x, y)

    def logic(self, operation: Any, *conditions: Any) -> Value:
        return self._do(LOGIC[operation], *conditions)

    def integer(self, operation: Any, x: Any, y: Any) -> Value:
        return self._do(INTEGER[operation], x, y)

    def integer_like(self, x: Any, n: int) -> Value:
        return self._do(lambda like: np.full(like.shape, n, np.int64).astype(like.dtype), x)

    def integers_compared(self, sign: Any, x: Any, y: Any) -> Value:
        return self._do(COMPARED[sign], x, y)

    def bits_of(self, x: Any) -> Value:
        return self._do(lambda floats: floats.view(np.int32 if floats.dtype == np.float32 else np.int64), x)

    def of_bits(self, x: Any) -> Value:
        return self._do(lambda bits: bits.view(self.number_type), x)

    def converted(self, x: Any) -> Value:
        return self._do(lambda whole: whole.astype(self.number_type), x)

    def truncated(self, x: Any) -> Value:
        return self._do(lambda floats: floats.astype(np.int32), x)

    def turned(self, x: Lane, places: int) -> Lane:
        return Lane(self, self._do(lambda vector: np.roll(vector, -places), x.value))

    # ---- whole numbers -----------------------------------------------------------------------------------------
    def _vector(self, function: Callable[..., Any], *operands: Any) -> Lane:
        return Lane(self, self._do(function, *operands))

    def number(self, x: Index) -> Lane:
        return self._vector(lambda n: np.full(self.lanes, n, self.number_type), self.index(x))

    def whole(self, x: Index) -> Whole:
        return Whole(self, self._do(lambda n: np.array([n], np.int64).astype(np.int32), self.index(x)))

    def wholes(self, x: Whole) -> Whole:
        return Whole(self, self._do(lambda one: np.repeat(one, self.lanes), x.value))

    def arange(self, first: Index, step: int = 1) -> Whole:
        steps = np.arange(self.lanes, dtype=np.int32) * np.int32(step)
        return self.wholes(self.whole(first)) + Whole(self, steps)

    def index(self, x: Index) -> Any:
        x = x.value if isinstance(x, Count) else x
        if not isinstance(x, Sum):
            return x
        factors = [factor for _, factor in x.terms]

        def total(*values: int) -> int:
            return sum(factor * value for factor, value in zip(factors, values, strict=True)) + x.offset

        return self._do(total, *(value for value, _ in x.terms))

    def product(self, x: Index, y: Index) -> Value:
        return self._do(lambda x, y: x * y, self.index(x), self.index(y))

    def minus(self, x: Index, y: Index) -> Value:
        return self._do(lambda x, y: x - y, self.index(x), self.index(y))

    def quotient(self, x: Index, y: Index) -> Value:
        return self._do(lambda x, y: x // y, self.index(x), self.index(y))

    def remainder(self, x: Index, y: Index) -> Value:
        return self._do(lambda x, y: x % y, self.index(x), self.index(y))

    def least(self, x: Index, y: Index) -> Value:
        return self._do(min, self.index(x), self.index(y))

    def greatest(self, x: Index, y: Index) -> Value:
        return self._do(max, self.index(x), self.index(y))

    # ---- control -----------------------------------------------------------------------------------------------
    @contextmanager
    def carrying(
        self, start: Index, stop: Index, carried: Sequence[Lane], step: Index = 1
    ) -> Iterator[tuple[Value, list[Lane]]]:
        loop = Loop(*(self.index(each) for each in (start, stop, step)), [lane.value for lane in carried])  # type: ignore[call-arg]
        self._block.append(loop)
        loop.state, loop.results = [Value() for _ in carried], [Value() for _ in carried]
        state = [Lane(self, value) for value in loop.state]
        with self._within(loop.body):
            yield loop.i, state
        loop.after = [lane.value for lane in state]
        state[:] = [Lane(self, value) for value in loop.results]

    def equal(self, x: Index, y: Index) -> Value:
        return self._do(lambda n, m: n == m, self.index(x), self.index(y))

    @contextmanager
    def either(self, condition: Any) -> Iterator[Any]:
        blocks = Either(condition)
        self._block.append(blocks)
        yield self._within(blocks.first), self._within(blocks.second)

    @contextmanager
    def tasks(self, counters: Any, each: int, phases: Index) -> Iterator[tuple[Value, Value]]:
        with self.loop(0, phases) as phase, self.loop(0, each) as which:
            yield phase, which

    def barrier(self) -> None:
        """Does nothing, since there is one thread."""

    # ---- memory ------------------------------------------------------------------------------------------------
    def beyond(self, pointer: Any, at: Index) -> Value:
        def beyond(memory: Memory, at: int) -> Memory:
            return Memory(memory.address + at * np.dtype(memory.dtype).itemsize, memory.dtype)

        return self._do(beyond, pointer, self.index(at))

    def _store(self, pointer: Any, at: Index, value: Any, number: Callable[[Any], Any]) -> None:
        def store(memory: Memory, at: int, value: Any) -> None:
            numbers = number(value)
            memory.part(at, len(numbers))[:] = numbers

        self._do(store, pointer, self.index(at), value)

    def load(self, pointer: Any, at: Index) -> Lane:
        return self.load_unaligned(pointer, self.times(at, self.lanes))

    def store(self, pointer: Any, at: Index, lane: Any) -> None:
        self._store(pointer, self.times(at, self.lanes), self.lane(lane).value, lambda vector: vector)

    def load_unaligned(self, pointer: Any, at: Index) -> Lane:
        return self._vector(lambda memory, at: memory.part(at, self.lanes).copy(), pointer, self.index(at))

    def load_some(self, pointer: Any, at: Index, count: int) -> Lane:
        def some(memory: Memory, at: int) -> Any:
            numbers = np.zeros(self.lanes, self.number_type)
            numbers[:count] = memory.part(at, count)
            return numbers

        return self._vector(some, pointer, self.index(at))

    def store_unaligned(self, pointer: Any, at: Index, lane: Lane) -> None:
        self._store(pointer, at, lane.value, lambda vector: vector)

    def load_one(self, pointer: Any, at: Index) -> Lane:
        return self._vector(lambda memory, at: np.repeat(memory.part(at, 1), self.lanes), pointer, self.index(at))

    def store_first(self, pointer: Any, at: Index, lane: Lane) -> None:
        self._store(pointer, at, lane.value, lambda vector: vector[:1])

    def gathered(self, pointer: Any, rows: Whole, width: int, i: Index) -> Lane:
        def gathered(memory: Memory, rows: Any, i: int) -> Any:
            return np.concatenate([memory.part(int(row) * width + i, 1) for row in rows])

        return self._vector(gathered, pointer, rows.value, self.index(i))

    def load_index(self, pointer: Any, at: Index) -> Value:
        return self._do(lambda memory, at: int(memory.part(at, 1)[0]), pointer, self.index(at))

    def load_number(self, pointer: Any, at: Index) -> Value:
        return self._do(lambda memory, at: int(memory.part(at, 1)[0]), pointer, self.index(at))

    def load_whole(self, pointer: Any, at: Index) -> Whole:
        return Whole(self, self._do(lambda memory, at: memory.part(at, 1).copy(), pointer, self.index(at)))

    def load_wholes(self, pointer: Any, at: Index) -> Whole:
        return Whole(self, self._do(lambda memory, at: memory.part(at, self.lanes).copy(), pointer, self.index(at)))

    def matrix_product(
        self, result: Matrix, x: Matrix, y: Matrix, rows: Index, columns: Index, terms: Index, *, add: bool
    ) -> None:
        def elements(memory: Memory, first: int, leading: int, matrix: Matrix, shape: tuple[int, int]) -> Any:
            own = shape[::-1] if matrix.transposed else shape  # as it lies in memory, column by column
            numbers = memory.part(first, leading * (own[1] - 1) + own[0])
            size = numbers.itemsize
            found = np.lib.stride_tricks.as_strided(numbers, own, (size, leading * size))
            return found.T if matrix.transposed else found

        def multiply(m: int, n: int, k: int, *places: Any) -> None:
            if m == 0 or n == 0 or k == 0:
                return
            shapes, matrices = ((m, n), (m, k), (k, n)), (result, x, y)
            c, a, b = (
                elements(places[3 * j], places[3 * j + 1], places[3 * j + 2], matrices[j], shapes[j]) for j in range(3)
            )
            c[:] = a @ b + (c if add else 0.0)

        places = [each for matrix in (result, x, y) for each in self._place(matrix)]
        self._do(multiply, self.index(rows), self.index(columns), self.index(terms), *places)

    def _place(self, matrix: Matrix) -> tuple[Any, Any, Any]:
        return matrix.array, self.index(matrix.first), self.index(matrix.leading)

    # ---- across lanes ------------------------------------------------------------------------------------------
    def lane_sums(self, vectors: Sequence[Lane]) -> list[Lane]:
        sums = [each.sum_of_lanes() for each in vectors]
        found = []
        for first in range(0, len(sums), self.lanes):
            some = [lane.value for lane in sums[first : first + self.lanes]]
            some += [some[-1]] * (self.lanes - len(some))
            found.append(self._vector(lambda *each: np.array([x[0] for x in each]), *some))
        return found

    def shuffled(self, x: Lane, y: Lane, places: Sequence[int]) -> Lane:
        return self._vector(lambda *each: np.concatenate(each)[list(places)], x.value, y.value)

    def store_some(self, pointer: Any, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        joined = self._do(lambda *each: np.concatenate(each), *(lane.value for lane in numbers))
        self._store(pointer, at, joined, lambda vector: vector[first : first + count])

    def add_some(self, pointer: Any, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        def add(memory: Memory, at: int, *vectors: Any) -> None:
            place = memory.part(at, count)
            place += np.concatenate(vectors)[first : first + count]

        self._do(add, pointer, self.index(at), *(lane.value for lane in numbers))


class RecordedKernel:
    """A kernel of this backend, which `KernelRunner` uses in place of the CPU's."""

    made: ClassVar[list[RecordedKernel]] = []
    products: ClassVar[str] = ""  # the library of matrix products that its machine has

    def __init__(self, spec: KernelSpec, machine: Machine) -> None:
        builder = KernelBuilder(spec, Abacus(products=self.products), RecordedCode)
        self.tiling, self._code = builder.tiling, builder.code
        self.made.append(self)

    def run(self, *arguments: int) -> None:
        assert isinstance(self._code, RecordedCode)
        self._code.call(KernelArguments(*arguments))
