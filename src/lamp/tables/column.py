"""A column of a table as features: what every kind of column can do, and what it says of values it cannot have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from lamp.errors import DataError
from lamp.tables import parsing
from lamp.tables.missing import MISSING_WORDS

Numbers = np.ndarray[Any, np.dtype[Any]]
Unknown = Literal["gap", "error"]  # what becomes of values that training has not taught to read


@dataclass
class Column(ABC):
    """One column: its name, and what was learned from it.

    kind           the word for it in files and messages
    features       the names of the numbers that it becomes
    missing_words  the words that mean missing, beside the empty cell
    """

    name: str
    missing_words: list[str] = field(default_factory=lambda: list(MISSING_WORDS), kw_only=True)
    kind: ClassVar[str]

    @property
    @abstractmethod
    def features(self) -> list[str]:
        """The names of the numbers that it becomes."""

    @classmethod
    @abstractmethod
    def fit(cls, series: pl.Series, **known: Any) -> Self:
        """Learn from the training rows; `known` are fields that looking at the whole table has found (see Decision)."""

    @abstractmethod
    def read(self, series: pl.Series) -> pl.Series:
        """The values of any table's column, of this kind; null where one is missing or is none of this kind."""

    @abstractmethod
    def transform(self, series: pl.Series, notes: list[str]) -> Numbers:
        """The column of any table as numbers (n, features); what there is to say about it is added to the notes.

        Raises DataError for values that this kind of column cannot have.
        """

    def unknown(self, series: pl.Series) -> pl.Series:
        """Where the values stand that training has not taught to read: (n,) booleans."""
        return is_unread(self, series, self.read(series))

    def known(self, series: pl.Series, unknown: Unknown, notes: list[str]) -> pl.Series:
        """The column with gaps in place of values that are not known; with "error" a DataError where there are any."""
        strange = self.unknown(series)
        count = int(strange.sum())
        if not count:
            return series
        words = parsing.words(series.filter(strange), self.missing_words).unique(maintain_order=True).to_list()
        if unknown == "error":
            refuse_word(self, words[0], series, "what training has taught to read", count)
        listed = ", ".join(map(repr, words[:3])) + (", ..." if len(words) > 3 else "")
        notes.append(f"{self.name}: {count:,} of {len(series):,} values are not known and count as gaps: {listed}")
        return pl.select(pl.when(~strange).then(series).alias(series.name)).to_series()

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"name": self.name, "kind": self.kind, **{k: v for k, v in asdict(self).items() if k != "name"}}

    def _filled(self, missing: int, notes: list[str], what: str) -> None:
        if missing:
            notes.append(f"{self.name}: {missing:,} missing, of which training had none: {what}")


def own_missing_words(known: Mapping[str, Any]) -> dict[str, Any]:
    """The words that mean missing, where they are not the usual ones, as an argument of a column."""
    return {"missing_words": known["missing_words"]} if "missing_words" in known else {}


# ---- what a column cannot have ---------------------------------------------------------------------------------------
def is_unread(column: Column, series: pl.Series, read: pl.Series) -> pl.Series:
    """Where something stands that could not be read, but words that training had too: (n,) booleans."""
    if not (parsing.is_text(series.dtype) or read.null_count() > series.null_count()):
        return nowhere(series)
    words = parsing.words(series, column.missing_words)
    odd = read.is_null() & words.is_not_null()
    known = getattr(column, "words", [])
    return odd & ~words.is_in(known).fill_null(False) if known else odd


def nowhere(series: pl.Series) -> pl.Series:
    """False for each value."""
    return pl.repeat(False, len(series), eager=True)


def unread(column: Column, series: pl.Series, read: pl.Series) -> pl.Series:
    """The words that stand where nothing could be read, but those that training had too."""
    if not (parsing.is_text(series.dtype) or read.null_count() > series.null_count()):
        return pl.Series([], dtype=pl.String)
    odd = parsing.words(series.filter(read.is_null()), column.missing_words).drop_nulls()
    known = getattr(column, "words", [])
    return odd.filter(~odd.is_in(known)) if known and len(odd) else odd


def refuse_word(column: Column, word: str, series: pl.Series, expected: str, count: int) -> None:
    row = int((parsing.words(series, column.missing_words) == word).fill_null(False).arg_max() or 0) + 1
    raise DataError(
        f"column {column.name!r}: {word!r} in row {row:,} is no {column.kind}",
        expected=expected,
        got=f"{count:,} of {len(series):,} values that are none" if count > 1 else f"{word!r}",
        fix="correct the value, leave it empty where it is not known, or --unknown gap takes all such for gaps",
    )


def refuse_infinite(name: str, there: Numbers, read: pl.Series) -> None:
    if len(there) and not np.isfinite(there).all():
        rows = read.is_infinite().fill_null(False)
        first = int(rows.arg_max() or 0)
        raise DataError(
            f"column {name!r} holds infinities",
            expected="finite numbers, and nothing where a number is not known",
            got=f"{read[first]} in row {first + 1:,}; such stand in {int(rows.sum()):,} of {len(read):,} rows",
            fix="replace them, or leave the column out: --kind " + f'"{name}=drop"',
        )
