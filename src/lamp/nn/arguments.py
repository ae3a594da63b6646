"""Checks of modules' constructor arguments: each function returns the value to store, or raises ArgumentError."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamp import values
from lamp.errors import ArgumentError
from lamp.init import on_cpu
from lamp.module import Module
from lamp.values import a_switch, is_one_of

LARGEST = 2**31 - 1  # the largest size, stride or padding of a window

INIT_BY_NAME = {  # names in other packages, and lamp.init's functions for them
    "he": "kaiming_normal_ or kaiming_uniform_",
    "kaiming": "kaiming_normal_ or kaiming_uniform_",
    "glorot": "xavier_normal_ or xavier_uniform_",
    "xavier": "xavier_normal_ or xavier_uniform_",
    "lecun": "lecun_uniform_",
    "orthogonal": "orthogonal_",
    "zeros": "zeros_",
    "ones": "ones_",
    "uniform": "uniform_",
    "normal": "normal_",
}


def a_number(module: Module, name: str, value: Any, *, finite: bool = True) -> Any:
    """The value as a Python number. It must not be NaN, nor infinite unless `finite` is False."""
    return values.a_number(value, f"{type(module).__name__}: {name}", finite=finite)


def positive(module: Module, name: str, value: Any, *, finite: bool = True) -> Any:
    """The value as a Python number greater than 0, which may be infinite if `finite` is False."""
    number = a_number(module, name, value, finite=finite)
    if not number > 0:
        raise _out_of_range(module, name, "more than 0", value)
    return number


def not_negative(module: Module, name: str, value: Any) -> Any:
    """The value as a Python number that is at least 0."""
    number = a_number(module, name, value)
    if not number >= 0:
        raise _out_of_range(module, name, "at least 0", value)
    return number


def a_probability(module: Module, name: str, value: Any) -> Any:
    """The value as a Python number from 0 to 1."""
    number = a_number(module, name, value)
    if not 0 <= number <= 1:
        raise _out_of_range(module, name, f"{name} from 0 to 1", value)
    return number


def a_size(module: Module, name: str, value: Any) -> int:
    """The value as a positive Python integer; integers of numpy and in tensors are accepted."""
    size = _integer(value)
    if size is None or not 1 <= size < 2**63:
        fix = (
            f"{name}={int(value)}" if isinstance(value, float) and value >= 1 and value.is_integer() else f"set {name}"
        )
        raise ArgumentError(
            f"{type(module).__name__}: {name} is not a size", expected="a positive integer", got=_shown(value), fix=fix
        )
    return size


def a_shape(module: Module, name: str, value: Any) -> tuple[int, ...]:
    """The value as sizes of one or more axes; an integer is the size of one axis."""
    given = value if isinstance(value, tuple | list) else [value]
    found = [_integer(each) for each in given]
    if not found or any(each is None or not 1 <= each < 2**63 for each in found):
        raise ArgumentError(
            f"{type(module).__name__}: {name} is not a shape",
            expected="a positive integer, or a tuple of them",
            got=_shown(value),
            fix=f"{name}=(3, 4), for example",
        )
    return tuple(each for each in found if each is not None)


def a_place(module: Module, name: str, value: Any, size: int) -> int:
    """The value as the index of one of `size` places, from 0 on; a negative one is counted from the end."""
    place = _integer(value)
    if place is None or not -size <= place < size:
        raise _out_of_range(module, name, f"an integer from {-size} to {size - 1}", _shown(value))
    return place % size


def an_axis(module: Module, name: str, value: Any) -> int:
    """The value as the number of an axis, a Python integer."""
    axis = _integer(value)
    if axis is None:
        raise ArgumentError(
            f"{type(module).__name__} needs {name}, the number of an axis",
            expected="an integer, such as -1 for the last axis",
            got=_shown(value),
            fix=f"set {name}",
        )
    return axis


def sizes(value: Any) -> tuple[int, ...] | None:
    """The value as sizes of axes, one of which may be -1 (inferred); None if it is not that."""
    if not isinstance(value, tuple | list) or not value:
        return None
    found = tuple(_integer(each) for each in value)
    right = all(each is not None and each >= -1 for each in found) and found.count(-1) <= 1
    return tuple(each for each in found if each is not None) if right else None


def per_axis(module: Module, name: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """The value as one integer per axis, each at least `least`; a single integer holds for all axes."""
    number = _integer(value)
    given = [_integer(each) for each in value] if isinstance(value, tuple | list) else [number] * axes
    found = tuple(each for each in given if each is not None and least <= each <= LARGEST)
    if len(found) != axes or len(given) != axes:
        of = {1: "a positive integer", 0: "an integer of at least 0"}.get(least, "an integer")
        raise ArgumentError(
            f"{type(module).__name__}: {name} does not fit",
            expected=of if axes == 1 else f"{of}, or a tuple of {axes}",
            got=_shown(value),
            fix=f"{name}={(1,) * axes if axes > 1 else 1}, for example",
        )
    return found


def one_of(module: Module, name: str, value: Any, *names: str) -> str:
    """The value, which must be one of these texts."""
    if not is_one_of(value, *names):
        raise ArgumentError(
            f"{type(module).__name__}: {name} is not known",
            expected=", ".join(map(repr, names)),
            got=_shown(value),
            fix=f"{name}={names[0]!r}, for example",
        )
    return str(value)


def a_flag(module: Module, name: str, value: Any) -> bool:
    """The value as True or False; numpy's are accepted."""
    given = bool(value) if type(value).__name__ in ("bool_", "bool") else value  # numpy's names for its own
    hint = "; an activation is a separate module after this one" if isinstance(value, str) or callable(value) else ""
    return a_switch(given, f"{type(module).__name__}: {name}", hint)


def an_init(module: Module, value: Any) -> Callable[..., Any] | None:
    """The value as an initialisation, a function (tensor, generator=None) that fills the tensor; None stays None."""
    if value is None or (callable(value) and not isinstance(value, type) and _takes_generator(value)):
        return value
    named = next(
        (each for name, each in INIT_BY_NAME.items() if isinstance(value, str) and name in value.lower()), None
    )
    fix = "init=lambda tensor, generator=None: tensor.normal_(0, 0.1, generator=generator)" if callable(value) else None
    raise ArgumentError(
        f"{type(module).__name__}: init is a function that fills a tensor",
        expected="a function of lamp.init, such as lamp.init.xavier_normal_, or your own f(tensor, generator=None)",
        got=_shown(value),
        fix=fix or f"init=lamp.init.{named or 'xavier_normal_'}",
    )


def filled(init: Callable[..., Any], tensor: Tensor, generator: torch.Generator | None) -> None:
    """Fill a tensor by an initialisation, which draws on the CPU. If it returns another tensor, that is copied in.

    Raises ArgumentError if it returns anything but a tensor of this shape, or None.
    """
    result = on_cpu(lambda drawn, generator: drawn if (made := init(drawn, generator=generator)) is None else made)(
        tensor, generator=generator
    )
    if not isinstance(result, Tensor) or result.shape != tensor.shape:
        raise ArgumentError(
            "init did not return values for the weight",
            expected=f"the tensor that it was given, or another of shape {tuple(tensor.shape)}, or None",
            got=_shown(result),
            fix="init=lambda tensor, generator=None: tensor.normal_(0, 0.1, generator=generator)",
        )
    if result is not tensor:
        tensor.copy_(result)


def _takes_generator(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(torch.empty(0), generator=None)
    except TypeError:
        return False
    except ValueError:  # a function written in C has no signature
        pass
    return True


def _integer(value: Any) -> int | None:
    """The value as a Python integer; None for floats, booleans and everything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except (TypeError, RuntimeError, ValueError):
        return None


def _shown(value: object) -> str:
    """The value as one short line of text."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}, {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"{type(value).__name__}: {text[:50].splitlines()[0]}..."


def _out_of_range(module: Module, name: str, expected: str, value: object) -> ArgumentError:
    return ArgumentError(
        f"{type(module).__name__}: {name} is out of range", expected=expected, got=value, fix=f"choose another {name}"
    )
