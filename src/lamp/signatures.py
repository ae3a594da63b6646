"""Checks that arguments fit a function: whether it is lamp's and a user calls it, or a user's and lamp calls it."""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABCMeta
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, ParamSpec, TypeVar

from lamp.errors import ArgumentError, CallError

P = ParamSpec("P")
R = TypeVar("R")
Formulas = Mapping[str, tuple[str, ...]]  # names of methods, and the arguments that lamp calls each with

LONGEST = 100  # characters of a signature that are shown
_IMPLEMENTATION = "leave it out: in torch it chooses an implementation, and lamp has only one"
INSTEAD = {  # an argument that torch or Keras has and lamp does not: what to do instead
    "inplace": "leave it out: lamp computes nothing in place, and the numbers are the same",
    "size_average": 'reduction="mean" or "sum"',
    "reduce": 'reduction="none", "mean" or "sum"',
    **dict.fromkeys(("foreach", "fused", "capturable", "differentiable"), _IMPLEMENTATION),
    "persistent": "leave it out: lamp saves every buffer",
    "verbose": "leave it out: only fit reports its progress",
    "activation": "a module of its own: lamp.Sequential(lamp.Linear(2, 25), lamp.ReLU())",
    "input_shape": "leave it out: lamp.Linear(in_features, out_features) defines it",
    "retain_graph": "leave it out: for a second backward, call the network and the loss again",
    "create_graph": "leave it out: lamp records no graph, and takes no second derivatives",
    "prefix": "leave it out, and add the prefix to the names yourself",
    "recurse": "leave it out: list(vars(module).values()) has the module's own members",
    "keep_vars": "leave it out: the tensors are the live ones",
    "assign": "leave it out: the numbers are copied into the module's own tensors",
    "return_sequences": "leave it out: the output holds all steps, and output[:, -1] the last one",
    "return_state": "leave it out: the state is always the second output",
    "transform": "transform the tensors first, or write a class with __len__ and __getitem__",
}
SYNONYMS = {  # an argument's name in Keras, JAX or elsewhere: its names in torch and lamp
    "rate": ("p",),
    "alpha": ("negative_slope",),
    "epsilon": ("eps",),
    "learning_rate": ("lr",),
    "eta": ("lr",),
    **dict.fromkeys(("wd", "decay", "l2"), ("weight_decay",)),
    **dict.fromkeys(("beta1", "beta2", "beta_1", "beta_2", "b1", "b2"), ("betas",)),
    "axis": ("dim",),
    "units": ("out_features", "hidden_size"),
    "filters": ("out_channels",),
    "features": ("out_features", "out_channels", "num_features"),
    "input_dim": ("in_features", "num_embeddings", "input_size"),
    "output_dim": ("out_features", "embedding_dim"),
    "strides": ("stride",),
    "pool_size": ("kernel_size",),
    "initializer": ("init",),
    "kernel_initializer": ("init",),
    "use_bias": ("bias",),
    "cv": ("folds",),
    "n_splits": ("folds",),
    "param_grid": ("settings",),
    "n_seeds": ("seeds",),
    "scoring": ("metrics",),
}


def misfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Python's message about why the function cannot be called with these arguments; None if it can."""
    function = _plain(function)
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin without a signature
        return None
    except TypeError as error:
        return str(error)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself; for a module, whose `__call__` is a property, the method that the property returns."""
    call = next((vars(base)["__call__"] for base in type(function).__mro__ if "__call__" in vars(base)), None)
    return call.fget(function) if isinstance(call, property) and call.fget is not None else function


def explain_call(
    what: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    bound: bool = False,
    instead: str | None = None,
) -> CallError | None:
    """The error for a call with arguments that the function does not take; None if it takes them.

    what     the name of the function or class in the error
    bound    whether the function is a method, so that its first parameter is `self`
    instead  what to do instead of passing an argument that it lacks
    """
    if function is object.__init__:  # its signature says that it takes anything, but it takes nothing
        function = _nothing
    wrong = misfit(function, (None, *args) if bound else args, kwargs)
    if wrong is None:
        return None
    parameters = list(inspect.signature(function).parameters.values())[bound:]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    strange = [name for name in kwargs if name not in names]
    free = [name for name in names[len(args) :] if name not in kwargs]
    meant = [name for name in SYNONYMS.get(strange[0], ()) if name in free] if strange else []
    close = meant or (get_close_matches(strange[0], free, 1) if strange else [])
    lacking = re.search(r"missing a required (?:keyword-only )?argument: '(\w+)'", wrong)
    fix = f"write {close[0]}=" if close else f"pass {lacking[1]}" if lacking else f"see help({what}) for its arguments"
    return CallError(
        f"{what} does not take these arguments",
        expected=_shortened(", ".join(_shown(parameter) for parameter in parameters)) or "no arguments",
        got=f"an argument {strange[0]!r}" if strange else wrong,
        fix=(INSTEAD.get(strange[0]) if strange else None) or instead or (fix if parameters else f"{what}()"),
    )


def _nothing(self: object) -> None:
    """The signature of a constructor without arguments."""


def check_formulas(thing: object, formulas: Formulas) -> None:
    """Raise ArgumentError unless the methods of a user's class take the arguments that lamp calls them with."""
    kind = type(thing)
    if kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return
    for name, arguments in formulas.items():
        check_takes(f"{kind.__name__}.{name}", getattr(thing, name), *arguments)


def called(
    also: Mapping[str, str] | None = None, instead: Mapping[str, str] | None = None, fix: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for functions and methods: they take other libraries' names, and explain arguments they lack.

    also     an argument's name in another library: the function's own name for it
    instead  the name of an argument that the function lacks: what to do instead
    fix      what to do instead of passing any other argument that it lacks

    On `__init__` and `__call__`, errors name the class.
    """
    also, instead = also or {}, instead or {}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        bound = function.__code__.co_varnames[:1] in (("self",), ("cls",))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given: dict[str, Any] = kwargs
            if given and (also or instead):
                given = _by_own_names(_name_of(function, args, bound), given, also, instead)
            try:
                return function(*args, **given)
            except TypeError as error:
                if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                    raise  # the function has begun
                what = _name_of(function, args, bound)
                wrong = explain_call(what, function, args[bound:], given, bound=bound, instead=fix)
                if wrong is None:
                    raise
                raise wrong from None

        return call

    return decorate


def _name_of(function: Callable[..., Any], args: tuple[Any, ...], bound: bool) -> str:
    """The name of a function, or of a method with the class of the object that it was called on."""
    if not bound or not args:
        return function.__qualname__
    kind = args[0] if isinstance(args[0], type) else type(args[0])
    return kind.__name__ if function.__name__ in ("__init__", "__call__") else f"{kind.__name__}.{function.__name__}"


def _by_own_names(
    what: str, given: Mapping[str, Any], also: Mapping[str, str], instead: Mapping[str, str]
) -> dict[str, Any]:
    """Keyword arguments by the function's own names, see `called`."""
    named = dict(given)
    for name in given:
        own = also.get(name, name)
        if own != name:
            if own in named:
                raise CallError(
                    f"{what} got one argument by two names",
                    expected=f"{own}= alone",
                    got=f"{name}= and {own}=",
                    fix=f"leave out {name}=",
                )
            named[own] = named.pop(name)
        elif name in instead:
            raise CallError(f"{what} has no {name}", expected="its own arguments", got=f"{name}=", fix=instead[name])
    return named


class Constructed(ABCMeta):
    """A metaclass whose classes raise lamp's errors for wrong constructor arguments and missing abstract methods."""

    # ABCMeta's own checks, which know registered classes too, take several times as long.
    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except CallError:
            raise
        except TypeError:
            wrong = explain_call(cls.__name__, cls.__init__, args, kwargs, bound=True)  # type: ignore[misc]
            if wrong is None and cls.__abstractmethods__:
                wrong = CallError(
                    f"{cls.__name__} is abstract: it lacks methods that lamp calls",
                    expected=f"a class that defines {', '.join(sorted(cls.__abstractmethods__))}",
                    got=f"{cls.__name__} without them",
                    fix="define them; the docstrings of its base class say what they return",
                )
            if wrong is None:
                raise
            raise wrong from None

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's signature; without this, inspect.signature would return that of `__call__` above."""
        made = cls.__init__  # type: ignore[misc]
        signature = inspect.signature(_nothing if made is object.__init__ else made)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def check_takes(what: str, function: Callable[..., Any], *arguments: str) -> None:
    """Raise ArgumentError unless a user's function takes these arguments; `what` names it in the error."""
    if misfit(function, arguments, {}) is None:
        return
    name = getattr(function, "__name__", type(function).__name__).strip("<>")
    raise ArgumentError(
        f"{what} cannot be called as lamp calls it",
        expected=f"{name}({', '.join(arguments)})",
        got=f"{name}{_shortened(str(inspect.signature(_plain(function))))}",
        fix="write it with these arguments",
    )


def _shown(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return str(parameter.replace(annotation=parameter.empty))
    return f"{parameter.name}={parameter.default!r}"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(',')[0]}, ..."


@functools.cache
def switches_of(kind: type) -> tuple[str, ...]:
    """The names of the constructor's arguments that are True or False by default."""
    parameters = inspect.signature(kind).parameters.values()
    return tuple(each.name for each in parameters if isinstance(each.default, bool))
