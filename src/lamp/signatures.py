"""Whether what a user has written can be called as lamp will call it: asked before, not found out in the middle."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lamp.errors import ArgumentError


def takes(function: Callable[..., Any], *arguments: str) -> bool:
    """Whether it can be called with so many positional arguments; where nothing is known about it, yes."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def check_takes(what: str, function: Callable[..., Any], *arguments: str) -> None:
    """Raise ArgumentError unless the function takes these arguments; `what` names it in the error."""
    if not takes(function, *arguments):
        raise ArgumentError(
            f"{what} cannot be called as lamp calls it",
            expected=f"{_name(function)}({', '.join(arguments)})",
            got=f"{_name(function)}{inspect.signature(function)}",
            fix="write it with these arguments",
        )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
