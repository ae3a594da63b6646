"""A batch as its inputs and its target, for the replicas that are still training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from lamp.axes import marked, replicas_of
from lamp.data import DataLoader
from lamp.errors import DataError
from lamp.losses import Loss

Batch = tuple[Any, ...]  # the inputs of the network, then the target


def parts(batch: Any) -> Batch:
    """A batch as (inputs..., target). Raises DataError for anything else."""
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        return tuple(batch)
    raise DataError(
        "a batch is inputs and a target",
        expected="a tuple (inputs, targets)",
        got=f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else ""),
        fix="give fit data=(inputs, targets), or an iterable of such pairs",
    )


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
            inputs = [self._selected(x) for x in inputs]
            if replicas_of(target) is not None or target.dim() == self.target_axes:
                target = marked(target[self.rows], len(self.rows))
        return (*inputs, target)

    def _selected(self, x: Any) -> Any:
        """The rows of an input that is marked as per replica; a shared one as it is."""
        if self.rows is None or not isinstance(x, Tensor) or replicas_of(x) is None:
            return x
        return marked(x[self.rows], len(self.rows))

    def note_target(self, output: Tensor, target: Tensor) -> None:
        """Learn from a batch how many axes a target has that is (K, B, ...)."""
        if self.target_axes is None and self.replicas is not None:
            self.target_axes = self._criterion.per_replica_target(output, target, self.replicas).dim()
