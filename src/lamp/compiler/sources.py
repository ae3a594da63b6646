"""What machine code is made from, as something to compare: whether it still holds, and which code serves twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.compiler.coefficients import options_of
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Activation, Dropout
from lamp.optim import Optimizer
from lamp.overrides import is_lamps, methods
from lamp.parameter import Buffer, Parameter
from lamp.replicas import Population

PLAIN = (bool, int, float, complex, str, bytes)
DEEPEST = 4  # objects within objects that are looked into
# What changes from step to step, and what a module's own methods keep to be faster.
PASSING = {"_through", "_ahead", "_generators", "_expects_ignored", "_by_name", "_body", "_loss"}
COUNTERS = {"seed", "step", "lags"}  # of Dropout: each call of the code reads them anew
NOT_IN_CODE = {"training", "replicas", "units"}
OF_OPTIMIZER = {"defaults", "param_groups", "_steps", "_blocks", "_is_made"}  # what every optimizer has
# Numbers at which a user's formulas are asked, to see whether they still say the same.
PROBE = torch.tensor([-7.5, -1.25, -0.4, 0.0, 0.3, 0.9, 2.5, 30.0], dtype=torch.float64)


def sources(model: Module, criterion: Loss, optimizer: Optimizer | None, numbers: bool = False) -> Hashable:
    """All that a kernel for these is made from, but for the numbers that each call reads anew.

    numbers  the optimizer's hyperparameters too, where calls are laid out before they are asked for
    """
    modules = [*model.modules(), *criterion.modules()]
    kinds = {type(module) for module in modules} | {type(optimizer)}
    written = [_kind(kind) for kind in kinds] + [of_module(module) for module in modules]
    if optimizer is None:
        return tuple(written)
    names = optimizer.defaults if numbers else ()
    for group in optimizer.param_groups:
        written += [tuple(map(frozen, group["params"])), *(frozen(group[name]) for name in names)]
    return (*written, optimizer, options_of(optimizer), *_own_attributes(optimizer))


def of_module(module: Module) -> Hashable:
    """A module as a kernel has it: which one, its mode, its attributes, and what a user's formulas say."""
    written: list[Hashable] = [module, module.training]
    if isinstance(module, Population):
        return (*written, module.network, module.sizes)
    apart = PASSING | COUNTERS if isinstance(module, Dropout) else PASSING
    for name, value in vars(module).items():
        if name not in apart:
            written += (name, frozen(value))
    return (*written, *_answers(module))


def written_of(module: Module) -> Hashable:
    """What a module of lamp's writes into code: its kind, and its numbers and switches."""
    if isinstance(module, Dropout):
        return Dropout, module.p
    found = {name: value for name, value in vars(module).items() if name not in NOT_IN_CODE and name[0] != "_"}
    plain = {
        name: value for name, value in found.items() if not isinstance(value, Tensor | Buffer | Parameter | Module)
    }
    return type(module), tuple(sorted((name, repr(frozen(value))) for name, value in plain.items()))


def _own_attributes(optimizer: Optimizer) -> Iterator[Hashable]:
    """What a user's optimizer keeps beside its groups, and what stands on any of them in place of a method."""
    for name, value in vars(optimizer).items():
        if name not in OF_OPTIMIZER:
            yield name, frozen(value)


def _answers(module: Module) -> Iterator[Hashable]:
    """What the formulas of a user's activation say at some numbers, wherever they have their own from."""
    if isinstance(module, Activation) and not is_lamps(type(module)):
        y = module.sigma(PROBE)
        yield frozen(y)
        yield frozen(module.dsigma(PROBE.clone(), y))


def frozen(value: Any, depth: int = 0) -> Hashable:
    """A value as something that compares equal only while nothing in it has changed."""
    if value is None or isinstance(value, PLAIN):
        return value if value == value else repr(value)  # NaN is no number that equals itself
    if isinstance(value, Tensor):
        return value.dtype, str(value.device), tuple(value.shape), tuple(map(repr, value.reshape(-1).tolist()))
    if isinstance(value, np.ndarray | np.generic):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, Parameter):
        return id(value), value.frozen
    if isinstance(value, Buffer):
        return frozen(value.data)
    if isinstance(value, Module):
        return value  # which stands in the list itself
    if depth > DEEPEST or isinstance(value, type) or callable(value):
        return id(value) if getattr(type(value), "__hash__", None) is None else value
    if isinstance(value, list | tuple):
        return type(value), tuple(frozen(each, depth + 1) for each in value)
    if isinstance(value, dict):
        return tuple((repr(key), frozen(each, depth + 1)) for key, each in value.items())
    if hasattr(value, "__dict__"):
        return type(value), id(value), frozen(vars(value), depth + 1)
    return repr(value)


@cache
def _names(kind: type) -> attrgetter[Any]:
    names = sorted(name for name in set(methods(kind)) if hasattr(kind, name))
    return attrgetter(*names)


def _kind(kind: type) -> Hashable:
    """A class with the methods that lamp knows of, as they stand there now."""
    return kind, _names(kind)(kind) if kind is not type(None) else None
