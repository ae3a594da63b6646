"""How an exported Python file reads raw columns. The source of these functions is written into the file.

So they use numpy, Python's own library and each other alone. Each kind of column has one function: it takes the
column's name, its values and what training learned, and returns its features (n, features). A value that does not fit
is a ValueError that names the column.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamp.tables.calendars import points_in_time


def features(table: Any, columns: dict[str, tuple[str, dict[str, Any]]]) -> Any:
    """The inputs of the networks, (n, features), from a dict or a data frame of columns, or a list of dicts."""
    if isinstance(table, list):
        table = {name: [row.get(name) for row in table] for name in columns if any(name in row for row in table)}
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise KeyError(f"the table lacks these columns: {', '.join(lacking)}")
    kinds: dict[str, Callable[..., Any]]
    kinds = {"number": number, "boolean": boolean, "category": category, "date": date}
    parts = [kinds[kind](name, list(table[name]), **learned) for name, (kind, learned) in columns.items()]
    return np.concatenate(parts, axis=1).astype(np.float32)


def is_gap(value: Any, gaps: Sequence[str]) -> bool:
    """Whether a value is missing: None, NaN, an empty text, or a word that means missing."""
    if isinstance(value, str):
        return not value.strip() or value.strip().lower() in gaps
    return value is None or bool(value != value)


def number(
    name: str, values: Sequence[Any], gaps: Sequence[str], codes: Sequence[float], median: float, mean: float,
    std: float, indicator: bool, curve: dict[str, float] | None, text: bool,
) -> Any:  # fmt: skip
    """Numbers, standardised; missing ones become the median."""

    def read(value: Any) -> float:
        if is_gap(value, gaps):
            return float("nan")
        try:
            if isinstance(value, str):
                plain = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value.strip())
                if not text or not plain or re.fullmatch(r"[+-]?0[0-9]+", value.strip()):  # 007 is a code
                    raise ValueError
            found = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"column {name!r}: pass a number, not {value!r}") from None
        if found in (float("inf"), float("-inf")):
            raise ValueError(f"column {name!r}: {value!r} is not finite")
        return found

    x = np.array([read(value) for value in values], dtype=np.float64)
    missing = np.isnan(x) | np.isin(x, np.array(codes, dtype=np.float64))
    x = np.where(missing, median, x)
    if curve is not None:
        x = np.arcsinh((x - curve["centre"]) / curve["width"])
    z = (x - mean) / std
    return np.stack([z, missing.astype(np.float64)], 1) if indicator else z[:, None]


def boolean(
    name: str, values: Sequence[Any], gaps: Sequence[str], yes: Sequence[str], no: Sequence[str], indicator: bool
) -> Any:
    """1 for yes, 0 for no, 0.5 for a missing value."""

    def read(value: Any) -> float:
        text = word(value)
        if text is None or is_gap(text, gaps):
            return 0.5
        if text.lower() not in yes and text.lower() not in no:
            raise ValueError(f"column {name!r}: pass yes or no, not {value!r}")
        return float(text.lower() in yes)

    x = np.array([read(value) for value in values], dtype=np.float64)
    return np.stack([x, (x == 0.5).astype(np.float64)], 1) if indicator else x[:, None]


def word(value: Any) -> str | None:
    """A value as a word: text without surrounding blanks, whole numbers without decimals; None for a missing one."""
    if is_gap(value, ()):
        return None
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    text = re.sub("[\u200b\u200e\u200f\u2060\ufeff]", "", str(value))  # invisible
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", unicodedata.normalize("NFC", text.strip()))


def category(
    name: str, values: Sequence[Any], gaps: Sequence[str], levels: Sequence[str], others: bool, missing: bool
) -> Any:
    """A feature per known word, one for all others if there were rare ones in training, and one for missing ones."""
    places = {level: k for k, level in enumerate(levels)}
    if sorted(level.lower() for level in levels) == ["false", "true"]:
        places = {text: k for level, k in places.items() for text in (level.lower(), level.upper(), level.title())}
    out = np.zeros((len(values), len(levels) + others + missing))
    for row, value in enumerate(values):
        text = word(value)
        if text is None or is_gap(text, gaps):
            if missing:
                out[row, -1] = 1.0
        elif text in places:
            out[row, places[text]] = 1.0
        elif others:
            out[row, len(levels)] = 1.0
    return out


def date(
    name: str, values: Sequence[Any], gaps: Sequence[str], codes: Sequence[float], grammar: str, short_years: bool,
    digits: bool, clock: bool, months: dict[str, int], zones: dict[str, int], parts: dict[str, tuple[float, float]],
    indicator: bool, zoned: bool | None,
) -> Any:  # fmt: skip
    """Days since 1970, and sines and cosines of the time within a year, month, week and day, standardised.

    A time with a zone is read in UTC. `zoned` says whether training's named one (None if it does not matter); times
    that do otherwise are warned of.
    """
    unlike = 0

    def read(value: Any) -> Any:
        nonlocal unlike
        if is_gap(value, gaps):
            return np.datetime64("NaT", "us")
        named = isinstance(value, datetime.datetime) and value.tzinfo is not None
        at: Any = np.datetime64("NaT", "us")
        if digits and isinstance(value, (int, np.integer)):
            value = str(value)
        if isinstance(value, str):
            at = in_words(value.strip(), grammar, short_years, months, zones)
            named = zoned is not None and names_zone(value.strip(), grammar)
        elif isinstance(value, datetime.time) and clock:
            at = np.datetime64(datetime.datetime.combine(datetime.date(1970, 1, 1), value), "us")
        elif isinstance(value, np.datetime64) and not clock:
            at = value.astype("datetime64[us]")
        elif isinstance(value, datetime.date) and not clock:
            if isinstance(value, datetime.datetime) and named:
                value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)  # noqa: UP017 (Python 3.10)
            at = np.datetime64(value, "us")
        if np.isnat(at):
            raise ValueError(f"column {name!r}: pass a {'time of day' if clock else 'datetime'}, not {value!r}")
        unlike += zoned is not None and named != zoned and bool(named or at != at.astype("datetime64[D]"))
        return at

    at = np.array([read(value) for value in values], dtype="datetime64[us]")
    if unlike:
        times, verb = ("time", "is") if unlike == 1 else ("times", "are")
        how = f"without a time zone {verb} read as UTC; training's named theirs"
        how = how if zoned else f"with a time zone {verb} read in UTC; training's named none"
        warnings.warn(f"{name}: {unlike:,} {times} {how}", stacklevel=4)
    at[np.isin(at.astype(np.int64) / 86400e6, np.array(codes, dtype=np.float64))] = np.datetime64("NaT")
    there = ~np.isnat(at)
    found = parts_of_times(np.where(there, at, np.datetime64(0, "us")))
    out = [np.where(there, (found[part] - mean) / std, 0.0) for part, (mean, std) in parts.items()]
    out += [(~there).astype(np.float64)] * indicator
    return np.stack(out, 1) if out else np.empty((len(at), 0))


def in_words(
    text: str, grammar: str, short_years: bool, months: dict[str, int], zones: dict[str, int]
) -> np.datetime64:
    """The point in time that a text names, in UTC; NaT for text of another form than the grammar's."""
    match = re.fullmatch(grammar, unicodedata.normalize("NFC", text).lower())
    if match is None:
        return np.datetime64("NaT", "us")
    groups = {name: word for name, word in match.groupdict().items() if word is not None}
    half = {"a": 0, "p": 12}.get(groups.pop("half", groups.pop("half2", "")), -1)
    month, zone, fraction = groups.pop("name", ""), groups.pop("zone", ""), groups.pop("fraction", "")
    parts = {name: int(digits) for name, digits in groups.items()}
    if month:
        parts["month"] = months[month]
    ahead = 60 * zones.get(zone, 0)
    if offset := re.search(r"([+-])(\d\d):?(\d\d)?", zone):
        ahead = (60 * int(offset[2]) + int(offset[3] or 0)) * (-1 if offset[1] == "-" else 1)
    parts |= {"half": half, "fraction": int(fraction.ljust(6, "0")[:6]), "ahead": ahead}
    return np.datetime64(points_in_time(parts, short_years)[()], "us")


def names_zone(text: str, grammar: str) -> bool:
    """Whether a text that names a point in time names its time zone."""
    match = re.fullmatch(grammar, unicodedata.normalize("NFC", text).lower())
    return match is not None and bool(match.groupdict().get("zone"))


def parts_of_times(at: Any) -> dict[str, Any]:
    """{part: (n,) numbers} for points in time, datetime64[us]."""
    day, month, year = (at.astype(f"datetime64[{unit}]") for unit in "DMY")
    turns = {
        "year": ((day - year).astype(np.int64) + 1) / 365.25,
        "month": ((day - month).astype(np.int64) + 1) / 31.0,
        "week": ((day.astype(np.int64) + 3) % 7 + 1) / 7.0,  # 1970-01-01 was a Thursday
        "day": (at - day).astype(np.int64) / 86400e6,  # microseconds
    }
    parts = {"days": at.astype(np.int64) / 86400e6}
    for name, turn in turns.items():
        parts[f"sine of {name}"] = np.sin(2 * np.pi * turn)
        parts[f"cosine of {name}"] = np.cos(2 * np.pi * turn)
    return parts


def encoded(x: Any, of: Any, lower: Any, width: Any) -> Any:
    """The inputs, followed by the share of each bin that lies below the input that it is of."""
    return np.concatenate([x, np.clip((x[:, of] - lower) / width, 0.0, 1.0)], axis=1)
