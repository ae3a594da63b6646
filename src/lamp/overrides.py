"""What a user has written in the place of lamp's own methods, found so that no shortcut passes it by.

It may stand in three places: in a subclass, on an instance (`module.forward = f`), and in one of lamp's own classes
(`lamp.ReLU.forward = f`).
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import FunctionType
from typing import Any, ClassVar

from lamp.signatures import Constructed

PACKAGE = __name__.partition(".")[0]

# Methods that do in fewer operations what another one, the definition, says. They hold while that is as it was.
SHORTCUTS = {
    "sigma_of_tensor": ("sigma",),
    "value_of_tensors": ("value",),
    "doutput": ("derivative",),
    "by_label": ("value", "derivative", "target_probability"),  # a switch of the losses on classes
    "backward_parameters": ("backward",),
}
WITHIN_A_PASS = ("forward", "backward", "backward_parameters")
WATCHED = {"__call__", *WITHIN_A_PASS, *SHORTCUTS, *(name for names in SHORTCUTS.values() for name in names)}


class Kind(Constructed):
    """The class of modules: what depends on a class's methods follows them when one is put in later.

    wrappers  for the methods that begin or join a pass: what makes such a method of a plain one

    `_bare_forward`, `_bare_backward` and `_bare_backward_parameters` are the plain methods, for a container that is in
    a pass already; a class with a `__call__` of its own is called. A shortcut whose definition is overridden, or
    replaced, without it gives way to the one of the base class, which asks the definition.
    """

    wrappers: ClassVar[dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = {}
    _as_written: dict[str, Any]  # the methods that a class was made with
    _stood_down: set[str]  # its shortcuts that have given way

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, namespace, **kwargs)
        if ABC not in cls.__mro__:  # an ABCMeta for the sake of classes that are both; abstract is what says so
            cls.__abstractmethods__ = frozenset()
        type.__setattr__(cls, "_as_written", {key: namespace[key] for key in WATCHED & namespace.keys()})
        cls._settle()

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in WATCHED:
            cls._settle()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        if name in WATCHED:
            cls._settle()

    def _settle(cls) -> None:
        """Set what follows from the methods, here and in all subclasses."""
        if not Kind.wrappers:  # Module itself, before they are known
            return
        for shortcut, definitions in SHORTCUTS.items():
            cls._let_hold(shortcut, definitions)
        for name in WITHIN_A_PASS:
            method = _found(cls, name)
            if not isinstance(method, FunctionType):
                method = _as_function(method, name)
            if vars(method).get("_minds_the_pass") is not method:  # functools.wraps copies the mark, but not what it is
                method = Kind.wrappers[name](method)
                type.__setattr__(cls, name, method)
            cls._set(f"_bare_{name}", method._within)
        root = next(base for base in cls.__mro__[::-1] if isinstance(base, Kind))
        if (call := _found(cls, "__call__")) is not root._as_written["__call__"]:
            cls._set("_bare_forward", call)
        if asks_first(cls):
            for name in WITHIN_A_PASS:
                cls._set(f"_bare_{name}", _as_found(name))
        for below in cls.__subclasses__():  # type: ignore[var-annotated]  # mypy knows no such list of a metaclass's
            below._settle()

    def _let_hold(cls, shortcut: str, definitions: tuple[str, ...]) -> None:
        """Let a shortcut hold where it was written with the definitions that hold, or after them."""
        if "_stood_down" in vars(cls) and shortcut in cls._stood_down:
            cls._stood_down.discard(shortcut)
            if shortcut in cls._as_written:
                type.__setattr__(cls, shortcut, cls._as_written[shortcut])
            else:
                type.__delattr__(cls, shortcut)
        own = cls._rank(shortcut)
        if own is None or all((cls._rank(each) or own) >= own for each in definitions):
            return
        if "_stood_down" not in vars(cls):
            type.__setattr__(cls, "_stood_down", set())
        cls._stood_down.add(shortcut)
        base = next(each for each in cls.__mro__[::-1] if shortcut in vars(each))
        type.__setattr__(cls, shortcut, vars(base)[shortcut])

    def _rank(cls, name: str) -> tuple[int, bool] | None:
        """How near the class that has this method is, and whether it is as it was written there."""
        for place, base in enumerate(cls.__mro__):
            if name in vars(base):
                written = vars(base).get("_as_written", {}).get(name)
                return place, written is None or _bare(vars(base)[name]) is _bare(written)
        return None

    def _set(cls, name: str, value: Any) -> None:
        if getattr(cls, name, None) is not value:
            type.__setattr__(cls, name, value)


def _as_function(attribute: Any, name: str) -> Callable[..., Any]:
    """A plain method for what else may stand in a class: a static method, a property, an object that can be called."""

    def method(self: Any, *inputs: Any, **named: Any) -> Any:
        bound = attribute.__get__(self, type(self)) if hasattr(type(attribute), "__get__") else attribute
        return bound(*inputs, **named)

    method.__name__ = method.__qualname__ = name
    return method


def _as_found(name: str) -> Callable[..., Any]:
    """A method that looks for the one of this name on the module."""
    return lambda module, *inputs: getattr(module, name)(*inputs)


def asks_first(kind: type) -> bool:
    """Whether a class has a `__getattribute__` of its own, which may answer for any method."""
    return _found(kind, "__getattribute__") is not object.__getattribute__


def _bare(method: Any) -> Any:
    """A method as it was written, without what begins a pass around it."""
    marked = getattr(method, "__dict__", {}).get("_minds_the_pass") is method
    return method.__wrapped__ if marked else method


def _found(kind: type, name: str) -> Any:
    """The attribute of a class as it stands there, descriptors as they are; None where there is none."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def is_lamps(thing: object) -> bool:
    """Whether a class, a function or a method is written in this package."""
    if isinstance(thing, type):
        return thing.__module__.partition(".")[0] == PACKAGE
    if isinstance(thing, property):
        return is_lamps(thing.fget) or not isinstance(thing.fget, FunctionType)
    function = _bare(getattr(thing, "__func__", thing))
    return isinstance(function, FunctionType) and str(function.__globals__.get("__name__")).partition(".")[0] == PACKAGE


def overridden(thing: object, but: Iterable[str] = (), only: Iterable[str] | None = None) -> str | None:
    """Where a method of lamp's is not what runs for this object: on it, in its class, or put into one of lamp's.

    but   methods that subclasses are asked for, so that they may have their own
    only  the methods that matter; None for all

    Returns "forward, which was set on it", for instance; None where all is lamp's.
    """
    kind: Any = type(thing)
    if asks_first(kind):
        return "__getattribute__, which its class defines"
    names = methods(kind) if only is None else methods(kind) & frozenset(only)
    for name in sorted(names & getattr(thing, "__dict__", {}).keys()):
        return f"{name}, which was set on it"
    return _in_class(kind, names, frozenset(but), tuple(_found(kind, name) for name in sorted(names)))


@lru_cache(maxsize=256)
def _in_class(kind: type, names: frozenset[str], allowed: frozenset[str], now: tuple[Any, ...]) -> str | None:
    """Where a class's methods, which are these `now`, are not lamp's."""
    owners = {name: next(base for base in kind.__mro__ if name in vars(base)) for name in sorted(names)}
    for name, owner in owners.items():
        if not is_lamps(owner) and name not in allowed:
            return f"{name}, which its class defines"
    for name, owner in owners.items():
        if is_lamps(owner) and not is_lamps(vars(owner)[name]):
            return f"{name}, which was put into lamp's {owner.__name__}"
    for shortcut, definitions in SHORTCUTS.items():
        if shortcut in names & allowed and _nearer(kind, shortcut, definitions[0]):
            return f"{shortcut}, which its class defines without {definitions[0]}"
    return None


@lru_cache(maxsize=256)
def methods(kind: type) -> frozenset[str]:
    """The names of the methods and properties that lamp's classes give to a class."""
    described = (FunctionType, property, classmethod, staticmethod)
    every = [item for base in kind.__mro__ if is_lamps(base) for item in vars(base).items()]
    return frozenset(name for name, value in every if isinstance(value, described) and not name.startswith("_bare_"))


def _nearer(kind: type, name: str, other: str) -> bool:
    """Whether a class has one method from a subclass of where it has another one from."""
    places = [next((k for k, base in enumerate(kind.__mro__) if each in vars(base)), None) for each in (name, other)]
    return None not in places and places[0] < places[1]  # type: ignore[operator]
