"""Calls that do not fit a method: inputs by name, too many or too few; and tracebacks without lamp's own frames."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from lamp.errors import ArgumentError, LampError
from lamp.passes import running
from lamp.paths import blame, describe

PACKAGE = str(Path(__file__).parent)
FIRST = ("input", "x", "output")  # names of the first argument of a forward
SWITCHES = {"training": "model.train() or model.eval() before the call", "mask": "pass it as an input of the module"}


def in_order(module: Any, method: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The arguments of a call as (those by place, those by name alone).

    The first may be named as torch.nn names it, "input", or as formulas do, whatever the method calls it. The name of a
    `*target` stands for one that comes last.

    Raises ArgumentError where they do not fit the method.
    """
    signature = inspect.signature(method)
    places = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    known = [name for name in named if name in FIRST and name not in places]
    if len(known) == 1 and places and not given and places[0] not in named:
        named = {places[0] if name in known else name: value for name, value in named.items()}
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    last: list[Any] = []
    others = named
    if rest in named and len(given) + sum(name in named for name in places) == len(places):
        others = dict(named)
        last.append(others.pop(rest))
    try:
        bound = signature.bind(module, *given, **others)
    except TypeError:
        raise misfit(module, method, given, named) from None
    return (*bound.args[1:], *last), bound.kwargs


def misfit(module: Any, method: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> ArgumentError:
    """The error for arguments that do not fit a method, blamed on its module where a pass runs."""
    signature = str(inspect.signature(method)).replace("(self, ", "(").replace("(self)", "()").split(" ->")[0]
    got = [f"{len(given)} by place"] * bool(given or not named) + [f"{name}=" for name in named]
    known = next((SWITCHES[name] for name in named if name in SWITCHES), None)
    error = ArgumentError(
        f"{type(module).__name__}.{method.__name__} does not take these arguments",
        expected=f"{method.__name__}{signature}",
        got=", ".join(got),
        fix=known or "give it the inputs that it names",
        where=describe(module) if running.through is None else None,
    )
    if running.through is not None:
        blame(error, module)
    return error


def is_of_the_call(error: Exception) -> bool:
    """Whether a method was never begun: its arguments did not fit."""
    at = error.__traceback__
    return isinstance(error, TypeError) and at is not None and at.tb_next is None


def shorten(error: Exception) -> None:
    """Take lamp's own frames out of the traceback of an error of lamp's, whose text says it all; the user's stay."""
    if isinstance(error, LampError):
        frames, at = [], error.__traceback__
        while at is not None:
            if not at.tb_frame.f_code.co_filename.startswith(PACKAGE):
                frames.append(at)
            at = at.tb_next
        kept: TracebackType | None = None
        for frame in reversed(frames):
            kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
        error.__traceback__ = kept
