"""How a kernel's thread waits for the others, in LLVM IR."""

from __future__ import annotations

import os

from lamp.compiler.backends.cpu.builder import I32, I64, Builder, Value, whole

SPINS = 2**9  # a waiting thread yields its processor each time it has read a counter this often


def wait_until(b: Builder, counter: Value, number: Value) -> None:
    """Wait until the counter is at least this number."""
    waiting, reached, before = b.new_block("waiting"), b.new_block("reached"), b.block
    b.jump(waiting)
    b.block = waiting
    calls = b.phi(I64)
    calls.add_incoming(whole(I64, 1), before)
    if os.name == "posix":  # a thread that waits long yields its processor to the threads it waits for
        turn = b.binary("and", calls, whole(I64, SPINS - 1))
        with b.if_rare(b.compared("==", turn, whole(I64, 0))):
            b.call(I32, "sched_yield", [])
    here = b.compared(">=", b.load_atomic(counter), number)
    calls.add_incoming(b.binary("add", calls, whole(I64, 1)), b.block)
    b.jump_if(here, reached, waiting)
    b.block = reached
