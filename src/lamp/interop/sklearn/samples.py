"""`Samples`: rows of a table with their weights; merging of equal rows, validation rows, and standardisation."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array
from torch import Tensor

from lamp.errors import DataError

Array = NDArray[Any]

SMALL_TABLE = 256  # up to so many rows, equal rows are merged
BLOCK = 4096  # rows standardised at a time, so that intermediate results stay in the processor's cache
CONSTANT = 10.0  # numbers that differ by up to this multiple of their rounding error count as equal
TINY, LARGE = np.finfo(np.float64).tiny, 1e100  # columns with numbers beyond LARGE are rescaled before squaring
ALL = 1.0 - 1e-9  # shares sum to at least this, in spite of rounding
MOMENTS = "date", "time", "period", "duration"  # with which the names of types of dates and durations begin
HELD_BY = 2  # members of an ensemble that hold out the same row
FEWEST_FOLDED, MOST_FOLDED = 40, 20_000  # rows of a table whose members hold out folds
MOST_HELD_OUT = MOST_FOLDED // 5  # rows that "auto" holds out: a loss over more of them is hardly more precise


@dataclass
class Samples:
    """Rows of training or validation data.

    inputs   (n, features)
    targets  labels (n,), indicators (n, labels) or numbers (n, outputs)
    weights  (n,) float64, all positive: a row of weight 2 counts as two rows
    """

    inputs: Array
    targets: Array
    weights: Array

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def alike(self) -> bool:
        """Whether all weights are equal."""
        return bool((self.weights == self.weights[0]).all())

    def take(self, rows: Array) -> Samples:
        """Some of the rows, by indices or a mask."""
        return Samples(self.inputs[rows], self.targets[rows], self.weights[rows])

    def counting(self) -> Samples:
        """The rows whose weight is not 0. Raises DataError if there are none."""
        counts = self.weights > 0
        if counts.all():
            return self
        if not counts.any():
            raise DataError(
                "all sample weights are zero",
                expected="a row with a positive weight",
                got=f"{len(self)} rows of weight zero",
                fix="check sample_weight and class_weight",
            )
        return self.take(counts)

    def merged(self, seed: int) -> Samples:
        """In a small table, equal rows merged into one with the sum of their weights, in an order by their contents.

        So a row of weight 2 has exactly the same effect as a row that occurs twice, and the order of rows has none.
        """
        if len(self) > SMALL_TABLE:
            return self
        numbers = np.column_stack([self.inputs.astype(np.float64), self.targets.astype(np.float64)])
        _, first, group = np.unique(numbers, axis=0, return_index=True, return_inverse=True)
        weights = np.bincount(group.reshape(-1), self.weights)
        order = np.argsort(self.keys(seed)[first], kind="stable")
        return Samples(self.inputs[first[order]], self.targets[first[order]], weights[order])

    def keys(self, seed: int) -> NDArray[np.uint64]:
        """A hash of each row that depends only on its contents and the seed, (n,).

        The bits of each number, as an integer, are multiplied by a random odd number per column and summed over the
        row; then they are mixed by the last steps of SplitMix64 (Steele et al. 2014).
        """
        key = np.zeros(len(self), dtype=np.uint64)
        drawn = np.random.RandomState(seed)
        for table in (self.inputs, self.targets.reshape(len(self), -1)):
            factors = drawn.randint(0, 2**63, size=table.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            for start in range(0, len(table), BLOCK):
                part = np.add(table[start : start + BLOCK], 0.0, dtype=np.float64)  # turns -0.0 into 0.0
                key[start : start + BLOCK] += (part.view(np.uint64) * factors).sum(1, dtype=np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
        return key ^ (key >> np.uint64(31))

    def split(self, fraction: float, seed: int, by_class: bool) -> tuple[Samples, Samples]:
        """The training rows, and the validation rows, which have this fraction of the weight, by class if wanted.

        The choice depends on the rows' contents and the seed. Equal rows stay together, so that no validation row is
        trained on, and each class keeps a training row. Raises DataError if no row can be held out.
        """
        keys, share = self.keys(seed), np.empty(len(self))
        for rows in _groups(self.targets if by_class else None, len(self)):
            order = rows[np.argsort(keys[rows], kind="stable")]
            last = np.append(np.flatnonzero(np.diff(keys[order])), len(order) - 1)  # of each run of equal rows
            runs = np.repeat(last, np.diff(last, prepend=-1))
            share[order] = np.cumsum(self.weights[order])[runs] / self.weights[order].sum()
        share[share > ALL] = np.inf
        order = np.lexsort((keys, share))
        wanted = fraction * self.weights.sum()
        count = int(np.searchsorted(np.cumsum(self.weights[order]), wanted * ALL)) + 1
        held_out = (share < share[order[count - 1]]) | (keys == keys[order[count - 1]])
        held_out &= np.isfinite(share)
        if not held_out.any():
            raise DataError(
                "the validation set is too small: early_stopping needs rows to hold out",
                expected="two different rows, of one class where there are classes",
                got=f"n_samples = {len(self)}",
                fix="pass X_val and y_val, or use early_stopping=False",
            )
        return self.take(~held_out), self.take(held_out)

    def folds(self, members: int, fraction: float, seed: int, by_class: bool) -> Folds:
        """The rows that each of several members trains on, and those that it holds out: this fraction, at most half.

        The rows are dealt into equal parts, each with its share of every class. Member k holds out the parts k and
        k + 1, so a part that is not at an end is held out by two members. Only two members hold out no part together,
        because nobody would train on it. What is left over by equal parts is trained on by all. The parts depend on
        the rows' contents and the seed.
        """
        keys, along = self.keys(seed), np.empty(len(self))
        for rows in _groups(self.targets if by_class else None, len(self)):
            order = rows[np.argsort(keys[rows], kind="stable")]
            along[order] = (np.arange(len(order)) + 0.5) / len(order)
        parts = max(round(HELD_BY / fraction), 2 * HELD_BY)
        size = len(self) // parts
        rows_of = np.lexsort((keys, along))[: size * parts].reshape(parts, size)
        first = np.arange(members) * (1 if members > HELD_BY else HELD_BY) % parts
        held_out = rows_of[np.stack([first, (first + 1) % parts], 1)]  # (members, HELD_BY, size)
        trains = np.ones((members, len(self)), dtype=bool)
        np.put_along_axis(trains, held_out.reshape(members, -1), False, axis=1)
        return Folds(np.nonzero(trains)[1].reshape(members, -1), held_out, parts)


@dataclass(frozen=True)
class Folds:
    """Row indices of each member of an ensemble.

    training  (members, m)
    held_out  (members, HELD_BY, size), in parts: of more than two members the second part of member k is the first of
              member k + 1
    parts     the number of parts; member `parts` holds out what member 0 does
    """

    training: Array
    held_out: Array
    parts: int

    def unseen(self, outputs: Array) -> tuple[Array, Array]:
        """Two members' outputs for the rows that both have not trained on, (HELD_BY, n, ...), and these rows, (n,).

        outputs  (members, HELD_BY, size, ...), each member's for the rows that it holds out

        If there are two members, the outputs are (1, n, ...), those of one of them for each row.
        """
        members = len(self.held_out)
        if members <= HELD_BY:
            return outputs.reshape(1, -1, *outputs.shape[3:]), self.held_out.flatten()
        pairs = [(k, (k + 1) % self.parts) for k in range(min(members, self.parts))]
        pairs = [(k, after) for k, after in pairs if after < members]
        of_each = np.stack([[outputs[k, 1], outputs[after, 0]] for k, after in pairs], 1)  # (HELD_BY, pairs, size, ...)
        rows = np.concatenate([self.held_out[k, 1] for k, _ in pairs])
        return of_each.reshape(HELD_BY, len(rows), *outputs.shape[3:]), rows


def numbers_of(table: Any, what: str, numeric: bool = True) -> Any:
    """The table with the numbers of tensors as an array. Raises DataError for dates and durations if they are to be
    numbers: they would become nanoseconds in one library, and microseconds or days in another.
    """
    if isinstance(table, Tensor):
        table = (table.to_dense() if table.layout is not torch.strided else table).detach().cpu()
        table = table.float() if table.is_floating_point() and table.dtype.itemsize < 4 else table
        return table.resolve_conj().resolve_neg().numpy()
    columns = list(table.columns) if hasattr(table, "columns") else []
    kinds = list(table.dtypes) if columns else [getattr(table, "dtype", "")]
    for k, kind in enumerate(kinds if numeric else ()):
        if str(kind).lower().startswith(MOMENTS):
            raise DataError(
                f"{what}: {f'the column {columns[k]}' if columns else 'this'} holds dates or durations",
                expected="numbers",
                got=kind,
                fix="make numbers of them, such as days since the first; `lamp train` reads dates as they are",
            )
    return table


def dense(table: Any) -> Array:
    """The table as a dense array."""
    return np.asarray(table.toarray() if hasattr(table, "toarray") else table)


def checked_weights(sample_weight: Any, rows: int) -> Array:
    """The weights of samples as float64 (n,), all 1 for None. Raises DataError for anything but weights."""
    if sample_weight is None:
        return np.ones(rows)
    if isinstance(sample_weight, numbers.Real):
        return np.full(rows, float(sample_weight))
    weights = check_array(
        numbers_of(sample_weight, "sample_weight"),
        ensure_2d=False,
        allow_nd=True,
        dtype=np.float64,
        order="C",
        input_name="sample_weight",
    )
    if weights.shape != (rows,) or (weights < 0).any():
        raise DataError(
            "sample_weight must be one weight per sample",
            expected=f"numbers of at least 0, of shape ({rows},)",
            got=f"shape {weights.shape}" if weights.shape != (rows,) else f"{weights.min()} among them",
            fix="pass one weight per sample",
        )
    return np.asarray(weights)


def _groups(labels: Array | None, rows: int) -> Iterator[Array]:
    """The row indices of each class; without labels, those of all rows."""
    if labels is None:
        yield np.arange(rows)
        return
    order = np.argsort(labels, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


@dataclass(frozen=True)
class Standard:
    """Standardisation of columns, x -> (x - mean) / scale; mean and scale are (columns,) float64.

    constant  a mask of columns that have one value, up to rounding; their scale is 1
    """

    mean: Array
    scale: Array
    constant: Array

    @classmethod
    def of(cls, table: Array, weights: Array) -> Standard:
        """The standardisation by the weighted mean and standard deviation of a table (n, columns)."""
        share = weights / weights.sum()
        mean, square = np.zeros(table.shape[1]), np.zeros(table.shape[1])
        for start in range(0, len(table), BLOCK):
            mean += share[start : start + BLOCK] @ table[start : start + BLOCK].astype(np.float64, copy=False)
        largest = np.maximum(np.abs(table).max(0).astype(np.float64), TINY)  # its square may overflow
        unit = np.where((largest > LARGE) | (largest < 1.0 / LARGE), np.exp2(np.floor(np.log2(largest))), 1.0)
        for start in range(0, len(table), BLOCK):
            square += share[start : start + BLOCK] @ np.square((table[start : start + BLOCK] - mean) / unit)
        deviation = np.sqrt(square) * unit
        # The deviation of equal numbers is not always 0, since their mean is rounded; their range is.
        counted = table if weights.all() else table[weights > 0]
        half_range = counted.max(0).astype(np.float64) / 2 - counted.min(0).astype(np.float64) / 2
        constant = ~(half_range > CONSTANT / 2 * np.finfo(np.float64).eps * largest)
        mean[constant] = counted[0, constant]  # exactly, so that no rounding errors remain
        return cls(mean, np.where(constant, 1.0, deviation), constant)

    @classmethod
    def none(cls, columns: int) -> Standard:
        """The standardisation that changes nothing."""
        return cls(np.zeros(columns), np.ones(columns), np.zeros(columns, dtype=bool))

    def __call__(self, table: Array, dtype: str) -> Array:
        """The table (n, columns), standardised, as a new array of this dtype.

        Raises DataError for numbers that are too large for the dtype.
        """
        result, factor = np.empty(table.shape, dtype), 1.0 / self.scale
        with np.errstate(over="raise"):
            try:
                for start in range(0, len(table), BLOCK):
                    part = table[start : start + BLOCK] - self.mean
                    np.multiply(part, factor, out=result[start : start + BLOCK], casting="same_kind")
            except FloatingPointError:
                raise DataError(
                    f"numbers are too large for the networks, which compute in {dtype}",
                    expected=f"at most {np.finfo(dtype).max:.1e}",
                    got=f"{np.abs(table).max():.1e} in column {int(np.abs(table).max(0).argmax())}",
                    fix='standardize=True, or dtype="float64"',
                ) from None
        return result
