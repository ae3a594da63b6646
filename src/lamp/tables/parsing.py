"""A column of a table as numbers, words, answers (yes or no) or points in time, whatever type it was read as.

The same text must mean the same in every table: what a file says is read by what was learned in training, not guessed
anew. Each function gives a polars Series in which null is missing.
"""

from __future__ import annotations

import polars as pl

# What stands for "missing" where a column holds text, in small letters
MISSING_WORDS = ("", "na", "n/a", "#n/a", "nan", "null", "none", "?")

YES, NO = ("true", "yes", "t", "y"), ("false", "no", "f", "n")

# How dates are written, the unambiguous ways first; %.f: fractions of a second or none, %#z: any way to write a zone
TIME_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
)
LOOKED_AT = 200  # values by which a format is turned down quickly


def is_number(dtype: pl.DataType) -> bool:
    """Whether values of this type are numbers: integers, floats, decimals."""
    return dtype.is_numeric()


def is_time(dtype: pl.DataType) -> bool:
    """Whether they are dates, with a time of day or without."""
    return dtype == pl.Date or isinstance(dtype, pl.Datetime)


def is_text(dtype: pl.DataType) -> bool:
    """Whether they are text."""
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)


def words(series: pl.Series) -> pl.Series:
    """As text, without blanks around it; whole numbers without decimals, so that 3 and 3.0 are the same word."""
    if series.dtype == pl.Boolean:
        series = series.cast(pl.String)
    elif is_number(series.dtype):
        numbers = _without_nan(series.cast(pl.Float64))
        whole = bool(((numbers == numbers.round()) & (numbers.abs() < 2**53)).all())
        series = (series if series.dtype.is_integer() else numbers.cast(pl.Int64) if whole else numbers).cast(pl.String)
    elif series.dtype != pl.String:
        series = series.cast(pl.String)
    text = series.str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(MISSING_WORDS).fill_null(False), None)


def numbers(series: pl.Series, decimal: str = ".") -> pl.Series:
    """As float64; text that is no number, and NaN, becomes null. `decimal` is the comma, where text has one."""
    if isinstance(series.dtype, pl.Duration):
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if series.dtype == pl.Time:
        return series.cast(pl.Int64).cast(pl.Float64) / 1e9
    if is_text(series.dtype):
        text = words(series)
        if decimal == ",":
            text = text.set(text.str.contains(".", literal=True).fill_null(False), None).str.replace(
                ",", ".", literal=True
            )
        return _without_nan(text.cast(pl.Float64, strict=False))
    if is_number(series.dtype) or series.dtype in (pl.Boolean, pl.Null):
        return _without_nan(series.cast(pl.Float64))
    return pl.Series(series.name, [None] * len(series), pl.Float64)


def answers(series: pl.Series) -> pl.Series:
    """As booleans: true and false, yes and no, 1 and 0, in any case; anything else becomes null."""
    if series.dtype == pl.Boolean:
        return series
    text = words(series).str.to_lowercase()
    yes, no = text.is_in([*YES, "1"]), text.is_in([*NO, "0"])
    return pl.Series(series.name, yes).set(~(yes | no).fill_null(False), None)


def times(series: pl.Series, form: str | None) -> pl.Series:
    """As points in time, without a zone (in UTC where the table says one); text by this format, or else any known one.

    What cannot be read becomes null.
    """
    if isinstance(series.dtype, pl.Datetime):
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if series.dtype.time_zone else series
        return series.cast(pl.Datetime("us"))
    if series.dtype == pl.Date:
        return series.cast(pl.Datetime("us"))
    if not is_text(series.dtype):
        return pl.Series(series.name, [None] * len(series), pl.Datetime("us"))
    text = words(series)
    form = form or time_format(text)
    if form is None:
        return pl.Series(series.name, [None] * len(series), pl.Datetime("us"))
    zone = "UTC" if "%#z" in form else None
    read = text.str.to_datetime(form, strict=False, exact=True, time_zone=zone, time_unit="us")
    return read.dt.replace_time_zone(None) if zone else read


def time_format(text: pl.Series) -> str | None:
    """The way in which all of these are written as dates; None where there is none, or nothing to read."""
    there = text.drop_nulls()
    if not len(there):
        return None
    for form in TIME_FORMATS:
        if all(times(part, form).null_count() == 0 for part in (there.head(LOOKED_AT), there)):
            return form
    return None


def decimal_mark(text: pl.Series) -> str:
    """What parts whole numbers from decimals in text: "," where more of it reads as numbers that way, else "."."""
    point, comma = (numbers(text, mark).count() for mark in (".", ","))
    return "," if comma > point else "."


def _without_nan(series: pl.Series) -> pl.Series:
    return series.fill_nan(None)
