"""Plain numbers: columns of numbers as programs write them, found in all columns of a table at once.

Most numeric columns are plain, and a wide table has thousands. Only the other columns go through the slower `numbers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from lamp.tables.missing import MISSING_WORDS, is_text

AT_A_TIME = 200  # columns parsed together
FIRST = 20  # rows that rule out most columns of anything else
ENOUGH = 1_000  # rows in which some number must prove that the point is a decimal point
EXACT = 2.0**53  # float64 holds all whole numbers up to here, and not all beyond
CODE = r"^[+-]?0\d+$"  # 007 is a word
# Numbers in which the point can only be a decimal point: 0.5, 1.25, 1000.125, but not 1.020
POINT = r"^[+-]?(?:0?\.\d+|\d{4,}\.\d*|\d*\.(?:\d{1,2}|\d{4,}))(?:[eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Summary:
    """Summary of a column of plain numbers.

    rows     number of rows with a number
    low, high, whole  the range of the numbers, and whether all are whole
    example  a number that proves the decimal point, or ""
    """

    rows: int
    low: float
    high: float
    whole: bool
    example: str = ""


@dataclass(frozen=True)
class Plain:
    """The columns of a table that hold only plain numbers: their values as float64, and a summary of each."""

    numbers: pl.DataFrame = field(default_factory=pl.DataFrame)
    summaries: dict[str, Summary] = field(default_factory=dict)


def plain_numbers(frame: pl.DataFrame, missing: Sequence[str] = MISSING_WORDS) -> Plain:
    """The text columns of a table that hold only plain numbers and words that mean missing."""
    gaps = ["", *{form(word) for word in missing for form in (str, str.lower, str.upper, str.title)}]
    columns = _likely([each for each in frame.get_columns() if is_text(each.dtype)], gaps)
    tables, summaries = [], dict[str, Summary]()
    cells = pl.all().cast(pl.String).str.strip_chars()
    for start in range(0, len(columns), AT_A_TIME):
        group = pl.DataFrame(columns[start : start + AT_A_TIME])
        text = group.select(pl.when(~cells.is_in(gaps)).then(cells).name.keep())
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


def _likely(columns: Sequence[pl.Series], gaps: Sequence[str]) -> list[pl.Series]:
    """The columns whose first rows hold only numbers and what means missing, found for all columns in one call."""
    if not columns:
        return []
    first = [each.head(FIRST).cast(pl.String).alias("") for each in columns]
    cells = pl.concat(first).str.strip_chars()
    fits = cells.cast(pl.Float64, strict=False).is_finite().fill_null(False) | cells.is_in(gaps).fill_null(True)
    by_column = fits.to_numpy().reshape(len(columns), len(first[0]))
    return [each for each, fit in zip(columns, by_column, strict=True) if fit.all()]


def _row(frame: pl.DataFrame, expression: pl.Expr) -> dict[str, Any]:
    """{column: value of the expression}."""
    return frame.select(expression).row(0, named=True)


def _are_whole(numbers: np.ndarray[Any, np.dtype[Any]]) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers == np.round(numbers)).all())


def summary(read: pl.Series) -> Summary:
    """The summary of a column of numbers that has at least one value."""
    there = read.to_numpy()
    there = there[~np.isnan(there)]
    return Summary(len(there), float(there.min()), float(there.max()), _are_whole(there))
