"""Checks of what the methods of an optimizer return, which a user may have written."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError


def as_state_names(optimizer: object, names: Any) -> tuple[str, ...]:
    """The names that `state_names` of an optimizer returned, each once."""
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(each, str) for each in names):
        raise ArgumentError(
            f"{type(optimizer).__name__}.state_names did not return names",
            expected='a tuple of texts, such as ("mean",), or () without a state',
            got=repr(names)[:60],
            fix=f'return ("{names}",)' if isinstance(names, str) else "return a tuple of texts",
        )
    return tuple(dict.fromkeys(names))


def explain_update(optimizer: object, moved: Any, data: Tensor) -> ArgumentError:
    """The error for an `update` of an optimizer that did not return the parameter after the step."""
    return ArgumentError(
        f"{type(optimizer).__name__}.update did not return the parameter",
        expected=f"the parameter after the step, a tensor {tuple(data.shape)}",
        got=tuple(moved.shape) if isinstance(moved, Tensor) else type(moved).__name__,
        fix="end update with `return`, of the parameter changed in place or of a new tensor",
    )


def check_state(optimizer: object, written: Iterable[str], names: Collection[str]) -> None:
    """Raise ArgumentError if an `update` has written state under other names than those of `state_names`."""
    if strange := [name for name in written if name not in names]:
        raise ArgumentError(
            f"{type(optimizer).__name__}.update keeps a state that its state_names do not name",
            expected=", ".join(map(repr, names)) or "no state",
            got=", ".join(map(repr, strange)),
            fix=f"def state_names(self, group): return {(*names, *strange)!r}",
        )
