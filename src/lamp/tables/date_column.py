"""Columns of dates and times, as numbers for a network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from lamp.printable import counted
from lamp.tables import dates, parsing
from lamp.tables.cells import Cells
from lamp.tables.column import (
    Column,
    Numbers,
    own_missing_words,
    refuse_words,
    unread,
    with_indicators,
)

DAY = 86_400.0  # seconds
EPOCH = np.datetime64(0, "us")
ABSENT = (0.0, 1.0)  # mean and standard deviation of a part that a column does not have
TURNS = ("year", "month", "week", "day")
PARTS = ("days", *(f"{wave} of {turn}" for turn in TURNS for wave in ("sine", "cosine")))


@dataclass
class DateColumn(Column):
    """Dates and times, as days since 1970 and as sines and cosines of the time within a year, month, week and day.

    format  how the text writes the day, as in strftime; None if the table's column has a type for dates
    parts   {part: [mean, standard deviation]} of each part that varies; missing values become the mean
    words   the words found among the dates in training, which count as missing
    zoned   whether training's times of day named a time zone; None if only some did, or there were none
    """

    kind: ClassVar[str] = "date"
    format: str | None
    parts: dict[str, list[float]]
    indicator: bool
    words: list[str] = field(default_factory=list)
    zoned: bool | None = None

    def __post_init__(self) -> None:
        if self.format is not None:  # older files have the time of day in it
            self.format = re.split("[T ]%H", self.format)[0]

    @property
    def features(self) -> list[str]:
        return [f"{self.name}: {part}" for part in PARTS if part in self.parts] + [
            f"{self.name} is missing"
        ] * self.indicator

    @classmethod
    def fit(cls, cells: Sequence[Cells], known: Sequence[Mapping[str, Any]]) -> list[Self]:
        columns = [cls._unfitted(each.name, given) for each, given in zip(cells, known, strict=True)]
        at = _read_all(columns, cells)  # (c, n)
        gaps = np.isnat(at)
        full = np.flatnonzero(~gaps.any(1))
        cls._fit_parts([columns[k] for k in full], at[full])
        for k in np.flatnonzero(gaps.any(1)):
            cls._fit_parts([columns[k]], at[k : k + 1, ~gaps[k]])
            columns[k].indicator = True
        return columns

    @classmethod
    def _unfitted(cls, name: str, known: Mapping[str, Any]) -> Self:
        learned = {key: known[key] for key in ("words", "zoned") if key in known}
        return cls(name, known.get("format"), {}, False, **learned, **own_missing_words(known))

    @staticmethod
    def _fit_parts(columns: Sequence[DateColumn], at: Numbers) -> None:
        """Learn the parts that vary from points in time (c, n), none of which is missing."""
        for part, x in _parts(at).items() if at.size else ():
            for column, mean, std in zip(columns, x.mean(1).tolist(), x.std(1).tolist(), strict=True):
                if std > 1e-6:
                    column.parts[part] = [mean, std]

    def read(self, column: pl.Series | Cells) -> pl.Series:
        if not self._takes(column.dtype):
            return pl.repeat(None, len(column), dtype=pl.Datetime("us"), eager=True)
        return parsing.times(column, self.format, self.missing_words)

    def _takes(self, dtype: pl.DataType) -> bool:
        """Whether values of this type may be read: not times of day in place of dates, nor dates in place of these."""
        return (dtype == pl.Time) == (self.format == dates.TIME_ALONE) or not parsing.is_time(dtype)

    @classmethod
    def transform(cls, columns: Sequence[Self], cells: Sequence[Cells], notes: Sequence[list[str]]) -> Numbers:
        at = _read_all(columns, cells)  # (c, n)
        gaps = np.isnat(at)
        with_clock = (at != at.astype("datetime64[D]")) & ~gaps
        for column, each, gap, clock, said in zip(columns, cells, gaps, with_clock, notes, strict=True):
            odd = unread(column, each, gap)
            if odd.any():
                refuse_words(column, each, odd, dates.expected(column.format))
            missing = int(gap.sum())
            if not column.indicator:
                column._filled(missing, said, "replaced by the mean date")
            column._remark_on_clocks(int(clock.sum()), len(gap) - missing, said)
            column._remark_on_zones(each, said)
        parts = [
            np.where(gaps, 0.0, (x - mean) / std)
            for part, x in _parts(np.where(gaps, EPOCH, at)).items()
            for mean, std in [np.array([each.parts.get(part, ABSENT) for each in columns]).T[:, :, None]]
        ]
        kept = [[part in each.parts for part in PARTS] for each in columns]
        return with_indicators(parts, gaps, [each.indicator for each in columns], kept)

    def _remark_on_clocks(self, with_clock: int, there: int, notes: list[str]) -> None:
        """Add a remark if these dates have a time of day and training's had none, or the other way round."""
        if self.format == dates.TIME_ALONE or not there:
            return
        if with_clock and "sine of day" not in self.parts:
            notes.append(
                f"{self.name}: a time of day in {counted(with_clock, 'row')} is not used; training had only days"
            )
        elif not with_clock and "sine of day" in self.parts:
            notes.append(f"{self.name}: no row has a time of day, which training had; midnight is taken")

    def _remark_on_zones(self, cells: Cells, notes: list[str]) -> None:
        """Add a remark if times of day name a time zone and training's did not, or the other way round."""
        if self.zoned is None:
            return
        named, others = dates.zones(cells, self.format, self.missing_words)
        if self.zoned and others:
            are = "is" if others == 1 else "are"
            notes.append(
                f"{self.name}: {counted(others, 'time')} without a time zone {are} read as UTC; training's named theirs"
            )
        elif not self.zoned and named:
            are = "is" if named == 1 else "are"
            notes.append(
                f"{self.name}: {counted(named, 'time')} with a time zone {are} read in UTC; training's named none"
            )


def zoned(cells: Cells, form: str | None, missing: Sequence[str]) -> tuple[dict[str, bool], str]:
    """The field `zoned` of a DateColumn, if its times of day tell, and a remark where only some name a time zone."""
    named, others = dates.zones(cells, form, missing)
    if named and others:
        verb = "names" if named == 1 else "name"
        said = f"{named:,} of {named + others:,} times {verb} a time zone and count in UTC"
        return {}, f"{said}; the others are read as they stand"
    return ({"zoned": bool(named)} if named or others else {}), ""


def _read_all(columns: Sequence[DateColumn], cells: Sequence[Cells]) -> Numbers:
    """(c, n) the points in time, datetime64[us]; NaT where one is missing or a cell holds something else."""
    missing = [each.missing_words for each in columns]
    read = parsing.times_of_all(cells, [each.format for each in columns], missing)
    for k, (column, each) in enumerate(zip(columns, cells, strict=True)):
        if not column._takes(each.dtype):
            read[k] = dates.NEVER
    return read


# ---- points in time --------------------------------------------------------------------------------------------------
def _parts(at: Numbers) -> dict[str, Numbers]:
    """{part: (c, n) numbers}, in the order of PARTS, for points in time (c, n), datetime64[us]."""
    day = at.astype("datetime64[D]")
    number = day.astype(np.int64)
    first, last = (number.min(), number.max()) if at.size else (0, 0)
    parts = {"days": at.astype(np.int64) / 1e6 / DAY}
    if last - first < at.size:  # most tables have fewer days than cells
        of_days = _waves(_turns(np.arange(first, last + 1).astype("datetime64[D]")))
        parts |= {name: wave[number - first] for name, wave in of_days.items()}
    else:
        parts |= _waves(_turns(day))
    return parts | _waves({"day": (at - day).astype(np.int64) / 1e6 / DAY})


def _turns(day: Numbers) -> dict[str, Numbers]:
    """The share of the year, the month and the week that has passed by the end of each day, datetime64[D]."""
    month, year = (day.astype(f"datetime64[{unit}]") for unit in "MY")
    return {
        "year": ((day - year).astype(np.int64) + 1) / 365.25,
        "month": ((day - month).astype(np.int64) + 1) / 31.0,
        "week": ((day.astype(np.int64) + 3) % 7 + 1) / 7.0,  # 1970-01-01 was a Thursday
    }


def _waves(turns: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """The sine and the cosine of each of these turns, of which 1 is a whole one."""
    waves = (("sine", np.sin), ("cosine", np.cos))
    return {f"{name} of {turn}": wave(2 * np.pi * x) for turn, x in turns.items() for name, wave in waves}
