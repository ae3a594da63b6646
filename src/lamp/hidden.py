"""Modules and parameters that a network may compute with, but does not find among its own."""

from __future__ import annotations

import dis
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

from lamp.attributes import is_own
from lamp.errors import TrainingWarning, warn_of
from lamp.module import Module
from lamp.overrides import is_users
from lamp.parameter import Parameter
from lamp.paths import describe

SHARED = "shared by all replicas, and not trained"  # of those in a population
DEEPEST = 6  # containers and functions within each other


def warn_of_unfound(network: Module, consequence: str) -> None:
    """Warn of trainable modules and parameters in a set, a function, an object or a class, where no network looks."""
    found = list(hidden_in(network))
    if found:
        named = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        warn_of(
            f"{type(network).__name__} does not find {named}: so {'it is' if len(found) == 1 else 'they are'} "
            f"{consequence}. Fix: keep modules and parameters in attributes of the module that uses them, or in lists, "
            "tuples or dicts there; what is not to be trained, freeze by requires_grad_(False).",
            TrainingWarning,
        )


def hidden_in(network: Module) -> Iterator[str]:
    """What a network does not find, each with the first place where it is."""
    own = (each for _, each in network._named(Parameter, everywhere=False))
    known = {id(each) for each in (*network.modules(), *own)}
    for path, module in network.named_modules():
        kept = {name: value for name, value in vars(module).items() if name[0] != "_" or is_own(name, type(module))}
        places = {f"{path}.{name}" if path else name: value for name, value in kept.items()}
        for kind in type(module).__mro__:
            if is_users(kind):
                places |= {f"{kind.__name__}.{name}": value for name, value in vars(kind).items()}
        for place, value in places.items():
            for each in _held(value, DEEPEST):
                if id(each) not in known and not _contains(each, module) and _is_trained(each):
                    known.add(id(each))
                    yield f"{describe(each) if isinstance(each, Module) else 'a Parameter'} (in {place})"


def _held(value: Any, depth: int) -> Iterator[Module | Parameter]:
    """The modules and parameters that a value holds."""
    inside: tuple[Any, ...] = ()
    kind: Any = type(value)
    if isinstance(value, Module | Parameter):
        yield value
    elif isinstance(value, list | tuple | set | frozenset | deque):
        inside = tuple(value)
    elif isinstance(value, dict):
        inside = tuple(value.values())
    elif isinstance(value, partial):
        inside = (value.func, value.args, value.keywords)
    elif isinstance(value, MethodType):
        inside = (value.__self__, value.__func__)
    elif isinstance(value, FunctionType):
        inside = tuple(_read_by(value))
    elif isinstance(value, SimpleNamespace) or (not isinstance(value, type) and is_users(kind)):
        inside = tuple(vars(value).values()) if hasattr(value, "__dict__") else ()
    for each in inside if depth else ():
        yield from _held(each, depth - 1)


def _read_by(function: FunctionType) -> Iterator[Any]:
    """The values of a function's closure and defaults, and of the globals that it reads."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a variable without a value yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    names = {each.argval for each in dis.get_instructions(function) if each.opname == "LOAD_GLOBAL"}
    for name in names:
        if isinstance(each := function.__globals__.get(name), Module | Parameter):
            yield each


def _contains(outer: Module | Parameter, inner: Module) -> bool:
    return isinstance(outer, Module) and inner in set(outer.modules())


def _is_trained(each: Module | Parameter) -> bool:
    inside = [each] if isinstance(each, Parameter) else [p for _, p in each._named(Parameter, everywhere=False)]
    return any(not parameter.frozen for parameter in inside)
