"""Attributes of modules that all replicas of a population share: options, constants, and methods set on a module."""

from __future__ import annotations

import copy
import functools
import inspect
from types import FunctionType, MethodType
from typing import Any

from lamp.attributes import as_json, name_of
from lamp.errors import ArgumentError
from lamp.module import Module, members_within
from lamp.parameter import Buffer, Parameter
from lamp.paths import path_of
from lamp.values import kind_of

# Attributes that lamp keeps in a module for itself are not compared, nor is `init`, which only says how weights begin.
OF_CONTAINERS = ("_registered", "_by_name", "_body", "_loss", "_has_pools")
OF_A_CALL = ("_through", "_watched", "_training", "_generators", "_ahead", "_expects_ignored")
NOT_COMPARED = frozenset((*OF_CONTAINERS, *OF_A_CALL, "replicas", "units", "init"))
WIDTHS = frozenset(("in_features", "out_features", "num_parameters"))  # may differ between replicas of several sizes


def shared_attributes(module: Module) -> dict[str, Any]:
    """A module's attributes without its parameters, buffers and submodules, and without what each replica has."""
    found = dict(vars(module))
    if module.get_extra_state() is not None:
        arguments = _arguments_of(type(module))
        found = {name: value for name, value in found.items() if name in arguments or callable(value)}
    return {name: value for name, value in found.items() if name not in NOT_COMPARED and not _holds_members(value)}


@functools.cache
def _arguments_of(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind).parameters)


def likeness(module: Module, without: frozenset[str] = frozenset()) -> tuple[type, str]:
    """A module's class, and a text of its shared attributes. Functions are equal if they have the same code."""
    kept = {name: value for name, value in sorted(shared_attributes(module).items()) if name not in without}
    return type(module), str(as_json(kept, of_function=_code_of))


def difference(one: Module, other: Module) -> tuple[str, str, str] | None:
    """The first attribute in which two networks of the same modules differ: its path, and both values as text."""
    for (path, mine), theirs in zip(one.named_modules(), other.modules(), strict=False):
        if type(mine) is not type(theirs):
            return path, type(mine).__qualname__, type(theirs).__qualname__
        values = [shared_attributes(each) for each in (mine, theirs)]
        for name in dict.fromkeys([*values[0], *values[1]]):
            known = [name in each and as_json(each[name], of_function=_code_of) for each in values]
            if known[0] != known[1]:
                shown = [_shown(each[name]) if name in each else "none" for each in values]
                return f"{path}.{name}" if path else name, shown[0], shown[1]
    return None


def copy_attributes(network: Module, source: Module) -> None:
    """Give a network the shared attributes of another network of the same modules.

    Raises ArgumentError if modules were replaced, or if a method cannot be copied.
    """
    check_copyable(source)
    check_same_modules(network, source)
    own, theirs = list(network.modules()), list(source.modules())
    twins = {id(twin): module for module, twin in zip(own, theirs, strict=True)}
    for module, twin in zip(own, theirs, strict=True):
        mine, wanted = shared_attributes(module), shared_attributes(twin)
        for name in mine.keys() - wanted.keys():
            del vars(module)[name]
        numbers = {name for name, _ in twin.numbers()}
        for name, value in wanted.items():
            alike = name in mine and as_json(mine[name], of_function=_code_of) == as_json(value, of_function=_code_of)
            if name not in WIDTHS | numbers and (not alike or isinstance(value, FunctionType | MethodType)):
                vars(module)[name] = copy.deepcopy(value, dict(twins))


def check_same_modules(network: Module, source: Module) -> None:
    """Raise ArgumentError unless both networks have modules of the same classes."""
    own, theirs = list(network.modules()), list(source.modules())
    if list(map(type, own)) != list(map(type, theirs)):
        raise ArgumentError(
            "the modules of a population were replaced, so no replica can be copied from it",
            expected=", ".join(type(each).__name__ for each in own),
            got=", ".join(type(each).__name__ for each in theirs),
            fix="change the network first, then call lamp.population(network)",
        )


def check_copyable(network: Module) -> None:
    """Raise ArgumentError for a method set on a module whose copy would still use the original modules."""
    if not isinstance(network, Module):
        raise ArgumentError(
            "a population is made of a network",
            expected="a lamp module",
            got=kind_of(network),
            fix="lamp.population(model, seeds)",
        )
    inside = {id(module) for module in network.modules()}
    for module in network.modules():
        for name, value in shared_attributes(module).items():
            if _refers_outside(value, inside):
                raise ArgumentError(
                    f"{name} was set on a module, and refers to a module: a copy of it would use the original one",
                    expected="a method of the class, or types.MethodType(function, module), which can be copied",
                    got=f"{name} = {getattr(value, '__qualname__', type(value).__qualname__)}",
                    fix="write a class with this method, and use it in the network",
                    where=path_of(module, network),
                )


def is_copyable(network: Module) -> bool:
    """Whether every method set on a module of the network can be copied."""
    try:
        check_copyable(network)
    except ArgumentError:
        return False
    return True


def _refers_outside(value: Any, inside: set[int]) -> bool:
    """Whether a copy of this function would refer to the same module or parameter, instead of a copy of it.

    inside  ids of the modules that are copied with it
    """
    if isinstance(value, MethodType):
        bound = isinstance(value.__self__, Module) and id(value.__self__) not in inside
        return bound or _refers_outside(value.__func__, inside)
    if isinstance(value, functools.partial):
        held: list[Any] = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, FunctionType):
        held = [*_closure_of(value), *(value.__defaults__ or ())]
    else:
        return False
    return any(isinstance(each, Module | Parameter) or _refers_outside(each, set()) for each in held)


def _closure_of(function: FunctionType) -> list[Any]:
    """The values of the variables that a function takes from the functions around it."""
    cells = function.__closure__ or ()
    return [cell.cell_contents for cell in cells if cell != _EMPTY]


_EMPTY = type((lambda x: lambda: x)(0).__closure__[0])()  # type: ignore[index]  # a cell without contents


def _code_of(thing: Any) -> str:
    """A text for a function, equal for functions with the same code and values."""
    if isinstance(thing, MethodType):
        return f"a method {_code_of(thing.__func__)}"
    if isinstance(thing, FunctionType):
        held = [*_closure_of(thing), *(thing.__defaults__ or ()), thing.__kwdefaults__]
        values = [str(id(each)) if callable(each) else str(as_json(each)) for each in held]
        return f"{thing.__module__} {_instructions(thing.__code__)} {values}"
    return name_of(thing)


def _instructions(code: Any) -> str:
    constants = [_instructions(each) if hasattr(each, "co_code") else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _holds_members(value: Any) -> bool:
    """Whether a value is a module, a parameter or a buffer, or a list, tuple or dict with one somewhere inside."""
    held = (Module, Parameter, Buffer)
    if isinstance(value, list | tuple | dict):
        return next(members_within(value, held), None) is not None
    return isinstance(value, held)


def _shown(value: Any) -> str:
    text = str(as_json(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
