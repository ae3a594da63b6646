"""The column to be predicted: classes, or a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError
from lamp.tables import parsing
from lamp.tables.kinds import listed

Task = Literal["classification", "regression"]
TASKS = ("classification", "regression")

MOST_NUMBERED_CLASSES = 20  # different whole numbers that are taken for classes
ROWS_A_CLASS = 3  # where there are at least so many rows for each
MOST_CLASSES = 1000


@dataclass
class Target:
    """What is predicted.

    task       "classification" or "regression"
    classes    the words of the classes, in the order of the network's outputs
    mean, std  of a number: the network predicts (number - mean) / std
    decimal    "," where text has a comma for the point
    """

    name: str
    task: Task
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    decimal: str = "."

    @property
    def is_classes(self) -> bool:
        return self.task == "classification"

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return len(self.classes) if self.is_classes else 1

    def encode(self, series: pl.Series) -> Tensor:
        """The column as class indices (n,) int64, or as numbers (n,) float64, not scaled.

        Raises DataError for a class that is not known, or text that is no number.
        """
        if not self.is_classes:
            return torch.from_numpy(_as_numbers(series, self.decimal).to_numpy().copy())
        text = parsing.words(series)
        places = {word: k for k, word in enumerate(self.classes)}
        at = text.replace_strict(places, default=-1, return_dtype=pl.Int64)
        unknown = text.filter(at == -1)
        if len(unknown):
            new = unknown.unique(maintain_order=True).to_list()
            raise DataError(
                f"the target {self.name!r} has classes that are not known",
                expected=listed(self.classes),
                got=f"{listed([str(each) for each in new], 5)} in {len(unknown):,} of {len(text):,} rows",
                fix="leave these rows out, or train with them",
            )
        return torch.from_numpy(at.to_numpy().copy())

    def scaled(self, numbers: Tensor) -> Tensor:
        """Numbers (n,) as the network predicts them, (n, 1) float32."""
        return ((numbers - self.mean) / self.std).float().unsqueeze(1)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        told: dict[str, Any] = {"name": self.name, "task": self.task}
        if self.is_classes:
            return told | {"classes": list(self.classes)}
        return told | {"mean": self.mean, "std": self.std, "decimal": self.decimal}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Target:
        """The target back from `to_dict`."""
        return cls(**{**told, "classes": tuple(told.get("classes", ()))})


def find(frame: pl.DataFrame, name: str) -> pl.Series:
    """The target's column. Raises ArgumentError where it is not there, with the name that may have been meant."""
    if name in frame.columns:
        return frame[name]
    close = get_close_matches(name, frame.columns, 1) or [
        each for each in frame.columns if each.lower() == name.lower()
    ]
    without_names = all(_is_float(each) for each in frame.columns)
    raise ArgumentError(
        f"the table has no column {name!r} to predict",
        expected=listed(frame.columns),
        got=name,
        fix=f"did you mean --target {close[0]!r}?"
        if close
        else "the file's first line must name the columns"
        if without_names
        else "name one of these",
    )


def there(column: pl.Series) -> pl.Series:
    """Where a target is not missing."""
    if parsing.is_text(column.dtype):
        return parsing.words(column).is_not_null()
    return column.is_not_null() & ~column.is_nan().fill_null(False) if column.dtype.is_float() else column.is_not_null()


def decide(series: pl.Series, task: str | None = None) -> Target:
    """What a column (without missing values) is to be predicted as: its task, unless one is given, and its classes.

    Text, booleans, and whole numbers of which there are few are classes; other numbers are numbers.

    Raises DataError for a column that cannot be predicted: one value only, too many classes, no numbers, infinities.
    """
    if task not in (None, *TASKS):
        raise ArgumentError("unknown task", expected=" or ".join(TASKS), got=task, fix="name one of these")
    found = task or _task(series)
    if found == "classification":
        return Target(series.name, "classification", _classes(series, chosen=task is not None))
    decimal = parsing.decimal_mark(series) if parsing.is_text(series.dtype) else "."
    numbers = _as_numbers(series, decimal)
    if numbers.n_unique() < 2:
        raise _one_value(series.name, numbers[0])
    return Target(series.name, "regression", decimal=decimal)


def _task(series: pl.Series) -> Task:
    dtype = series.dtype
    if dtype == pl.Boolean:
        return "classification"
    if parsing.is_text(dtype):
        there = parsing.words(series)
        read = parsing.numbers(there, parsing.decimal_mark(there))
        if read.null_count():
            return "classification"
        series = read
    if not parsing.is_number(series.dtype):
        raise DataError(
            f"the target {series.name!r} is of a type that cannot be predicted",
            expected="numbers, words or booleans",
            got=dtype,
            fix="name another column, or write it as a number or a word",
        )
    numbers = parsing.numbers(series)
    different = numbers.n_unique()
    whole = bool((numbers == numbers.round()).all())
    few = different <= MOST_NUMBERED_CLASSES and different * ROWS_A_CLASS <= len(numbers)
    return "classification" if whole and few else "regression"


def _classes(series: pl.Series, chosen: bool) -> tuple[str, ...]:
    text = parsing.words(series)
    found = text.unique().to_list()
    if len(found) == 1:
        raise _one_value(series.name, found[0])
    if len(found) > MOST_CLASSES or len(found) > len(text) / 2:
        raise DataError(
            f"the target {series.name!r} has too many classes",
            expected=f"at most {MOST_CLASSES:,}, and two rows of each on average",
            got=f"{len(found):,} different values in {len(text):,} rows",
            fix="--task regression, if they are numbers"
            if chosen and series.dtype.is_numeric()
            else "name another column",
        )
    if all(_is_float(word) for word in found):
        return tuple(sorted(found, key=float))
    return tuple(sorted(found))


def _as_numbers(series: pl.Series, decimal: str) -> pl.Series:
    numbers = parsing.numbers(series, decimal)
    wrong = numbers.is_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"the target {series.name!r} is to be a number",
            expected="numbers",
            got=f"{series[row]!r}; such stand in {int(wrong.sum()):,} of {len(series):,} rows",
            fix="--task classification, or correct the values",
        )
    infinite = numbers.is_infinite()
    if infinite.any():
        raise DataError(
            f"the target {series.name!r} holds infinities",
            expected="finite numbers",
            got=f"{int(infinite.sum()):,} of {len(series):,} values",
            fix="correct them, or leave these rows out",
        )
    return numbers


def _one_value(name: str, value: object) -> DataError:
    return DataError(
        f"the target {name!r} has one value only: there is nothing to learn",
        expected="at least two classes, or numbers that vary",
        got=repr(value),
        fix="name another column, or take rows with other values too",
    )


def _is_float(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def shares(labels: Tensor, classes: Sequence[str]) -> dict[str, int]:
    """How many rows each class has."""
    counts = np.bincount(labels.numpy(), minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}
