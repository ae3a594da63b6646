"""Caches of machine code: on disk, and in memory, which drops the least recently used beyond a number of bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable

from lamp.compiler import disk_cache
from lamp.compiler.backends.cpu.machine_code import VERSION, MachineCode, compiled
from lamp.compiler.backends.cpu.target import CPU

MOST_BYTES = 2**26
APIECE = 2**18  # bytes that an entry takes beside its code: memory pages, LLVM's engine, the text


class Kept:
    """A cache from keys to machine code, up to `most` bytes. Code that is still in use survives being dropped."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most, self.bytes = most, 0
        self._codes: OrderedDict[Hashable, MachineCode] = OrderedDict()

    def get(self, key: Hashable) -> MachineCode | None:
        """The code of this key, which becomes the most recently used; None if there is none."""
        code = self._codes.get(key)
        if code is not None:
            self._codes.move_to_end(key)
        return code

    def keep(self, key: Hashable, code: MachineCode) -> MachineCode:
        """Keep code under this key, drop old entries beyond the limit, and return the code."""
        self._drop(self._codes.pop(key, None))
        self._codes[key] = code
        self.bytes += _size(code)
        while self.bytes > self.most and len(self._codes) > 1:
            self._drop(self._codes.popitem(last=False)[1])
        return code

    def _drop(self, code: MachineCode | None) -> None:
        self.bytes -= 0 if code is None else _size(code)

    def clear(self) -> None:
        """Drop all entries."""
        self._codes.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._codes)


def _size(code: MachineCode) -> int:
    return len(code.code) + APIECE


texts = Kept()  # machine code by the digest of its LLVM IR


def machine_code(llvm_ir: str, target: CPU) -> MachineCode:
    """The machine code of some LLVM IR, from the cache or compiled now."""
    key = hashlib.sha256(llvm_ir.encode()).digest(), target
    known = texts.get(key)
    return known if known is not None else texts.keep(key, compiled(llvm_ir, target))


def loaded_or_made(key: Hashable, text: Callable[[], str], target: CPU) -> MachineCode:
    """The machine code that an earlier process stored on disk for this key; else compiled now from text(), its LLVM IR,
    and stored."""
    name = disk_cache.name_of(key, (target, VERSION))
    kept = None if name is None else disk_cache.load(name)
    if kept is not None:
        return MachineCode(kept, target)
    made = machine_code(text(), target)
    if name is not None:
        disk_cache.store(name, made.code)
    return made
