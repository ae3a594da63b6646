"""Durations as people and programs write them, in seconds: 3 h 20 min, 1:23:45, 2 days 04:00:00, PT3H20M, 1 year.

A duration of one part, such as 90 min, is a number with a unit (`lamp.tables.numbers`). Here are those of several
parts, and how many seconds a unit has.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import polars as pl

SECOND = "s"  # the unit of a column of durations
SEVERAL, CLOCK = "h min s", "h:min:s"  # the units of 3 h 20 min and of 1:23:45, whose numbers are seconds
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
YEAR = 365.25 * DAY
SECONDS = {SEVERAL: 1.0, CLOCK: 1.0, "ms": 1e-3}
SECONDS |= dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0)
SECONDS |= dict.fromkeys(("min", "mins", "minute", "minutes"), MINUTE)
SECONDS |= dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR)
SECONDS |= dict.fromkeys(("d", "day", "days"), DAY)
SECONDS |= dict.fromkeys(("week", "weeks"), 7 * DAY)
SECONDS |= dict.fromkeys(("month", "months"), YEAR / 12)
SECONDS |= dict.fromkeys(("year", "years"), YEAR)

# ---- the grammar -----------------------------------------------------------------------------------------------------
# The parts in order: the seconds of each, and how it is written
UNITS = (
    (YEAR, r"(?:y|yrs?|years?)"),
    (YEAR / 12, r"(?:mo|months?)"),
    (7 * DAY, r"(?:w|weeks?)"),
    (DAY, r"(?:d|days?)"),
    (HOUR, r"(?:h|hrs?|hours?)"),
    (MINUTE, r"(?:m|mins?|minutes?)"),
    (1.0, r"(?:s|secs?|seconds?)"),
)
MAY_BE = r"^[+-]?(?:\d[\d.,]* ?[a-zA-Z]|\d+:\d\d:\d|P[\dT])"  # rules out most words, numbers and dates


@cache
def grammar(decimal: str) -> tuple[tuple[str, str, int], ...]:
    """(regular expression, unit, least number of parts) of each way to write durations with this decimal mark."""
    number = rf"\d+(?:\{decimal}\d+)?"
    words = r"(?:,? *(?:and +)?)?".join(rf"(?:({number}) ?{unit}\.?)?" for _, unit in UNITS)
    clock = rf"(\d+):([0-5]\d):([0-5]\d(?:\{decimal}\d+)?)"
    return (
        (f"(?i)^([+-])?{words}$", SEVERAL, 2),
        (rf"^([+-])?P()()(?:({number})W)?(?:({number})D)?(?:T(?:({number})H)?(?:({number})M)?(?:({number})S)?)?$",
         SEVERAL, 1),
        (rf"(?i)^([+-])?()()()(?:(\d+) ?(?:d|days?),? +)?{clock}$", CLOCK, 3),
    )  # fmt: skip


def parsed(text: pl.Series, decimal: str = ".") -> pl.DataFrame:
    """(m, 2): the `value` of each text in seconds, null if it is no duration of several parts, and its `unit`."""
    value = pl.repeat(None, len(text), dtype=pl.Float64, eager=True)
    unit = pl.repeat(None, len(text), dtype=pl.String, eager=True)
    likely = text.str.contains(MAY_BE).fill_null(False).arg_true()
    some = text.gather(likely)
    for pattern, name, least in grammar(decimal) if len(likely) else ():
        at = some.str.contains(pattern).fill_null(False).arg_true()
        groups = some.gather(at).str.extract_groups(pattern).struct.unnest()
        parts = [
            pl.col(str(k + 2)).str.replace(decimal, ".", literal=True).cast(pl.Float64, strict=False) * seconds
            for k, (seconds, _) in enumerate(UNITS)
        ]
        sign = pl.when(pl.col("1") == "-").then(-1.0).otherwise(1.0)
        count = pl.sum_horizontal(part.is_not_null().cast(pl.Int8) for part in parts)
        read = groups.select(fits=count >= least, value=sign * pl.sum_horizontal(parts))
        fits = likely.gather(at.filter(read["fits"]))
        value, unit = value.scatter(fits, read["value"].filter(read["fits"])), unit.scatter(fits, name)
    return pl.DataFrame({"value": value, "unit": unit})


def are_durations(units: Iterable[str]) -> bool:
    """Whether these units of a column, without "" for no unit, say that it holds durations of several units."""
    units = set(units)
    several = len(units) > 1 or SEVERAL in units or CLOCK in units
    return several and all(unit.lower() in SECONDS for unit in units)
