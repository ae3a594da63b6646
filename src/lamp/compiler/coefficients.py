"""What a kernel reads at each step: the optimizer's coefficients, and the keys of Dropout's masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.formulas import is_zero
from lamp.nn import Dropout
from lamp.optim import Optimizer
from lamp.overrides import is_lamps
from lamp.randomness import table_of_keys

Limits = Mapping[str, Any]  # "clip_norm" and "clip_value", where gradients are clipped

# torch takes powers of whole vectors by one method, and of what is left over by another one, which can differ in the
# last bit: with nothing left over a step's coefficients do not depend on the steps that they are computed with.
VECTORS = 64

Columns = list[dict[str, Tensor]]  # for each group, and then for the limits: name to (steps, 1) or (steps, K), float64


def options_of(optimizer: Optimizer) -> tuple[Any, ...]:
    """What decides which code a rule writes: switches, which numbers are 0, and which are one for each replica."""

    def kind(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(kind, value))
        if isinstance(value, Tensor):
            return "own"
        return "0" if is_zero(value) and not isinstance(value, bool) else "one" if isinstance(value, float) else value

    return tuple(
        (*((name, kind(group[name])) for name in optimizer.defaults), *optimizer.state_names(group))
        for group in optimizer.param_groups
    )


def coefficients(
    optimizer: Optimizer, limits: Limits, taken: Sequence[int], steps: int, advance: Callable[[], None] | None = None
) -> Columns:
    """The coefficients of the next steps, when each group has taken so many.

    advance  the schedule's step, where it has one after each batch
    """
    each: list[Columns] = []
    if advance is None:
        whole = -(-steps // VECTORS) * VECTORS
        numbers = torch.arange(1.0, whole + 1, dtype=torch.float64).unsqueeze(1)
        own = () if is_lamps(type(optimizer).coefficients) else (RuntimeError, TypeError, ValueError)
        with suppress(*own):  # of a user's own rule that asks `if step > 100`
            columns = _columns(optimizer, limits, numbers, taken)
            each = [[{name: column[:steps] for name, column in named.items()} for named in columns]]
    for step in range(0 if each else steps):
        each.append(_columns(optimizer, limits, step + 1, taken))
        if advance is not None:
            advance()
    return [
        {name: torch.cat([table[group][name] for table in each]) for name in named}
        for group, named in enumerate(each[0])
    ]


def _columns(optimizer: Optimizer, limits: Limits, steps: Tensor | int, taken: Sequence[int]) -> Columns:
    rows = [
        dict(optimizer.coefficients(group, steps + before))  # type: ignore[arg-type]
        for group, before in zip(optimizer.param_groups, taken, strict=True)
    ]
    count = len(steps) if isinstance(steps, Tensor) else 1
    return [{name: _column(value, count) for name, value in each.items()} for each in [*rows, dict(limits)]]


def _column(value: Any, steps: int) -> Tensor:
    column = torch.as_tensor(value, dtype=torch.float64)
    return (column if column.dim() == 2 else column.reshape(1, -1)).expand(steps, -1)


def keys_of(dropouts: Sequence[Dropout], rows: Sequence[int], steps: int) -> Tensor:
    """The keys of the next steps' masks, int32 (steps, dropouts, 2, replicas); of one network, rows is [0]."""
    tables = []
    for module in dropouts:
        seeds = module.seeds()
        first = np.array([module.step - module.lags[k] for k in rows], dtype=np.int64)
        each = np.arange(steps, dtype=np.int64).reshape(-1, 1) + first
        tables.append(table_of_keys([seeds[k] for k in rows], each.astype(np.uint64)))
    return torch.stack(tables, 1).transpose(2, 3)
