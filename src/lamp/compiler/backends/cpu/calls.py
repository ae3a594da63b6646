"""Two compiled functions that run a call table without Python: one makes its calls in turn, one copies memory.

A call table is an int64 array with one call per row: the address of a function, then its arguments. A kernel and `copy`
take the same number of arguments, so both can be rows of a table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch

from lamp.compiler.arguments import COUNT, KernelArguments
from lamp.compiler.backends.cpu.builder import I64, POINTER
from lamp.compiler.backends.cpu.code import CPUCode
from lamp.compiler.backends.cpu.kept import machine_code
from lamp.compiler.backends.cpu.machine_code import MachineCode
from lamp.compiler.backends.cpu.target import host

ARGUMENTS = len(KernelArguments._fields)


@lru_cache(maxsize=1)
def copy() -> MachineCode:
    """A function with a kernel's signature: copies, to the address in its first argument from that in its second, the
    number of bytes in its third."""
    names = ["to", "source", "bytes", *(f"unused{k}" for k in range(3, ARGUMENTS))]
    code = CPUCode("copy", dict.fromkeys(names, COUNT), host(), torch.float64)
    b = code.b
    to, source = (b.converted("inttoptr", code.arguments[name], POINTER) for name in ("to", "source"))
    with code.loop(0, code.quotient(code.arguments["bytes"], 8)) as i:
        here, there = (b.place(I64, each, code.index(i)) for each in (source, to))
        b.store(b.load(I64, here), there)
    return machine_code(code.finish(), host())


@lru_cache(maxsize=1)
def in_turn() -> Callable[[int, int], None]:
    """A function (address of a table, number of rows) that makes the calls of the table's rows, one after another."""
    code = CPUCode("in_turn", dict.fromkeys(("table", "rows"), COUNT), host(), torch.float64)
    b = code.b
    table = b.converted("inttoptr", code.arguments["table"], POINTER)
    with code.loop(0, code.arguments["rows"]) as row:
        first = code.product(row, 1 + ARGUMENTS)
        places = (code.index(code.plus(first, k)) for k in range(1 + ARGUMENTS))
        address, *arguments = (b.load(I64, b.place(I64, table, place)) for place in places)
        b.call_address(b.converted("inttoptr", address, POINTER), arguments)
    run: Callable[[int, int], None] = machine_code(code.finish(), host()).function("in_turn", 2)
    return run
