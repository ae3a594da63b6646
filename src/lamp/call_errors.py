"""Checks and errors for calls of modules: the order of named inputs, inputs that do not fit, and short tracebacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from lamp.errors import ArgumentError, LampError
from lamp.passes import running
from lamp.paths import blame, describe
from lamp.signatures import INSTEAD

PACKAGE = str(Path(__file__).parent)
FIRST = ("input", "x", "output")  # names of the first argument of a forward
SWITCHES = {"training": "model.train() or model.eval() before the call", "mask": "pass it as an input of the module"}


def in_order(module: Any, method: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The arguments of a call as (positional arguments, keyword-only arguments).

    The first argument may be named "input" as in torch.nn, or "x", whatever the method calls it. An argument with the
    name of a `*target` comes last.

    Raises ArgumentError if the arguments do not fit the method.
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
    """The error for arguments that do not fit a method. Within a pass it gets its path when it leaves the pass."""
    takes = inspect.signature(method)
    named_alone = [each.replace(annotation=each.empty) for each in takes.parameters.values() if each.name != "self"]
    signature = str(takes.replace(parameters=named_alone, return_annotation=takes.empty))
    got = [f"{len(given)} positional"] * bool(given or not named) + [f"{name}=" for name in named]
    known = next((hints[name] for hints in (SWITCHES, INSTEAD) for name in named if name in hints), None)
    error = ArgumentError(
        f"{type(module).__name__}.{method.__name__} does not take these arguments",
        expected=f"{method.__name__}{signature}",
        got=", ".join(got),
        fix=known or "pass the arguments that it names",
        where=describe(module) if running.through is None else None,
    )
    if running.through is not None:
        blame(error, module)
    return error


def is_of_the_call(error: Exception) -> bool:
    """Whether the error is about the arguments of the call itself, so that the method never began."""
    at = error.__traceback__
    return type(error) is TypeError and at is not None and at.tb_next is None


def shorten(error: Exception) -> None:
    """Remove lamp's own frames from the traceback of a LampError, whose text is enough; the user's frames stay."""
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
