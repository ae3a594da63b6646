"""Reads what data yield as (inputs..., target), for the replicas that are still training."""

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
    """A batch as (inputs..., target). ((a, b), target) becomes (a, b, target).

    Raises DataError for anything else than inputs and a target.
    """
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        *inputs, target = batch
        if len(inputs) == 1 and isinstance(inputs[0], tuple | list) and any(leaves(inputs[0])):
            (inputs,) = inputs
        return (*inputs, tuple(target) if isinstance(target, list) and any(leaves(target)) else target)
    raise DataError(
        "a batch must be a tuple of inputs and a target",
        expected="a tuple (inputs, targets)",
        got=f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else ""),
        fix="pass data=(inputs, targets), or an iterable of such pairs; write several inputs as a tuple, "
        "((a, b), targets), or one after another, (a, b, targets)",
    )


def first_batch(batches: Iterable[Any], row: int = 0) -> Any:
    """The first batch; of a DataLoader of tensors, the batch that begins at `row`, without shuffling."""
    if not isinstance(batches, DataLoader) or batches.tensors is None:
        return next(iter(copy.copy(batches) if isinstance(batches, DataLoader) else batches))  # each counts its epochs
    rows = slice(row, row + batches.batch_size)
    columns = [column[:, rows] if batches.per_replica else column[rows] for column in batches.columns]
    return batches.in_form([per_replica(column) if batches.per_replica else column for column in columns])


class BatchReader:
    """Reads what data yield as (inputs..., target), for the replicas that are still training.

    A DataLoader yields batches for these replicas only. Other data keep yielding batches for the whole population, so
    the reader selects the replicas' rows.

    replicas     K of the whole population; None for one network
    rows         the replicas that are still training, (k,); None while all are
    target_axes  the number of axes of a target that is (K, B, ...); None until a batch has shown it
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
        """The active replicas' rows of a tensor that is marked, or known, as per replica; a shared tensor unchanged."""
        if self.rows is None or (replicas_of(x) is None and not per_replica):
            return x
        return marked(x[self.rows], len(self.rows))

    def note_target(self, output: Any, target: Any) -> None:
        """Note the number of axes of a target that is (K, B, ...), from a first batch. Several targets must be
        marked."""
        if self.target_axes is None and self.replicas is not None and isinstance(target, Tensor):
            self.target_axes = self._criterion.per_replica_target(output, target, self.replicas).dim()
