"""Dates of the most frequent ways to write them, read without a regular expression.

Most columns of dates hold nothing else, and thousands of them take a fraction of the time: days in digits of fixed
places, such as 2021-03-05 or 05/03/21, are an array of bytes, and polars reads times of day behind them.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import numpy as np
import polars as pl

from lamp.tables.calendars import points_in_time

Array = np.ndarray[Any, np.dtype[Any]]

WIDTHS = {"%Y": 4, "%y": 2, "%m": 2, "%d": 2}
NAMES = {"%Y": "year", "%y": "year", "%m": "month", "%d": "day"}
ISO = "%Y-%m-%d"


def read_quickly(text: pl.Series, form: str) -> tuple[pl.Series, pl.Series]:
    """The dates in texts of a form in digits, or null, and booleans that say which texts are left to the grammar."""
    dates = pl.repeat(None, len(text), dtype=pl.Datetime("us"), eager=True)
    if form != ISO:
        rows, found = _days(text, form)
        if not len(rows):
            return dates, text.is_not_null()
        return dates.scatter(rows, as_series(found)), text.is_not_null().scatter(rows, False)
    length = text.str.len_bytes()
    for size, pattern in ((10, ISO), (19, f"{ISO} %H:%M:%S"), (19, f"{ISO}T%H:%M:%S")):
        at = (dates.is_null() & (length == size)).arg_true()
        if len(at):
            some = text.gather(at).str.to_datetime(pattern, strict=False, time_unit="us")
            dates = dates.scatter(at, some)
    dates = dates.set((dates.dt.year() < 1).fill_null(False), None)
    return dates, text.is_not_null() & dates.is_null()


def _days(text: pl.Series, form: str) -> tuple[Array, Array]:
    """The rows of texts with all digits of a form and nothing else, and their days, NaT for days that do not exist."""
    parts = re.findall("%.|.", form)
    ends = list(accumulate(WIDTHS.get(part, 1) for part in parts))
    rows: Array = (text.str.len_bytes() == ends[-1]).fill_null(False).arg_true().to_numpy()
    joined = (text if len(rows) == len(text) else text.gather(rows)).str.join("")
    letters = np.frombuffer(str(joined[0] or "").encode(), np.uint8).reshape(-1, ends[-1]).T
    marks = [letters[end - 1] == ord(part) for part, end in zip(parts, ends, strict=True) if part not in NAMES]
    fits: Array = np.logical_and.reduce(marks)
    rows, letters, found = rows[fits], letters[:, fits] - np.uint8(ord("0")), dict[str, Array]()  # below 0 wraps around
    digits: Array = np.ones(len(rows), bool)
    for part, end in zip(parts, ends, strict=True):
        if part in NAMES:
            found[NAMES[part]] = number = np.zeros(len(rows), np.int64)
            for letter in letters[end - WIDTHS[part] : end]:
                digits &= letter <= 9
                number *= 10
                number += letter
    return rows[digits], points_in_time({name: each[digits] for name, each in found.items()}, "%y" in form)


def days_in_digits(numbers: Array) -> Array:
    """(n,) the days, datetime64[us], that whole numbers such as 20210303 and 202103031430 are; NaT for all others."""
    clock = np.ones_like(numbers)  # 1, or as many digits as the time of day has
    for size in (10**4, 10**6):
        clock[(numbers >= 10**7 * size) & (numbers < 10**8 * size)] = size
    day, time = numbers // clock, numbers % clock
    time = np.where(clock == 10**4, time * 100, time)  # hours, minutes and seconds
    parts = {"year": day // 10_000, "month": day // 100 % 100, "day": day % 100}
    parts |= {"hour": time // 10_000, "minute": time // 100 % 100, "second": time % 100}
    fits = (day >= 10**7) & (day < 10**8)
    return np.where(fits, points_in_time(parts, False), np.datetime64("NaT", "us"))


def as_series(at: Array, name: str = "") -> pl.Series:
    """Points in time (n,), datetime64[us], as a series; null for NaT."""
    series, never = pl.Series(name, at.astype(np.int64)).cast(pl.Datetime("us")), np.isnat(at)
    return series.set(pl.Series(never), None) if never.any() else series
