"""Which methods are lamp's and which a user wrote, so that no shortcut bypasses a user's method.

A user's method may stand in a subclass, on an instance (`module.forward = f`), or in one of lamp's own classes
(`lamp.ReLU.forward = f`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache, reduce
from operator import or_
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]

# A shortcut computes in fewer operations what its definitions say. It is valid only with the definitions it was
# written for.
SHORTCUTS = {
    "sigma_of_tensor": ("sigma",),
    "dsigma_of_tensor": ("dsigma",),
    "reads": ("dsigma",),  # a class attribute, like `fused_from` and `by_label`
    "fused_from": ("sigma", "dsigma", "dsigma_of_tensor"),
    "value_of_tensors": ("value",),
    "doutput": ("derivative",),
    "by_label": ("value", "derivative", "target_probability"),  # a class attribute that turns shortcuts on
    "backward_parameters": ("backward",),
    "_hands_over": ("forward", "__call__"),  # class attributes, and what they stand for: see lamp.nn.container
    "_overwrites": ("forward", "__call__"),
    "_recomputes": ("forward", "__call__", "sigma"),
    "_forward_over": ("forward", "__call__"),
    "sigma_over": ("sigma",),
    "_commutes_with_max": ("forward", "backward", "__call__", "sigma", "dsigma"),
    "_takes_largest": ("forward", "backward", "__call__"),
}
PASS_METHODS = ("forward", "backward", "backward_parameters")  # called from outside, they begin or use a pass


INSTALLED = ("site-packages", "dist-packages")  # folders of code that is not the user's


def is_installed(module: object, file: str = "") -> bool:
    """Whether code is of lamp, of Python itself or of an installed package, and so not the user's."""
    package = str(module).partition(".")[0]
    known = package in (PACKAGE, "torch", "numpy") or package in sys.stdlib_module_names
    return (known and package != "__main__") or any(each in file for each in INSTALLED)


@lru_cache(maxsize=1024)
def is_users(kind: Any) -> bool:
    """Whether a class is the user's."""
    module = sys.modules.get(kind.__module__)
    return not is_installed(kind.__module__, getattr(module, "__file__", None) or "")


def users_function(function: Any) -> FunctionType | None:
    """The function of a function or a method as it was written, if it is the user's; else None."""
    function = getattr(function, "__func__", function)
    function = unwrapped(function) if isinstance(function, FunctionType) else None
    if not isinstance(function, FunctionType) or is_installed(function.__module__, function.__code__.co_filename):
        return None
    return function


def names_in(code: CodeType) -> set[str]:
    """The names that code looks up, in the functions in it too."""
    return {*code.co_names, *(name for each in code.co_consts if isinstance(each, CodeType) for name in names_in(each))}


def users_method(thing: object, name: str) -> FunctionType | None:
    """The user's function behind a method; None for one of lamp's, and for what is no function."""
    own = getattr(thing, "__dict__", {})
    method = own[name] if name in own else class_attribute(type(thing), name)
    return users_function(method.fget if isinstance(method, property) else method)


def names_called(owner: object, methods: Iterable[str]) -> set[str]:
    """The names that a user's methods look up, and the methods of their owner that they call."""
    found: set[str] = set()
    waiting = [users_method(owner, name) for name in methods]
    while waiting:
        each = waiting.pop()
        if each is not None and not (new := names_in(each.__code__)) <= found:
            waiting += [users_method(owner, name) for name in new - found]
            found |= new
    return found


def variables_of(function: FunctionType) -> dict[str, Any]:
    """The global variables that a function looks up and those of its closure, with their values."""
    code, known = function.__code__, function.__globals__
    found = {name: known[name] for name in sorted(names_in(code)) if name in known}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
    return found


def has_own_getattribute(kind: type) -> bool:
    """Whether a class has a `__getattribute__` of its own, which may return anything for any method."""
    return class_attribute(kind, "__getattribute__") is not object.__getattribute__


def unwrapped(method: Any) -> Any:
    """The method as it was written, without the wrapper that begins or joins a pass."""
    marked = getattr(method, "__dict__", {}).get("_wrapper") is method
    return method.__wrapped__ if marked else method


def class_attribute(kind: type, name: str) -> Any:
    """The attribute of this name in a class or its bases, with descriptors not called; None if there is none."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def is_lamps(thing: object) -> bool:
    """Whether a class, a function, a method or a property is defined in this package."""
    if isinstance(thing, type):
        return thing.__module__.partition(".")[0] == PACKAGE
    if isinstance(thing, property):
        return is_lamps(thing.fget) or not isinstance(thing.fget, FunctionType)
    function = unwrapped(getattr(thing, "__func__", thing))
    return isinstance(function, FunctionType) and str(function.__globals__.get("__name__")).partition(".")[0] == PACKAGE


def overridden(thing: object, allowed: Iterable[str] = (), only: Iterable[str] | None = None) -> str | None:
    """A phrase that says which of lamp's methods this object has replaced, and where; None if it has replaced none.

    allowed  methods that a subclass may define, because whoever asks calls them
    only     the methods to look at; None for all

    One result is "forward, which was set on it".
    """
    kind: Any = type(thing)
    if has_own_getattribute(kind):
        return "__getattribute__, which its class defines"
    names = _methods_among(kind, None if only is None else frozenset(only))
    if shadowed := _shadowing(kind):
        return f"{shadowed}, which its class defines"
    if own := sorted(getattr(thing, "__dict__", {}).keys() & names):
        return f"{own[0]}, which was set on it"
    current = reduce(or_, map(vars, reversed(kind.__mro__)))
    return _overridden_in_class(kind, names, frozenset(allowed), tuple(map(current.get, names)))


def fields_of(thing: Any) -> dict[str, Any]:
    """The attributes of an object, those in `__slots__` included; none for a class, a function and a module."""
    if isinstance(thing, type | FunctionType | MethodType | ModuleType):
        return {}
    listed = [vars(kind).get("__slots__", ()) for kind in type(thing).__mro__]
    names = [name for slots in listed for name in ([slots] if isinstance(slots, str) else slots)]
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)} | getattr(thing, "__dict__", {})


@lru_cache(maxsize=256)
def _shadowing(kind: type) -> str | None:
    """A property that a user's subclass puts in the place of an attribute that lamp's class sets on its objects.

    Only a property with a setter can stand there, since lamp's class could not set the attribute otherwise.
    """
    if is_lamps(kind):
        return None
    described = {name: value for base in kind.__mro__ if not is_lamps(base) for name, value in vars(base).items()}
    settable = (name for name, value in described.items() if isinstance(value, property) and value.fset is not None)
    return next((name for name in settable if name not in methods(kind)), None)


@lru_cache(maxsize=256)
def _overridden_in_class(
    kind: type, names: tuple[str, ...], allowed: frozenset[str], current: tuple[Any, ...]
) -> str | None:
    """The same for the methods in the class. `current` are these methods; they are part of the cache's key."""
    owners = {name: next(base for base in kind.__mro__ if name in vars(base)) for name in names}
    for name, owner in owners.items():
        if not is_lamps(owner) and name not in allowed:
            return f"{name}, which its class defines"
    for name, owner in owners.items():
        if is_lamps(owner) and not is_lamps(vars(owner)[name]):
            return f"{name}, which was put into lamp's {owner.__name__}"
    for shortcut, definitions in SHORTCUTS.items():
        if shortcut in names and shortcut in allowed and _comes_before(kind, shortcut, definitions[0]):
            return f"{shortcut}, which its class defines without {definitions[0]}"
    return None


@lru_cache(maxsize=256)
def names_of_lamp(kind: Any) -> frozenset[str]:
    """The names that the methods of lamp's classes among the bases of a class look up; attributes among them are
    lamp's."""
    every = [value for base in kind.__mro__ if is_lamps(base) for value in vars(base).values()]
    functions = [each.fget if isinstance(each, property) else getattr(each, "__func__", each) for each in every]
    written = [unwrapped(each) for each in functions if isinstance(each, FunctionType)]
    return frozenset(name for function in written for name in names_in(function.__code__))


@lru_cache(maxsize=256)
def methods(kind: type) -> frozenset[str]:
    """The names of the methods and properties that a class has from lamp's classes."""
    described = (FunctionType, property, classmethod, staticmethod)
    every = [item for base in kind.__mro__ if is_lamps(base) for item in vars(base).items()]
    derived = ("_bare_", "_forward_over")  # chosen by the metaclass, wherever forward stands
    return frozenset(name for name, value in every if isinstance(value, described) and not name.startswith(derived))


@lru_cache(maxsize=256)
def _methods_among(kind: type, only: frozenset[str] | None) -> tuple[str, ...]:
    """The methods of a class, in order; only those of these names, if any are given."""
    return tuple(sorted(methods(kind) if only is None else methods(kind) & only))


def _comes_before(kind: type, name: str, other: str) -> bool:
    """Whether the class that defines one method comes before the class that defines another one in the MRO."""
    places = [next((k for k, base in enumerate(kind.__mro__) if each in vars(base)), None) for each in (name, other)]
    return None not in places and places[0] < places[1]  # type: ignore[operator]
