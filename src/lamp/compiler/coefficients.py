"""Tables that a kernel reads one row of per step: the optimizer's coefficients, and the keys of Dropout's masks.

They are computed in Python before a kernel runs, from the optimizer's own `coefficients` and lamp.randomness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.compiler.not_compiled import NotCompiled
from lamp.formulas import is_zero
from lamp.nn.dropout import RandomMask
from lamp.optim import Optimizer
from lamp.optim.rules import as_coefficients
from lamp.overrides import is_lamps
from lamp.randomness import table_of_keys

Limits = Mapping[str, Any]  # "clip_norm" and "clip_value", if gradients are clipped

# torch computes powers of whole vectors by one method and of the remaining elements by another, which may differ in the
# last bit. Lengths are rounded up to whole vectors, so that the coefficients of a step do not depend on how many steps
# are computed with it.
VECTORS = 64

RATE = "lr"  # changes in most trainings, so not even whether it is 0 decides which terms a rule has

# One dict per parameter group, then one for the clipping limits: name -> (steps, 1) or (steps, K), float64.
Columns = list[dict[str, Tensor]]


def options_of(optimizer: Optimizer) -> tuple[Any, ...]:
    """The options on which the code of an optimizer's rule depends: its switches, which hyperparameters are 0, and
    which have one value per replica."""

    def kind(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(kind(name, each) for each in value)
        if isinstance(value, Tensor):
            return "own"
        if name != RATE and is_zero(value) and not isinstance(value, bool):
            return "0"
        return "one" if isinstance(value, float) else value

    return tuple(
        (*((name, kind(name, group[name])) for name in optimizer.defaults), *optimizer.state_names(group))
        for group in optimizer.param_groups
    )


def coefficients(
    optimizer: Optimizer, limits: Limits, taken: Sequence[int], steps: int, advance: Callable[[], None] | None = None
) -> Columns:
    """The optimizer's coefficients for the next `steps` steps.

    taken    the number of steps that each parameter group has already taken
    advance  called after each step to advance the schedule; None if the schedule does not change within an epoch
    """
    each: list[Columns] = []
    if advance is None and is_lamps(type(optimizer).coefficients):  # a user's rule may do anything with a step's number
        whole = -(-steps // VECTORS) * VECTORS
        numbers = torch.arange(1.0, whole + 1, dtype=torch.float64).unsqueeze(1)
        each = [coefficients_of_step(optimizer, limits, numbers, taken, steps)]
    for step in range(0 if each else steps):
        each.append(coefficients_of_step(optimizer, limits, step + 1, taken))
        if advance is not None:
            advance()
    if len(each) == 1:
        return each[0]
    return [
        {name: torch.cat([table[group][name] for table in each]) for name in named}
        for group, named in enumerate(each[0])
    ]


def coefficients_of_step(
    optimizer: Optimizer, limits: Limits, steps: Tensor | int, taken: Sequence[int], first: int = 1
) -> Columns:
    """The optimizer's coefficients in the next steps of these numbers, counted from 1.

    taken  the number of steps that each parameter group has already taken
    first  so many of these steps are wanted
    """
    count, rows = len(steps) if isinstance(steps, Tensor) else 1, []
    for group, before in zip(optimizer.param_groups, taken, strict=True):
        numbers = optimizer.coefficients(group, steps + before)  # type: ignore[arg-type]
        if isinstance(steps, Tensor) or steps == 1:  # the first of several steps stands for the others
            replicas = group["params"][0].replicas
            shapes = () if replicas is None else ((replicas,), (count, replicas))
            as_coefficients(optimizer, numbers, *shapes, (count, 1))
        rows.append(numbers)
    return [{name: _column(value, first) for name, value in each.items()} for each in [*rows, dict(limits)]]


def check_step_counts(optimizer: Optimizer) -> None:
    """Raise NotCompiled if parameters of one group need several sets of coefficients in a step, since some were frozen
    in steps before."""
    for k, (group, before) in enumerate(zip(optimizer.param_groups, optimizer.step_count, strict=True)):
        missed = [n for n in optimizer.missed_steps(k) if n]
        if not missed:
            continue
        usual, *others = [optimizer.coefficients(group, before + 1 - n) for n in (0, *missed)]
        same = [torch.equal(_column(usual[name], 1), _column(of[name], 1)) for of in others for name in usual]
        if optimizer.counts_steps or not all(same):
            raise NotCompiled("parameters that were frozen in earlier steps count steps of their own")


def _column(value: Any, steps: int) -> Tensor:
    if isinstance(value, float):
        return torch.full((steps, 1), value, dtype=torch.float64)
    column = torch.as_tensor(value, dtype=torch.float64)
    return column[:steps] if column.dim() == 2 and len(column) >= steps else column.reshape(1, -1).expand(steps, -1)


def keys_of(masks: Sequence[tuple[RandomMask, int]], rows: Sequence[int], steps: int) -> Tensor:
    """The random keys of the masks for the next steps, int32 (steps, masks, 2, replicas).

    masks the module of each, and its number among those that the module draws in a step
    rows  the numbers of the replicas; [0] for a single network
    """
    tables = []
    drawn = Counter(module for module, _ in masks)
    for module, number in masks:
        seeds = module.seeds()
        first = np.array([module.step - module.lags[k] for k in rows], dtype=np.int64)
        each = np.arange(steps, dtype=np.int64).reshape(-1, 1) * drawn[module] + number + first
        tables.append(table_of_keys([seeds[k] for k in rows], each.astype(np.uint64)))
    return torch.stack(tables, 1).transpose(2, 3)
