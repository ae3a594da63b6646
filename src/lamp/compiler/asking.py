"""Formulas asked with lanes: what lanes cannot compute is told from what is wrong in lamp itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamp.compiler.lanes import Lane, Unwritable
from lamp.compiler.stand_ins import NotCompiled
from lamp.overrides import PACKAGE, is_lamps


def asked(formula: Callable[..., Any], *numbers: Any) -> Any:
    """What a formula says of lanes.

    Raises NotCompiled where a user's formula does something that lanes do not; an error in lamp's own code stays one.
    """
    owner = type(getattr(formula, "__self__", None))
    if is_lamps(owner):
        return formula(*numbers)
    try:
        answer = formula(*numbers)
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        if not isinstance(error, Unwritable) and _raised_by_lamp(error):
            raise
        told = (str(error) or repr(error)).splitlines()[0]
        raise NotCompiled(
            f"the {formula.__name__} of {owner.__name__} goes beyond what lamp.formulas lists: {told}"
        ) from None
    if isinstance(answer, Lane):
        return answer
    if isinstance(answer, int | float):
        return next(each for each in numbers if isinstance(each, Lane)).code.lane(answer)
    if formula.__name__ == "prepare":
        return answer
    raise NotCompiled(f"the {formula.__name__} of {owner.__name__} returns a {type(answer).__name__}, not a number")


def _raised_by_lamp(error: BaseException) -> bool:
    """Whether the line that raised it stands in this package."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == PACKAGE
