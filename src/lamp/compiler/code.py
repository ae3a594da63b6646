"""What a backend offers to those who write kernels: a function under construction, and the machine that it is for.

Rules, losses, optimizers and the loop around them are written over `Code` and the lanes that it loads. They know
neither the CPU nor LLVM: a second backend is a second class. A vector may lie in one register of a CPU, or in one
register each of the threads of a warp, so whatever goes from one lane to another is a method here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from lamp.compiler.arguments import Kind
from lamp.compiler.functions import FORMULAS
from lamp.compiler.indices import Index, Sum
from lamp.compiler.lanes import Lane, Operand, Vectors, Whole

FEW = 3  # turns of a loop that are written out

Pointer = Any  # where an array lies, as a backend has it
Condition = Any  # one condition for all lanes, as a backend has it


class Machine(ABC):
    """A machine that kernels are written for.

    registers  how many vectors it holds at once
    """

    registers: int

    @abstractmethod
    def lanes(self, dtype: torch.dtype) -> int:
        """How many numbers of this dtype a vector holds."""


class Count:
    """A whole number that the program finds when it runs; sums and products of it are written out as it goes."""

    def __init__(self, code: Code, value: Index) -> None:
        self.code, self.value = code, value

    def __add__(self, other: Count | int) -> Count:
        return Count(self.code, self.code.index(self.code.plus(self, other)))

    def __mul__(self, other: Count | int) -> Count:
        return Count(self.code, self.code.index(self.code.times(self, other)))

    __radd__, __rmul__ = __add__, __mul__


class Code(Vectors):
    """A function under construction, which computes with vectors of `dtype`.

    arguments  by name: pointers, and whole numbers
    """

    arguments: dict[str, Any]
    machine: Machine

    @abstractmethod
    def __init__(
        self, name: str, arguments: Mapping[str, Kind], machine: Any, dtype: torch.dtype, *, shared: bool = False
    ) -> None:
        """Begin it. shared: whether other threads write to the same memory at the same time."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Instructions written so far."""

    @abstractmethod
    def finish(self) -> str:
        """End the function; its text."""

    def formula(self, name: str) -> Callable[[Lane], Lane] | None:
        return FORMULAS.get(name)

    # ---- whole numbers of lanes --------------------------------------------------------------------------------
    @abstractmethod
    def number(self, x: Index) -> Lane:
        """A whole number as a lane."""

    @abstractmethod
    def whole(self, x: Index) -> Whole:
        """A whole number as one that wraps around at 32 bits."""

    @abstractmethod
    def wholes(self, x: Whole) -> Whole:
        """One whole number as a vector that holds it in every lane."""

    @abstractmethod
    def counted(self, first: Index, step: int = 1) -> Whole:
        """first, first + step, first + 2 step, ..., a lane each."""

    # ---- indices -----------------------------------------------------------------------------------------------
    @abstractmethod
    def index(self, x: Index) -> Index:
        """A whole number as a value of the program, computed here."""

    @staticmethod
    def plus(x: Index, y: Index) -> Index:
        """x + y, at once where both are known."""
        x, y = (each.value if isinstance(each, Count) else each for each in (x, y))
        return Sum.of(x).plus(Sum.of(y)).simplest

    def times(self, x: Index, y: Index) -> Index:
        """x y, at once where both are known."""
        x, y = (each.value if isinstance(each, Count) else each for each in (x, y))
        if isinstance(x, int):
            x, y = y, x
        return Sum.of(x).times(y).simplest if isinstance(y, int) else self.product(x, y)

    @abstractmethod
    def product(self, x: Index, y: Index) -> Index:
        """x y of values of the program."""

    @abstractmethod
    def minus(self, x: Index, y: Index) -> Index:
        """x - y."""

    @abstractmethod
    def quotient(self, x: Index, y: Index) -> Index:
        """x / y rounded down, of numbers that are not negative."""

    @abstractmethod
    def remainder(self, x: Index, y: Index) -> Index:
        """What is left over of x / y, of numbers that are not negative."""

    @abstractmethod
    def least(self, x: Index, y: Index) -> Index:
        """The smaller of two."""

    @abstractmethod
    def greatest(self, x: Index, y: Index) -> Index:
        """The larger of two."""

    # ---- control -----------------------------------------------------------------------------------------------
    @contextmanager
    def loop(self, start: Index, stop: Index, step: Index = 1) -> Iterator[Index]:
        """What stands within runs for start, start + step, ... below stop; not at all where start is not below."""
        with self.carrying(start, stop, [], step) as (i, _):
            yield i

    @abstractmethod
    def carrying(
        self, start: Index, stop: Index, carried: Sequence[Lane], step: Index = 1
    ) -> AbstractContextManager[tuple[Index, list[Lane]]]:
        """A loop that carries lanes in registers: a list, whose members the body replaces, and which after the loop
        holds what they are then."""

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

    @abstractmethod
    def is_odd(self, x: Index) -> Condition:
        """Whether a whole number is odd."""

    @abstractmethod
    def either(
        self, condition: Condition
    ) -> AbstractContextManager[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two blocks: what stands in the first runs where the condition holds, the second elsewhere."""

    @abstractmethod
    def tasks(self, counters: Pointer, each: int, phases: Index) -> AbstractContextManager[tuple[Index, Index]]:
        """Tasks for the threads that run this function together: `each` of them a phase, by phase and number.

        A phase begins when all of the one before is done; all threads go on when the last is.
        """

    @abstractmethod
    def meet(self) -> None:
        """What any lane wrote to memory is there for all lanes from here on."""

    # ---- memory ------------------------------------------------------------------------------------------------
    @abstractmethod
    def beyond(self, pointer: Pointer, at: Index) -> Pointer:
        """Where the number `at` of an array lies, as an array."""

    @abstractmethod
    def load(self, pointer: Pointer, at: Index) -> Lane:
        """The vector number `at` of an aligned array of vectors."""

    @abstractmethod
    def store(self, pointer: Pointer, at: Index, lane: Operand) -> None:
        """Put a vector at number `at` of an aligned array of vectors."""

    @abstractmethod
    def load_unaligned(self, pointer: Pointer, at: Index) -> Lane:
        """W neighbouring numbers, from number `at` of an array of numbers on."""

    @abstractmethod
    def store_unaligned(self, pointer: Pointer, at: Index, lane: Lane) -> None:
        """Put a vector at number `at` of an array of numbers."""

    @abstractmethod
    def load_one(self, pointer: Pointer, at: Index) -> Lane:
        """The number `at` of an array of numbers, in every lane."""

    @abstractmethod
    def load_first(self, pointer: Pointer, at: Index) -> Lane:
        """The number `at` of an array of numbers in the first lane, 0 in others."""

    @abstractmethod
    def store_first(self, pointer: Pointer, at: Index, lane: Lane) -> None:
        """Put what the first lane holds at number `at` of an array of numbers."""

    @abstractmethod
    def gathered(self, pointer: Pointer, rows: Whole, width: int, i: Index) -> Lane:
        """Number i of these rows, one for each lane, of an array of numbers (n, width)."""

    @abstractmethod
    def load_index(self, pointer: Pointer, at: Index) -> Index:
        """The int32 number `at` of an array of them, as an index."""

    @abstractmethod
    def load_whole(self, pointer: Pointer, at: Index) -> Whole:
        """The int32 number `at` of an array of them."""

    @abstractmethod
    def load_wholes(self, pointer: Pointer, at: Index) -> Whole:
        """W neighbouring int32, from number `at` of an array of them on."""

    # ---- across lanes ------------------------------------------------------------------------------------------
    @abstractmethod
    def added_up(self, vectors: Sequence[Lane]) -> list[Lane]:
        """The sum of each vector's lanes: those of the first W in the lanes of the first result, and so on."""

    @abstractmethod
    def store_some(self, pointer: Pointer, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        """Put `count` of the numbers that these vectors hold in turn, from number `first` on, side by side at `at`."""

    @abstractmethod
    def add_some(self, pointer: Pointer, at: Index, numbers: Sequence[Lane], first: int, count: int) -> None:
        """Add them to what stands there."""
