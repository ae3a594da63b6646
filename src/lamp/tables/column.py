"""The base class of all kinds of columns, and the errors for values that do not fit a column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from lamp.errors import DataError
from lamp.printable import counted
from lamp.tables import parsing
from lamp.tables.cells import Cells
from lamp.tables.missing import MISSING_WORDS

Numbers = np.ndarray[Any, np.dtype[Any]]
Unknown = Literal["gap", "error"]  # what to do with values that were not in training: take for missing, or refuse


@dataclass
class Column(ABC):
    """One column of a table: its name, and what was learned from it.

    kind           the name of this kind of column in files and messages
    features       the names of the numbers that the column becomes
    missing_words  the words that mean missing; an empty cell always does
    """

    name: str
    missing_words: list[str] = field(default_factory=lambda: list(MISSING_WORDS), kw_only=True)
    kind: ClassVar[str]

    @property
    @abstractmethod
    def features(self) -> list[str]:
        """The names of the numbers that the column becomes."""

    @classmethod
    @abstractmethod
    def fit(cls, cells: Cells, **known: Any) -> Self:
        """The column fitted to the training rows; `known` are fields found from the whole table (see Decision)."""

    @abstractmethod
    def read(self, column: pl.Series | Cells) -> pl.Series:
        """The values of a column of any table; null where one is missing or not of this kind."""

    @abstractmethod
    def transform(self, cells: Cells, notes: list[str]) -> Numbers:
        """The column of any table as numbers (n, features); remarks are added to `notes`.

        Raises DataError for values that do not fit this kind of column.
        """

    def unknown(self, cells: Cells) -> pl.Series:
        """(n,) booleans: where values cannot be encoded with what training has learned."""
        read = self.read(cells)
        if not may_be_unread(cells, read):
            return nowhere(cells)
        words, known = cells.words(self.missing_words), getattr(self, "words", [])
        odd = read.is_null() & words.is_not_null()
        return odd & ~words.is_in(known).fill_null(False) if known else odd

    def known(self, cells: Cells, unknown: Unknown, notes: list[str]) -> Cells:
        """The column with nulls in place of unknown values; with unknown="error", they raise DataError."""
        strange = self.unknown(cells)
        count = int(strange.sum())
        if not count:
            return cells
        words = cells.words(self.missing_words).filter(strange).unique(maintain_order=True).to_list()
        if unknown == "error":
            refuse_word(self, words[0], cells, "values that training has seen", count)
        listed = ", ".join(map(repr, words[:3])) + (", ..." if len(words) > 3 else "")
        notes.append(f"{self.name}: {count:,} of {len(cells):,} values are unknown and count as missing: {listed}")
        return Cells(pl.select(pl.when(~strange).then(cells.series).alias(cells.name)).to_series())

    def to_dict(self) -> dict[str, Any]:
        """The column as a dict for JSON."""
        return {"name": self.name, "kind": self.kind, **{k: v for k, v in asdict(self).items() if k != "name"}}

    def _filled(self, missing: int, notes: list[str], what: str) -> None:
        if missing:
            notes.append(f"{self.name}: {counted(missing, 'missing value')}, although training had none: {what}")


def own_missing_words(known: Mapping[str, Any]) -> dict[str, Any]:
    """The argument `missing_words` of a column, if the words are not the default ones."""
    return {"missing_words": known["missing_words"]} if "missing_words" in known else {}


# ---- values that do not fit ------------------------------------------------------------------------------------------
def may_be_unread(cells: Cells, read: pl.Series) -> bool:
    """Whether some values may be there that could not be read."""
    gaps = read.null_count()
    return gaps > 0 and (parsing.is_text(cells.dtype) or gaps > cells.series.null_count())


def nowhere(cells: Cells) -> pl.Series:
    """(n,) booleans, all False."""
    return pl.repeat(False, len(cells), eager=True)


def unread(column: Column, cells: Cells, read: pl.Series) -> pl.Series:
    """The words that could not be read and are not among the column's known words."""
    if not may_be_unread(cells, read):
        return pl.Series([], dtype=pl.String)
    odd = cells.words(column.missing_words).filter(read.is_null()).drop_nulls()
    known = getattr(column, "words", [])
    return odd.filter(~odd.is_in(known)) if known and len(odd) else odd


def refuse_word(column: Column, word: str, cells: Cells, expected: str, count: int) -> None:
    row = int((cells.words(column.missing_words) == word).fill_null(False).arg_max() or 0) + 1
    if parsing.is_text(cells.dtype):
        word = str(cells.series[row - 1]).strip()  # as it stands in the file: 5.00, not 5
    raise DataError(
        f"column {column.name!r}: {word!r} in row {row:,} is not a {column.kind}",
        expected=expected,
        got=f"{count:,} of {len(cells):,} values that are not" if count > 1 else f"{word!r}",
        fix="correct the value, leave the cell empty, or take all such values for missing with --unknown gap",
    )


def refuse_infinite(name: str, there: Numbers, read: pl.Series) -> None:
    if len(there) and not np.isfinite(there).all():
        rows = read.is_infinite().fill_null(False)
        first = int(rows.arg_max() or 0)
        raise DataError(
            f"column {name!r} has infinite values",
            expected="finite numbers, and empty cells where a number is unknown",
            got=f"{read[first]} in row {first + 1:,}; infinite in {int(rows.sum()):,} of {len(read):,} rows",
            fix="replace them, or leave the column out: --kind " + f'"{name}=drop"',
        )
