"""How a kernel's thread waits for the others, in LLVM IR."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from llvmlite import ir

from lamp.compiler.backends.cpu.addresses import I64

I32 = ir.IntType(32)
SPINS = 2**9  # a waiting thread yields its processor each time it has read a counter this often


def wait_until(
    b: ir.IRBuilder,
    external: Callable[[str, ir.Type, Sequence[ir.Type]], ir.Function],
    counter: ir.Value,
    number: ir.Value,
) -> None:
    """Wait until the counter is at least this number.

    external  a function outside the kernel, by its name and the types of its result and arguments
    """
    waiting, reached, before = b.append_basic_block("waiting"), b.append_basic_block("reached"), b.block
    b.branch(waiting)
    b.position_at_end(waiting)
    calls = b.phi(I64)
    calls.add_incoming(I64(1), before)
    if os.name == "posix":  # a thread that waits long yields its processor to the threads it waits for
        with b.if_then(b.icmp_signed("==", b.and_(calls, I64(SPINS - 1)), I64(0)), likely=False):
            b.call(external("sched_yield", I32, []), [])
    here = b.icmp_signed(">=", b.load_atomic(counter, "acquire", 8), number)
    calls.add_incoming(b.add(calls, I64(1)), b.block)
    b.cbranch(here, reached, waiting)
    b.position_at_end(reached)
