"""Writes a formula as a function that computes it for all numbers of some tensors, on several threads at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from lamp.compiler.arguments import INT64
from lamp.compiler.backends.cpu import openmp
from lamp.compiler.backends.cpu.builder import I32, I64, POINTER, whole
from lamp.compiler.backends.cpu.code import CPUCode
from lamp.compiler.backends.cpu.target import CPU


def text_of(name: str, formula: Callable[..., Any], given: Sequence[bool], dtype: torch.dtype, target: CPU) -> str:
    """The LLVM IR of a function of this name, whose one argument is the address of a table of int64: n, then the
    addresses of the result and of the operands, n numbers each.

    given  for each argument of the formula, whether it is an operand; else it is None
    """
    code = CPUCode(name, {"table": INT64}, target, dtype, shared=True)
    b, width = code.b, code.lanes
    places = (b.place(I64, code.arguments["table"], whole(I64, k)) for k in range(2 + sum(given)))
    n, *addresses = (b.load(I64, place) for place in places)
    result, *operands = (b.converted("inttoptr", each, POINTER) for each in addresses)

    me, threads = (b.converted("sext", b.call(I32, each, []), I64) for each in (openmp.THREAD, openmp.THREADS))
    vectors, following = code.quotient(n, width), code.index(code.plus(me, 1))
    start, stop = (code.product(code.quotient(code.product(vectors, k), threads), width) for k in (me, following))
    stop = b.chosen(code.equal(following, threads), n, stop)

    with code.loop(start, stop, width) as i:
        at = code.least(i, code.minus(stop, width))  # the last vector may overlap with the one before
        lanes = iter(code.load_unaligned(each, at) for each in operands)
        code.store_unaligned(result, at, code.lane(formula(*[next(lanes) if each else None for each in given])))
    return code.finish()
