"""Parameters and networks with an axis of replicas: `replicate` adds it, `selected` and `network_of` copy some rows."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, MissingIndexError
from lamp.module import Module
from lamp.parameter import Buffer, FlatBuffer, Parameter, flatten
from lamp.replicas.shared_attributes import check_copyable
from lamp.state import copied_extras, state_members
from lamp.values import several


def network_of(network: Module, rows: Sequence[int]) -> Module:
    """A copy of a population's network with these replicas, in this order. Parameters, buffers, hyperparameters (K,)
    and generators are those of the replicas; everything else is copied as it is.

    Raises ArgumentError for a method set on a module that refers to a module itself.
    """
    check_copyable(network)
    parameters, buffers = state_members(network)
    copies: dict[int, Any] = {id(each): twin for each, twin in selected(parameters, rows).items()}
    copies |= {id(each): Buffer(each.data[rows]) for each in buffers}
    chosen = copy.deepcopy(network, copies)
    extras = copied_extras(network, rows)
    for module, extra in zip(chosen.modules(), extras, strict=True):
        if module.replicas is not None:
            module.replicas = len(rows)
        if module.units is not None:
            module.units = module.units[rows]
        for name, numbers in module.numbers():
            vars(module)[name] = numbers[rows]  # not through `__setattr__`: the values have been checked before
        if extra is not None:
            module.set_extra_state(extra)
    return chosen


def selected(parameters: Iterable[Parameter], rows: Sequence[int]) -> dict[Parameter, Parameter]:
    """For each of these parameters of a population, a copy with these replicas. The copies lie in flat buffers of their
    own, in the same places as the originals, so that both have the same spans."""
    buffers: dict[FlatBuffer, FlatBuffer] = {}
    copies: dict[Parameter, Parameter] = {}
    for parameter in parameters:
        whole = parameter._buffer
        if whole not in buffers:
            buffers[whole] = FlatBuffer.of_one(whole.data[rows], (len(rows),))
        shape = torch.Size((len(rows), *parameter.shape[1:]))
        copies[parameter] = twin = Parameter.__new__(Parameter)
        twin.__setstate__((shape, buffers[whole], parameter._start, len(rows), parameter.frozen))
    return copies


def replicate(parameters: Iterable[Parameter], replicas: int, buffers: Iterable[Buffer] = ()) -> None:
    """Give each parameter and buffer a first axis of K replicas with its present values; flat buffers become (K, P)."""
    once = list(dict.fromkeys(parameters))
    for parameter in once:
        one = parameter.data
        parameter._buffer.version += 1
        FlatBuffer.changes += 1
        whole = one.expand(replicas, *one.shape).contiguous()
        Parameter.__init__(parameter, whole, not parameter.frozen, replicas=replicas)
    flatten(once)
    for buffer in dict.fromkeys(buffers):
        buffer.data = buffer.data.repeat(replicas, *[1] * buffer.data.dim())


def rows_among(replicas: int, indices: Iterable[int] | Tensor) -> list[int]:
    """These indices of a population of K replicas as numbers from 0 to K - 1; a boolean tensor (K,) says which.

    Raises MissingIndexError for others, ArgumentError for none.
    """
    if isinstance(indices, Tensor):
        if indices.dtype is torch.bool and indices.shape != (replicas,):
            raise ArgumentError(
                "a mask says yes or no for each replica",
                expected=f"a boolean tensor ({replicas},)",
                got=f"a boolean tensor {tuple(indices.shape)}",
                fix="pass one value per replica, or the numbers of the replicas",
            )
        indices = indices.nonzero().flatten().tolist() if indices.dtype is torch.bool else indices.flatten().tolist()
    rows = several(indices, "replicas", "indices")
    for k in rows:
        if not isinstance(k, int) or not -replicas <= k < replicas:
            raise MissingIndexError(
                f"replica {k!r} is not in a population of {replicas}",
                expected=f"an integer from {-replicas} to {replicas - 1}",
                got=repr(k),
                fix="len(population) is the number of replicas",
            )
    if not rows:
        raise ArgumentError(
            "a population has at least one replica",
            expected=f"some of {replicas}",
            got="none",
            fix="select at least one",
        )
    return [k % replicas for k in rows]


def of_fixed_size(what: str) -> DTypeError:
    """The error for changing which replicas a population has."""
    return DTypeError(
        f"{what}: a population keeps the replicas that it was made of",
        expected="another population",
        got="a change of this one",
        fix="lamp.stack([*population, network]) puts networks together, and population.select(...) takes some of them",
    )
