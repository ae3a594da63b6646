"""The kinds of columns: what is learned from each, and how it becomes numbers for a network.

Each class is one kind of column. It is fitted on the training rows, saved as plain numbers and words (`to_dict`), and
turns the column of that name in any table into the same features. Several columns of one kind are the rows of an array,
so a formula stands once, however many columns there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from lamp.printable import counted
from lamp.tables import parsing, remarks
from lamp.tables.cells import Cells, Counted, rows_of
from lamp.tables.column import (
    Column,
    Numbers,
    own_missing_words,
    refuse_infinite,
    refuse_too_large,
    refuse_words,
    unread,
    with_indicators,
    words_at,
)
from lamp.tables.date_column import DateColumn
from lamp.tables.decimal_marks import decimal_mark
from lamp.tables.missing import MISSING_WORDS
from lamp.tables.numbers import NumberForm, parts_of

__all__ = ["KINDS", "BooleanColumn", "CategoryColumn", "DateColumn", "LeftOut", "NumberColumn", "frequent"]

MOST_LEVELS = 50  # words of a category that have a feature of their own
RAREST = 3  # rows in which such a word must occur at least,
RARE_SHARE = 1000  # and at least in one of this many rows
OTHER, GAP = -1, -2  # in the place of a word's index: a word that is no level, and a missing one
TIMES_BEYOND = 10.0  # widths of training's range beyond it, from which a number is told
FAR_OUT = 12.0  # standard deviations from the mean beyond which a column's tails are compressed by asinh


@dataclass
class NumberColumn(Column):
    """Numbers, standardised to mean 0 and standard deviation 1; missing ones become the median.

    z = (x - mean) / std, where x is the number, or asinh((number - centre) / width) if there is a `curve`, which
    compresses long tails

    indicator  whether "is missing" is a further feature; it is if training had missing values
    words      the words found among the numbers in training, which count as missing
    decimal, unit, zeros, scales  how the text writes numbers: see NumberForm
    without    whether training had numbers without the unit
    unscaled   whether training had numbers without a k, M or the like
    open       whether training did not show which mark is the decimal one, so that 1,020 is ambiguous
    grouped    whether some numbers in training had thousands separators
    thousandths  whether some may have had three decimals, such as 1.125. Older folders do not say so
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
    unscaled: bool = True
    open: bool = False
    grouped: bool = False
    thousandths: bool = True

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
    def fit(cls, cells: Sequence[Cells], known: Sequence[Mapping[str, Any]]) -> list[Self]:
        columns = [cls._unfitted(each.name, given) for each, given in zip(cells, known, strict=True)]
        x = cls._read(columns, cells)  # (c, n)
        gaps = np.isnan(x)
        for column, each, row, gap, given in zip(columns, cells, x, gaps, known, strict=True):
            odd = unread(column, each, gap)
            found = words_at(column, each, odd).to_list() if odd.any() else []
            column.words = sorted({*found, *given.get("words", [])})
            if np.isinf(row).any():
                refuse_infinite(
                    column.name, row, "replace them, or leave the column out: --kind " + f'"{column.name}=drop"'
                )
        low, median, high = _low_middle_high(x)
        x = np.where(gaps, median, x)
        with np.errstate(over="ignore"):
            mean, std = _mean_and_std(x)
        for k in np.flatnonzero(~np.isfinite(std)).tolist():
            refuse_too_large(columns[k].name, float(np.abs(x[k]).max()))
        far = np.flatnonzero(np.abs((x - mean) / std).max(1) > FAR_OUT)
        curves: list[dict[str, float] | None] = [None] * len(columns)
        if len(far):
            some = x[far]
            first, third = np.quantile(some, [0.25, 0.75], axis=1)
            for k, row, width in zip(far.tolist(), some, (third - first).tolist(), strict=True):
                centre = float(median[k, 0])
                curves[k] = {"centre": centre, "width": width or float(np.abs(row - centre).mean()) or 1.0}
            mean[far], std[far] = _mean_and_std(_curved(some, [curves[k] for k in far.tolist()]))
        learned = (median, mean, std, low, high, gaps.any(1, keepdims=True))
        for column, curve, numbers in zip(columns, curves, np.hstack(learned).tolist(), strict=True):
            column.median, column.mean, column.std, column.low, column.high = numbers[:-1]
            column.indicator, column.curve = bool(numbers[-1]), curve
        return columns

    @classmethod
    def _unfitted(cls, name: str, known: Mapping[str, Any]) -> Self:
        about_form = ("decimal", "unit", "zeros", "scales", "without", "unscaled", "open", "grouped", "thousandths")
        form = {key: known[key] for key in about_form if key in known}
        return cls(name, 0.0, 0.0, 1.0, False, 0.0, 0.0, **form, **own_missing_words(known))

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return parsing.numbers(column, self.form, self.missing_words)

    @staticmethod
    def _read(columns: Sequence[NumberColumn], cells: Sequence[Cells]) -> Numbers:
        """(c, n) the numbers of these columns; NaN where one is missing or not a number."""
        return parsing.numbers_of_all(cells, [each.form for each in columns], [each.missing_words for each in columns])

    def unknown(self, cells: Cells) -> Numbers:
        infinite: Numbers = np.isinf(self.read(cells).to_numpy())
        return super().unknown(cells) | infinite

    @classmethod
    def transform(cls, columns: Sequence[Self], cells: Sequence[Cells], notes: Sequence[list[str]]) -> Numbers:
        x = cls._read(columns, cells)  # (c, n)
        gaps = np.isnan(x)
        infinite = np.any(np.isinf(x), axis=1, keepdims=False).tolist()
        for column, each, row, gap, far, said in zip(columns, cells, x, gaps, infinite, notes, strict=True):
            odd = unread(column, each, gap)
            if odd.any():
                refuse_words(column, each, odd, column.form.described)
            column._remark(each, row, said)
            if far:
                refuse_infinite(
                    column.name, row, "correct them, leave the cells empty, or take them for missing with --unknown gap"
                )
            if not column.indicator:
                column._filled(int(gap.sum()), said, f"replaced by the median, {column.median:g}")
        median, mean, std = np.array([(each.median, each.mean, each.std) for each in columns]).T[:, :, None]
        z = (_curved(np.where(gaps, median, x), [each.curve for each in columns]) - mean) / std
        return with_indicators([z], gaps, [each.indicator for each in columns])

    def _without_unit(self, cells: Cells, there: int) -> int:
        """How many of a column's `there` numbers have no unit."""
        if cells.dtype == pl.Time or isinstance(cells.dtype, pl.Duration):
            return 0
        if not parsing.is_text(cells.dtype):
            return there
        parts = cells.read(parts_of, self.decimal)
        bare = self.form.fits(parts) & (parts.unit == "") & ~cells.missing(self.missing_words)
        return int(cells.count[bare].sum())

    def _remark(self, cells: Cells, x: Numbers, notes: list[str]) -> None:
        """Add remarks on ambiguous text of a form that did not occur in training; x (n,) are the numbers."""
        width = TIMES_BEYOND * (self.high - self.low)
        beyond = (x < self.low - width) | (x > self.high + width)
        if width > 0 and beyond.any():
            far, example = counted(int(beyond.sum()), "number"), f"such as {x[beyond][0]:g}"
            notes.append(f"{self.name}: {far} far from training's {self.low:g} to {self.high:g}, {example}")
        elif self.scales and not self.unscaled:
            outside = ((x < self.low) | (x > self.high)) & (x != 0)
            if parsing.is_text(cells.dtype):
                outside &= ~cells.rows(cells.read(parts_of, self.decimal).scaled, False)
            if outside.any():
                bare = int(outside.sum())
                are = "is" if bare == 1 else "are"
                notes.append(
                    f"{self.name}: {counted(bare, 'value')} without a k, M or the like {are} read as they stand, such "
                    f"as {x[outside][0]:g}; training had them from {self.low:g} to {self.high:g}"
                )
        bare = self._without_unit(cells, int((~np.isnan(x)).sum())) if self.unit and not self.without else 0
        if bare:
            are = "is" if bare == 1 else "are"
            notes.append(f"{self.name}: {counted(bare, 'value')} without {self.unit} {are} read as in {self.unit}")
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
    def fit(cls, cells: Sequence[Cells], known: Sequence[Mapping[str, Any]]) -> list[Self]:
        columns = [cls(each.name, False, **own_missing_words(given)) for each, given in zip(cells, known, strict=True)]
        for column, each in zip(columns, cells, strict=True):
            column.indicator = column.read(each).null_count() > 0
        return columns

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return parsing.answers(column, self.missing_words)

    @classmethod
    def transform(cls, columns: Sequence[Self], cells: Sequence[Cells], notes: Sequence[list[str]]) -> Numbers:
        x = parsing.answers_of_all(cells, [each.missing_words for each in columns])  # (c, n)
        gaps = np.isnan(x)
        for column, each, gap, said in zip(columns, cells, gaps, notes, strict=True):
            odd = unread(column, each, gap)
            if odd.any():
                refuse_words(column, each, odd, "true or false, yes or no, 1 or 0")
            if not column.indicator:
                column._filled(int(gap.sum()), said, "replaced by 0.5, halfway between yes and no")
        return with_indicators([np.where(gaps, 0.5, x)], gaps, [each.indicator for each in columns])


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
    def fit(cls, cells: Sequence[Cells], known: Sequence[Mapping[str, Any]]) -> list[Self]:
        return [cls._fitted(each, own_missing_words(given)) for each, given in zip(cells, known, strict=True)]

    @classmethod
    def _fitted(cls, cells: Cells, words: Mapping[str, Any]) -> Self:
        counted, there = cells.counted(*words.values()), cells.there(*words.values())
        levels, _ = frequent(counted, len(cells))
        return cls(cells.name, levels, len(counted.words) - len(levels), there < len(cells), **words)

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return parsing.words(column, self.missing_words)

    def unknown(self, cells: Cells) -> Numbers:
        if self.rare:  # a word without a feature may have been a rare word in training
            return np.zeros(len(cells), bool)
        strange: Numbers = cells.looked_up(self.levels, self.missing_words, OTHER, GAP) == OTHER
        return strange

    @classmethod
    def transform(cls, columns: Sequence[Self], cells: Sequence[Cells], notes: Sequence[list[str]]) -> Numbers:
        found = [
            each.indices(column.levels, column.missing_words, OTHER, GAP)
            for column, each in zip(columns, cells, strict=True)
        ]
        at = rows_of(cells, found, GAP)  # (c, n)
        for column, each, row, said in zip(columns, cells, at, notes, strict=True):
            column._remark(each, row, said)
        ends = np.cumsum([len(each.features) for each in columns])
        nowhere = int(ends[-1])  # a further feature, which is dropped: there a word is 0 in every feature of its column
        starts = ends - [len(each.features) for each in columns]
        others = [
            start + len(each.levels) if each.rare else nowhere for each, start in zip(columns, starts, strict=True)
        ]
        gaps = [end - 1 if each.missing else nowhere for each, end in zip(columns, ends, strict=True)]
        levels = at + starts[:, None]
        places = np.where(at == OTHER, np.array(others)[:, None], np.where(at == GAP, np.array(gaps)[:, None], levels))
        out = np.zeros((nowhere + 1, at.shape[1]), np.float32)  # (words, n) may be large
        out[places, np.arange(at.shape[1])] = 1.0
        return out[:nowhere]

    def _remark(self, cells: Cells, at: Numbers, notes: list[str]) -> None:
        """Add remarks on missing values and new words, if training had none; `at` (n,) are the indices of the words."""
        if not self.missing:
            self._filled(int((at == GAP).sum()), notes, "encoded as none of its words")
        if not self.rare and (unknown := at == OTHER).any():
            new = words_at(self, cells, unknown).unique(maintain_order=True).to_list()
            what = "a word that was" if len(new) == 1 else "words that were"
            rows = counted(int(unknown.sum()), "row")
            notes.append(f"{self.name}: {rows} with {what} not in training: {remarks.some(new)}")
            notes += [f"{self.name}: {each}" for each in remarks.of_spellings(new, self.levels)]


@dataclass
class LeftOut(Column):
    """A column that is not used, and the reason why."""

    kind: ClassVar[str] = "left out"
    why: str

    @property
    def features(self) -> list[str]:
        return []

    @classmethod
    def fit(cls, cells: Sequence[Cells], known: Sequence[Mapping[str, Any]]) -> list[Self]:
        return [cls(each.name, given.get("why", "")) for each, given in zip(cells, known, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "why": self.why}

    def read(self, column: pl.Series | Cells) -> pl.Series:
        return Cells.of(column).series

    @classmethod
    def transform(cls, columns: Sequence[Self], cells: Sequence[Cells], notes: Sequence[list[str]]) -> Numbers:
        return np.empty((0, len(cells[0])))


KINDS: dict[str, type[Column]] = {
    each.kind: each for each in (NumberColumn, BooleanColumn, CategoryColumn, DateColumn, LeftOut)
}


# ---- several columns at once -----------------------------------------------------------------------------------------
def _low_middle_high(x: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The smallest number, the median and the largest number of each row of x (c, n), (c, 1) each; NaN is left out."""
    ordered = np.sort(x, 1)  # NaN comes last
    there = np.count_nonzero(~np.isnan(x), 1)[:, None]

    def at(place: Numbers) -> Numbers:
        return np.where(there > 0, np.take_along_axis(ordered, np.maximum(place, 0), 1), 0.0)

    return at(there * 0), (at((there - 1) // 2) + at(there // 2)) / 2, at(there - 1)


def _mean_and_std(x: Numbers) -> tuple[Numbers, Numbers]:
    """The mean and the standard deviation of each row of x (c, n), (c, 1) each; 1 for a constant row."""
    mean, std = x.mean(1, keepdims=True), x.std(1, keepdims=True)
    return mean, np.where(std > 1e-12 * np.maximum(1.0, np.abs(mean)), std, 1.0)


def _curved(x: Numbers, curves: Sequence[Mapping[str, float] | None]) -> Numbers:
    """Each row of x (c, n), compressed by asinh where the column has a curve."""
    at = [k for k, curve in enumerate(curves) if curve is not None]
    if at:
        centre, width = np.array([(curve["centre"], curve["width"]) for curve in curves if curve]).T[:, :, None]
        x[at] = np.arcsinh((x[at] - centre) / width)
    return x


# ---- the words of a category -----------------------------------------------------------------------------------------
def frequent(counted: Counted, rows: int) -> tuple[list[str], int]:
    """The words that are frequent enough for a feature of their own, the most frequent first, and their rows."""
    enough = counted.rows >= max(RAREST, rows // RARE_SHARE)
    found = zip(counted.rows[enough].tolist(), counted.words.filter(pl.Series(enough)).to_list(), strict=True)
    most = sorted(found, key=lambda pair: (-pair[0], pair[1]))[:MOST_LEVELS]
    return [word for _, word in most], sum(count for count, _ in most)
