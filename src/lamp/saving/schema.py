"""Validate a document that was read against type hints, key by key.

    class Point(TypedDict):
        x: Annotated[float, Range(0, 1)]
        name: NotRequired[str]

    check(json.loads(text), Point, "point.json")

Hints may be int, float, bool, str, None, Any, other classes, Literal, `X | Y`, list[X], tuple[X, ...], dict[str, X],
Annotated with a Range, a TypedDict (further keys are ignored), or a dataclass (for a dict of its fields).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

from lamp.saving.seal import DamagedError

LARGEST = 2**64  # bound on whole numbers; seeds have 64 bits
LARGEST_BITS = 1000  # bound on whole numbers in the place of floats


@dataclass(frozen=True)
class Range:
    """The lowest and the highest value that a number may have."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:,} to {self.high:,}"


Count = Annotated[int, Range(0, 2**53)]


def check(value: Any, hint: Any, path: object, key: str = "") -> None:
    """Raise a DamagedError, which names the file and the first key of a wrong type, unless the value fits the hint."""
    for where, wanted, found in _misfits(value, hint, key):
        raise DamagedError(
            f"{path}: {where or 'the document'} has the wrong type or value",
            expected=wanted,
            got=f"{type(found).__name__}: {_short(found)}",
        )


def _misfits(value: Any, hint: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """(key, wanted type, value) of each place where the value does not fit the hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if origin is Annotated:
        inner, limits = arguments[0], arguments[1]
        yield from (found := list(_misfits(value, inner, key)))
        if not found and not limits.low <= value <= limits.high:
            yield key, f"{_told(inner)} {limits}", value
    elif origin in (Union, types.UnionType):
        if all(any(True for _ in _misfits(value, each, key)) for each in arguments):
            same_kind = [each for each in arguments if isinstance(value, get_origin(each) or _class_of(each))]
            yield from _misfits(value, same_kind[0], key) if len(same_kind) == 1 else [(key, _told(hint), value)]
    elif origin is Literal:
        if not any(type(value) is type(each) and value == each for each in arguments):
            yield key, _told(hint), value
    elif origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        if not isinstance(value, list | tuple):
            yield key, _told(hint), value
        else:
            for k, item in enumerate(value):
                yield from _misfits(item, arguments[0], f"{key}[{k}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield key, _told(hint), value
        else:
            for name, item in value.items():
                yield from _misfits(name, arguments[0], f"a key of {key}")
                yield from _misfits(item, arguments[1], _below(key, name))
    elif typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        yield from _misfits_of_keys(value, hint, key)
    elif not _is_a(value, hint):
        yield key, _told(hint), value


def _misfits_of_keys(value: Any, hint: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """The misfits of a TypedDict, or of a dict of a dataclass's fields."""
    if not isinstance(value, dict):
        yield key, "an object with keys", value
        return
    hints, needed = _keys_of(hint)
    if dataclasses.is_dataclass(hint):
        for name in value.keys() - hints.keys():
            yield _below(key, name), f"one of the keys {', '.join(hints)}", value[name]
    for name in hints:
        if name in value:
            yield from _misfits(value[name], hints[name], _below(key, name))
        elif name in needed:
            yield key, f"a key {name!r}", value


@cache
def _keys_of(hint: Any) -> tuple[dict[str, Any], set[str]]:
    """{key: type} of all keys, and the set of required keys; cached per type."""
    hints = typing.get_type_hints(hint, include_extras=True)
    if dataclasses.is_dataclass(hint):
        fields = dataclasses.fields(hint)
        without = (dataclasses.MISSING, dataclasses.MISSING)
        needed = {field.name for field in fields if (field.default, field.default_factory) == without}
        return {field.name: hints[field.name] for field in fields}, needed
    # __required_keys__ is wrong for hints that are written as text
    needed = {name for name, each in hints.items() if get_origin(each) is not NotRequired}
    return {name: each if name in needed else get_args(each)[0] for name, each in hints.items()}, needed


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of a plain class; a bool is not a number, an int is also a float, and numbers are bounded."""
    if hint is float and type(value) is int:
        return value.bit_length() <= LARGEST_BITS
    if hint is int:
        return type(value) is int and abs(value) < LARGEST
    return isinstance(value, _class_of(hint))


def _class_of(hint: Any) -> Any:
    return type(None) if hint is None else dict if typing.is_typeddict(hint) else hint


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _told(hint: Any) -> str:
    """A hint in words, such as "a list"."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_told(arguments[0])} {arguments[1]}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_told, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (list, tuple):
        return "a list"
    if origin is dict or typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return "an object with keys"
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "keys " + (", ".join(map(str, list(value)[:8])) or "none")
    if isinstance(value, list | tuple):
        return f"{len(value)} items"
    if type(value) is int and value.bit_length() > LARGEST_BITS:
        return f"a number of {value.bit_length()} bits"
    return repr(value)[:60]
