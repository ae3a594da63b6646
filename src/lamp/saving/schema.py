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
from collections.abc import Callable, Sequence
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


Misfit = tuple[str, str, Any]  # key, wanted type, and value, of the first place where a value does not fit its hint
Checker = Callable[[Any, str], Misfit | None]  # (value, key) -> the misfit in it

Count = Annotated[int, Range(0, 2**53)]


def check(value: Any, hint: Any, path: object, key: str = "") -> None:
    """Raise a DamagedError, which names the file and the first key of a wrong type, unless the value fits the hint."""
    if misfit := _checker(hint)(value, key):
        where, wanted, found = misfit
        raise DamagedError(
            f"{path}: {where or 'the document'} has the wrong type or value",
            expected=wanted,
            got=f"{type(found).__name__}: {_short(found)}",
        )


@cache
def _checker(hint: Any) -> Checker:
    """The function that checks a value against a hint.

    It is made once per hint, so that a long document takes no more than a call for each of its values.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value, key: None
    if origin is Annotated:
        return _checker_of_range(*arguments)
    if origin in (Union, types.UnionType):
        return _checker_of_union(hint, arguments)
    if origin is Literal:
        return _checker_of_value(
            hint, lambda value: any(type(value) is type(each) and value == each for each in arguments)
        )
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        return _checker_of_list(hint, _checker(arguments[0]))
    if origin is dict:
        return _checker_of_dict(hint, *map(_checker, arguments))
    if typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return lambda value, key: _misfit_of_keys(value, hint, key)
    return _checker_of_value(hint, _of_class(hint))


def _checker_of_value(hint: Any, fits: Callable[[Any], bool]) -> Checker:
    return lambda value, key: None if fits(value) else (key, _told(hint), value)


def _checker_of_range(inner: Any, limits: Range) -> Checker:
    of_inner = _checker(inner)

    def checked(value: Any, key: str) -> Misfit | None:
        if misfit := of_inner(value, key):
            return misfit
        return None if limits.low <= value <= limits.high else (key, f"{_told(inner)} {limits}", value)

    return checked


def _checker_of_union(hint: Any, arguments: Sequence[Any]) -> Checker:
    checkers = [_checker(each) for each in arguments]

    def checked(value: Any, key: str) -> Misfit | None:
        found = []
        for checker in checkers:
            if (misfit := checker(value, key)) is None:
                return None
            found.append(misfit)
        same_kind = [k for k, each in enumerate(arguments) if isinstance(value, get_origin(each) or _class_of(each))]
        return found[same_kind[0]] if len(same_kind) == 1 else (key, _told(hint), value)

    return checked


def _checker_of_list(hint: Any, of_item: Checker) -> Checker:
    def checked(value: Any, key: str) -> Misfit | None:
        if not isinstance(value, list | tuple):
            return key, _told(hint), value
        for k, item in enumerate(value):
            if of_item(item, key):  # its own key is only written for a misfit
                return of_item(item, f"{key}[{k}]")
        return None

    return checked


def _checker_of_dict(hint: Any, of_name: Checker, of_item: Checker) -> Checker:
    def checked(value: Any, key: str) -> Misfit | None:
        if not isinstance(value, dict):
            return key, _told(hint), value
        for name, item in value.items():
            if of_name(name, key) or of_item(item, key):
                return of_name(name, f"a key of {key}") or of_item(item, _below(key, name))
        return None

    return checked


def _misfit_of_keys(value: Any, hint: Any, key: str) -> Misfit | None:
    """The misfit of a TypedDict, or of a dict of a dataclass's fields."""
    if not isinstance(value, dict):
        return key, "an object with keys", value
    checkers, needed = _keys_of(hint)
    if dataclasses.is_dataclass(hint):
        for name in value.keys() - checkers.keys():
            return _below(key, name), f"one of the keys {', '.join(checkers)}", value[name]
    for name, checker in checkers.items():
        if name in value:
            if checker(value[name], key):
                return checker(value[name], _below(key, name))
        elif name in needed:
            return key, f"a key {name!r}", value
    return None


@cache
def _keys_of(hint: Any) -> tuple[dict[str, Checker], set[str]]:
    """{key: what checks its value} of all keys, and the set of required keys; cached per type."""
    hints = typing.get_type_hints(hint, include_extras=True)
    if dataclasses.is_dataclass(hint):
        fields = dataclasses.fields(hint)
        without = (dataclasses.MISSING, dataclasses.MISSING)
        needed = {field.name for field in fields if (field.default, field.default_factory) == without}
        return {field.name: _checker(hints[field.name]) for field in fields}, needed
    # __required_keys__ is wrong for hints that are written as text
    needed = {name for name, each in hints.items() if get_origin(each) is not NotRequired}
    inner = {name: each if name in needed else get_args(each)[0] for name, each in hints.items()}
    return {name: _checker(each) for name, each in inner.items()}, needed


def _of_class(hint: Any) -> Callable[[Any], bool]:
    """Whether a value is of a plain class; a bool is not a number, an int is also a float, and numbers are bounded."""
    if hint is float:
        return lambda value: value.bit_length() <= LARGEST_BITS if type(value) is int else isinstance(value, float)
    if hint is int:
        return lambda value: type(value) is int and abs(value) < LARGEST
    wanted = _class_of(hint)
    return lambda value: isinstance(value, wanted)


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
