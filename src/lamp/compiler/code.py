"""The interface of a backend: `Code`, a function under construction, and `Machine`, which the function is for.

Rules, losses, optimizers and the training loop write kernels by calling `Code` and the lanes that it loads. They know
neither the CPU nor LLVM, so a second backend is a second subclass. A vector may be one register of a CPU, or one
register in each thread of a GPU's warp; so every operation that moves values between lanes is a method here.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch

from lamp.compiler.arguments import Kind
from lamp.compiler.functions import FORMULAS
from lamp.compiler.indices import Index, Sum
from lamp.compiler.lanes import Lane, Operand, Vectors, Whole
from lamp.module import Module

FEW = 3  # loops of up to so many iterations are unrolled

Pointer = Any  # the address of an array, in the backend's representation
Condition = Any  # one condition for all lanes, in the backend's representation


class Machine(ABC):
    """A machine that kernels are written for.

    registers  the number of its vector registers
    products   the library whose fast matrix product kernels call, `Code.matrix_product`; empty if there is none
    """

    registers: int
    products: str = ""

    @abstractmethod
    def lanes(self, dtype: torch.dtype) -> int:
        """The number of values of this dtype that fit in a vector."""


class Count:
    """An integer that is known only when the program runs. Adding or multiplying it writes an instruction."""

    def __init__(self, code: Code, value: Index) -> None:
        self.code, self.value = code, value

    def __add__(self, other: Count | int) -> Count:
        return Count(self.code, self.code.index(self.code.plus(self, other)))

    def __mul__(self, other: Count | int) -> Count:
        return Count(self.code, self.code.index(self.code.times(self, other)))

    __radd__, __rmul__ = __add__, __mul__


def _without_count(x: Index) -> Index:
    """The value of a Count; other indices as they are."""
    return x.value if isinstance(x, Count) else x


class Matrix(NamedTuple):
    """A matrix in memory, column by column: element (i, j) is number first + i + leading j of the array.

    transposed  whether the matrix that is meant is the transpose of that
    """

    array: Pointer
    first: Index
    leading: Index
    transposed: bool = False

    @property
    def t(self) -> Matrix:
        """The transpose, in the same memory."""
        return self._replace(transposed=not self.transposed)


class Code(Vectors):
    """A function under construction that computes with vectors of `dtype`.

    arguments  by name: pointers and integers
    """

    arguments: dict[str, Any]
    machine: Machine

    @abstractmethod
    def __init__(
        self, name: str, arguments: Mapping[str, Kind], machine: Any, dtype: torch.dtype, *, shared: bool = False
    ) -> None:
        """Begin a function. shared: whether several threads call it at once on the same memory."""

    @cached_property
    def lengths(self) -> dict[tuple[type[Module], str, bool], int]:
        """The numbers of instructions of formulas that were counted already, by the module's class and repr, and
        whether backward."""
        return {}

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of instructions written so far."""

    @abstractmethod
    def finish(self) -> str:
        """End the function and return its text."""

    def formula(self, name: str) -> Callable[[Lane], Lane] | None:
        return FORMULAS.get(name)

    # ---- integers in lanes -------------------------------------------------------------------------------------
    @abstractmethod
    def number(self, x: Index) -> Lane:
        """An integer, converted to a float in every lane."""

    @abstractmethod
    def whole(self, x: Index) -> Whole:
        """An integer, truncated to 32 bits (arithmetic on it wraps around)."""

    @abstractmethod
    def wholes(self, x: Whole) -> Whole:
        """A vector that holds this integer in every lane."""

    @abstractmethod
    def arange(self, first: Index, step: int = 1) -> Whole:
        """The vector first, first + step, first + 2 step, ..., one number per lane."""

    # ---- indices -----------------------------------------------------------------------------------------------
    @abstractmethod
    def index(self, x: Index) -> Index:
        """An integer as a value of the program; writes the instructions that compute it."""

    @staticmethod
    def plus(x: Index, y: Index) -> Index:
        """x + y; computed now if both are known."""
        x, y = _without_count(x), _without_count(y)
        return x + y if isinstance(x, int) and isinstance(y, int) else Sum.of(x).plus(Sum.of(y)).simplest

    def times(self, x: Index, y: Index) -> Index:
        """x y; computed now if both are known."""
        x, y = _without_count(x), _without_count(y)
        if isinstance(x, int):
            x, y = y, x
        return Sum.of(x).times(y).simplest if isinstance(y, int) else self.product(x, y)

    @abstractmethod
    def product(self, x: Index, y: Index) -> Index:
        """x y, where both are values of the program."""

    @abstractmethod
    def minus(self, x: Index, y: Index) -> Index:
        """x - y."""

    @abstractmethod
    def quotient(self, x: Index, y: Index) -> Index:
        """x / y rounded down, for numbers that are not negative."""

    @abstractmethod
    def remainder(self, x: Index, y: Index) -> Index:
        """The remainder of x / y, for numbers that are not negative."""

    @abstractmethod
    def least(self, x: Index, y: Index) -> Index:
        """The smaller of two."""

    @abstractmethod
    def greatest(self, x: Index, y: Index) -> Index:
        """The larger of two."""

    # ---- control -----------------------------------------------------------------------------------------------
    @contextmanager
    def loop(self, start: Index, stop: Index, step: Index = 1) -> Iterator[Index]:
        """A loop: its body runs for start, start + step, ... below stop (never, if start >= stop)."""
        with self.carrying(start, stop, [], step) as (i, _):
            yield i

    @abstractmethod
    def carrying(
        self, start: Index, stop: Index, carried: Sequence[Lane], step: Index = 1
    ) -> AbstractContextManager[tuple[Index, list[Lane]]]:
        """A loop that carries lanes in registers from one iteration to the next.

        Yields the index and a list of lanes, which begins as `carried`. The body assigns new lanes to the list; after
        the loop the list holds the final ones.
        """

    @contextmanager
    def nest(
        self, ranges: Sequence[tuple[Index, Index]], carried: Sequence[Lane] = ()
    ) -> Iterator[tuple[list[Index], list[Lane]]]:
        """Loops within each other over these ranges, from the first to the last, which carry lanes as `carrying`
        does. Yields the indices and the list of lanes."""
        if not ranges:
            yield [], list(carried)
            return
        (start, stop), *inside = ranges
        with self.carrying(start, stop, carried) as (i, outer):
            with self.nest(inside, outer) as (indices, state):
                yield [i, *indices], state
            outer[:] = state
        state[:] = outer

    def each(self, start: Index, stop: Index, state: list[Lane]) -> Iterator[Index]:
        """The numbers from start to stop: unrolled if they are few, else in a loop. The body assigns new lanes to the
        list `state`, which is carried from one iteration to the next."""
        for (i,) in self.each_of([(start, stop)], state, FEW):
            yield i

    def each_of(self, ranges: Sequence[tuple[Index, Index]], state: list[Lane], few: int) -> Iterator[list[Index]]:
        """`each`, for all combinations of several ranges: unrolled if there are at most `few`, else in a nest."""
        known = all(isinstance(each, int) for bounds in ranges for each in bounds)
        if known and math.prod(max(stop - start, 0) for start, stop in ranges) <= few:
            yield from map(list, itertools.product(*(range(*bounds) for bounds in ranges)))
            return
        with self.nest(ranges, state) as (indices, inner):
            state[:] = inner
            yield indices
            inner[:] = state
        state[:] = inner

    @abstractmethod
    def equal(self, x: Index, y: Index) -> Condition:
        """Whether two integers are equal."""

    @abstractmethod
    def either(
        self, condition: Condition
    ) -> AbstractContextManager[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two blocks: the first runs if the condition holds, the second if not."""

    @abstractmethod
    def tasks(self, counters: Pointer, each: int, phases: Index) -> AbstractContextManager[tuple[Index, Index]]:
        """Tasks that are shared out among the threads that run this function together: `each` tasks per phase.

        Yields the phase and the number of the task within it. A phase begins when all tasks of the previous one are
        done. Threads leave the block when all phases are done.
        """

    @abstractmethod
    def barrier(self) -> None:
        """Make what any lane has written to memory visible to all lanes."""

    # ---- memory ------------------------------------------------------------------------------------------------
    @abstractmethod
    def beyond(self, pointer: Pointer, at: Index) -> Pointer:
        """Where the number `at` of an array lies, as an array."""

    @abstractmethod
    def load(self, pointer: Pointer, at: Index) -> Lane:
        """Vector `at` of an aligned array of vectors."""

    @abstractmethod
    def store(self, pointer: Pointer, at: Index, lane: Operand) -> None:
        """Store vector `at` of an aligned array of vectors."""

    @abstractmethod
    def load_unaligned(self, pointer: Pointer, at: Index) -> Lane:
        """The W numbers of an array that begin at number `at`."""

    @abstractmethod
    def load_some(self, pointer: Pointer, at: Index, count: int) -> Lane:
        """The `count` numbers of an array that begin at number `at`, in the first lanes; 0 in the others."""

    @abstractmethod
    def store_unaligned(self, pointer: Pointer, at: Index, lane: Lane) -> None:
        """Store a vector as the W numbers of an array that begin at number `at`."""

    @abstractmethod
    def load_one(self, pointer: Pointer, at: Index) -> Lane:
        """Number `at` of an array, in every lane."""

    def load_first(self, pointer: Pointer, at: Index) -> Lane:
        """Number `at` of an array in the first lane, 0 in the others."""
        return self.load_some(pointer, at, 1)

    @abstractmethod
    def store_first(self, pointer: Pointer, at: Index, lane: Lane) -> None:
        """Store the first lane as number `at` of an array."""

    @abstractmethod
    def gathered(self, pointer: Pointer, rows: Whole, width: int, i: Index) -> Lane:
        """Element i of each of these rows of an array (n, width), one row per lane."""

    @abstractmethod
    def load_index(self, pointer: Pointer, at: Index) -> Index:
        """Number `at` of an array of int32, as an index."""

    @abstractmethod
    def load_number(self, pointer: Pointer, at: Index) -> Index:
        """Number `at` of an array of floats, which is a whole number, as an index."""

    @abstractmethod
    def load_whole(self, pointer: Pointer, at: Index) -> Whole:
        """Number `at` of an array of int32."""

    @abstractmethod
    def load_wholes(self, pointer: Pointer, at: Index) -> Whole:
        """The W numbers of an array of int32 that begin at number `at`."""

    @abstractmethod
    def matrix_product(
        self, result: Matrix, x: Matrix, y: Matrix, rows: Index, columns: Index, terms: Index, *, add: bool
    ) -> None:
        """result = x y, or result += x y with `add`; x is rows x terms, y is terms x columns.

        Only for machines with `products`, and for kernels in sample lanes.
        """

    # ---- across lanes ------------------------------------------------------------------------------------------
    @abstractmethod
    def shuffled(self, x: Lane, y: Lane, places: Sequence[int]) -> Lane:
        """The lanes at these W places of x and y, counted through both."""

    def transposed(self, rows: Sequence[Lane]) -> list[Lane]:
        """W vectors, transposed: lane k of result i is lane i of row k.

        For each bit of a lane's number, the lanes that have it are swapped with those of the row that has it not.
        """
        now, lanes, bit = list(rows), range(self.lanes), 1
        while bit < self.lanes:
            low = [self.lanes + k - bit if k & bit else k for k in lanes]
            high = [self.lanes + k if k & bit else k + bit for k in lanes]
            for k in [k for k in lanes if not k & bit]:
                pair = now[k], now[k + bit]
                now[k], now[k + bit] = self.shuffled(*pair, low), self.shuffled(*pair, high)
            bit *= 2
        return now

    @abstractmethod
    def lane_sums(self, vectors: Sequence[Lane]) -> list[Lane]:
        """The sum of the lanes of each vector, W sums per result: lane k of result i is the sum of vector i W + k."""

    @abstractmethod
    def store_some(self, pointer: Pointer, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        """Store `count` numbers side by side, beginning at number `at` of an array.

        They are numbers `first`, `first` + 1, ... of these vectors' lanes, counted through all vectors.
        """

    @abstractmethod
    def add_some(self, pointer: Pointer, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        """Add these numbers (as in `store_some`) to the ones in the array."""
