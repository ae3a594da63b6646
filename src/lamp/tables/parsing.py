"""A column of a table as numbers, words, answers (yes or no) or dates, whatever type it was read as.

The same text must mean the same in every table, so text is read by the form learned in training, not guessed anew.
Each function returns a polars Series in which missing values are null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from math import isnan
from typing import Any

import numpy as np
import polars as pl

from lamp.tables import dates
from lamp.tables.cells import Array, Cells, rows_of
from lamp.tables.missing import MISSING_WORDS, is_text
from lamp.tables.number_texts import parsed
from lamp.tables.numbers import NumberForm
from lamp.tables.quick_dates import as_series, days_in_digits

__all__ = [
    "all_answers",
    "answers",
    "answers_of_all",
    "days_among",
    "is_number",
    "is_text",
    "is_time",
    "numbers",
    "numbers_among",
    "numbers_of_all",
    "times",
    "times_of_all",
    "words",
]

# (words for yes, words for no) by language; a column uses one of them
ANSWERS = (
    (("true", "yes", "t", "y", "1", "on"), ("false", "no", "f", "n", "0", "off")),
    (("ja", "j", "wahr", "1"), ("nein", "nee", "nej", "nei", "n", "falsch", "0")),
    (("oui", "o", "vrai", "1"), ("non", "n", "faux", "0")),
    (("sí", "si", "s", "sim", "vero", "verdadero", "1"), ("no", "n", "não", "nao", "falso", "0")),
    (("tak", "ano", "да", "da", "1"), ("nie", "ne", "нет", "net", "0")),
    (("evet", "kyllä", "1"), ("hay\u0131r", "ei", "0")),
)


def is_number(dtype: pl.DataType) -> bool:
    """Whether values of this type are numbers: integers, floats, decimals."""
    return dtype.is_numeric()


def is_time(dtype: pl.DataType) -> bool:
    """Whether values of this type are dates (with or without a time of day) or times of day."""
    return dtype in (pl.Date, pl.Time) or isinstance(dtype, pl.Datetime)


def words(column: pl.Series | Cells, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
    """The column as words: text without surrounding blanks, whole numbers without decimals."""
    return Cells.of(column).words(missing)


def numbers(
    column: pl.Series | Cells, form: NumberForm | str = ".", missing: Sequence[str] = MISSING_WORDS
) -> pl.Series:
    """The column as float64. NaN and text that is not a number of this form (or decimal mark) become null."""
    cells = Cells.of(column)
    series = cells.series
    if isinstance(series.dtype, pl.Duration):
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if series.dtype == pl.Time:
        return series.cast(pl.Int64).cast(pl.Float64) / 1e9
    if is_text(series.dtype):
        read = _numbers_in_text(cells, NumberForm(form) if isinstance(form, str) else form)
    elif is_number(series.dtype) or series.dtype in (pl.Boolean, pl.Null):
        read = series.cast(pl.Float64)
        if series.dtype.is_float() and isnan(read.sum()):  # faster than looking for NaN in every row
            read = read.fill_nan(None)
    else:
        return pl.repeat(None, len(series), dtype=pl.Float64, eager=True).alias(series.name)
    codes = numbers_among(tuple(missing))
    return read.set(read.is_in(codes).fill_null(False), None) if codes else read


def _numbers_in_text(cells: Cells, form: NumberForm) -> pl.Series:
    return cells.once((form,), lambda: pl.Series(cells.name, form.read([cells])[0], nan_to_null=True))


def numbers_of_all(columns: Sequence[Cells], forms: Sequence[NumberForm], missing: Sequence[Sequence[str]]) -> Array:
    """(c, n) the `numbers` of many columns, each with its form and its words for missing; NaN where there is none."""

    def of_text(several: Sequence[Cells], form: NumberForm, words: tuple[str, ...]) -> Array:
        read = form.read(several)
        if codes := numbers_among(words):
            read[np.isin(read, codes)] = np.nan
        return read

    def alone(k: int) -> Array:
        read: Array = numbers(columns[k], forms[k], missing[k]).to_numpy()
        return read

    return _of_all(columns, forms, missing, of_text, alone, np.float64)


def _of_all(
    columns: Sequence[Cells],
    forms: Sequence[Any],
    missing: Sequence[Sequence[str]],
    of_text: Callable[[list[Cells], Any, tuple[str, ...]], Array],
    alone: Callable[[int], Array],
    dtype: Any,
) -> Array:
    """(c, n) the values of many columns: those of text by `of_text`, one call per form, and all others alone."""
    read = np.empty((len(columns), len(columns[0])), dtype)
    groups: dict[tuple[Any, tuple[str, ...]], list[int]] = {}
    for k, each in enumerate(columns):
        if forms[k] is not None and is_text(each.dtype):
            groups.setdefault((forms[k], tuple(missing[k])), []).append(k)
        else:
            read[k] = alone(k)
    for (form, words), some in groups.items():
        read[some] = of_text([columns[k] for k in some], form, words)
    return read


def answers(column: pl.Series | Cells, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
    """The column as booleans: true/false, yes/no, 1/0, in any case and several languages; all else becomes null."""
    cells = Cells.of(column)
    if cells.dtype == pl.Boolean:
        return cells.series
    return pl.Series(cells.name, answers_of_all([cells], [missing])[0], nan_to_null=True).cast(pl.Boolean)


def answers_of_all(columns: Sequence[Cells], missing: Sequence[Sequence[str]]) -> Array:
    """(c, n) the `answers` of many columns, each with its words for missing: 1, 0, or NaN where there is none."""

    def codes(cells: Cells, words: Sequence[str]) -> Array:
        found = meant(cells.listed_words(words))
        return np.array([np.nan if each is None else float(each) for each in found], np.float64)

    return rows_of(columns, [codes(*each) for each in zip(columns, missing, strict=True)], np.nan)


def meant(words: Sequence[str | None]) -> list[bool | None]:
    """Which of these words mean yes and which no, in the language that has the most of them; None for all else."""
    small = [word and word.lower() for word in words]
    different = set(small)
    yes, no = max(ANSWERS, key=lambda pair: len(different.intersection([*pair[0], *pair[1]])))
    return [True if word in yes else False if word in no else None for word in small]


def all_answers() -> tuple[list[str], list[str]]:
    """The words for yes and those for no, of all languages; no word is both."""
    yes, no = (dict.fromkeys(word for pair in ANSWERS for word in pair[side]) for side in (0, 1))
    return list(yes), list(no)


def times(column: pl.Series | Cells, form: str | None, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
    """The column as dates and times without a zone, in UTC where the table has a zone.

    form  how text is written; None to detect it

    Times of day are on 1970-01-01. What cannot be read becomes null.
    """
    cells = Cells.of(column)
    series = cells.series
    if isinstance(series.dtype, pl.Datetime):
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if series.dtype.time_zone else series
        read = series.cast(pl.Datetime("us"))
    elif series.dtype == pl.Date:
        read = series.cast(pl.Datetime("us"))
    elif series.dtype == pl.Time:
        read = (series.cast(pl.Int64) // 1000).cast(pl.Datetime("us"))
    elif series.dtype.is_integer() and form == dates.COMPACT:
        digits = np.nan_to_num(series.cast(pl.Int64).to_numpy()).astype(np.int64)  # 0 for null
        known = ~np.isin(digits, numbers_among(tuple(missing)))
        read = as_series(np.where(known, days_in_digits(digits), dates.NEVER), cells.name)
    elif is_text(series.dtype):
        form = form or time_format(cells)
        if form is None:
            return pl.repeat(None, len(series), dtype=pl.Datetime("us"), eager=True).alias(series.name)
        read = as_series(cells.rows(dates.days(cells, form, missing), dates.NEVER), cells.name)
    else:
        return pl.repeat(None, len(series), dtype=pl.Datetime("us"), eager=True).alias(series.name)
    days = days_among(tuple(missing))
    return read.set(read.is_in(days).fill_null(False), None) if days else read


def times_of_all(columns: Sequence[Cells], forms: Sequence[str | None], missing: Sequence[Sequence[str]]) -> Array:
    """(c, n) the `times` of many columns, each with its form and its words for missing; NaT where there is none."""

    def of_text(several: Sequence[Cells], form: str, words: tuple[str, ...]) -> Array:
        dates.read_all(several, lambda _: [form])
        read = rows_of(several, [dates.days(each, form, words) for each in several], dates.NEVER)
        if days := days_among(words):
            read[np.isin(read, np.array(days, "datetime64[us]"))] = dates.NEVER
        return read

    def alone(k: int) -> Array:
        read: Array = times(columns[k], forms[k], missing[k]).to_numpy()
        return read

    return _of_all(columns, forms, missing, of_text, alone, "datetime64[us]")


@cache
def numbers_among(missing: tuple[str, ...]) -> list[float]:
    """The numbers among the words that mean missing, such as -999."""
    return parsed(pl.Series(missing, dtype=pl.String), ".")["value"].drop_nulls().to_list()


@cache
def days_among(missing: tuple[str, ...]) -> list[datetime]:
    """The dates among the words that mean missing, such as 9999-12-31."""
    return dates.read(pl.Series(missing, dtype=pl.String), "%Y-%m-%d").drop_nulls().to_list()


def time_format(column: pl.Series | Cells, order: str = "") -> str | None:
    """The form of dates that all words of a column fit; None if there is none, or no word."""
    cells = Cells.of(column)
    found = dates.best(cells, order=order)
    return found[0] if found and found[1] == cells.there() else None
