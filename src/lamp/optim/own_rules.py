"""The check that an `update` of the user's treats each number by itself, and each replica as it would be alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.generators import RAISED, generators_kept
from lamp.optim.blocks import ParameterBlocks
from lamp.overrides import is_lamps
from lamp.rounding import near

COMPARED = 4096  # numbers of a flat buffer that are compared, of each replica
LAMPS_OWN = ("defaults", "param_groups", "_steps", "_counts", "_blocks")  # attributes that an update only reads
Take = Callable[[Any], Any]


class HasUpdate(Protocol):
    """The part of an optimizer that is compared."""

    @property
    def elementwise(self) -> bool: ...
    @property
    def update(self) -> Callable[..., Any]: ...


def has_own_update(optimizer: HasUpdate) -> bool:
    """Whether the rule was written by the user, in a class or on the instance."""
    return "update" in vars(optimizer) or not is_lamps(type(optimizer).update)


def check_update(optimizer: HasUpdate, blocks: ParameterBlocks, c: Mapping[str, Any], group: Mapping[str, Any]) -> None:
    """Raise ArgumentError if `update` makes another step for some numbers alone than for them among the others.

    A rule for each number is compared on every second number of a flat buffer, and each rule on single replicas of a
    population: with random gradients, in float64, on copies. A rule that draws random numbers is not compared.
    """
    whole = not optimizer.elementwise
    device = blocks.blocks[0].data.device if blocks.blocks else None
    with generators_kept(device):
        for block in blocks.blocks if whole else blocks.blocks[:1]:
            first = slice(None) if whole else slice(COMPARED)
            given = [each[..., first].double() for each in (block.data, block.data, *block.state.values())]
            given[1] = torch.randn(given[1].shape, generator=torch.Generator().manual_seed(0)).to(given[1])
            names = tuple(block.state)
            try:
                trial = _trial(optimizer)  # draws other random numbers the second time
                step, again = (_step(trial, given, names, c, group) for _ in range(2))
            except RAISED:  # the real step will raise it
                return
            if step is None or not near(step, again):
                return
            for number in () if whole else (0, 1):
                _compare_numbers(optimizer, given, names, c, group, step, number)
            for k in (0, len(step) - 1) if blocks.in_rows else ():
                _compare_replica(optimizer, given, names, c, group, step, k)


def _compare_numbers(
    optimizer: HasUpdate, given: list[Tensor], names: tuple[str, ...], c: Any, group: Any, step: Tensor, first: int
) -> None:
    """Compare the step of every second number, from number `first` on."""
    try:
        alone = _step(_trial(optimizer), [each[..., first::2] for each in given], names, c, group)
        found = "another step for every second number alone"
    except RAISED as error:
        alone, found = None, f"{type(error).__name__} for every second number alone"
    if alone is None or not near(alone, step[..., first::2]):
        raise ArgumentError(
            f"{type(optimizer).__name__}.update does not treat each number by itself",
            expected="a step of each number that does not depend on its neighbours: update gets slices of a flat "
            "buffer, which contain numbers of several parameters",
            got=found,
            fix="write `elementwise = False` in the class; then update gets each parameter in its own shape, (K, ...) "
            "in a population",
        )


def _compare_replica(
    optimizer: HasUpdate, given: list[Tensor], names: tuple[str, ...], c: Any, group: Any, step: Tensor, k: int
) -> None:
    """Compare the step of replica k."""

    def row(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(row, value))
        has_rows = isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(step)
        return value[k : k + 1] if has_rows else value

    of_group = {name: value if name == "params" else row(value) for name, value in group.items()}
    try:
        of_step = {name: row(x) for name, x in c.items()}
        alone = _step(_trial(optimizer), list(map(row, given)), names, of_step, of_group)
    except RAISED:  # it reads numbers per replica from elsewhere, so that one replica alone cannot be tried
        return
    if alone is not None and not near(alone, row(step)):
        raise ArgumentError(
            f"{type(optimizer).__name__}.update mixes the replicas of a population",
            expected="row k is the step that network k makes alone; parameter, gradient and state are (K, ...)",
            got=f"another step for replica {k} alone",
            fix="reduce over all axes but the first, as in gradient.flatten(1).norm(dim=1)",
        )


def _trial(optimizer: HasUpdate) -> Any:
    """A copy of the optimizer, whose attributes `update` may change."""
    trial = object.__new__(type(optimizer))
    vars(trial).update({name: each if name in LAMPS_OWN else _copied(each) for name, each in vars(optimizer).items()})
    return trial


def _step(trial: Any, given: list[Tensor], names: tuple[str, ...], c: Any, group: Any) -> Tensor | None:
    """What `update` adds to the parameters, if that is a tensor like them; on copies of all tensors."""
    data, gradient, *states = (each.clone() for each in given)
    moved = trial.update(data, gradient, dict(zip(names, states, strict=True)), c, group)
    return moved - given[0] if isinstance(moved, Tensor) and moved.shape == given[0].shape else None


def _copied(value: Any) -> Any:
    """A copy of what an update may change of its optimizer: tensors, collections and generators."""
    if isinstance(value, torch.Generator):
        twin = torch.Generator(value.device)
        twin.set_state(value.get_state())
        return twin
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) is dict:
        return {key: _copied(each) for key, each in value.items()}
    if type(value) in (list, set):
        return type(value)(map(_copied, value))
    return copy.deepcopy(value) if isinstance(value, np.random.Generator | random.Random) else value
