"""Calls of formulas (`sigma`, `value`, `update`, ...) with lanes, which makes them write machine code.

A user's formula may do what lanes cannot. This file tells such a formula from a mistake in lamp itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamp.compiler.cache_key import frozen
from lamp.compiler.lanes import Lane, Unwritable
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.user_code import call_purely
from lamp.overrides import PACKAGE, is_lamps


def call_formula(formula: Callable[..., Any], *numbers: Any) -> Any:
    """The result of a formula that is called with lanes.

    Raises NotCompiled if a user's formula does something that lanes do not support, or computes something else at each
    call. Errors raised by lamp's own code pass through unchanged.
    """
    owner = type(getattr(formula, "__self__", None))
    if is_lamps(owner):
        return formula(*numbers)
    try:
        answer = call_purely(formula, numbers, frozen)
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        if not isinstance(error, Unwritable) and _raised_by_lamp(error):
            raise
        message = (str(error) or repr(error)).splitlines()[0]
        raise NotCompiled(
            f"the {formula.__name__} of {owner.__name__} uses operations that lamp.formulas does not list: {message}"
        ) from None
    if isinstance(answer, Lane):
        return answer
    if isinstance(answer, int | float):
        return next(each for each in numbers if isinstance(each, Lane)).code.lane(answer)
    if formula.__name__ == "prepare":
        return answer
    raise NotCompiled(f"the {formula.__name__} of {owner.__name__} returns a {type(answer).__name__}, not a number")


def _raised_by_lamp(error: BaseException) -> bool:
    """Whether the error was raised by a line of this package."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == PACKAGE
