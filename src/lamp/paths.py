"""The path of a module in its network, and how it gets into an error that the module raised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lamp.errors import LampError


class Tree(Protocol):
    """The part of a module's interface that paths need."""

    def named_modules(self) -> Iterator[tuple[str, Tree]]: ...


def describe(module: object) -> str:
    """A module in one line: its repr if that is one line, else the name of its class."""
    text = repr(module)
    return text if "\n" not in text else type(module).__name__


def path_of(module: object, root: Tree) -> str:
    """The place of a module in a network, as errors name it, such as "Sequential.2: Linear(...)"."""
    for path, candidate in root.named_modules():
        if candidate is module:
            return f"{type(root).__name__}.{path}: {describe(module)}" if path else describe(module)
    return describe(module)


def blame(error: Exception, module: object) -> None:
    """Note in an error the module that raised it, unless a module further inside is noted already."""
    if not hasattr(error, "_lamp_module"):
        error._lamp_module = module  # type: ignore[attr-defined]


def say_where(error: Exception, root: Tree) -> Exception:
    """The error, with the path of the noted module written into it."""
    where = path_of(error._lamp_module, root)  # type: ignore[attr-defined]
    del error._lamp_module  # type: ignore[attr-defined]  # so that another pass may raise it again
    if not isinstance(error, LampError):
        error.add_note(f"in {where}")
    elif error.where is None:
        error.where = where
    return error
