"""Checks of what the methods of an optimizer return, which a user may have written, and of copies of optimizers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError, warn_of


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


def as_coefficients(optimizer: object, numbers: Any, *shapes: tuple[int, ...]) -> Mapping[str, Any]:
    """The numbers by name that `coefficients` of an optimizer returned.

    shapes  of the tensors that they may be, besides single numbers

    Raises ArgumentError for anything else.
    """
    name, expected = f"{type(optimizer).__name__}.coefficients", 'numbers by name, such as {"lr": group["lr"]}'
    if not isinstance(numbers, Mapping):
        fix = "end coefficients with `return {...}`; update gets it as c"
        raise ArgumentError(f"{name} did not return a dict", expected=expected, got=repr(numbers)[:60], fix=fix)
    for key, value in numbers.items():
        if isinstance(value, Tensor):
            fits, got = value.numel() == 1 or tuple(value.shape) in shapes, f"a tensor {tuple(value.shape)}"
        else:
            fits, got = isinstance(value, Real), repr(value)[:60]
        if not fits:
            fix = f"return one number for {key!r}" + (f", or a tensor {shapes[0]}" if shapes else "")
            what = f"{name} returned something other than numbers"
            raise ArgumentError(what, expected=expected, got=f"{key}: {got}", fix=fix)
    return numbers


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


def warn_of_copy(optimizer: object) -> None:
    """Warn that a copy makes its first step with gradients that are zero: it was probably copied without its model."""
    warn_of(
        f"this {type(optimizer).__name__} is a copy, and all gradients of its parameters are zero: was it copied or "
        "pickled without its model? copy or pickle (model, optimizer) as one object, so that they stay a pair",
        UserWarning,
    )
