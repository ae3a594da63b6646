"""Plain numbers: columns of numbers as programs write them, found in all columns of a table at once.

Most numeric columns are plain, and a wide table has thousands. Only the other columns go through the slower `numbers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from lamp.tables.cells import AT_A_TIME
from lamp.tables.dates import months_like_numbers
from lamp.tables.missing import MISSING_WORDS, is_text

Numbers = np.ndarray[Any, np.dtype[Any]]

SIDE_BY_SIDE = 8  # groups of columns parsed together, for several threads
FIRST = 20  # rows that rule out most columns of anything else
ENOUGH = 1_000  # rows in which some number must prove that the point is a decimal point
OF_MONTHS = ((1, 13), (1900, 2100))  # the ranges of 03.2021 and of 2021.03 as numbers
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
    rows, found, summaries = len(frame), list[pl.Series](), dict[str, Summary]()
    for columns in _equal_groups(_likely([each for each in frame.get_columns() if is_text(each.dtype)], gaps), rows):
        names = [each.name for group in columns for each in group]
        end_to_end = [pl.concat([each.cast(pl.String).alias("") for each in group], rechunk=True) for group in columns]
        cells = pl.all().str.strip_chars()
        text = pl.DataFrame({str(k): each for k, each in enumerate(end_to_end)})
        text = text.select(pl.when(~cells.is_in(gaps)).then(cells).name.keep())
        read = text.select(pl.all().cast(pl.Float64, strict=False))

        def by_column(frame: pl.DataFrame, columns: int = len(names)) -> Numbers:
            numbers: Numbers = frame.to_numpy().T.reshape(columns, -1)  # (columns, rows)
            return numbers

        x, there = by_column(read), by_column(text.select(pl.all().is_not_null()))
        finite = np.isfinite(x)
        numeric: Numbers = np.logical_and((finite == there).all(1), finite.any(1))
        if not numeric.any():
            continue
        codes, points = (
            by_column(text.select(expression.fill_null(False))).any(1)
            for expression in (pl.all().str.contains(CODE), pl.all().str.contains(".", literal=True))
        )
        first = text if rows <= ENOUGH else text.filter(pl.Series(np.arange(len(text)) % rows < ENOUGH))
        proofs = by_column(first.select(pl.all().str.contains(POINT).fill_null(False)))
        at = np.arange(len(names)) * proofs.shape[1] + proofs.argmax(1)
        examples = pl.concat([each.alias("") for each in first.get_columns()]).gather(at).to_list()
        proven: Numbers = np.any(proofs, axis=1, keepdims=False)
        count, whole = finite.sum(1), np.all((x == np.round(x)) | ~finite, axis=1)
        low: Numbers = np.where(finite, x, np.inf).min(1)
        high: Numbers = np.where(finite, x, -np.inf).max(1)
        plain: Numbers = numeric & ~codes & (np.maximum(-low, high) < EXACT) & (proven | ~points)
        long = read.get_columns()
        for k in np.flatnonzero(plain).tolist():
            group, place = divmod(k, len(columns[0]))
            if bool(np.ravel(points)[k]) and any(low[k] >= least and high[k] < most for least, most in OF_MONTHS):
                words = text[str(group)].slice(place * rows, rows).drop_nulls()
                if months_like_numbers(words):
                    continue
            found.append(long[group].slice(place * rows, rows).alias(names[k]))
            example = examples[k] if proven[k] else ""
            summaries[names[k]] = Summary(int(count[k]), float(low[k]), float(high[k]), bool(whole[k]), example)
    return Plain(pl.DataFrame(found), summaries)


def _equal_groups(columns: Sequence[pl.Series], rows: int) -> Iterator[list[list[pl.Series]]]:
    """Columns that are parsed in one call: some groups, each of as many columns, which are read as one long column."""
    most = max(1, AT_A_TIME // max(1, rows))
    groups = [list(columns[start : start + most]) for start in range(0, len(columns), most)]
    last = [groups.pop()] if groups and len(groups[-1]) < most else []
    yield from (groups[start : start + SIDE_BY_SIDE] for start in range(0, len(groups), SIDE_BY_SIDE))
    yield from [last] if last else []


def _likely(columns: Sequence[pl.Series], gaps: Sequence[str]) -> list[pl.Series]:
    """The columns whose first rows hold only numbers and what means missing, found for all columns in one call."""
    columns = [each for each in columns if each.null_count() < len(each)]
    if not columns:
        return []
    first = [each.head(FIRST).cast(pl.String).alias("") for each in columns]
    cells = pl.concat(first).str.strip_chars()
    fits = cells.cast(pl.Float64, strict=False).is_finite().fill_null(False) | cells.is_in(gaps).fill_null(True)
    by_column = fits.to_numpy().reshape(len(columns), len(first[0]))
    return [each for each, fit in zip(columns, by_column, strict=True) if fit.all()]


def _are_whole(numbers: Numbers) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers == np.round(numbers)).all())


def summary(read: pl.Series) -> Summary:
    """The summary of a column of numbers that has at least one value."""
    there = read.to_numpy()
    there = there[~np.isnan(there)]
    return Summary(len(there), float(there.min()), float(there.max()), _are_whole(there))
