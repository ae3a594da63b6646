"""The base class of all kinds of columns, and the errors for values that do not fit a column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Literal, NoReturn, Self

import numpy as np
import polars as pl

from lamp.errors import DataError
from lamp.printable import counted
from lamp.tables import parsing, remarks
from lamp.tables.cells import Cells
from lamp.tables.missing import MISSING_WORDS

MOST = 0.5  # share of a column's values up to which those that do not fit may be taken for missing

Numbers = np.ndarray[Any, np.dtype[Any]]
Unknown = Literal["gap", "error"]  # what to do with values that were not in training: take for missing, or refuse


@dataclass
class Column(ABC):
    """One column of a table: its name, and what was learned from it.

    kind           the name of this kind of column in files and messages
    features       the names of the numbers that the column becomes
    missing_words  the words that mean missing; an empty cell always does

    Columns of one kind are fitted and transformed together, since on a wide table thousands of short calls would take
    longer than their work. A single column is the case of one.
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
    def fit(cls, cells: Sequence[Cells], known: Sequence[Mapping[str, Any]]) -> list[Self]:
        """The columns fitted to the training rows; `known` are fields found from the whole table (see Decision)."""

    @classmethod
    @abstractmethod
    def transform(cls, columns: Sequence[Self], cells: Sequence[Cells], notes: Sequence[list[str]]) -> Numbers:
        """These columns of any table as numbers (features of all of them, n); remarks on each go into its `notes`.

        Raises DataError for values that do not fit this kind of column.
        """

    @abstractmethod
    def read(self, column: pl.Series | Cells) -> pl.Series:
        """The values of a column of any table; null where one is missing or not of this kind."""

    def unknown(self, cells: Cells) -> Numbers:
        """(n,) booleans: where values cannot be encoded with what training has learned."""
        return unread(self, cells, self.read(cells).is_null().to_numpy())

    def known(self, cells: Cells, unknown: Unknown, notes: list[str]) -> Cells:
        """The column with nulls in place of unknown values; with unknown="error", they raise DataError."""
        strange = self.unknown(cells)
        count = int(strange.sum())
        if not count:
            return cells
        if unknown == "error":
            refuse_words(self, cells, strange, "values that training has seen")
        words = words_at(self, cells, strange).unique(maintain_order=True).to_list()
        notes.append(f"{self.name}: {remarks.of_gaps(count, len(cells), 'known', 'known', words)}")
        notes += [f"{self.name}: {each}" for each in remarks.of_spellings(words, getattr(self, "levels", ()))]
        return cells.without(strange)

    def to_dict(self) -> dict[str, Any]:
        """The column as a dict for JSON, without the fields that have their default value."""
        values, defaults = vars(self), _defaults(type(self))
        changed = {name: each for name, each in values.items() if name not in defaults or each != defaults[name]}
        return {"name": self.name, "kind": self.kind, **changed}

    def _filled(self, missing: int, notes: list[str], what: str) -> None:
        if missing:
            notes.append(f"{self.name}: {counted(missing, 'missing value')}, although training had none: {what}")


@cache
def _defaults(kind: type[Column]) -> dict[str, Any]:
    """The default values of a kind's fields."""
    made = {each.name: each.default_factory() for each in fields(kind) if each.default_factory is not MISSING}
    return made | {each.name: each.default for each in fields(kind) if each.default is not MISSING}


def own_missing_words(known: Mapping[str, Any]) -> dict[str, Any]:
    """The argument `missing_words` of a column, if the words are not the default ones."""
    return {"missing_words": known["missing_words"]} if "missing_words" in known else {}


def with_indicators(
    parts: Sequence[Numbers], gaps: Numbers, indicators: Sequence[bool], kept: Sequence[Sequence[bool]] | bool = True
) -> Numbers:
    """Features and indicators of columns of one kind, column by column (features of all of them, n).

    parts       arrays (c, n): a feature of each column
    gaps        (c, n) booleans: where values are missing
    indicators  which columns have "is missing" as a further feature
    kept        (c, parts) booleans: which of the features a column has
    """
    which = np.ones((len(gaps), len(parts) + 1), bool)
    which[:, :-1], which[:, -1] = kept, indicators
    every: Numbers = np.stack([*parts, gaps], 1)  # (c, parts + 1, n)
    return every[which]


def check_type(column: Column, dtype: pl.DataType) -> None:
    """Raise DataError for values of a type that no cell of a table has, such as lists, or that do not fit the kind."""
    span = isinstance(dtype, pl.Duration)
    if not (dtype.is_nested() or dtype in (pl.Binary, pl.Object) or (span and column.kind != "number")):
        return
    raise DataError(
        f"column {column.name!r} holds values of another type",
        expected=f"values such as training had, which are of the kind {column.kind!r}",
        got=f"durations ({dtype})" if span else f"values of type {dtype}",
        fix="pass one number, word, boolean or date per row",
    )


# ---- values that do not fit ------------------------------------------------------------------------------------------
def unread(column: Column, cells: Cells, gaps: Numbers) -> Numbers:
    """(n,) booleans: where a cell holds something that could not be read and is not among the column's known words.

    gaps  (n,) booleans: where nothing was read
    """
    if int(gaps.sum()) <= cells.series.null_count():
        return np.zeros(len(cells), bool)
    odd, known = ~cells.missing(column.missing_words), getattr(column, "words", [])
    if known and odd.any():
        odd &= ~cells.among(known, column.missing_words)
    return gaps & cells.rows(odd, False)


def words_at(column: Column, cells: Cells, rows: Numbers) -> pl.Series:
    """The words of a column in some rows; `rows` are booleans (n,)."""
    return cells.words(column.missing_words).filter(pl.Series(rows))


def refuse_words(column: Column, cells: Cells, odd: Numbers, expected: str) -> NoReturn:
    """Raise the DataError for values that do not fit; `odd` are booleans (n,), of which some are True."""
    row, count = int(odd.argmax()), int(odd.sum())
    text = parsing.is_text(cells.dtype)  # as it stands in the file: 5.00, not 5
    word = str(cells.series[row]).strip() if text else words_at(column, cells, odd)[0]
    few = count == 1 or count <= MOST * cells.there(column.missing_words)
    raise DataError(
        f"column {column.name!r}: {word!r} in row {row + 1:,} "
        + ("was not in training" if column.kind == "category" else f"is not a {column.kind}"),
        expected=expected,
        got=f"{count:,} of {len(cells):,} values that are not" if count > 1 else f"{word!r}",
        fix="correct the value, leave the cell empty, or take all such values for missing with --unknown gap"
        if few
        else "write the values as training had them: most of the column does not fit",
    )


def refuse_infinite(name: str, numbers: Numbers, fix: str) -> NoReturn:
    """Raise the DataError for a column with infinite numbers (n,)."""
    rows = np.isinf(numbers)
    first = int(rows.argmax())
    raise DataError(
        f"column {name!r} has infinite values",
        expected="finite numbers, and empty cells where a number is unknown",
        got=f"{numbers[first]} in row {first + 1:,}; infinite in {int(rows.sum()):,} of {len(numbers):,} rows",
        fix=fix,
    )


def refuse_too_large(name: str, largest: float) -> NoReturn:
    """Raise the DataError for a column whose standard deviation is beyond float64."""
    raise DataError(
        f"column {name!r} has numbers too large to be standardised",
        expected="numbers below about 1e150",
        got=f"{largest:g}",
        fix=f"correct them; or, if they mean missing: --missing {name}={largest:g}",
    )
