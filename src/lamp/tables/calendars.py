"""From the parts of dates and times, as a text names them, to points in time.

`lamp.tables.dates` finds the parts in columns of text, and an exported Python file finds them with the same grammar.
The source of `points_in_time` is written into that file, so it stands on numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def points_in_time(parts: Mapping[str, Any], short_years: bool) -> Any:
    """(n,) datetime64[us] in UTC; NaT for a day or a time that does not exist.

    parts        integers (n,): year, month, day, quarter, or ISO 8601's year, week and weekday; hour, minute, second,
                 fraction (microseconds), half (0 for AM, 12 for PM, -1 for neither), ahead (minutes of the zone, east
                 of UTC). A part that the texts do not name is left out
    short_years  whether years have two digits: 00 to 69 are 2000 to 2069, 70 to 99 are 1970 to 1999
    """
    usual = {"year": 1970, "month": 1, "day": 1, "quarter": 1, "weekday": 1, "half": -1}
    year, month, day, quarter, weekday, half = (np.asarray(parts.get(name, each)) for name, each in usual.items())
    hour, minute, second, fraction, ahead = (
        np.asarray(parts.get(name, 0)) for name in ("hour", "minute", "second", "fraction", "ahead")
    )
    if short_years:
        year = year + np.where(year < 70, 2000, 1900)

    def days(year: Any, month: Any, day: Any) -> tuple[Any, Any]:
        """Days since 1970-01-01, and whether the day exists."""
        leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
        at = np.clip(month, 1, 12) - 1
        before_month = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])[at] + (leap & (month > 2))
        in_month = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[at] + (leap & (month == 2))
        valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= in_month) & (year >= 1)
        before = year - 1
        return 365 * before + before // 4 - before // 100 + before // 400 + before_month + day - 1 - 719_162, valid

    def first_monday(year: Any) -> Any:
        """The Monday of week 1, which has the year's first Thursday; 1970-01-01 was a Thursday."""
        fourth = days(year, np.ones_like(year), np.full_like(year, 4))[0]
        return fourth - (fourth + 3) % 7

    if "week" in parts:
        week = parts["week"]
        found = first_monday(year) + 7 * (week - 1) + weekday - 1
        valid = (week >= 1) & (found < first_monday(year + 1)) & (year >= 1)
    else:
        found, valid = days(year, 3 * quarter - 2 if "quarter" in parts else month, day)
    halved = half >= 0
    valid = valid & (
        ((minute < 60) & (second < 60) & np.where(halved, (hour >= 1) & (hour <= 12), hour < 24))
        | ((hour == 24) & (minute == 0) & (second == 0) & ~halved)  # the end of the day
    )
    hour = np.where(halved, hour % 12 + half, hour)
    clock = ((hour * 60 + minute - ahead) * 60 + second) * 1_000_000 + fraction
    return np.where(valid, found * 86_400_000_000 + clock, np.iinfo(np.int64).min).astype("datetime64[us]")
