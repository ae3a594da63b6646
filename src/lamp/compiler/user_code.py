"""What a user's formulas read besides their arguments, and whether calling them changes anything.

Machine code contains what a formula read when it was written. So the keys of `cache_key` contain it too, and a formula
that gives other numbers at each call is left to the eager engine.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from lamp.compiler.not_compiled import NotCompiled
from lamp.generators import generator_states, put_back, same_states
from lamp.module import Module
from lamp.overrides import (
    class_attribute,
    is_installed,
    names_called,
    names_in,
    users_function,
    users_method,
    variables_of,
)
from lamp.parameter import Parameter

FORMULAS = (
    "sigma",
    "dsigma",
    "prepare",
    "value",
    "derivative",
    "target_probability",
    "update",
    "coefficients",
    "trace",
)
OUTSIDE = {"environ", "getenv", "open"}  # of the process and the disk
MODE, WEIGHTS = "training", "weights"
# Attributes of every optimizer.
OF_OPTIMIZER = {"defaults", "param_groups", "_steps", "_counts", "_blocks", "_is_made", "_is_checked"}
Freeze = Callable[[Any], Hashable]


def read_by(thing: object, freeze: Freeze, names: Iterable[str] = FORMULAS) -> tuple[Hashable, ...]:
    """What the user's formulas of a module or an optimizer read besides their arguments and plain attributes: globals,
    variables of closures, attributes of classes and of callable objects; as hashable values."""
    seen: dict[FunctionType, None] = {}
    return tuple(value for name in names for value in _values(users_method(thing, name), thing, freeze, seen))


def own_attributes(thing: object) -> dict[str, Any]:
    """The attributes that an optimizer has beyond those of every optimizer, methods set on the instance included."""
    return {name: value for name, value in vars(thing).items() if name not in OF_OPTIMIZER}


def call_purely(formula: Callable[..., Any], arguments: tuple[Any, ...], freeze: Freeze) -> Any:
    """The result of a user's formula.

    Raises NotCompiled if it changes what it reads or draws random numbers, and puts the attributes of its owner and the
    generators back; or if it asks for the mode, training or evaluation.
    """
    owner, name = getattr(formula, "__self__", None), formula.__name__
    what = f"the {name} of {type(owner).__name__}"
    names = names_called(owner, [name])
    if MODE in names:
        raise NotCompiled(f"{what} asks for self.training, and code is written for one mode")
    if "isinstance" in names and name != "coefficients":  # which gets numbers of Python
        raise NotCompiled(f"{what} asks for the type of its numbers, which is another one in code")
    if outside := sorted(OUTSIDE & names):
        raise NotCompiled(f"{what} uses {outside[0]}, whose result may be another one at each call")
    if WEIGHTS in read_by(owner, lambda value: WEIGHTS if isinstance(value, Module | Parameter) else None, [name]):
        raise NotCompiled(f"{what} reads weights, which each step changes")
    attributes = {each: _copied(value) for each, value in own_attributes(owner).items()}
    before, generators = (freeze(own_attributes(owner)), read_by(owner, freeze, [name])), generator_states()
    result = formula(*arguments)
    if (freeze(own_attributes(owner)), read_by(owner, freeze, [name])) != before:
        vars(owner).update(attributes)
        raise NotCompiled(f"{what} changes something at each call, and code would keep what it was at the first")
    if not same_states(generators, generator_states()):
        put_back(generators)
        raise NotCompiled(f"{what} draws random numbers at each call, and code would keep the first")
    return result


def _values(
    function: FunctionType | None, owner: object, freeze: Freeze, seen: dict[FunctionType, None]
) -> Iterator[Hashable]:
    """What a function reads, and what the user's functions that it calls read."""
    if function is None or function in seen:
        return
    seen[function] = None
    names = names_in(function.__code__)
    for value in variables_of(function).values():
        yield from _of_value(value, names, owner, freeze, seen)
    for name in sorted(names):
        own = vars(owner).get(name) if hasattr(owner, "__dict__") else None
        if own is not None:
            yield from _of_value(own, names, owner, freeze, seen, held=True)
        elif owner is not None and not is_installed(type(owner).__module__):
            yield from _of_class(type(owner), name, owner, freeze, seen)


def _of_value(
    value: Any, names: set[str], owner: object, freeze: Freeze, seen: dict[FunctionType, None], held: bool = False
) -> Iterator[Hashable]:
    """The key of a value that a function reads.

    held  whether it is an attribute of the owner, whose plain values are in the owner's own key
    """
    if isinstance(value, FunctionType | MethodType):
        yield from _values(users_function(value), getattr(value, "__self__", None), freeze, seen)
    elif isinstance(value, ModuleType):
        if not is_installed(value.__name__, getattr(value, "__file__", None) or ""):
            for name in sorted(names & vars(value).keys()):
                yield from _of_value(vars(value)[name], names, owner, freeze, seen)
    elif isinstance(value, type):
        if not is_installed(value.__module__):
            for name in sorted(names):
                yield from _of_class(value, name, None, freeze, seen)
    elif callable(value) and hasattr(value, "__dict__") and not isinstance(value, Module):
        if not is_installed(type(value).__module__):
            yield freeze(dict(vars(value)))
            yield from _values(users_method(value, "__call__"), value, freeze, seen)
    elif not held or isinstance(value, Module | Parameter):
        yield freeze(value)


def _of_class(
    kind: type, name: str, owner: object, freeze: Freeze, seen: dict[FunctionType, None]
) -> Iterator[Hashable]:
    """The key of a class attribute: of data, the value; of a method or a property, what its function reads."""
    attribute = class_attribute(kind, name)
    attribute = attribute.fget if isinstance(attribute, property) else getattr(attribute, "__func__", attribute)
    if isinstance(attribute, FunctionType):
        yield from _values(users_function(attribute), owner, freeze, seen)
    elif attribute is not None and not callable(attribute) and not hasattr(attribute, "__get__"):
        yield freeze(attribute)


def _copied(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict, set) else value
