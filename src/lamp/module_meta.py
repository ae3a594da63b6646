"""The metaclass of modules: it keeps wrapped methods and shortcuts in step with the methods that a user changes.

A user may change a method in a subclass, or in one of lamp's own classes (`lamp.ReLU.forward = f`). A method that is
set on an instance is found where it is called.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from types import FunctionType
from typing import Any, ClassVar

from lamp.errors import ArgumentError
from lamp.overrides import PASS_METHODS, SHORTCUTS, class_attribute, has_own_getattribute, is_lamps, unwrapped
from lamp.signatures import Constructed

WATCHED = {"__call__", *PASS_METHODS, *SHORTCUTS, *(name for names in SHORTCUTS.values() for name in names)}


class ModuleMeta(Constructed):
    """The metaclass of modules. When a watched method is set or deleted, it updates the class and all subclasses.

    wrappers  for each name in PASS_METHODS: a function that wraps a plain method, so that it begins or joins a pass

    - A plain `forward`, `backward` or `backward_parameters` is wrapped. The plain method stays available as
      `_bare_forward` and so on, for containers that are inside a pass already. In a class with a `__call__` of its own
      `_bare_forward` is that `__call__`.
    - A shortcut is used only with the definitions that it was written for. Where a subclass overrides `sigma` without
      `sigma_of_tensor`, or where `sigma` is replaced, `sigma_of_tensor` becomes the base class's, which calls `sigma`.
    """

    wrappers: ClassVar[dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = {}
    _as_written: dict[str, Any]  # the watched methods that the class statement defined
    _disabled_shortcuts: set[str]  # the shortcuts in whose place the base class's stands

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, namespace, **kwargs)
        if ABC not in cls.__mro__:  # every module's metaclass is an ABCMeta, but only subclasses of ABC are abstract
            cls.__abstractmethods__ = frozenset()
        type.__setattr__(cls, "_as_written", {key: namespace[key] for key in WATCHED & namespace.keys()})
        cls._update_methods()

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__hash__ is None:
            raise ArgumentError(
                f"{cls.__name__} compares by its values, so lamp cannot tell two such modules apart",
                expected="a class without an __eq__ of its own",
                got="a class whose objects cannot be hashed, as by @dataclass",
                fix="@dataclass(eq=False)",
            )
        return super().__call__(*args, **kwargs)

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in WATCHED:
            cls._update_methods()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        if name in WATCHED:
            cls._update_methods()

    def _update_methods(cls) -> None:
        """Wrap plain methods, and choose shortcuts and bare methods again, here and in all subclasses."""
        if not ModuleMeta.wrappers:  # the class Module itself: the wrappers are set after it
            return
        for shortcut, definitions in SHORTCUTS.items():
            cls._update_shortcut(shortcut, definitions)
        for name in PASS_METHODS:
            method = class_attribute(cls, name)
            if not isinstance(method, FunctionType):
                method = _as_function(method, name)
            if vars(method).get("_wrapper") is not method:  # functools.wraps copies the mark of another wrapper
                method = ModuleMeta.wrappers[name](method)
                type.__setattr__(cls, name, method)
            cls._set(f"_bare_{name}", method._wrapped)
        cls._set("_has_users_forward", not is_lamps(class_attribute(cls, "forward")))
        root = next(base for base in cls.__mro__[::-1] if isinstance(base, ModuleMeta))
        if (call := class_attribute(cls, "__call__")) is not root._as_written["__call__"]:
            cls._set("_bare_forward", call)
        if has_own_getattribute(cls):
            for name in PASS_METHODS:
                cls._set(f"_bare_{name}", _looked_up(name))
            for name in ("_hands_over", "_overwrites", "_recomputes", "_commutes_with_max", "_takes_largest"):
                cls._set(name, False)
        for subclass in cls.__subclasses__():  # type: ignore[var-annotated]  # mypy does not type it for a metaclass
            subclass._update_methods()

    def _update_shortcut(cls, shortcut: str, definitions: tuple[str, ...]) -> None:
        """Use the class's shortcut if no definition was changed after it, else the one of the base class."""
        if "_disabled_shortcuts" in vars(cls) and shortcut in cls._disabled_shortcuts:
            cls._disabled_shortcuts.discard(shortcut)
            if shortcut in cls._as_written:
                type.__setattr__(cls, shortcut, cls._as_written[shortcut])
            else:
                type.__delattr__(cls, shortcut)
        own = cls._origin(shortcut)
        if own is None or all((cls._origin(each) or own) >= own for each in definitions):
            return
        if "_disabled_shortcuts" not in vars(cls):
            type.__setattr__(cls, "_disabled_shortcuts", set())
        cls._disabled_shortcuts.add(shortcut)
        base = next(each for each in cls.__mro__[::-1] if shortcut in vars(each))
        type.__setattr__(cls, shortcut, vars(base)[shortcut])

    def _origin(cls, name: str) -> tuple[int, bool] | None:
        """The position in the MRO of the class that has this method, and whether the method is as written there."""
        for place, base in enumerate(cls.__mro__):
            if name in vars(base):
                written = vars(base).get("_as_written", {}).get(name)
                return place, written is None or unwrapped(vars(base)[name]) is unwrapped(written)
        return None

    def _set(cls, name: str, value: Any) -> None:
        if getattr(cls, name, None) is not value:
            type.__setattr__(cls, name, value)


def _as_function(attribute: Any, name: str) -> Callable[..., Any]:
    """A plain method that calls a static method, a property's value, or a callable object of this name."""

    def method(self: Any, *inputs: Any, **named: Any) -> Any:
        bound = attribute.__get__(self, type(self)) if hasattr(type(attribute), "__get__") else attribute
        return bound(*inputs, **named)

    method.__name__ = method.__qualname__ = name
    return method


def _looked_up(name: str) -> Callable[..., Any]:
    """A function that looks up the module's method of this name at each call."""
    return lambda module, *inputs: getattr(module, name)(*inputs)
