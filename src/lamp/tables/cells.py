"""The cells of a column, each different one read once.

Most columns repeat their values, and most of what is done with a cell depends on its text alone. So a column is kept as
its different texts, the number of rows that hold each, and the text of each row. What reads texts (`Cells.read`) is
called once for many columns: on a wide table, thousands of short calls of polars would take longer than their work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, TypeVar, cast

import numpy as np
import polars as pl

from lamp.tables.missing import FREQUENT, LEAST_ROWS, MISSING_WORDS, WHOLE, as_text, canonical, is_missing, is_text

AT_A_TIME = 200_000  # cells of columns that are read together
FIRST = 200  # rows that are looked at first

Array = np.ndarray[Any, np.dtype[Any]]
Read = TypeVar("Read", pl.Series, pl.DataFrame)
Made = TypeVar("Made")


class Cells:
    """The cells of one column.

    series  the column as the table has it
    text    (m,) its different texts (see `as_text`), in the order in which they first occur; empty cells have none
    count   (m,) the number of rows that hold each
    at      (n,) the place of each row's text in `text`; null for empty cells
    """

    def __init__(self, series: pl.Series, together: _Together | None = None, place: int = 0) -> None:
        self.series, self.name, self.dtype = series, series.name, series.dtype
        self._together, self._place = together or _Together([series]), place
        self._kept: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def of(cls, column: pl.Series | Cells) -> Cells:
        """The cells of a column; the same object if they are cells already."""
        return column if isinstance(column, Cells) else cls(column)

    def __len__(self) -> int:
        return len(self.series)

    @cached_property
    def text(self) -> pl.Series:
        return self._together.text[self._span]

    @cached_property
    def count(self) -> Array:
        return self._together.count[self._span]

    @cached_property
    def at(self) -> pl.Series:
        return pl.Series(self.places).set(pl.Series(self.places < 0), None)

    @cached_property
    def places(self) -> Array:
        """(n,) the same as `at`, with -1 for empty cells."""
        return self._together.places(self._place)

    @cached_property
    def _span(self) -> slice:
        return self._together.spans[self._place]

    def read(self, reader: Callable[..., Read], *options: Any, alone: bool = False) -> Read:
        """What `reader` returns for the different texts, one row for each.

        reader   a function of a series of texts and these options, which looks at one text at a time
        alone    whether to read this column alone, as few columns are of this kind
        """
        return self.once(
            (reader, *options),
            lambda: reader(self.text, *options) if alone else self._together.read(reader, *options)[self._span],
        )

    def once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` returned when it was first called with this key."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("Made", self._kept[key])

    def rows(self, values: pl.Series) -> pl.Series:
        """(n,) values, given one for each different text; null for empty cells."""
        return values.gather(self.at).alias(self.name)

    @cached_property
    def first(self) -> list[str]:
        """The texts of the first rows that are not empty."""
        texts, places = self.text.head(FIRST).to_list(), self.places
        return [texts[place] for place in places[places >= 0][:FIRST]]

    # ---- words -------------------------------------------------------------------------------------------------------
    def missing(self, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
        """(m,) booleans: which texts mean missing."""
        return self.read(_means_missing, tuple(missing))

    def there(self, missing: Sequence[str] = MISSING_WORDS) -> int:
        """The number of rows that hold something."""
        return int(self.count[~self.missing(missing).to_numpy()].sum())

    @cached_property
    def _whole(self) -> pl.Series:
        return self.read(_without_decimals)

    def different_words(self, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
        """(m,) the texts as words: whole numbers without decimals, and null for what means missing."""
        gaps = self.missing(missing)
        return self._whole.set(gaps, None) if gaps.any() else self._whole

    def words(self, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
        """(n,) the cells as words; null for missing ones."""
        return self.rows(self.different_words(missing))

    def counted(self, missing: Sequence[str] = MISSING_WORDS) -> pl.DataFrame:
        """A table with the columns "word" and "count", in the order in which the words first occur."""
        return self.once(("counted", tuple(missing)), lambda: self._counted(missing))

    def _counted(self, missing: Sequence[str]) -> pl.DataFrame:
        table, gaps = pl.DataFrame({"word": self._whole, "count": self.count}), self.missing(missing)
        table = table.filter(~gaps) if gaps.any() else table
        if table["word"].n_unique() == len(table):
            return table
        return table.group_by("word", maintain_order=True).agg(pl.col("count").sum())  # 3 and 3.0

    def looked_up(self, known: Sequence[str], missing: Sequence[str], default: int) -> tuple[pl.Series, pl.Series]:
        """The words, and each one's index in `known`, or `default` for other words; missing ones are null.

        If the known words are true and false, then True, TRUE and a boolean are the same word.
        """
        different = looked_up = self.different_words(missing)
        at = {canonical(word): k for k, word in enumerate(known)}
        if {word.lower() for word in at} == {"true", "false"} and len(at) == 2:
            at, looked_up = {word.lower(): k for word, k in at.items()}, different.str.to_lowercase()
        found = [None if word is None else at.get(word, default) for word in looked_up.to_list()]
        return self.rows(different), self.rows(pl.Series(found, dtype=pl.Int64))

    def frequent_missing(self, missing: Sequence[str]) -> list[tuple[str, int]]:
        """The words that mean missing but are frequent enough to be values: (word, number of rows)."""
        if not is_text(self.dtype):
            return []
        least, those = max(LEAST_ROWS, FREQUENT * len(self)), self.read(is_missing, tuple(missing)).to_numpy()
        counts = self.count[those]
        if counts.sum() < least:
            return []
        found = zip(self.text.filter(pl.Series(those)).to_list(), counts.tolist(), strict=True)
        return sorted(((word, count) for word, count in found if count >= least), key=lambda pair: -pair[1])


def cells_of(columns: Iterable[pl.Series]) -> dict[str, Cells]:
    """The cells of each column, by name; columns of text are read together."""
    groups: list[list[pl.Series]] = [[]]
    found: dict[str, Cells] = {}
    for series in columns:
        if series.dtype != pl.String:
            found[series.name] = Cells(series)
            continue
        if groups[-1] and (1 + len(groups[-1])) * len(series) > AT_A_TIME:
            groups.append([])
        groups[-1].append(series)
    for group in groups:
        together = _Together(group)
        found |= {series.name: Cells(series, together, place) for place, series in enumerate(group)}
    return found


class _Together:
    """Columns that are read together: their different texts, one column after the other."""

    def __init__(self, columns: Sequence[pl.Series]) -> None:
        self._columns = columns
        self._ends = [0, *accumulate(map(len, columns))]
        self._read: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def _different(self) -> pl.DataFrame:
        """A row per column and different text: `column`, `text`, and the `row` numbers that hold it."""
        text = as_text(pl.concat([each.rename("") for each in self._columns]))
        places = np.repeat(np.arange(len(self._columns), dtype=np.uint32), list(map(len, self._columns)))
        cells = pl.DataFrame({"column": places, "text": text}).with_row_index("row")
        return cells.filter(pl.col("text").is_not_null()).group_by("column", "text", maintain_order=True).agg("row")

    @property
    def text(self) -> pl.Series:
        return self._different["text"]

    @cached_property
    def count(self) -> Array:
        return self._different["row"].list.len().cast(pl.Int64).to_numpy()

    @cached_property
    def spans(self) -> list[slice]:
        """The place of each column's texts among all texts."""
        ends = np.searchsorted(self._different["column"].to_numpy(), np.arange(len(self._columns) + 1)).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    @cached_property
    def _at(self) -> Array:
        """(all rows,) the place of each row's text among all texts; -1 for empty cells."""
        at = np.full(self._ends[-1], -1)
        at[self._different["row"].explode(empty_as_null=False).to_numpy()] = np.repeat(
            np.arange(len(self.count)), self.count
        )
        return at

    def places(self, column: int) -> Array:
        """(rows,) the place of each row's text among those of its column; -1 for empty cells."""
        at: Array = self._at[self._ends[column] : self._ends[column + 1]]
        return np.where(at < 0, -1, at - self.spans[column].start)

    def read(self, reader: Callable[..., Any], *options: Any) -> Any:
        """What `reader` returns for all texts."""
        if (reader, *options) not in self._read:
            self._read[(reader, *options)] = reader(self.text, *options)
        return self._read[(reader, *options)]


def _without_decimals(text: pl.Series) -> pl.Series:
    """The texts, with whole numbers without decimals: 3.0 is the same word as 3."""
    return text.str.replace(WHOLE, "$1") if text.str.contains(WHOLE).any() else text


def _means_missing(text: pl.Series, missing: Sequence[str]) -> pl.Series:
    return is_missing(_without_decimals(text), missing)
