"""From a table to what a network takes: what is learned from the training rows, kept as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError, DTypeError
from lamp.tables import kinds
from lamp.tables.column import Column, Numbers, Unknown
from lamp.tables.columns import KINDS, LeftOut, NumberColumn
from lamp.tables.kinds import Decision, listed
from lamp.tables.plain import plain_numbers
from lamp.tables.reading.names import renamed

VERSION = 1
MOST_BYTES = 16 * 2**30  # of a table as numbers
UNKNOWN = ("gap", "error")
LOOKED_FOR = 5  # of the columns that are missing, so many are looked for under other names
CLOSE = 0.75  # how alike names must be for one to be taken as the other, misspelt


class Preprocessing:
    """What becomes of each column of a table.

    columns   one object a column, in the table's order: see `lamp.tables.columns`
    features  the names of the numbers they become, in the order of the network's inputs

    `Preprocessing().fit(frame)` learns from training rows; `transform(frame)` applies it to any table with these
    columns, in any order; `to_json` and `from_json` keep it as text to read.
    """

    def __init__(self, columns: Sequence[Column] = ()) -> None:
        self.columns = list(columns)

    def fit(
        self, frame: pl.DataFrame, decisions: Sequence[Decision] | None = None, *, target: str = ""
    ) -> Preprocessing:
        """Learn from these rows; `decisions` are what each column is (by default `kinds.decide`). Returns itself."""
        frame = _a_frame(frame, "fit")
        decisions = kinds.decide(frame, target) if decisions is None else decisions
        self.columns = [KINDS[each.kind].fit(frame[each.name], why=each.why, **each.known) for each in decisions]
        return self

    @property
    def features(self) -> list[str]:
        return [feature for column in self.columns for feature in column.features]

    @property
    def used(self) -> list[Column]:
        """The columns that are not left out."""
        return [column for column in self.columns if not isinstance(column, LeftOut)]

    def places(self) -> dict[str, range]:
        """Where each used column's features stand among all."""
        found, start = {}, 0
        for column in self.used:
            found[column.name] = range(start, start + len(column.features))
            start += len(column.features)
        return found

    def transform(self, frame: pl.DataFrame, notes: list[str] | None = None, unknown: Unknown | None = None) -> Tensor:
        """The table as numbers (n, features) float32.

        notes    a list that remarks are added to: gaps and words that training had not, columns that are not needed
        unknown  what becomes of words that training had not, and of values that a column cannot have (a word among
                 numbers): "gap" takes them for missing, "error" refuses both; None refuses the latter alone

        Raises DataError for columns that are missing, and for values that are refused.
        """
        if unknown not in (None, *UNKNOWN):
            raise ArgumentError(
                "unknown says what becomes of values that are not known",
                expected=" or ".join(map(repr, UNKNOWN)),
                got=repr(unknown),
                fix="name one of these, or leave it out",
            )
        notes = [] if notes is None else notes
        frame = _a_frame(frame, "transform")
        frame = renamed(frame, [column.name for column in self.used])
        self._check_columns(frame, notes)
        frame = self._with_plain_numbers(frame)
        features = len(self.features)
        if 4 * len(frame) * features > MOST_BYTES:
            raise DataError(
                "the table is too large as numbers",
                expected=f"at most {MOST_BYTES // 2**30} GiB",
                got=f"{len(frame):,} rows of {features:,} features",
                fix="take fewer rows, or leave out categories with many words: --kind NAME=drop",
            )
        table = np.empty((len(frame), features), np.float32)
        by_name = {series.name: series for series in frame.get_columns()}
        start = 0
        for column in self.used:
            numbers = _numbers(column, by_name[column.name], notes, unknown)  # (n, features of the column)
            table[:, start : start + numbers.shape[1]] = numbers
            start += numbers.shape[1]
        return torch.from_numpy(table)

    def _with_plain_numbers(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The table with numbers for text that any program would read so, for all columns at once."""
        usual = [each for each in self.used if isinstance(each, NumberColumn) and each.reads_plain]
        frame = frame.with_columns(plain_numbers(frame.select([each.name for each in usual])).numbers)
        gaps = frame.select([each.name for each in usual]).null_count().row(0, named=True) if usual else {}
        return frame.cast(dict.fromkeys([name for name, count in gaps.items() if count == len(frame)], pl.Float64))

    def _check_columns(self, frame: pl.DataFrame, notes: list[str]) -> None:
        there = set(frame.columns)
        missing = [column.name for column in self.used if column.name not in there]
        known = {column.name for column in self.columns}
        extra = [name for name in frame.columns if name not in known]
        if missing:
            small = {other.lower(): other for other in extra}
            close = {name: get_close_matches(name.lower(), small, 1, CLOSE) for name in missing[:LOOKED_FOR]}
            meant = [f"{small[found[0]]!r} to {name!r}" for name, found in close.items() if found]
            count = "a column" if len(missing) == 1 else f"{len(missing)} columns"
            raise DataError(
                f"the table lacks {count} of the training table",
                expected=listed(missing),
                got=f"{len(frame.columns)} columns: {listed(frame.columns)}",
                fix=f"rename {', '.join(meant[:3])}" if meant else "add them; leave values empty that are not known",
            )
        if extra:
            notes.append(f"not used, for training did not have them: {listed(extra)}")

    # ---- as text -----------------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "version": VERSION,
            "columns": [column.to_dict() for column in self.columns],
            "features": self.features,
        }

    def to_json(self) -> str:
        """All of it as text, for people and for `from_json`."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing back from `to_dict`. Raises DataError for anything else."""
        try:
            if told["version"] != VERSION:
                raise ValueError(f"version {told['version']}")
            columns = [_column(each) for each in told["columns"]]
            made = cls(columns)
            if made.features != told["features"]:
                raise ValueError("columns and features that do not go together")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "this is no preprocessing",
                expected=f"what Preprocessing.to_json wrote, version {VERSION}",
                got=f"{type(error).__name__}: {error}",
                fix="write it again, with this version of lamp",
            ) from None
        return made

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The preprocessing back from `to_json`. Raises DataError for anything else."""
        try:
            told = json.loads(text)
        except ValueError as error:
            raise DataError(
                "this is no preprocessing", expected="JSON", got=str(error), fix="read what to_json() wrote"
            ) from None
        return cls.from_dict(told)

    def __repr__(self) -> str:
        return f"Preprocessing({len(self.used)} of {len(self.columns)} columns, {len(self.features)} features)"


def _a_frame(frame: Any, what: str) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    kind = type(frame)
    raise DTypeError(
        f"Preprocessing.{what} takes a table",
        expected="a polars DataFrame",
        got=f"{kind.__module__.split('.')[0]}.{kind.__name__}",
        fix="polars.from_pandas(frame)"
        if kind.__module__.startswith("pandas")
        else "lamp.tables.read_table(path), or polars.DataFrame(...)",
    )


def _numbers(column: Column, series: pl.Series, notes: list[str], unknown: Unknown | None) -> Numbers:
    """A column as float32 (n, features)."""
    if unknown is not None:
        series = column.known(series, unknown, notes)
    said = len(notes)
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        numbers = column.transform(series, notes).astype(np.float32, copy=False)
    if np.isfinite(numbers).all():
        return numbers
    far = pl.Series(~np.isfinite(numbers).all(1))
    largest = float(series.filter(far).cast(pl.Float64, strict=False).abs().max() or 0)  # type: ignore[arg-type]
    if unknown == "gap":
        del notes[said:]  # they are made again
        notes.append(f"{column.name}: {int(far.sum()):,} numbers too far from those of training count as gaps")
        return _numbers(column, pl.select(pl.when(~far).then(series)).to_series(), notes, None)
    raise DataError(
        f"column {column.name!r} has numbers too far from those of training",
        expected="numbers of about the same size",
        got=f"{largest:.3g}",
        fix="correct them, or --unknown gap takes them for gaps",
    )


def _column(told: Mapping[str, Any]) -> Column:
    learned = dict(told)
    return KINDS[learned.pop("kind")](**learned)
