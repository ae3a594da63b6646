"""Machine code that a process keeps, up to so many bytes: what was used longest ago goes first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable

from lamp.compiler.backends.cpu.machine_code import MachineCode, compiled
from lamp.compiler.backends.cpu.target import CPU

MOST_BYTES = 2**26
APIECE = 2**18  # bytes that LLVM and the system take for each beside its code: pages, an engine, a text to read


class Kept:
    """Machine code by what it was made for. What is in use elsewhere lives on when it goes from here."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most, self.bytes = most, 0
        self._codes: OrderedDict[Hashable, MachineCode] = OrderedDict()

    def get(self, key: Hashable) -> MachineCode | None:
        """The code that is kept for this, which is the last to go from now on."""
        code = self._codes.get(key)
        if code is not None:
            self._codes.move_to_end(key)
        return code

    def keep(self, key: Hashable, code: MachineCode) -> MachineCode:
        """Keep code for this; returns it."""
        self._drop(self._codes.pop(key, None))
        self._codes[key] = code
        self.bytes += _size(code)
        while self.bytes > self.most and len(self._codes) > 1:
            self._drop(self._codes.popitem(last=False)[1])
        return code

    def _drop(self, code: MachineCode | None) -> None:
        self.bytes -= 0 if code is None else _size(code)

    def clear(self) -> None:
        """Keep nothing."""
        self._codes.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._codes)


def _size(code: MachineCode) -> int:
    return len(code.code) + APIECE


texts = Kept()  # what was made of texts alone


def machine_code(llvm_ir: str, target: CPU) -> MachineCode:
    """The machine code of a text, compiled once in a process while it is kept."""
    key = hashlib.sha256(llvm_ir.encode()).digest(), target
    known = texts.get(key)
    return known if known is not None else texts.keep(key, compiled(llvm_ir, target))
