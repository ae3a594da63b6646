"""Whole numbers that count and index: known ones, ones that the program finds, and sums of products of both."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

from llvmlite import ir

I64 = ir.IntType(64)

Index: TypeAlias = Any | int  # a value of the program, a sum of such, or a number that is known

Terms = tuple[tuple[ir.Value, int], ...]  # values, and how often each is taken


class Sum:
    """Values of the program times known numbers, and a known number. Written into the program where it is used."""

    def __init__(self, terms: Terms, offset: int) -> None:
        self.terms, self.offset = terms, offset

    @classmethod
    def of(cls, x: Index) -> Sum:
        if isinstance(x, Sum):
            return x
        return cls((), x) if isinstance(x, int) else cls(((x, 1),), 0)

    @property
    def simplest(self) -> Index:
        """The number, or the value, that this is alone; else the sum."""
        if not self.terms:
            return self.offset
        if len(self.terms) == 1 and self.terms[0][1] == 1 and not self.offset:
            return self.terms[0][0]
        return self

    def plus(self, other: Sum) -> Sum:
        taken = dict(self.terms)
        for value, factor in other.terms:
            taken[value] = taken.get(value, 0) + factor
        return Sum(tuple(taken.items()), self.offset + other.offset)

    def times(self, factor: int) -> Sum:
        return Sum(tuple((value, factor * own) for value, own in self.terms) if factor else (), factor * self.offset)


class Written:
    """Writes sums into a program, each part of them once in a block."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder
        self._known: dict[Hashable, ir.Value] = {}

    def value(self, x: Index) -> ir.Value:
        """A whole number as a value of the program."""
        if isinstance(x, int):
            return I64(x)
        if not isinstance(x, Sum):
            return x
        base = self._base(x.terms)
        return self.b.add(base, I64(x.offset)) if x.offset else base

    def place(self, pointer: ir.Value, at: Index) -> ir.Value:
        """Where number `at` of an array lies."""
        if not isinstance(at, Sum):
            return self.b.gep(pointer, [self.value(at)])
        base = self._once((pointer, at.terms), lambda: self.b.gep(pointer, [self._base(at.terms)]))
        return self.b.gep(base, [I64(at.offset)]) if at.offset else base

    def cast(self, pointer: ir.Value, kind: ir.Type) -> ir.Value:
        """The pointer as one to this type."""
        return self._once((pointer, str(kind)), lambda: self.b.bitcast(pointer, kind.as_pointer()))

    def _base(self, terms: Terms) -> ir.Value:
        if len(terms) > 1:
            return self._once(terms, lambda: self.b.add(self._base(terms[:-1]), self._base(terms[-1:])))
        ((value, factor),) = terms
        return value if factor == 1 else self._once(terms, lambda: self.b.mul(value, I64(factor)))

    def _once(self, key: Hashable, write: Callable[[], ir.Value]) -> ir.Value:
        here = (self.b.block, key)
        if here not in self._known:
            self._known[here] = write()
        return self._known[here]
