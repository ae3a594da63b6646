"""Checks of arguments. Each function returns the value in the form in which it is used, or raises ArgumentError."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import torch

from lamp.errors import ArgumentError

SHOWN = 60  # characters; of a longer wrong value only the type is shown


def a_switch(value: Any, name: str, hint: str = "") -> bool:
    """True or False; `hint` is the end of the error's fix."""
    if isinstance(value, bool):
        return value
    keyword = name.rpartition(" ")[2]
    raise _wrong(value, f"{name} is a switch", "True or False", f"{keyword}=True or {keyword}=False{hint}")


def is_one_of(value: Any, *names: str) -> bool:
    """Whether the value is one of these texts; False for what is no text."""
    return isinstance(value, str) and value in names


def a_text(value: Any, name: str) -> str:
    """A text."""
    if isinstance(value, str):
        return value
    raise _wrong(value, f"{name} is a text", "a text", f'{name}="..."')


def a_function(value: Any, name: str, takes: str) -> Callable[..., Any]:
    """A callable; `takes` names its argument in the error, "" if it takes none."""
    if callable(value):
        return value  # type: ignore[no-any-return]
    expected = f"a function of {takes or 'no arguments'}"
    raise _wrong(value, f"{name} is a function", expected, f"{name}={f'lambda {takes}'.strip()}: ...")


def a_generator(value: Any, name: str = "generator") -> torch.Generator | None:
    """A torch.Generator, or None for torch's default one."""
    if value is None or isinstance(value, torch.Generator):
        return value
    raise _wrong(
        value, f"{name} is a source of random numbers", "a torch.Generator", "torch.Generator().manual_seed(0)"
    )


def a_seed(value: Any, name: str = "seed") -> int:
    """An integer that a torch.Generator accepts as its seed."""
    seed = integer(value, name)
    if -(2**63) <= seed < 2**64:
        return seed
    raise _wrong(value, f"{name} is too large", "an integer of 64 bits", f"{name}={seed % 2**63}")


def several(value: Any, name: str, of: str) -> list[Any]:
    """The items of an iterable other than a text, a tensor or a mapping; `of` names them in the error."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | torch.Tensor | Mapping | Set):
        return list(value)
    raise _wrong(value, f"{name} must be a list", f"a list of {of}", f"{name}=[...]")


def some_numbers(value: Any, name: str, *each: str) -> tuple[float, ...]:
    """As many finite numbers as there are names in `each`."""
    given = value.tolist() if hasattr(value, "tolist") else value
    right = isinstance(given, tuple | list) and len(given) == len(each)
    if right and all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < math.inf for x in given):
        return tuple(map(float, given))
    expected = f"({', '.join(each)}), finite"
    raise _wrong(value, f"{name} must be {len(each)} numbers", expected, f"{name}={tuple(range(len(each)))}")


def a_number(value: Any, name: str, *, finite: bool = True) -> float:
    """The value as a Python number. It must not be NaN, nor infinite unless `finite` is False."""
    given = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
    right = isinstance(given, int | float) and not isinstance(given, bool) and given == given
    if right and abs(given) <= (sys.float_info.max if finite or isinstance(given, int) else math.inf):
        small = isinstance(given, int) and abs(given) < 2**63  # torch takes no larger integers
        return given if small else float(given)
    keyword = name.rpartition(" ")[2]
    fix = f"{keyword}=float({value!r})" if isinstance(value, str) else f"{keyword}=0.5, for example"
    raise _wrong(value, f"{name} is not a number", "a finite number" if finite else "a number", fix)


def integer(value: object, name: str) -> int:
    """The value as an int. Nothing is rounded, and True and False are refused."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):
        raise ArgumentError(
            f"{name} is not an integer",
            expected="an integer",
            got=_short(value),
            fix=f"pass {name} as an int",
        ) from None


def natural(value: object, name: str, least: int = 0) -> int:
    """The value as an int of at least `least`."""
    number = integer(value, name)
    if number < least:
        raise ArgumentError(
            f"{name} is too small", expected=f"an integer of at least {least}", got=number, fix=f"pass a larger {name}"
        )
    return number


def as_path(path: object, name: str = "path", also: str = "") -> Path:
    """The path that a text or a path-like object names, with ~ expanded.

    also  what else the argument may be, as the beginning of the error's "expected"
    """
    given = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if not given or "\0" in given:
        raise ArgumentError(
            f"{name} is not a path",
            expected=f'{also}a text or a pathlib.Path, such as "runs/first"',
            got="a text with a NUL character" if given else repr(path)[:80],
            fix=f'{name}="runs/first", for example',
        )
    return Path(given).expanduser() if given.startswith("~") and (given[1:2] in ("", "/", os.sep)) else Path(given)


def kind_of(thing: object) -> str:
    """How errors name an argument: the class itself if it is one, a text in quotes, anything else by its class.

    A class of another package is named with its module.
    """
    kind = thing if isinstance(thing, type) else type(thing)
    known = kind.__module__ == "builtins" or kind.__module__.startswith("lamp.")
    name = kind.__qualname__ if known else f"{kind.__module__}.{kind.__qualname__}"
    return f"the class {name}" if isinstance(thing, type) else repr(thing) if isinstance(thing, str) else name


def _wrong(value: Any, what: str, expected: str, fix: str) -> ArgumentError:
    text = repr(value).split("\n")[0]
    got = (
        f"the class {value.__name__}"
        if isinstance(value, type)
        else text
        if len(text) <= SHOWN
        else type(value).__name__
    )
    return ArgumentError(what, expected=expected, got=got, fix=fix)


def _short(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) < 60 and "\n" not in text else type(value).__name__
