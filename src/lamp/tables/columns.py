"""The kinds of columns: what is learned from each, and how it becomes numbers for a network.

Each class is one kind of column. It is fitted on the training rows, saved as plain numbers and words (`to_dict`), and
turns the column of that name in any table into the same features.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from lamp.printable import counted
from lamp.tables import dates, parsing
from lamp.tables.cells import Cells, Counted
from lamp.tables.column import Column, Numbers, nowhere, own_missing_words, refuse_infinite, refuse_word, unread
from lamp.tables.decimal_marks import decimal_mark
from lamp.tables.missing import MISSING_WORDS
from lamp.tables.numbers import NumberForm

MOST_LEVELS = 50  # words of a category that have a feature of their own
RAREST = 3  # rows in which such a word must occur at least,
RARE_SHARE = 1000  # and at least in one of this many rows
FAR_OUT = 12.0  # standard deviations from the mean beyond which a column's tails are compressed by asinh
DAY = 86_400.0  # seconds


@dataclass
class NumberColumn(Column):
    """Numbers, standardised to mean 0 and standard deviation 1; missing ones become the median.

    z = (x - mean) / std, where x is the number, or asinh((number - centre) / width) if there is a `curve`, which
    compresses long tails

    indicator  whether "is missing" is a further feature; it is if training had missing values
    words      the words found among the numbers in training, which count as missing
    decimal, unit, zeros, scales  how the text writes numbers: see NumberForm
    without    whether training had numbers without the unit
    open       whether training did not show which mark is the decimal one, so that 1,020 is ambiguous
    low, high  the smallest and the largest number in training
    """

    kind: ClassVar[str] = "number"
    median: float
    mean: float
    std: float
    indicator: bool
    low: float
    high: float
    curve: dict[str, float] | None = None
    words: list[str] = field(default_factory=list)
    decimal: str = "."
    unit: str | None = ""
    zeros: bool = False
    scales: bool = False
    without: bool = True
    open: bool = False

    @property
    def reads_plain(self) -> bool:
        """Whether the column reads plain numbers and missing values in the default way."""
        return self.decimal == "." and self.unit != "%" and self.missing_words == list(MISSING_WORDS)

    @property
    def form(self) -> NumberForm:
        """How the text writes numbers."""
        return NumberForm(self.decimal, self.unit, self.zeros, self.scales)

    @property
    def features(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.indicator else [self.name]

    @classmethod
    def fit(cls, cells: Cells, **known: Any) -> Self:
        learned = {key: known[key] for key in ("decimal", "unit", "zeros", "scales", "without", "open") if key in known}
        column = cls(cells.name, 0.0, 0.0, 1.0, False, 0.0, 0.0, **learned, **own_missing_words(known))
        read = column.read(cells)
        column.words = sorted({*unread(column, cells, read).to_list(), *known.get("words", [])})
        x = read.to_numpy()
        there = x[~np.isnan(x)]
        refuse_infinite(cells.name, there, read)
        if len(there):
            column.median, column.low, column.high = float(np.median(there)), float(there.min()), float(there.max())
        column.indicator = bool(read.null_count())
        median = column.median
        x = np.where(np.isnan(x), median, x)
        column._scale(x)
        if np.abs((x - column.mean) / column.std).max(initial=0.0) > FAR_OUT:
            low, high = np.quantile(x, [0.25, 0.75])
            column.curve = {"centre": median, "width": float(high - low) or float(np.abs(x - median).mean()) or 1.0}
            column._scale(column._curved(x))
        return column

    def _scale(self, x: Numbers) -> None:
        self.mean, self.std = float(x.mean()), float(x.std())
        if not self.std > 1e-12 * max(1.0, abs(self.mean)):
            self.std = 1.0

    def _curved(self, x: Numbers) -> Numbers:
        return x if self.curve is None else np.arcsinh((x - self.curve["centre"]) / self.curve["width"])

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return parsing.numbers(column, self.form, self.missing_words)

    def unknown(self, cells: Cells) -> pl.Series:
        return super().unknown(cells) | self.read(cells).is_infinite().fill_null(False)

    def transform(self, cells: Cells, notes: list[str]) -> Numbers:
        read = self.read(cells)
        strange = unread(self, cells, read)
        if len(strange):
            refuse_word(self, strange[0], cells, self.form.described, len(strange))
        self._remark(cells, read, notes)
        x = read.to_numpy()
        missing = np.isnan(x)
        refuse_infinite(self.name, x[~missing], read)
        if not self.indicator:
            self._filled(read.null_count(), notes, f"replaced by the median, {self.median:g}")
        z = (self._curved(np.where(missing, self.median, x)) - self.mean) / self.std
        return np.stack([z, missing.astype(np.float64)], 1) if self.indicator else z[:, None]

    def _remark(self, cells: Cells, read: pl.Series, notes: list[str]) -> None:
        """Add remarks on ambiguous text of a form that did not occur in training."""
        if self.unit and not self.without:
            bare = read.count() - int(
                cells.series.str.contains(self.unit, literal=True).sum() if cells.dtype == pl.String else 0
            )
            if bare:
                notes.append(f"{self.name}: {counted(bare, 'value')} without {self.unit} read as in {self.unit}")
        if self.open and cells.dtype == pl.String:
            found = decimal_mark(cells)
            if found.doubtful:
                value = parsing.numbers(pl.Series([found.example]), self.form)[0]
                notes.append(f"{self.name}: {found.example!r} is read as {value:g}; training had no number like it")


@dataclass
class BooleanColumn(Column):
    """Yes or no as 1 or 0; a missing value is 0.5.

    indicator  whether "is missing" is a further feature; it is if training had missing values
    """

    kind: ClassVar[str] = "boolean"
    indicator: bool

    @property
    def features(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.indicator else [self.name]

    @classmethod
    def fit(cls, cells: Cells, **known: Any) -> Self:
        column = cls(cells.name, False, **own_missing_words(known))
        column.indicator = bool(column.read(cells).null_count())
        return column

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return parsing.answers(column, self.missing_words)

    def transform(self, cells: Cells, notes: list[str]) -> Numbers:
        read = self.read(cells)
        odd = unread(self, cells, read)
        if len(odd):
            refuse_word(self, odd[0], cells, "true or false, yes or no, 1 or 0", len(odd))
        if not self.indicator:
            self._filled(read.null_count(), notes, "replaced by 0.5, halfway between yes and no")
        x = read.cast(pl.Float64).to_numpy()
        missing = np.isnan(x)
        x = np.where(missing, 0.5, x)
        return np.stack([x, missing.astype(np.float64)], 1) if self.indicator else x[:, None]


@dataclass
class CategoryColumn(Column):
    """Words, one-hot encoded: one feature per frequent word, one for all rare words, and one for "is missing".

    levels   the words that have a feature of their own, the most frequent first
    rare     the number of other words in training. If there were any, they share the feature "is another" with all new
             words; if there were none, a new word is 0 in every feature
    missing  whether training had missing values
    """

    kind: ClassVar[str] = "category"
    levels: list[str]
    rare: int
    missing: bool

    @property
    def features(self) -> list[str]:
        others = ["is another"] * bool(self.rare) + ["is missing"] * self.missing
        return [f"{self.name} = {level}" for level in self.levels] + [f"{self.name} {other}" for other in others]

    @classmethod
    def fit(cls, cells: Cells, **known: Any) -> Self:
        words = own_missing_words(known)
        counted, there = cells.counted(*words.values()), cells.there(*words.values())
        levels, _ = frequent(counted, len(cells))
        return cls(cells.name, levels, len(counted.words) - len(levels), there < len(cells), **words)

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return parsing.words(column, self.missing_words)

    def unknown(self, cells: Cells) -> pl.Series:
        if self.rare:
            return nowhere(cells)  # a word without a feature may have been a rare word in training
        text = self.read(cells)
        return text.is_not_null() & ~text.is_in(self.levels).fill_null(False)

    def transform(self, cells: Cells, notes: list[str]) -> Numbers:
        features = len(self.features)
        other = len(self.levels) if self.rare else features  # beyond the last: all zeros
        gap = features - 1 if self.missing else features + 1
        at = cells.looked_up(self.levels, self.missing_words, other, gap)
        if not self.missing:
            self._filled(int((at == gap).sum()), notes, "encoded as none of its words")
        out = np.zeros((len(at), features + 2), np.float32)  # (n, words) may be large
        out[np.arange(len(at)), at] = 1.0
        if not self.rare and (unknown := at == other).any():
            new = self.read(cells).filter(pl.Series(unknown)).unique(maintain_order=True).to_list()
            shown = ", ".join(map(repr, new[:3])) + (", ..." if len(new) > 3 else "")
            notes.append(f"{self.name}: {counted(unknown.sum(), 'row')} with words that were not in training: {shown}")
        return out[:, :features]


@dataclass
class DateColumn(Column):
    """Dates and times, as days since 1970 and as sines and cosines of the time within a year, month, week and day.

    format  how the text writes the day, as in strftime; None if the table's column has a type for dates
    parts   {part: [mean, standard deviation]} of each part that varies; missing values become the mean
    words   the words found among the dates in training, which count as missing
    """

    kind: ClassVar[str] = "date"
    format: str | None
    parts: dict[str, list[float]]
    indicator: bool
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.format is not None:  # older files have the time of day in it
            self.format = re.split("[T ]%H", self.format)[0]

    @property
    def features(self) -> list[str]:
        return [f"{self.name}: {part}" for part in self.parts] + [f"{self.name} is missing"] * self.indicator

    @classmethod
    def fit(cls, cells: Cells, **known: Any) -> Self:
        column = cls(cells.name, known.get("format"), {}, False, known.get("words", []), **own_missing_words(known))
        read = column.read(cells)
        at = read.to_numpy()
        for part, x in _parts(at[~np.isnat(at)]).items():
            if len(x) and (std := float(x.std())) > 1e-6:
                column.parts[part] = [float(x.mean()), std]
        column.indicator = bool(read.null_count())
        return column

    def read(self, column: pl.Series | Cells) -> pl.Series:
        dtype = column.dtype
        if (dtype == pl.Time) != (self.format == dates.TIME_ALONE) and parsing.is_time(dtype):
            return pl.repeat(None, len(column), dtype=pl.Datetime("us"), eager=True)
        return parsing.times(column, self.format, self.missing_words)

    def transform(self, cells: Cells, notes: list[str]) -> Numbers:
        read = self.read(cells)
        odd = unread(self, cells, read)
        if len(odd):
            refuse_word(self, odd[0], cells, dates.expected(self.format), len(odd))
        if not self.indicator:
            self._filled(read.null_count(), notes, "replaced by the mean date")
        self._remark_on_clocks(read, notes)
        at = read.to_numpy()
        there = ~np.isnat(at)
        all_parts = _parts(np.where(there, at, np.datetime64(0, "us")))
        out = [np.where(there, (all_parts[part] - mean) / std, 0.0) for part, (mean, std) in self.parts.items()]
        out += [(~there).astype(np.float64)] * self.indicator
        return np.stack(out, 1) if out else np.empty((len(read), 0))

    def _remark_on_clocks(self, read: pl.Series, notes: list[str]) -> None:
        """Add a remark if these dates have a time of day and training's had none, or the other way round."""
        if self.format == dates.TIME_ALONE or not read.count():
            return
        with_clock = int((read != read.dt.truncate("1d")).sum())
        if with_clock and "sine of day" not in self.parts:
            notes.append(
                f"{self.name}: a time of day in {counted(with_clock, 'row')} is not used; training had only days"
            )
        elif not with_clock and "sine of day" in self.parts:
            notes.append(f"{self.name}: no row has a time of day, which training had; midnight is taken")


@dataclass
class LeftOut(Column):
    """A column that is not used, and the reason why."""

    kind: ClassVar[str] = "left out"
    why: str

    @property
    def features(self) -> list[str]:
        return []

    @classmethod
    def fit(cls, cells: Cells, **known: Any) -> Self:
        return cls(cells.name, known.get("why", ""))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "why": self.why}

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return Cells.of(column).series

    def transform(self, cells: Cells, notes: list[str]) -> Numbers:
        return np.empty((len(cells), 0))


KINDS: dict[str, type[Column]] = {
    each.kind: each for each in (NumberColumn, BooleanColumn, CategoryColumn, DateColumn, LeftOut)
}


# ---- the words of a category -----------------------------------------------------------------------------------------
def frequent(counted: Counted, rows: int) -> tuple[list[str], int]:
    """The words that are frequent enough for a feature of their own, the most frequent first, and their rows."""
    enough = counted.rows >= max(RAREST, rows // RARE_SHARE)
    found = zip(counted.rows[enough].tolist(), counted.words.filter(pl.Series(enough)).to_list(), strict=True)
    most = sorted(found, key=lambda pair: (-pair[0], pair[1]))[:MOST_LEVELS]
    return [word for _, word in most], sum(count for count, _ in most)


# ---- points in time --------------------------------------------------------------------------------------------------
def _parts(at: Numbers) -> dict[str, Numbers]:
    """{part: (n,) numbers} for points in time, datetime64[us]."""
    day, month, year = (at.astype(f"datetime64[{unit}]") for unit in "DMY")
    turns = {
        "year": ((day - year).astype(np.int64) + 1) / 365.25,
        "month": ((day - month).astype(np.int64) + 1) / 31.0,
        "week": ((day.astype(np.int64) + 3) % 7 + 1) / 7.0,  # 1970-01-01 was a Thursday
        "day": (at - day).astype(np.int64) / 1e6 / DAY,
    }
    parts = {"days": at.astype(np.int64) / 1e6 / DAY}
    for name, turn in turns.items():
        parts[f"sine of {name}"] = np.sin(2 * np.pi * turn)
        parts[f"cosine of {name}"] = np.cos(2 * np.pi * turn)
    return parts
