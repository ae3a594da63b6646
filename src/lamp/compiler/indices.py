"""Integers for counting and indexing in a kernel: constants, values of the program, and linear combinations of them.

A sum such as 8 i + j + 3 is kept in this form and written as instructions only where it is used. So sums that share
their terms share instructions, and a constant becomes part of an address.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Index: TypeAlias = Any | int  # a value of the program, a Sum, or a constant

Terms = tuple[tuple[Any, int], ...]  # values of the program, each with its constant factor


class Sum:
    """A linear combination of values of the program with constant factors, plus a constant offset."""

    def __init__(self, terms: Terms, offset: int) -> None:
        self.terms, self.offset = terms, offset

    @classmethod
    def of(cls, x: Index) -> Sum:
        if isinstance(x, Sum):
            return x
        return cls((), x) if isinstance(x, int) else cls(((x, 1),), 0)

    @property
    def simplest(self) -> Index:
        """The constant or the single value that this equals; else the sum itself."""
        if not self.terms:
            return self.offset
        if len(self.terms) == 1 and self.terms[0][1] == 1 and not self.offset:
            return self.terms[0][0]
        return self

    def plus(self, other: Sum) -> Sum:
        if not (self.terms and other.terms):
            return Sum(self.terms or other.terms, self.offset + other.offset)
        taken = dict(self.terms)
        for value, factor in other.terms:
            taken[value] = taken.get(value, 0) + factor
        return Sum(tuple(taken.items()), self.offset + other.offset)

    def times(self, factor: int) -> Sum:
        return Sum(tuple((value, factor * own) for value, own in self.terms) if factor else (), factor * self.offset)
