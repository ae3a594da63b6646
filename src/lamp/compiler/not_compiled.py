"""`NotCompiled`, the exception for whatever the compiled engine cannot train."""

from __future__ import annotations

from lamp.module import Module
from lamp.paths import Tree, describe, path_of


class NotCompiled(Exception):
    """Raised for a network, a loss, an optimizer or data that cannot be compiled; its text says why, in one line.

    row     the first sample that cannot be compiled, if samples are the reason
    module  the module that cannot be compiled; the text begins with it
    """

    def __init__(self, why: str, row: int = 0, module: Module | None = None) -> None:
        super().__init__(why if module is None else f"{describe(module)} {why}")
        self.why, self.row, self.module = why, row, module

    def within(self, root: Tree) -> NotCompiled:
        """The same reason, beginning with the module's path in this network."""
        return self if self.module is None else NotCompiled(f"{path_of(self.module, root)} {self.why}", self.row)
