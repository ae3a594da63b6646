"""Batches for a population: to each replica samples of its own, in an order of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.axes import marked
from lamp.data.columns import column_names
from lamp.data.orders import order, orders
from lamp.errors import ArgumentError, ShapeError
from lamp.values import natural


class ReplicaData:
    """Which samples each of K replicas takes, and in which order.

    columns  (n, ...), that all share, or with `own` (K, n, ...), a row a replica
    seeds    K of them, of each replica's orders; None where all take the samples in one order
    indices  (K, m): which of the n samples each replica takes; None for all of them
    """

    def __init__(
        self,
        columns: tuple[Tensor, ...],
        replicas: int,
        *,
        per_replica: bool,
        seeds: Sequence[int] | None,
        indices: Tensor | None,
    ) -> None:
        self.columns, self.replicas, self.per_replica, self.seeds, self.indices = (
            columns,
            replicas,
            per_replica,
            seeds,
            indices,
        )
        self.length = columns[0].shape[1 if per_replica else 0]  # n
        self.samples = self.length if indices is None else indices.shape[1]

    def of(self, rows: Tensor) -> ReplicaData:
        """The shares of these replicas alone; columns that all share are the same tensors."""
        chosen = copy.copy(self)
        chosen.replicas = len(rows)
        chosen.columns = (
            tuple(c.index_select(0, rows.to(c.device)) for c in self.columns) if self.per_replica else self.columns
        )
        chosen.seeds = None if self.seeds is None else [self.seeds[k] for k in rows.tolist()]
        chosen.indices = None if self.indices is None else self.indices[rows]
        return chosen

    def order_of(self, epoch: int, seed: int | None) -> Tensor | None:
        """The places of an epoch's samples, (K, m), shuffled by seeds, by the one seed, or not; None: as they stand."""
        if self.seeds is not None:
            shuffled = torch.stack(orders(self.samples, self.seeds, epoch))
        elif seed is not None:
            shuffled = order(self.samples, seed, epoch).expand(self.replicas, -1)
        else:
            return self.indices
        return shuffled if self.indices is None else self.indices.gather(1, shuffled)

    def batches(
        self, places: Tensor | None, stop: int, batch_size: int, at_a_time: int
    ) -> Iterator[tuple[Tensor, ...]]:
        """The samples at these places (K, m) up to `stop`, a batch (K, B, ...) after the other.

        They are gathered `at_a_time` batches together. As they stand (None), they are views of the replicas' columns.
        """
        if places is None:
            for start in range(0, stop, batch_size):
                parts = [column[:, start : min(start + batch_size, stop)] for column in self.columns]
                yield tuple(marked(part, self.replicas) for part in parts)
            return
        flat = self.columns
        if self.per_replica:
            flat = tuple(column.flatten(0, 1) for column in self.columns)  # (K n, ...)
            places = places + torch.arange(0, self.replicas * self.length, self.length).unsqueeze(1)
        for start in range(0, stop, batch_size * at_a_time):
            end = min(start + batch_size * at_a_time, stop)
            steps, rest = divmod(end - start, batch_size)
            for first, count, size in ((start, steps, batch_size), (end - rest, 1, rest)):
                if count and size:
                    chosen = places[:, first : first + count * size].reshape(-1, count, size)
                    by_step = chosen.transpose(0, 1).reshape(-1)  # (count K B)
                    gathered = [_gathered(column, by_step, (count, self.replicas, size)) for column in flat]
                    for batch in zip(*gathered, strict=True):
                        yield tuple(marked(part, self.replicas) for part in batch)


def _gathered(column: Tensor, places: Tensor, lead: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """The rows at these places as steps tensors (K, B, ...)."""
    rows = column.index_select(0, places.to(column.device))
    return rows.view(*lead, *column.shape[1:]).unbind()


def replica_data_of(
    columns: tuple[Tensor, ...] | None, replicas: int | None, seeds: Sequence[int] | None, indices: Tensor | None
) -> ReplicaData | None:
    """The shares that a loader's arguments ask for; None where no argument speaks of replicas.

    Raises ArgumentError or ShapeError where the arguments do not fit each other or the columns.
    """
    by_rows = indices is not None and indices.dim() == 2
    counts = {}
    if replicas is not None:
        counts["replicas"] = natural(replicas, "replicas", least=1)
    if seeds is not None:
        counts["seed"] = len(seeds)
    if by_rows and indices is not None:
        counts["indices"] = indices.shape[0]
    if not counts:
        return None
    if columns is None:
        raise ArgumentError(
            "a data set that is asked sample by sample cannot be shared out among replicas",
            expected="tensors or arrays",
            got=f"{', '.join(counts)} for such a data set",
            fix="stack its samples into tensors first",
        )
    if len(set(counts.values())) > 1:
        raise ArgumentError(
            "these are for different numbers of replicas",
            expected=f"one K for {', '.join(counts)}",
            got=", ".join(f"{name} for {count}" for name, count in counts.items()),
            fix="give each replica one seed, one row of data and one row of indices",
        )
    (count,) = set(counts.values())
    per_replica = replicas is not None
    if per_replica:
        _check_rows(columns, count)
    every = indices.expand(count, -1) if indices is not None and not by_rows else indices
    return ReplicaData(columns, count, per_replica=per_replica, seeds=seeds, indices=every)


def as_indices(indices: Any, columns: tuple[Tensor, ...] | None, replicas: int | None) -> Tensor | None:
    """Indices (m,) or (K, m) as int64, found to name samples; None stays None."""
    if indices is None:
        return None
    if columns is None:
        raise ArgumentError(
            "indices choose rows of tensors",
            expected="data that are tensors or arrays",
            got="a data set that is asked sample by sample",
            fix="torch.utils.data.Subset(dataset, indices) is a data set of those samples",
        )
    try:
        chosen = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ArgumentError(
            "indices choose samples",
            expected="integers (m,) for all, or (K, m), a row for each replica",
            got=type(indices).__name__,
            fix="a tensor, an array or a list of the samples' numbers",
        ) from None
    samples = columns[0].shape[0 if replicas is None else 1] if columns[0].dim() > (replicas is not None) else 0
    if chosen.is_floating_point() or chosen.dtype is torch.bool or chosen.dim() not in (1, 2) or not chosen.numel():
        raise ArgumentError(
            "indices choose samples",
            expected="integers (m,) for all, or (K, m), a row for each replica",
            got=f"{tuple(chosen.shape)}, {chosen.dtype}",
            fix="mask.nonzero().flatten() makes indices of a mask",
        )
    check_indices(chosen, samples)
    return chosen.to("cpu", torch.int64, copy=True)  # whatever becomes of the tensor that was given


def check_indices(chosen: Tensor, samples: int) -> None:
    """Raise ArgumentError for an index that names none of so many samples."""
    low, high = (int(each) for each in chosen.aminmax())
    if low < 0 or high >= samples:
        raise ArgumentError(
            "an index names no sample",
            expected=f"from 0 to {samples - 1} for {samples} samples",
            got=low if low < 0 else high,
            fix="look at how the indices were made",
        )


def _check_rows(columns: tuple[Tensor, ...], replicas: int) -> None:
    first = columns[0]
    for column, name in zip(columns, column_names(len(columns)), strict=True):
        if column.dim() < 2 or column.shape[0] != replicas or column.shape[1] != first.shape[1]:
            raise ShapeError(
                f"the {name} are not a row of samples for each of {replicas} replicas",
                expected=f"({replicas}, {first.shape[1] if first.dim() > 1 else 'n'}, ...)",
                got=tuple(column.shape),
                fix="torch.stack the replicas' data; a column that all share: column.expand(K, *column.shape)",
            )
