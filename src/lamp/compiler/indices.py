"""Whole numbers that count and index: known ones, ones that the program finds, and sums of products of both."""

from __future__ import annotations

from typing import Any, TypeAlias

Index: TypeAlias = Any | int  # a value of the program, a sum of such, or a number that is known

Terms = tuple[tuple[Any, int], ...]  # values, and how often each is taken


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
