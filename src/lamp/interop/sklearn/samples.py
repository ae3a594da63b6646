"""Rows of a table and what they count: weights, equal rows, standardised columns, and rows held out for validation."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from lamp.errors import DataError

Array = NDArray[Any]

SMALL_TABLE = 256  # rows up to which equal ones are merged
BLOCK = 4096  # rows standardised at a time, so that what is in between stays in the processor's cache
CONSTANT = 10.0  # times the rounding of a column's mean: a deviation no larger is none
TINY, LARGE = np.finfo(np.float64).tiny, 1e100  # beyond LARGE, squares are taken of columns in units of their own
ALL = 1.0 - 1e-9  # of a sum of shares, but for rounding


@dataclass
class Samples:
    """Rows that a network learns from.

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
        """Whether all weigh the same."""
        return bool((self.weights == self.weights[0]).all())

    def take(self, rows: Array) -> Samples:
        """Some of the rows: their places, or a mask."""
        return Samples(self.inputs[rows], self.targets[rows], self.weights[rows])

    def counting(self) -> Samples:
        """Without the rows of weight 0. Raises DataError where none is left."""
        counts = self.weights > 0
        if counts.all():
            return self
        if not counts.any():
            raise DataError(
                "all sample weights are zero",
                expected="a row with a positive weight",
                got=f"{len(self)} rows of weight zero",
                fix="look at how sample_weight and class_weight were made",
            )
        return self.take(counts)

    def merged(self, seed: int) -> Samples:
        """In a small table: equal rows as one, with the sum of their weights, in an order that their contents give.

        The gradient is the same, and a network then learns the same, to the bit, from a row of weight 2 as from a row
        that comes twice, and from any order of rows.
        """
        if len(self) > SMALL_TABLE:
            return self
        numbers = np.column_stack([self.inputs.astype(np.float64), self.targets.astype(np.float64)])
        _, first, group = np.unique(numbers, axis=0, return_index=True, return_inverse=True)
        weights = np.bincount(group.reshape(-1), self.weights)
        order = np.argsort(self.keys(seed)[first], kind="stable")
        return Samples(self.inputs[first[order]], self.targets[first[order]], weights[order])

    def keys(self, seed: int) -> NDArray[np.uint64]:
        """A number for each row that depends on its contents and the seed alone, (n,).

        The bits of a row's numbers, each times an odd number of its column's own, are added up, and mixed (SplitMix64's
        last steps: Steele et al. 2014).
        """
        key = np.zeros(len(self), dtype=np.uint64)
        drawn = np.random.RandomState(seed)
        for table in (self.inputs, self.targets.reshape(len(self), -1)):
            factors = drawn.randint(0, 2**63, size=table.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            for start in range(0, len(table), BLOCK):
                part = np.add(table[start : start + BLOCK], 0.0, dtype=np.float64)  # one zero, where there were two
                key[start : start + BLOCK] += (part.view(np.uint64) * factors).sum(1, dtype=np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
        return key ^ (key >> np.uint64(31))

    def split(self, fraction: float, seed: int, by_class: bool) -> tuple[Samples, Samples]:
        """The rows to learn from, and those held out: this share of the weight, of each class where there are classes.

        Which rows those are depends on their contents and the seed: equal rows stay together, so that what is held out
        is not learned from. Each class keeps a row to learn from. Raises DataError where none can be held out.
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


def dense(table: Any) -> Array:
    """A table as an array: a sparse one is filled with its zeros."""
    return np.asarray(table.toarray() if hasattr(table, "toarray") else table)


def checked_weights(sample_weight: Any, rows: int) -> Array:
    """Weights of samples as float64 (n,), all 1 where there are none. Raises DataError for what is none."""
    if sample_weight is None:
        return np.ones(rows)
    if isinstance(sample_weight, numbers.Real):
        return np.full(rows, float(sample_weight))
    weights = check_array(
        sample_weight, ensure_2d=False, allow_nd=True, dtype=np.float64, order="C", input_name="sample_weight"
    )
    if weights.shape != (rows,) or (weights < 0).any():
        raise DataError(
            "sample_weight is what each sample counts",
            expected=f"numbers of at least 0, of shape ({rows},)",
            got=f"shape {weights.shape}" if weights.shape != (rows,) else f"{weights.min()} among them",
            fix="give each sample one weight",
        )
    return np.asarray(weights)


def _groups(labels: Array | None, rows: int) -> Iterator[Array]:
    """The places of each class's rows; of all rows where there are no classes."""
    if labels is None:
        yield np.arange(rows)
        return
    order = np.argsort(labels, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


@dataclass(frozen=True)
class Standard:
    """Columns brought to mean 0 and deviation 1: x -> (x - mean) / scale, each (columns,) float64.

    constant  which columns have one value only, or nothing but rounding; their scale is 1
    """

    mean: Array
    scale: Array
    constant: Array

    @classmethod
    def of(cls, table: Array, weights: Array) -> Standard:
        """By the weighted mean and deviation of a table (n, columns)."""
        share = weights / weights.sum()
        mean, square = np.zeros(table.shape[1]), np.zeros(table.shape[1])
        for start in range(0, len(table), BLOCK):
            mean += share[start : start + BLOCK] @ table[start : start + BLOCK].astype(np.float64, copy=False)
        largest = np.maximum(np.abs(table).max(0).astype(np.float64), TINY)  # whose square may be beyond all numbers
        unit = np.where((largest > LARGE) | (largest < 1.0 / LARGE), np.exp2(np.floor(np.log2(largest))), 1.0)
        for start in range(0, len(table), BLOCK):
            square += share[start : start + BLOCK] @ np.square((table[start : start + BLOCK] - mean) / unit)
        deviation = np.sqrt(square) * unit
        constant = ~(deviation > CONSTANT * np.finfo(np.float64).eps * np.abs(mean))
        mean[constant] = table[0, constant]  # exactly: what is left over of such a column would be rounding alone
        return cls(mean, np.where(constant, 1.0, deviation), constant)

    @classmethod
    def none(cls, columns: int) -> Standard:
        """Columns as they are."""
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
                    f"numbers too large for the networks, which compute in {dtype}",
                    expected=f"at most {np.finfo(dtype).max:.1e}",
                    got=f"{np.abs(table).max():.1e} in column {int(np.abs(table).max(0).argmax())}",
                    fix='standardize=True, or dtype="float64"',
                ) from None
        return result
