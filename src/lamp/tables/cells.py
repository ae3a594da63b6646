"""The cells of a column, each different one read once.

Most columns repeat their values, and most of what is done with a cell depends on its text alone. So a column is kept as
its different texts, the number of rows that hold each, and the text of each row. What reads texts (`Cells.read`) is
called once for many columns: on a wide table, thousands of short calls of polars would take longer than their work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import polars as pl

from lamp.tables.missing import (
    FREQUENT,
    LEAST_ROWS,
    MISSING_WORDS,
    as_text,
    canonical,
    has_decimals,
    is_missing,
    is_text,
    without_decimals,
)

AT_A_TIME = 200_000  # cells of columns that are read together

Array = np.ndarray[Any, np.dtype[Any]]
Made = TypeVar("Made")


class Counted(NamedTuple):
    """The different words of a column, and the number of rows that hold each."""

    words: pl.Series
    rows: Array


class Cells:
    """The cells of one column.

    series  the column as the table has it
    text    (m,) its different texts (see `as_text`), in the order in which they first occur; empty cells have none
    count   (m,) the number of rows that hold each
    places  (n,) the place of each row's text in `text`; -1 for empty cells
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
        return cast("pl.Series", _part(self._together.text, self._span))

    @cached_property
    def count(self) -> Array:
        return self._together.count[self._span]

    @cached_property
    def places(self) -> Array:
        return self._together.places(self._place)

    @cached_property
    def _span(self) -> slice:
        return self._together.spans[self._place]

    def read(self, reader: Callable[..., Made], *options: Any, alone: bool = False) -> Made:
        """What `reader` returns for the different texts, one row for each.

        reader   a function of a series of texts and these options, which looks at one text at a time. It returns a
                 series, or anything else of which a slice can be taken
        alone    whether to read this column alone, as few columns are of this kind; see also `read_together`
        """
        return self.once(
            (reader, *options),
            lambda: reader(self.text, *options) if alone else _part(self._together.read(reader, *options), self._span),
        )

    def once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` returned when it was first called with this key."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("Made", self._kept[key])

    def has_read(self, reader: Callable[..., Any], *options: Any) -> bool:
        """Whether `read` knows already what this reader returns."""
        return (reader, *options) in self._kept

    def keep(self, key: tuple[Any, ...], made: Any) -> None:
        """Let `once` return this for a key."""
        self._kept[key] = made

    def rows(self, values: Array, empty: Any) -> Array:
        """(n,) values, given one for each different text; `empty` for empty cells."""
        return np.append(values, np.asarray(empty, values.dtype))[self.places]  # -1 is the last

    def first(self, count: int) -> list[str]:
        """The texts of the first rows that are not empty, at most `count` of them."""
        return self.once(("first", count), lambda: self._first(count))

    def _first(self, count: int) -> list[str]:
        texts, places = self.text.head(count).to_list(), self.places
        if (places[:count] >= 0).all():
            return [texts[place] for place in places[:count].tolist()]
        return [texts[place] for place in places[places >= 0][:count].tolist()]

    def without(self, rows: Array) -> Cells:
        """The cells with empty ones in some rows; `rows` are booleans (n,)."""
        return Cells(pl.select(pl.when(~pl.Series(rows)).then(self.series).alias(self.name)).to_series())

    # ---- words -------------------------------------------------------------------------------------------------------
    def missing(self, missing: Sequence[str] = MISSING_WORDS) -> Array:
        """(m,) booleans: which texts mean missing."""
        return self.read(_means_missing, tuple(missing))

    def there(self, missing: Sequence[str] = MISSING_WORDS) -> int:
        """The number of rows that hold something."""
        return int(self.count[~self.missing(missing)].sum())

    def different_words(self, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
        """(m,) the texts as words: whole numbers without decimals, and null for what means missing."""
        gaps, words = self.missing(missing), self.read(without_decimals)
        return words.set(pl.Series(gaps), None) if gaps.any() else words

    def listed_words(self, missing: Sequence[str] = MISSING_WORDS) -> list[str | None]:
        """The same as a list, with None for what means missing."""
        gaps, words = self.missing(missing), self.read(_listed_words)
        if not gaps.any():
            return words
        return [None if gap else word for word, gap in zip(words, gaps.tolist(), strict=True)]

    def among(self, known: Sequence[str], missing: Sequence[str] = MISSING_WORDS) -> Array:
        """(m,) booleans: which texts are words that are known."""
        found, key = set(known), ("among", tuple(known), tuple(missing))
        return self.once(key, lambda: np.array([word in found for word in self.listed_words(missing)], bool))

    def words(self, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
        """(n,) the cells as words; null for missing ones."""
        at = pl.Series(self.places).set(pl.Series(self.places < 0), None)
        return self.different_words(missing).gather(at).alias(self.name)

    def counted(self, missing: Sequence[str] = MISSING_WORDS) -> Counted:
        """The different words, in the order in which they first occur, without those that mean missing."""
        return self.once(("counted", tuple(missing)), lambda: self._counted(missing))

    def _counted(self, missing: Sequence[str]) -> Counted:
        words, count, gaps = self.read(without_decimals), self.count, self.missing(missing)
        if gaps.any():
            words, count = words.filter(pl.Series(~gaps)), count[~gaps]
        if not self.read(has_decimals).any():
            return Counted(words, count)
        rows: dict[str, int] = {}
        for word, here in zip(words.to_list(), count.tolist(), strict=True):  # 3 and 3.0
            rows[word] = rows.get(word, 0) + here
        return Counted(pl.Series(list(rows), dtype=pl.String), np.array(list(rows.values()), np.int64))

    def frequent_first(self, which: Array, missing: Sequence[str]) -> tuple[list[str], list[str]]:
        """Some of the texts, and the same as words, those of the most rows first; `which` are booleans (m,)."""
        if not which.any():
            return [], []
        texts, words = self.text.filter(pl.Series(which)).to_list(), self.listed_words(missing)
        found = zip(self.count[which].tolist(), np.flatnonzero(which).tolist(), texts, strict=True)
        ordered = sorted((-rows, words[place] or "", text) for rows, place, text in found)
        return [text for _, _, text in ordered], [word for _, word, _ in ordered]

    def looked_up(self, known: Sequence[str], missing: Sequence[str], other: int = -1, gap: int = -2) -> Array:
        """(n,) the index in `known` of each row's word: `other` for other words, and `gap` for missing ones.

        If the known words are true and false, then True, TRUE and a boolean are the same word.
        """
        return self.rows(self.indices(known, missing, other, gap), gap)

    def indices(self, known: Sequence[str], missing: Sequence[str], other: int = -1, gap: int = -2) -> Array:
        """(m,) the same for each different text."""
        words = self.listed_words(missing)
        at = {canonical(word): k for k, word in enumerate(known)}
        if len(at) == 2 and {word.lower() for word in at} == {"true", "false"}:
            at = {word.lower(): k for word, k in at.items()}
            words = [word and word.lower() for word in words]
        return np.array([gap if word is None else at.get(word, other) for word in words], np.int64)

    def frequent_missing(self, missing: Sequence[str]) -> list[tuple[str, int]]:
        """The words that mean missing but are frequent enough to be values: (word, number of rows)."""
        if not is_text(self.dtype):
            return []
        least, those = max(LEAST_ROWS, FREQUENT * len(self)), self.read(_is_missing, tuple(missing))
        counts = self.count[those]
        if counts.sum() < least:
            return []
        found = zip(self.text.filter(pl.Series(those)).to_list(), counts.tolist(), strict=True)
        return sorted(((word, count) for word, count in found if count >= least), key=lambda pair: -pair[1])


def cells_of(columns: Iterable[pl.Series]) -> dict[str, Cells]:
    """The cells of each column, by name; columns of text are read together."""
    texts, found = [], dict[str, Cells]()
    for series in columns:
        if series.dtype == pl.String:
            texts.append(series)
        else:
            found[series.name] = Cells(series)
    for group in _groups(texts):
        together = _Together(group)
        found |= {series.name: Cells(series, together, place) for place, series in enumerate(group)}
    return found


def read_together(columns: Sequence[Cells], reader: Callable[..., Any], *options: Any) -> None:
    """Read the texts of these columns at once, so that `Cells.read` with this reader finds its part."""
    columns = [each for each in columns if not each.has_read(reader, *options)]
    for group in _groups([each.text for each in columns]):
        read, ends = reader(pl.concat(group), *options), accumulate(map(len, group), initial=0)
        several, columns = columns[: len(group)], columns[len(group) :]
        for each, (start, end) in zip(several, pairwise(ends), strict=True):
            each.keep((reader, *options), _part(read, slice(start, end)))


def rows_of(columns: Sequence[Cells], values: Sequence[Array], empty: Any) -> Array:
    """(c, n) what `Cells.rows` returns for each column of a table, made in one call.

    values  for each column, one for each of its different texts
    """
    starts = np.array([0, *accumulate(map(len, values[:-1]))])[:, None]
    places = np.stack([each.places for each in columns])
    at = np.where(places < 0, -1, places + starts)
    joined = np.concatenate(values)
    return np.append(joined, np.asarray(empty, joined.dtype))[at]  # -1 is the last


def _part(read: Any, span: slice) -> Any:
    """A part of what was read; polars takes a slice of a series faster by its name."""
    return read.slice(span.start, span.stop - span.start) if isinstance(read, pl.Series) else read[span]


def _groups(columns: Iterable[pl.Series]) -> list[list[pl.Series]]:
    """The columns in groups of at most AT_A_TIME cells, or of a single column."""
    groups, cells = list[list[pl.Series]](), 0
    for series in columns:
        cells += len(series)
        if not groups or cells > AT_A_TIME:
            groups, cells = [*groups, []], len(series)
        groups[-1].append(series)
    return groups


class _Together:
    """Columns that are read together: their different texts, one column after the other."""

    def __init__(self, columns: Sequence[pl.Series]) -> None:
        self._columns = columns
        self._ends = [0, *accumulate(map(len, columns))]
        self._read: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def _different(self) -> pl.DataFrame:
        """A row per column and different text: `column`, `text`, and the `row` numbers that hold it."""
        text = as_text(pl.concat([each.rename("") for each in self._columns], rechunk=True))
        places = np.repeat(np.arange(len(self._columns), dtype=np.uint32), list(map(len, self._columns)))
        cells = pl.DataFrame({"column": places, "text": text}).with_row_index("row")
        return cells.filter(pl.col("text").is_not_null()).group_by("column", "text", maintain_order=True).agg("row")

    @cached_property
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
    def _places(self) -> Array:
        """(all rows,) the place of each row's text among those of its column; -1 for empty cells."""
        starts = np.repeat([span.start for span in self.spans], [span.stop - span.start for span in self.spans])
        places = np.full(self._ends[-1], -1)
        places[self._different["row"].explode(empty_as_null=False).to_numpy()] = np.repeat(
            np.arange(len(starts)) - starts, self.count
        )
        return places

    def places(self, column: int) -> Array:
        """(rows,) the place of each row's text among those of its column; -1 for empty cells."""
        return self._places[self._ends[column] : self._ends[column + 1]]

    def read(self, reader: Callable[..., Any], *options: Any) -> Any:
        """What `reader` returns for all texts."""
        if (reader, *options) not in self._read:
            self._read[(reader, *options)] = reader(self.text, *options)
        return self._read[(reader, *options)]


def _means_missing(text: pl.Series, missing: Sequence[str]) -> Array:
    return _is_missing(without_decimals(text), missing)


def _listed_words(text: pl.Series) -> list[str | None]:
    return without_decimals(text).to_list()


def _is_missing(text: pl.Series, missing: Sequence[str]) -> Array:
    return is_missing(text, missing).to_numpy()
