"""Writes indices and addresses as LLVM IR: a `Sum` comes in, instructions come out, each common part only once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from lamp.compiler.backends.cpu.builder import I64, Builder, Value, whole
from lamp.compiler.code import Count
from lamp.compiler.indices import Index, Sum, Terms


class Written:
    """Writes the instructions for sums, and reuses those already written in the same basic block."""

    def __init__(self, builder: Builder) -> None:
        self.b = builder

    def value(self, x: Index) -> Value:
        """An index as a value of the program."""
        if isinstance(x, Value):
            return x
        if isinstance(x, int):
            return whole(I64, x)
        if isinstance(x, Count):
            return self.value(x.value)
        base = self._base(x.terms)
        return self.b.binary("add", base, whole(I64, x.offset)) if x.offset else base

    def place(self, type: str, pointer: Value, at: Index) -> Value:
        """The address of number `at` of an array of this type."""
        if not isinstance(at, Sum):
            return self.b.place(type, pointer, self.value(at))
        base = self._once((type, pointer, at.terms), lambda: self.b.place(type, pointer, self._base(at.terms)))
        return self.b.place(type, base, whole(I64, at.offset)) if at.offset else base

    def _base(self, terms: Terms) -> Value:
        if len(terms) > 1:
            return self._once(terms, lambda: self.b.binary("add", self._base(terms[:-1]), self._base(terms[-1:])))
        ((value, factor),) = terms
        return value if factor == 1 else self._once(terms, lambda: self.b.binary("mul", value, whole(I64, factor)))

    def _once(self, key: Hashable, write: Callable[[], Value]) -> Value:
        known = self.b.block.known
        if key not in known:
            known[key] = write()
        return known[key]
