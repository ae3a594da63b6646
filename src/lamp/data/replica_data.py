"""Batches for a population in which each replica has its own samples or its own order."""

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
    """The samples of each of K replicas, and their order.

    columns  (n, ...) if all replicas share them; with per_replica, (K, n, ...), where row k is replica k's
    seeds    K seeds, one per replica; None if all replicas take the samples in the same order
    indices  (K, m): which of the n samples each replica uses; None for all
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
        """The data of only these replicas; shared columns are not copied."""
        chosen = copy.copy(self)
        chosen.replicas = len(rows)
        chosen.columns = (
            tuple(c.index_select(0, rows.to(c.device)) for c in self.columns) if self.per_replica else self.columns
        )
        chosen.seeds = None if self.seeds is None else [self.seeds[k] for k in rows.tolist()]
        chosen.indices = None if self.indices is None else self.indices[rows]
        return chosen

    def order_of(self, epoch: int, seed: int | None) -> Tensor | None:
        """The indices (K, m) of an epoch's samples in order, shuffled by `seeds` or `seed`; None for 0 ... n - 1."""
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
        """The batches (K, B, ...) of the samples with these indices (K, m), up to `stop`.

        `at_a_time` batches are gathered together. Without indices (None), batches are views of the columns.
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
    """The rows with these indices, as one tensor (K, B, ...) per step; lead is (steps, K, B)."""
    rows = column.index_select(0, places.to(column.device))
    return rows.view(*lead, *column.shape[1:]).unbind()


def replica_data_of(
    columns: tuple[Tensor, ...] | None, replicas: int | None, seeds: Sequence[int] | None, indices: Tensor | None
) -> ReplicaData | None:
    """The ReplicaData for a loader's arguments; None if no argument is per replica.

    Raises ArgumentError or ShapeError if the arguments do not fit each other or the columns.
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
            "a data set that returns samples by index cannot give each replica its own",
            expected="tensors or arrays",
            got=f"{', '.join(counts)} for a data set of samples",
            fix="stack its samples into tensors first",
        )
    if len(set(counts.values())) > 1:
        raise ArgumentError(
            "these arguments are for different numbers of replicas",
            expected=f"one K for {', '.join(counts)}",
            got=", ".join(f"{name} for {count}" for name, count in counts.items()),
            fix="pass one seed, one row of data and one row of indices per replica",
        )
    (count,) = set(counts.values())
    per_replica = replicas is not None
    if per_replica:
        _check_rows(columns, count)
    every = indices.expand(count, -1) if indices is not None and not by_rows else indices
    return ReplicaData(columns, count, per_replica=per_replica, seeds=seeds, indices=every)


def as_indices(indices: Any, columns: tuple[Tensor, ...] | None, replicas: int | None) -> Tensor | None:
    """Indices (m,) or (K, m) as int64, after a check that they are in range; None stays None. Raises ArgumentError."""
    if indices is None:
        return None
    if columns is None:
        raise ArgumentError(
            "indices choose rows of tensors",
            expected="data that are tensors or arrays",
            got="a data set that returns samples by index",
            fix="torch.utils.data.Subset(dataset, indices) is a data set of those samples",
        )
    try:
        chosen = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ArgumentError(
            "indices choose samples",
            expected="integers (m,) for all, or (K, m), one row per replica",
            got=type(indices).__name__,
            fix="pass a tensor, an array or a list of the samples' numbers",
        ) from None
    samples = columns[0].shape[0 if replicas is None else 1] if columns[0].dim() > (replicas is not None) else 0
    if chosen.is_floating_point() or chosen.dtype is torch.bool or chosen.dim() not in (1, 2) or not chosen.numel():
        raise ArgumentError(
            "indices choose samples",
            expected="integers (m,) for all, or (K, m), one row per replica",
            got=f"{tuple(chosen.shape)}, {chosen.dtype}",
            fix="mask.nonzero().flatten() turns a mask into indices",
        )
    check_indices(chosen, samples)
    return chosen.to("cpu", torch.int64, copy=True)  # a copy, so that later changes of the argument do not matter


def check_indices(chosen: Tensor, samples: int) -> None:
    """Raise ArgumentError for an index that is out of range for this number of samples."""
    low, high = (int(each) for each in chosen.aminmax())
    if low < 0 or high >= samples:
        raise ArgumentError(
            "an index is out of range",
            expected=f"from 0 to {samples - 1} for {samples} samples",
            got=low if low < 0 else high,
            fix="check how the indices were made",
        )


def _check_rows(columns: tuple[Tensor, ...], replicas: int) -> None:
    first = columns[0]
    for column, name in zip(columns, column_names(len(columns)), strict=True):
        if column.dim() < 2 or column.shape[0] != replicas or column.shape[1] != first.shape[1]:
            raise ShapeError(
                f"the {name} do not have one row of samples for each of {replicas} replicas",
                expected=f"({replicas}, {first.shape[1] if first.dim() > 1 else 'n'}, ...)",
                got=tuple(column.shape),
                fix="torch.stack the replicas' data; for a column that all share: column.expand(K, *column.shape)",
            )
