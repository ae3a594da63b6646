"""Where a module stands in its network, and how an error that came out of it learns that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lamp.errors import LampError


class Tree(Protocol):
    """A module, as far as paths go: it names itself and all modules below it."""

    def named_modules(self) -> Iterator[tuple[str, Tree]]: ...


def describe(module: object) -> str:
    """A module in one line: its repr where that is short, else its class."""
    text = repr(module)
    return text if "\n" not in text else type(module).__name__


def path_of(module: object, root: Tree) -> str:
    """Where a module stands in a network, as errors say it: "Sequential.2: Linear(...)"."""
    for path, candidate in root.named_modules():
        if candidate is module:
            return f"{type(root).__name__}.{path}: {describe(module)}" if path else describe(module)
    return describe(module)


def blame(error: Exception, module: object) -> None:
    """Note the innermost module that an error came out of."""
    if not hasattr(error, "_lamp_module"):
        error._lamp_module = module  # type: ignore[attr-defined]


def say_where(error: Exception, root: Tree) -> Exception:
    """The error, with the path of the module to blame written into it."""
    where = path_of(error._lamp_module, root)  # type: ignore[attr-defined]
    del error._lamp_module  # type: ignore[attr-defined]  # whoever raises it again is to blame then
    if not isinstance(error, LampError):
        error.add_note(f"in {where}")
    elif error.where is None:
        error.where = where
    return error
