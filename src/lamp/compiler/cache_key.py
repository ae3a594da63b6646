"""Keys that describe what a kernel is made from: modules, loss and optimizer as hashable values.

`staleness_key` answers whether a compiled kernel still fits objects that a user may have changed. `written_of` is the
part of the cache key that lets two different models share one kernel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.compiler.coefficients import options_of
from lamp.compiler.user_code import FORMULAS, own_attributes, read_by
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Activation
from lamp.nn.batch_norm import ChannelNorm
from lamp.nn.dropout import RandomMask
from lamp.optim import Optimizer
from lamp.overrides import fields_of, is_lamps, is_users, methods
from lamp.parameter import Buffer, Parameter
from lamp.replicas import Population

PLAIN = (bool, int, float, complex, str, bytes)
DEEPEST = 4  # levels of nested objects that are compared, if their classes are not the user's
# Attributes that change from step to step, and caches of a module's own methods.
PASSING = {
    "_through",
    "_watched",
    "_ahead",
    "_generators",
    "_expects_ignored",
    "_by_name",
    "_body",
    "_loss",
    "_has_pools",
}
COUNTERS = {"seed", "step", "lags", "_drawn"}  # attributes of Dropout, read anew at each call
NOT_IN_CODE = {"training", "replicas", "units"}
# A user's formulas are evaluated at these numbers, to see whether they have changed.
PROBE = torch.tensor([-7.5, -1.25, -0.4, 0.0, 0.3, 0.9, 2.5, 30.0], dtype=torch.float64)


def staleness_key(model: Module, criterion: Loss, optimizer: Optimizer | None, numbers: bool = False) -> Hashable:
    """A key of everything that a kernel for these objects depends on, except numbers that each call reads anew.

    numbers  whether to include the optimizer's hyperparameters, for calls that are prepared ahead of time
    """
    modules = [*model.modules(), *criterion.modules()]
    kinds = {type(module) for module in modules} | {type(optimizer)}
    written = [_kind(kind) for kind in kinds] + [of_module(module) for module in modules]
    if optimizer is None:
        return tuple(written)
    names = optimizer.defaults if numbers else ()
    for group in optimizer.param_groups:
        written += [tuple(map(frozen, group["params"])), *(frozen(group[name]) for name in names)]
    return (*written, optimizer, options_of(optimizer), of_optimizer(optimizer))


def key_of_step(model: Module, criterion: Module, optimizer: Optimizer) -> Hashable:
    """The part of `staleness_key` that is cheap enough to be asked for in each step: all but the classes' methods."""
    modules = map(of_module, (*model.modules(), *criterion.modules()))
    return (*modules, options_of(optimizer), of_optimizer(optimizer))


def of_module(module: Module) -> Hashable:
    """The key of a module: its identity, mode and attributes, and the values of a user's formulas."""
    written: list[Hashable] = [module, module.training]
    if isinstance(module, Population):
        return (*written, module.network, module.sizes)
    apart = PASSING | COUNTERS if isinstance(module, RandomMask) else PASSING
    for name, value in tuple(vars(module).items()):
        if isinstance(module, ChannelNorm) and isinstance(value, Buffer):
            written += (name, value)  # its numbers are loaded before each training
        elif name not in apart:
            written += (name, frozen(value))
    return (*written, *_answers(module), of_users_code(module))


def written_of(module: Module) -> Hashable:
    """The part of one of lamp's own modules that is compiled into code: its class, its numbers and its switches."""
    if isinstance(module, RandomMask):
        return type(module), *(getattr(module, name) for name in module.options)
    found = {name: value for name, value in tuple(vars(module).items()) if name not in NOT_IN_CODE and name[0] != "_"}
    plain = {
        name: value for name, value in found.items() if not isinstance(value, Tensor | Buffer | Parameter | Module)
    }
    return type(module), tuple(sorted((name, repr(frozen(value))) for name, value in plain.items()))


def of_optimizer(optimizer: object) -> Hashable:
    """The key of an optimizer's own attributes, and of what a user's rule reads besides."""
    return frozen(own_attributes(optimizer)), of_users_code(optimizer)


def of_users_code(thing: object) -> Hashable:
    """The key of what a user's formulas read besides their arguments and attributes; nothing for lamp's own."""
    return () if is_lamps(type(thing)) and vars(thing).keys().isdisjoint(FORMULAS) else read_by(thing, frozen)


def _answers(module: Module) -> Iterator[Hashable]:
    """The values of a user's activation and its derivative at the numbers PROBE. They show changes that the attributes
    do not, such as those of a global variable."""
    if isinstance(module, Activation) and not is_lamps(type(module)):
        y = module.sigma(PROBE)
        yield frozen(y)
        yield frozen(module.dsigma(PROBE.clone(), y))


def frozen(value: Any, around: tuple[Any, ...] = ()) -> Hashable:
    """A hashable copy of a value, equal to a later one only if nothing in the value has changed.

    around  the containers and objects that the value is inside
    """
    if value is None or isinstance(value, PLAIN):
        return value if value == value else repr(value)  # NaN does not equal itself
    if isinstance(value, Tensor):
        return value.dtype, str(value.device), tuple(value.shape), _bytes_of(value)
    if isinstance(value, np.ndarray | np.generic):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, Parameter):
        return id(value), value.frozen
    if isinstance(value, Buffer):
        return frozen(value.data)
    if isinstance(value, Module):
        return value  # its own attributes are in the key already
    if isinstance(value, type) or callable(value) or any(value is each for each in around):
        return id(value) if getattr(type(value), "__hash__", None) is None else value
    within = (*around, value)
    if isinstance(value, list | tuple | deque):
        return type(value), tuple(frozen(each, within) for each in value)
    if isinstance(value, Mapping):
        return tuple((repr(key), frozen(each, within)) for key, each in value.items())
    kind: Any = type(value)
    if (len(around) <= DEEPEST or is_users(kind)) and (fields := fields_of(value)):
        return type(value), id(value), frozen(fields, within)
    return repr(value)


def _bytes_of(tensor: Tensor) -> bytes:
    """The numbers of a tensor as bytes, so that NaN equals itself, and 0 and -0 differ."""
    return tensor.detach().reshape(-1).cpu().contiguous().view(torch.uint8).numpy().tobytes()


@cache
def _names(kind: type) -> attrgetter[Any]:
    names = sorted(name for name in set(methods(kind)) if hasattr(kind, name))
    return attrgetter(*names)


def _kind(kind: type) -> Hashable:
    """The key of a class: the class, and those of its methods that lamp calls, as they are now."""
    return kind, _names(kind)(kind) if kind is not type(None) else None
