"""Functions that call kernels without Python: the rows of a table in turn, and copies between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from llvmlite import ir

from lamp.compiler.arguments import COUNT, KernelArguments
from lamp.compiler.backends.cpu.addresses import I64
from lamp.compiler.backends.cpu.code import CPUCode
from lamp.compiler.backends.cpu.kept import machine_code
from lamp.compiler.backends.cpu.machine_code import MachineCode
from lamp.compiler.backends.cpu.target import host

ARGUMENTS = len(KernelArguments._fields)


@lru_cache(maxsize=1)
def copy() -> MachineCode:
    """A function of a kernel's arguments that copies to the first from the second, as many bytes as the third says."""
    names = ["to", "source", "bytes", *(f"unused{k}" for k in range(3, ARGUMENTS))]
    code = CPUCode("copy", dict.fromkeys(names, COUNT), host(), torch.float64)
    b = code.b
    to, source = (b.inttoptr(code.arguments[name], I64.as_pointer()) for name in ("to", "source"))
    with code.loop(0, b.udiv(code.arguments["bytes"], I64(8))) as i:
        b.store(b.load(b.gep(source, [i])), b.gep(to, [i]))
    return machine_code(code.finish(), host())


@lru_cache(maxsize=1)
def in_turn() -> Callable[[int, int], None]:
    """A function that makes the calls in the rows of a table: an address, and its arguments."""
    code = CPUCode("in_turn", dict.fromkeys(("table", "rows"), COUNT), host(), torch.float64)
    b, kind = code.b, ir.FunctionType(ir.VoidType(), [I64] * ARGUMENTS)
    table = b.inttoptr(code.arguments["table"], I64.as_pointer())
    with code.loop(0, code.arguments["rows"]) as row:
        first = b.mul(row, I64(1 + ARGUMENTS))
        address, *arguments = (b.load(b.gep(table, [b.add(first, I64(k))])) for k in range(1 + ARGUMENTS))
        b.call(b.inttoptr(address, kind.as_pointer()), arguments)
    run: Callable[[int, int], None] = machine_code(code.finish(), host()).function("in_turn", 2)
    return run
