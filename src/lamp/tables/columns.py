"""What is learned from one column of a table, and how it becomes numbers for a network.

Each class is one kind of column. It is fitted on the training rows, is kept as plain numbers and words (`to_dict`), and
turns any table's column of that name into its features, the same ones always.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from lamp.errors import DataError
from lamp.tables import parsing

Numbers = np.ndarray[Any, np.dtype[Any]]

MOST_LEVELS = 50  # words of a category that have a feature each
RAREST = 3  # rows that a word is found in at least to have one, and
RARE_SHARE = 1000  # one row in so many
FAR_OUT = 12.0  # standard deviations from the mean beyond which a column's tails are drawn in
DAY = 86_400.0  # seconds


@dataclass
class Column(ABC):
    """One column: its name, and what was learned from it.

    kind      the word for it in files and messages
    features  the names of the numbers that it becomes
    """

    name: str
    kind: ClassVar[str]

    @property
    @abstractmethod
    def features(self) -> list[str]:
        """The names of the numbers that it becomes."""

    @classmethod
    @abstractmethod
    def fit(cls, series: pl.Series, **known: Any) -> Self:
        """Learn from the training rows; `known` is what looking at the whole table has found (see Decision)."""

    @abstractmethod
    def transform(self, series: pl.Series, notes: list[str]) -> Numbers:
        """The column of any table as numbers (n, features); what there is to say about it is added to the notes.

        Raises DataError for values that this kind of column cannot have.
        """

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"name": self.name, "kind": self.kind, **{k: v for k, v in asdict(self).items() if k != "name"}}

    def _filled(self, missing: int, notes: list[str], what: str) -> None:
        if missing:
            notes.append(f"{self.name}: {missing:,} missing, of which training had none: {what}")


@dataclass
class NumberColumn(Column):
    """Numbers: gaps become the median, tails are drawn in where they are long, then mean 0 and standard deviation 1.

    z = (x - mean) / std, where x is the number, or asinh((number - centre) / width) where there is a `curve`

    indicator  whether "is missing" is a feature of its own: where training had gaps
    words      what stood in training between the numbers, and counts as missing
    decimal    "," where text has a comma for the point
    low, high  the smallest and the largest number of training
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

    @property
    def features(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.indicator else [self.name]

    @classmethod
    def fit(cls, series: pl.Series, **known: Any) -> Self:
        decimal = known.get("decimal", ".")
        read = parsing.numbers(series, decimal)
        odd = [*_unread(series, read).to_list(), *known.get("words", [])]
        there = read.drop_nulls().to_numpy()
        _refuse_infinite(series.name, there, read)
        median = float(np.median(there)) if len(there) else 0.0
        column = cls(
            name=series.name,
            median=median,
            mean=0.0,
            std=1.0,
            indicator=bool(read.null_count()),
            low=float(there.min()) if len(there) else 0.0,
            high=float(there.max()) if len(there) else 0.0,
            words=sorted(set(odd)),
            decimal=decimal,
        )
        x = read.fill_null(median).to_numpy().astype(np.float64)
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

    def transform(self, series: pl.Series, notes: list[str]) -> Numbers:
        read = parsing.numbers(series, self.decimal)
        odd = _unread(series, read)
        strange = odd.filter(~odd.is_in(self.words)) if self.words else odd
        if len(strange):
            _refuse_word(self, strange[0], series, "a number", len(strange))
        _refuse_infinite(self.name, read.drop_nulls().to_numpy(), read)
        missing = read.is_null()
        if not self.indicator:
            self._filled(int(missing.sum()), notes, f"taken for the median, {self.median:g}")
        x = read.fill_null(self.median).to_numpy().astype(np.float64)
        z = (self._curved(x) - self.mean) / self.std
        return np.stack([z, missing.to_numpy().astype(np.float64)], 1) if self.indicator else z[:, None]


@dataclass
class BooleanColumn(Column):
    """Yes or no: 1 or 0, and 0.5 where it is missing.

    indicator  whether "is missing" is a feature of its own: where training had gaps
    """

    kind: ClassVar[str] = "boolean"
    indicator: bool

    @property
    def features(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.indicator else [self.name]

    @classmethod
    def fit(cls, series: pl.Series, **known: Any) -> Self:
        return cls(series.name, bool(parsing.answers(series).null_count()))

    def transform(self, series: pl.Series, notes: list[str]) -> Numbers:
        read = parsing.answers(series)
        odd = _unread(series, read)
        if len(odd):
            _refuse_word(self, odd[0], series, "true or false, yes or no, 1 or 0", len(odd))
        missing = read.is_null()
        if not self.indicator:
            self._filled(int(missing.sum()), notes, "taken for halfway between yes and no")
        x = read.cast(pl.Float64).fill_null(0.5).to_numpy()
        return np.stack([x, missing.to_numpy().astype(np.float64)], 1) if self.indicator else x[:, None]


@dataclass
class CategoryColumn(Column):
    """Words: a feature each that is 1 where the word stands; one for all rare words; one for "is missing".

    levels   the words that have a feature of their own, the most frequent first
    rare     how many other words training had: with any, they share the feature "other", and so does a new word.
             Without, a new word is 0 everywhere
    missing  whether training had gaps
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
    def fit(cls, series: pl.Series, **known: Any) -> Self:
        text = parsing.words(series)
        counted = level_counts(text)
        levels = frequent(counted, len(text))
        return cls(series.name, levels, len(counted) - len(levels), bool(text.null_count()))

    def transform(self, series: pl.Series, notes: list[str]) -> Numbers:
        text = parsing.words(series)
        features = len(self.features)
        places = {level: k for k, level in enumerate(self.levels)}
        other = len(self.levels) if self.rare else features  # beyond the last: all zeros
        at = text.replace_strict(places, default=other, return_dtype=pl.Int64)
        missing = text.is_null()
        at = at.set(missing, features - 1 if self.missing else features)
        if not self.missing:
            self._filled(int(missing.sum()), notes, "taken for none of its words")
        out = np.zeros((len(text), features + 1), np.float32)  # (n, words) may be large
        out[np.arange(len(text)), at.to_numpy()] = 1.0
        if not self.rare:
            unknown = text.filter((at == other) & ~missing)
            if len(unknown):
                new = unknown.unique(maintain_order=True).to_list()
                shown = ", ".join(map(repr, new[:3])) + (", ..." if len(new) > 3 else "")
                notes.append(f"{self.name}: {len(unknown):,} rows with words that training had not: {shown}")
        return out[:, :features]


@dataclass
class DateColumn(Column):
    """Points in time, as days since 1970 and as sines and cosines of the time of year, week and day.

    format  how text is written, as strftime has it; None where the table's column has a type for dates
    parts   the mean and the standard deviation of each part that varies; missing ones become the mean
    """

    kind: ClassVar[str] = "date"
    format: str | None
    parts: dict[str, list[float]]
    indicator: bool

    @property
    def features(self) -> list[str]:
        return [f"{self.name}: {part}" for part in self.parts] + [f"{self.name} is missing"] * self.indicator

    @classmethod
    def fit(cls, series: pl.Series, **known: Any) -> Self:
        form = known.get("format")
        read = parsing.times(series, form)
        parts = {}
        for part, x in _parts(read.drop_nulls()).items():
            if len(x) and x.std() > 1e-6:
                parts[part] = [float(x.mean()), float(x.std())]
        return cls(series.name, form, parts, bool(read.null_count()))

    def transform(self, series: pl.Series, notes: list[str]) -> Numbers:
        read = parsing.times(series, self.format)
        odd = _unread(series, read)
        if len(odd):
            _refuse_word(self, odd[0], series, f"a date, written {self.format}" if self.format else "a date", len(odd))
        missing = read.is_null()
        if not self.indicator:
            self._filled(int(missing.sum()), notes, "taken for the mean date")
        all_parts = _parts(read.fill_null(pl.Series([0]).cast(pl.Datetime("us"))[0]))
        there = ~missing.to_numpy()
        out = [np.where(there, (all_parts[part] - mean) / std, 0.0) for part, (mean, std) in self.parts.items()]
        out += [(~there).astype(np.float64)] * self.indicator
        return np.stack(out, 1) if out else np.empty((len(read), 0))


@dataclass
class LeftOut(Column):
    """A column that is not used, and why."""

    kind: ClassVar[str] = "left out"
    why: str

    @property
    def features(self) -> list[str]:
        return []

    @classmethod
    def fit(cls, series: pl.Series, **known: Any) -> Self:
        return cls(series.name, known.get("why", ""))

    def transform(self, series: pl.Series, notes: list[str]) -> Numbers:
        return np.empty((len(series), 0))


KINDS: dict[str, type[Column]] = {
    each.kind: each for each in (NumberColumn, BooleanColumn, CategoryColumn, DateColumn, LeftOut)
}


# ---- words of a category ---------------------------------------------------------------------------------------------
def level_counts(text: pl.Series) -> list[tuple[str, int]]:
    """Each word and how often it stands, the most frequent first."""
    counted = (
        pl.DataFrame({"word": text.drop_nulls()}).group_by("word").len().sort(["len", "word"], descending=[True, False])
    )
    return list(counted.iter_rows())


def frequent(counted: list[tuple[str, int]], rows: int) -> list[str]:
    """The words that are frequent enough for a feature of their own."""
    least = max(RAREST, rows // RARE_SHARE)
    return [word for word, count in counted[:MOST_LEVELS] if count >= least]


# ---- points in time --------------------------------------------------------------------------------------------------
def _parts(read: pl.Series) -> dict[str, Numbers]:
    """Each part of some points in time, (n,)."""
    day = read.dt.truncate("1d")
    clock = (read - day).dt.total_microseconds().to_numpy() / 1e6 / DAY
    turns = {
        "year": read.dt.ordinal_day().to_numpy() / 365.25,
        "month": read.dt.day().to_numpy() / 31.0,
        "week": read.dt.weekday().to_numpy() / 7.0,
        "day": clock,
    }
    parts = {"days": read.cast(pl.Int64).to_numpy() / 1e6 / DAY}
    for name, turn in turns.items():
        parts[f"sine of {name}"] = np.sin(2 * np.pi * turn)
        parts[f"cosine of {name}"] = np.cos(2 * np.pi * turn)
    return parts


# ---- what a column cannot have ---------------------------------------------------------------------------------------
def _unread(series: pl.Series, read: pl.Series) -> pl.Series:
    """The words that stand where nothing could be read."""
    if not (parsing.is_text(series.dtype) or read.null_count() > series.null_count()):
        return pl.Series([], dtype=pl.String)
    text = parsing.words(series)
    return text.filter(read.is_null() & text.is_not_null())


def _refuse_word(column: Column, word: str, series: pl.Series, expected: str, count: int) -> None:
    row = int((parsing.words(series) == word).fill_null(False).arg_max() or 0) + 1
    raise DataError(
        f"column {column.name!r}: {word!r} in row {row:,} is no {column.kind}",
        expected=expected,
        got=f"{count:,} of {len(series):,} values that are none" if count > 1 else f"{word!r}",
        fix="correct the value, or leave it empty where it is not known",
    )


def _refuse_infinite(name: str, there: Numbers, read: pl.Series) -> None:
    if len(there) and not np.isfinite(there).all():
        rows = read.is_infinite().fill_null(False)
        first = int(rows.arg_max() or 0)
        raise DataError(
            f"column {name!r} holds infinities",
            expected="finite numbers, and nothing where a number is not known",
            got=f"{read[first]} in row {first + 1:,}; such stand in {int(rows.sum()):,} of {len(read):,} rows",
            fix="replace them, or leave the column out: --kind " + f'"{name}=drop"',
        )
