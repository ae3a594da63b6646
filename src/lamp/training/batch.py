"""A batch as its inputs and its target, for the replicas that are still training."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from lamp.axes import marked, per_replica, replicas_of
from lamp.data import DataLoader
from lamp.errors import DataError
from lamp.losses import Loss
from lamp.trees import leaves, mapped

Batch = tuple[Any, ...]  # the inputs of the network, then the target


def parts(batch: Any) -> Batch:
    """A batch as (inputs..., target); ((a, b), target) is (a, b, target). Raises DataError for anything else."""
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        *inputs, target = batch
        if len(inputs) == 1 and isinstance(inputs[0], tuple | list) and any(leaves(inputs[0])):
            (inputs,) = inputs
        return (*inputs, tuple(target) if isinstance(target, list) and any(leaves(target)) else target)
    raise DataError(
        "a batch is inputs and a target",
        expected="a tuple (inputs, targets)",
        got=f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else ""),
        fix="give fit data=(inputs, targets), or an iterable of such pairs; several inputs stand in a tuple, "
        "((a, b), targets), or one after another, (a, b, targets)",
    )


def first_batch(batches: Iterable[Any], row: int = 0) -> Any:
    """The first batch; where the data are held as columns, the one that begins with this row, in their own order."""
    if not isinstance(batches, DataLoader) or batches.tensors is None:
        return next(iter(copy.copy(batches) if isinstance(batches, DataLoader) else batches))  # each counts its epochs
    rows = slice(row, row + batches.batch_size)
    columns = [column[:, rows] if batches.per_replica else column[rows] for column in batches.columns]
    return batches.in_form([per_replica(column) if batches.per_replica else column for column in columns])


class BatchReader:
    """Reads what the data yield as (inputs..., target), for the replicas that are still training.

    A DataLoader gives each of them its own rows by itself. Other data keep coming for the whole population, so their
    rows are selected here.

    replicas     K of the whole population; None for one network
    rows         which replicas are still training, (k,); None while all are
    target_axes  how many axes a target has that is (K, B, ...), once a batch has shown it
    """

    def __init__(self, criterion: Loss, replicas: int | None) -> None:
        self._criterion, self.replicas = criterion, replicas
        self.rows: Tensor | None = None
        self.target_axes: int | None = None

    def read(self, batch: Any, source: Iterable[Any]) -> Batch:
        """A batch of this source as (inputs..., target)."""
        *inputs, target = parts(batch)
        if self.rows is not None and not isinstance(source, DataLoader):
            axes = self.target_axes if isinstance(target, Tensor) else None
            inputs = [mapped(x, self._selected) for x in inputs]
            target = mapped(target, lambda each: self._selected(each, each.dim() == axes))
        return (*inputs, target)

    def _selected(self, x: Tensor, per_replica: bool = False) -> Tensor:
        """The rows of what is marked as per replica, or known to be; what is shared as it is."""
        if self.rows is None or (replicas_of(x) is None and not per_replica):
            return x
        return marked(x[self.rows], len(self.rows))

    def note_target(self, output: Any, target: Any) -> None:
        """Learn from a batch how many axes a target has that is (K, B, ...); of several targets only marks tell."""
        if self.target_axes is None and self.replicas is not None and isinstance(target, Tensor):
            self.target_axes = self._criterion.per_replica_target(output, target, self.replicas).dim()
