"""Digests of the code that a user wrote for a training, so that a resumed training can say that it has changed.

A digest covers a function's instructions and constants, the default values of its arguments, and the numbers and texts
of its module whose names are in capitals. It does not cover comments, docstrings, and the functions that it calls.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from lamp.attributes import SHORT
from lamp.errors import CheckpointWarning, warn_of
from lamp.overrides import is_installed, users_function, variables_of

PYTHON = "python"  # the entry with the version, since each version has instructions of its own
PLAIN = (int, float, complex, str, bytes, type(None))
MOST_NAMED = 3  # functions in the warning
MOST_LISTED = 100  # items of a list in which functions are looked for


def digests_of(things: Iterable[object]) -> dict[str, str]:
    """The digest of every function of the user's among these objects and their methods, by its name."""
    functions = dict.fromkeys(function for thing in things for function in functions_of(thing))
    found, seen = {PYTHON: f"{sys.version_info.major}.{sys.version_info.minor}"}, Counter[str]()
    for function in functions:
        name = function.__qualname__.replace("<locals>.", "")
        seen[name] += 1
        name += f" ({seen[name]})" if seen[name] > 1 else ""
        found[name] = hashlib.sha256(repr(_described(function)).encode("utf-8", "replace")).hexdigest()[:SHORT]
    return found


def tell_of_changes(saved: Any, now: Mapping[str, str], path: object) -> None:
    """Warn of functions whose code is another one than in a saved training, if that has their digests."""
    if not isinstance(saved, Mapping) or saved.get(PYTHON) != now[PYTHON]:
        return
    changed = [name for name, digest in now.items() if saved.get(name, digest) != digest]
    if changed:
        named = ", ".join(changed[:MOST_NAMED]) + (
            f" and {len(changed) - MOST_NAMED} more" * (len(changed) > MOST_NAMED)
        )
        warn_of(
            f"the code of {named} has changed since {path} was written. The training goes on with the new code, and "
            "its first steps were made by the old one; for a training by the new code alone, choose another folder",
            CheckpointWarning,
        )


def functions_of(thing: Any) -> Iterator[FunctionType]:
    """The user's functions in an object: itself, its methods, and functions among its attributes."""
    if isinstance(thing, partial):
        yield from functions_of(thing.func)
    elif isinstance(thing, FunctionType | MethodType):
        if (function := users_function(thing)) is not None:
            yield function
    elif not isinstance(thing, type | list | tuple):
        for kind in type(thing).__mro__:
            if not is_installed(kind.__module__):
                for each in vars(kind).values():
                    yield from _among([each.fget, each.fset] if isinstance(each, property) else [each])
        for each in getattr(thing, "__dict__", {}).values():
            yield from _among(each if isinstance(each, list | tuple) and len(each) <= MOST_LISTED else [each])


def _among(values: Iterable[Any]) -> Iterator[FunctionType]:
    for each in values:
        function = each.__func__ if isinstance(each, staticmethod | classmethod) else each
        if isinstance(function, FunctionType | MethodType | partial):
            yield from functions_of(function)


def _described(function: FunctionType) -> list[Any]:
    """What a digest is made of."""
    constants = [(name, value) for name, value in variables_of(function).items() if name.isupper()]
    return [_of_code(function.__code__), *map(_if_plain, (function.__defaults__, function.__kwdefaults__, constants))]


def _of_code(code: CodeType) -> list[Any]:
    """Instructions, names and constants; the docstring, which comes first among the constants, is left out."""
    constants = code.co_consts[1:] if code.co_consts and isinstance(code.co_consts[0], str) else code.co_consts
    return [code.co_code, code.co_names, code.co_varnames, code.co_freevars, [_if_plain(each) for each in constants]]


def _if_plain(value: Any) -> Any:
    """The value with all that is no number or text left out, so that equal code is described equally anywhere."""
    if isinstance(value, CodeType):
        return _of_code(value)
    if isinstance(value, frozenset | set):
        return sorted(map(repr, map(_if_plain, value)))
    if isinstance(value, list | tuple):
        return [_if_plain(each) for each in value]
    if isinstance(value, dict):
        return [_if_plain(each) for each in value.items()]
    return value if isinstance(value, PLAIN) else "?"
