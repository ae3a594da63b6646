"""Writes indices and addresses as LLVM IR: a `Sum` comes in, instructions come out, each common part only once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from llvmlite import ir

from lamp.compiler.code import Count
from lamp.compiler.indices import Index, Sum, Terms

I64 = ir.IntType(64)


class Written:
    """Writes the instructions for sums, and reuses those already written in the same basic block."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder
        self._known: dict[Hashable, ir.Value] = {}

    def value(self, x: Index) -> ir.Value:
        """An index as a value of the program."""
        if isinstance(x, int):
            return I64(x)
        if isinstance(x, Count):
            return self.value(x.value)
        if not isinstance(x, Sum):
            return x
        base = self._base(x.terms)
        return self.b.add(base, I64(x.offset)) if x.offset else base

    def place(self, pointer: ir.Value, at: Index) -> ir.Value:
        """The address of number `at` of an array."""
        if not isinstance(at, Sum):
            return self.b.gep(pointer, [self.value(at)])
        base = self._once((pointer, at.terms), lambda: self.b.gep(pointer, [self._base(at.terms)]))
        return self.b.gep(base, [I64(at.offset)]) if at.offset else base

    def cast(self, pointer: ir.Value, kind: ir.Type) -> ir.Value:
        """The pointer, cast to one to this type."""
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
