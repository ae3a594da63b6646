"""Columns of numbers as programs write them, found for all columns of a table at once.

Most columns are such, and a wide table has thousands: what people write (`numbers`) is looked for in the others alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from lamp.tables.missing import MISSING_WORDS, is_text

AT_A_TIME = 200  # columns
ENOUGH = 1_000  # rows in which a number must show that its point parts decimals
EXACT = 2.0**53  # whole numbers beyond are not all float64s
CODE = r"^[+-]?0\d+$"  # 007 is a word
# What only a point can part decimals in: 0.5, 1.25, 1000.125, but not 1.020
POINT = r"^[+-]?(?:0?\.\d+|\d{4,}\.\d*|\d*\.(?:\d{1,2}|\d{4,}))(?:[eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Summary:
    """What there is to know of a column of plain numbers.

    rows     how many are there
    low, high, whole  their range, and whether all are whole
    example  one that shows the decimal point; "" where none has one
    """

    rows: int
    low: float
    high: float
    whole: bool
    example: str = ""


@dataclass(frozen=True)
class Plain:
    """The columns of a table that hold plain numbers and nothing else: as float64, and a summary of each."""

    numbers: pl.DataFrame = field(default_factory=pl.DataFrame)
    summaries: dict[str, Summary] = field(default_factory=dict)


def plain_numbers(frame: pl.DataFrame, missing: Sequence[str] = MISSING_WORDS) -> Plain:
    """The columns of text that hold plain numbers, and words that mean missing."""
    names = [name for name, dtype in frame.schema.items() if is_text(dtype)]
    gaps = ["", *{form(word) for word in missing for form in (str, str.lower, str.upper, str.title)}]
    tables, summaries = [], dict[str, Summary]()
    cells = pl.all().cast(pl.String).str.strip_chars()
    for start in range(0, len(names), AT_A_TIME):
        text = frame.select(names[start : start + AT_A_TIME]).select(
            pl.when(~cells.is_in(gaps)).then(cells).name.keep()
        )
        read = text.select(pl.all().cast(pl.Float64, strict=False))
        rows, finite = _row(text, pl.all().count()), _row(read, pl.all().is_finite().sum())
        numeric = [name for name in text.columns if rows[name] == finite[name] > 0]
        if not numeric:
            continue
        text, read = text.select(numeric), read.select(numeric)
        low, high = _row(read, pl.all().min()), _row(read, pl.all().max())
        whole, codes = _row(read, (pl.all() == pl.all().round()).all()), _row(text, pl.all().str.contains(CODE).any())
        points = _row(text, pl.all().str.contains(".", literal=True).any())
        shown = pl.when(pl.all().str.contains(POINT)).then(pl.all())
        examples = _row(text.head(ENOUGH), shown.drop_nulls().first().name.keep())
        plain = [
            name
            for name in numeric
            if not codes[name] and max(-low[name], high[name]) < EXACT and (examples[name] or not points[name])
        ]
        tables.append(read.select(plain))
        summaries |= {n: Summary(rows[n], low[n], high[n], whole[n], examples[n] or "") for n in plain}
    return Plain(pl.concat(tables, how="horizontal") if summaries else pl.DataFrame(), summaries)


def _row(frame: pl.DataFrame, expression: pl.Expr) -> dict[str, Any]:
    """What an expression gives for each column."""
    return frame.select(expression).row(0, named=True)


def summary(read: pl.Series) -> Summary:
    """That of any numbers, some of which are there."""
    finite = read.filter(read.is_finite())
    low, high = (float(each) for each in (read.min(), read.max()))  # type: ignore[arg-type]
    return Summary(read.count(), low, high, len(finite) == read.count() and bool((finite == finite.round()).all()))
