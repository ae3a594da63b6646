"""Read dates and times as people write them: 2021-03-03T14:30Z, 3/13/21 2:30 PM, 13.02.2021, March 3, 2021.

A column writes its days in one form, which is decided from all rows and saved; a time of day and a time zone may follow
in any cell. Text of another form is not a date; it is never read as a different one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import polars as pl

from lamp.tables.cells import Cells, read_together
from lamp.tables.evidence import Found
from lamp.tables.missing import MISSING_WORDS
from lamp.tables.month_names import DAY_NAMES, MONTH_OF

Array = np.ndarray[Any, np.dtype[Any]]

PIVOT = 70  # years in two digits: 00 to 69 are 2000 to 2069, 70 to 99 are 1970 to 1999
DIGIT = re.compile(r"\d")  # part of every date
LETTER, ANY_DIGIT = re.compile("[a-z]"), str.maketrans("123456789", "0" * 9)
BETWEEN = "\0"  # words that are changed together
DIGITS = re.compile(r"\d[-/.]\d{1,2}[-/.]\d")  # part of every date written in digits
A_FEW = 20  # first values, one of which must match DIGITS
LOOKED_AT = 200  # first values, by which most forms are ruled out quickly
LIKELY = 0.5  # share of these values that a form must fit
MOSTLY = 0.9  # share of all values that must be dates

NEVER = np.datetime64("NaT", "us")
SECOND, DAY = 1_000_000, 86_400_000_000  # microseconds
DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
DAYS_IN = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
ORDERS = {"dmy": "day first", "mdy": "month first", "ymd": "year first", "ydm": "year first, then the day"}

# ---- the grammar, for words in lower case ----------------------------------------------------------------------------
PARTS = {
    "%Y": r"(?P<year>\d{4})",
    "%y": r"(?P<year>\d{2})",
    "%m": r"(?P<month>\d{1,2})",
    "%d": r"(?P<day>\d{1,2})(?:st|nd|rd|th|er)?",
    "%b": rf"(?P<name>{'|'.join(MONTH_OF)})\.?",
    "%V": r"(?P<week>\d{2})",
    "%u": r"(?P<weekday>[1-7])",
    "%q": r"(?P<quarter>[1-4])",
    " ": r"[ ,]+(?:(?:of|de|del) )?",
    ".": r"\.",
}
NAMES = {"%Y": "year", "%y": "year", "%m": "month", "%d": "day", "%b": "month's name"}
NAMES |= {"%V": "week", "%u": "day of the week", "%q": "quarter", "%T": "time"}
EXAMPLE = {"%Y": "2019", "%y": "19", "%m": "2", "%d": "3", "%b": "Mar", "%V": "05", "%u": "2", "%q": "3", "%T": "14:30"}
UNSAID = {"year": 1970, "month": 1, "day": 1, "week": 1, "weekday": 1, "quarter": 1}  # what a form leaves out
UNSAID |= {"hour": 0, "minute": 0, "second": 0}
WEEKDAY = rf"(?:(?:{'|'.join(DAY_NAMES)})\.?,? +)?"
A_WORD = r"(?:[^\d\s,]+,? +)?"  # compiles faster
BEGIN = re.compile(rf"\d|q\d|{'|'.join([*DAY_NAMES, *MONTH_OF])}")  # with which every date begins
HALF = r"(?: ?(?P<half>[ap])\.? ?m\.?)"
CLOCK = (
    r"(?P<hour>\d{1,2})(?:[:h](?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    + HALF
    + "?(?: uhr)?|"
    + HALF.replace("half", "half2")
    + "| uhr)"
)
ZONES = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}  # hours; RFC 822
ZONES |= {"wet": 0, "west": 1, "cet": 1, "cest": 2, "mez": 1, "mesz": 2, "eet": 2, "eest": 3}  # of Europe
ZONE = rf"(?: ?(?P<zone>z|utc|gmt|(?:utc|gmt)?[+-]\d{{2}}:?(?:\d{{2}})?|{'|'.join(ZONES)})(?:\[[a-z_/+-]+\])?)?"
AFTER_THE_DAY = rf"(?:(?:[t:_]|,? +|,? +(?:at|um) +){CLOCK.replace('[:h]', '[:h.]').replace('(?::', '(?:[:.]')}{ZONE})?"
PARTS["%T"] = CLOCK + ZONE
COMPACT_CLOCK = r"(?:[t ]?(?P<hour>\d{2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2}))?" + ZONE + ")?"

TIME_ALONE, COMPACT = "%H:%M", "%Y%m%d"
NUMERIC = [f"%Y{mark}%m{mark}%d" for mark in "-/."]
USUAL = {"/": "mdy", "-": "dmy", ".": "dmy"}  # the order if nothing shows another
for year in ("%Y", "%y"):
    for mark, usual in USUAL.items():
        NUMERIC += [
            f"%{first}{mark}%{second}{mark}{year}" for first, second in ((usual[0], usual[1]), (usual[1], usual[0]))
        ]
NUMERIC += [f"%y{mark}%m{mark}%d" for mark in "-/."] + [f"%Y{mark}%d{mark}%m" for mark in "-/."]
NAMED = [f"%d{mark}%b{mark}{year}" for year in ("%Y", "%y") for mark in " -/."] + [
    "%d%b%Y",
    "%d%b%y",
    "%d. %b %Y",
    "%b %d %Y",
    "%b-%d-%Y",
    "%b %d %T %Y",
    "%Y %b %d",
    "%Y-%b-%d",
]
NAMED += ["%b %Y", "%b-%Y", "%b-%y", "%Y %b", "%Y-%b"]
OF_MONTHS = ["%Y-%m", "%Y/%m", "%m/%Y"]
OTHERS = [
    *OF_MONTHS,
    "%Y-W%V-%u",
    "%Y-W%V",
    "%YW%V",
    "%Y-Q%q",
    "%YQ%q",
    "%Y Q%q",
    "Q%q %Y",
    "Q%q-%Y",
    "Q%q/%Y",
    "%Y年%m月%d日",
    "%Y년 %m월 %d일",
]
FORMS = (*NUMERIC, *NAMED, *OTHERS, TIME_ALONE, COMPACT)  # if several fit equally many values, the first wins


@cache
def grammar(form: str) -> str:
    """The regular expression of a form, for words in lower case."""
    if form == TIME_ALONE:
        return f"^{CLOCK}$"
    if form == COMPACT:
        return r"^(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})" + COMPACT_CLOCK + "$"
    parts = "".join(PARTS.get(part, part.lower()) for part in re.findall(r"%.|.", form))
    return f"^{WEEKDAY}{parts}{'' if '%T' in form else AFTER_THE_DAY}$"


def described(form: str) -> str:
    """A form in words, such as "day/month/year", or "month's name and year, as in Mar 2019"."""
    if form == TIME_ALONE:
        return "a time of day"
    if form == COMPACT:
        return "year, month and day in eight digits"
    if form in NUMERIC or form in OF_MONTHS:
        digits = " with years of two digits" if "%y" in form else ""
        return re.sub("%.", lambda found: NAMES[found[0]], form) + digits
    *first, last = (NAMES[part] for part in re.findall("%.", form))
    return f"{', '.join(first)} and {last}, as in {re.sub('%.', lambda found: EXAMPLE[found[0]], form)}"


def expected(form: str | None) -> str:
    """What a cell of this form must be, in words; None is the form of a column that came as dates."""
    if not form:
        return "a date"
    return described(form) if form == TIME_ALONE else f"a date written as {described(form)}"


def swapped(form: str) -> str:
    """The form with the day in place of the month, and the month in place of the day."""
    return re.sub("%[dm]", lambda found: {"%d": "%m", "%m": "%d"}[found[0]], form)


def order_of(form: str) -> str:
    """The order of day, month and year of a form in digits; "" where it has none."""
    return form.replace("%", "").lower()[::2] if form in NUMERIC else ""


# ---- reading ---------------------------------------------------------------------------------------------------------
def read(text: pl.Series, form: str) -> pl.Series:
    """The dates and times in texts, in UTC where a text has a zone; null for text of another form."""
    quick = pl.repeat(None, len(text), dtype=pl.Datetime("us"), eager=True).alias(text.name)
    if form == "%Y-%m-%d":  # polars reads what programs write, faster
        length = text.str.len_bytes()
        for size, pattern in ((10, "%Y-%m-%d"), (19, "%Y-%m-%d %H:%M:%S"), (19, "%Y-%m-%dT%H:%M:%S")):
            at = (quick.is_null() & (length == size)).arg_true()
            if len(at):
                some = text.gather(at).str.to_datetime(pattern, strict=False, time_unit="us")
                quick = quick.scatter(at, some)
        quick = quick.set((quick.dt.year() < 1).fill_null(False), None)
    rest = (quick.is_null() & text.is_not_null()).arg_true()
    return quick.scatter(rest, _read(text.gather(rest), form)) if len(rest) else quick


def instants(text: pl.Series, form: str) -> Array:
    """(m,) the same as an array of datetime64[us]; NEVER for text of another form."""
    return read(text, form).to_numpy()


def _read(text: pl.Series, form: str) -> pl.Series:
    groups = text.str.to_lowercase().str.extract_groups(grammar(form)).struct.unnest()
    numbers = [pl.col(name).cast(pl.Int64).fill_null(UNSAID[name]) for name in UNSAID if name in groups.columns]
    matched = pl.any_horizontal(pl.all().is_not_null())
    found = groups.select(*numbers, pl.exclude(*UNSAID), matched=matched, timed=pl.col("hour").is_not_null())
    rows = len(text)
    year, month, day = (_number(found, name) for name in ("year", "month", "day"))
    if "name" in found:
        month = found["name"].replace_strict(MONTH_OF, default=1, return_dtype=pl.Int64).to_numpy()
    if "quarter" in found:
        month = 3 * _number(found, "quarter") - 2
    if "%y" in form:
        year = year + np.where(year < PIVOT, 2000, 1900)
    days, valid = _days(year, month, day)
    if "week" in found:
        days, valid = _week_days(year, _number(found, "week"), _number(found, "weekday"))
    clock, right = _clock(found) if found["timed"].any() else (np.zeros(rows, np.int64), np.ones(rows, bool))
    wrong = pl.Series(~(valid & right & found["matched"].to_numpy()))
    return pl.Series(text.name, days * DAY + clock).cast(pl.Datetime("us")).set(wrong, None)


def _days(year: Array, month: Array, day: Array) -> tuple[Array, Array]:
    """Days since 1970-01-01, and whether the day exists."""
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    at = np.clip(month, 1, 12) - 1
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= DAYS_IN[at] + (leap & (month == 2))) & (year >= 1)
    before = year - 1
    return 365 * before + before // 4 - before // 100 + before // 400 + DAYS_BEFORE[at] + (
        leap & (month > 2)
    ) + day - 1 - 719_162, valid


def _week_days(year: Array, week: Array, weekday: Array) -> tuple[Array, Array]:
    """Days since 1970-01-01 for a day of an ISO 8601 week (week 1 has the year's first Thursday), and validity."""

    def first(year: Array) -> Array:
        fourth: Array = _days(year, np.ones_like(year), np.full_like(year, 4))[0]
        monday: Array = fourth - (fourth + 3) % 7
        return monday  # 1970-01-01 was a Thursday

    days = first(year) + 7 * (week - 1) + weekday - 1
    return days, (week >= 1) & (days < first(year + 1))


def _clock(found: pl.DataFrame) -> tuple[Array, Array]:
    """Microseconds since midnight UTC, and whether the time exists."""
    hour, minute, second = (_number(found, name) for name in ("hour", "minute", "second"))
    fraction, halved, afternoon = np.zeros(len(found), np.int64), np.zeros(len(found), bool), np.zeros(len(found), bool)
    if "half" in found:
        fraction = found["fraction"].str.pad_end(6, "0").str.head(6).cast(pl.Int64).fill_null(0).to_numpy()
        half = found.select(pl.coalesce("half", "half2").fill_null("")).to_series()
        halved, afternoon = (half != "").to_numpy(), (half == "p").to_numpy()
    valid = (minute < 60) & (second < 60) & np.where(halved, (hour >= 1) & (hour <= 12), hour < 24)
    valid |= (hour == 24) & (minute == 0) & (second == 0) & ~halved  # the end of the day
    hour = np.where(halved, hour % 12 + 12 * afternoon, hour)
    clock = ((hour * 60 + minute) * 60 + second) * SECOND + fraction
    if "zone" in found and found["zone"].null_count() < len(found):
        sign, hours, minutes = found["zone"].str.extract_groups(r"([+-])(\d{2}):?(\d{2})?").struct.unnest()
        ahead = 60 * hours.cast(pl.Int64).fill_null(0).to_numpy() + minutes.cast(pl.Int64).fill_null(0).to_numpy()
        west = (sign == "-").fill_null(False).to_numpy()
        named = found["zone"].replace_strict(ZONES, default=0, return_dtype=pl.Int64).to_numpy()
        clock = clock - (np.where(west, -ahead, ahead) + 60 * named) * 60 * SECOND
    return clock, valid


def _number(found: pl.DataFrame, name: str) -> Array:
    numbers: Array = found[name].to_numpy() if name in found else np.full(len(found), UNSAID[name])
    return numbers


def days(cells: Cells, form: str, missing: Sequence[str] = MISSING_WORDS) -> Array:
    """(m,) the dates and times in the different texts of a column, datetime64[us]; NEVER for other texts."""
    return np.where(cells.missing(missing), NEVER, cells.read(instants, form, alone=True))


# ---- how a column writes its dates -----------------------------------------------------------------------------------
def likely(words: Sequence[str], forms: tuple[str, ...] = FORMS) -> list[str]:
    """The forms that at least half of these words fit.

    Words are compared without regard to which digits they hold, so that thousands of dates are a few comparisons.
    """
    few = _shapes([word for word in words[:5] if BEGIN.match(word.lower()) and DIGIT.search(word)])
    begun = _begun(tuple(dict.fromkeys(few)), forms)
    shapes = Counter(_shapes(words)) if begun else Counter[str]()
    least = LIKELY * len(words)
    return [form for form in begun if sum(shapes[each] for each in shapes if _may_fit(form, each)) >= least]


def _shapes(words: Sequence[str]) -> list[str]:
    """The words in lower case, with 0 for each digit."""
    shapes = BETWEEN.join(words).lower().translate(ANY_DIGIT).split(BETWEEN) if words else []  # faster than each alone
    return shapes if len(shapes) == len(words) else [each.lower().translate(ANY_DIGIT) for each in words]


@lru_cache(maxsize=10_000)
def _begun(shapes: tuple[str, ...], forms: tuple[str, ...]) -> list[str]:
    """The forms that at least one of these shapes may be."""
    return [form for form in forms if any(_may_fit(form, shape) for shape in shapes)]


@lru_cache(maxsize=100_000)
def _may_fit(form: str, shape: str) -> bool:
    """Whether words of this shape may be dates of a form."""
    return ("%b" not in form or not shape.isascii() or LETTER.search(shape) is not None) and bool(
        compiled(form).match(shape)
    )


@cache
def compiled(form: str) -> re.Pattern[str]:
    """The compiled regular expression of a form, for shapes of words; any word may be the day of the week."""
    pattern = re.sub(r"\?P<\w+>", "?:", grammar(form).replace(WEEKDAY, A_WORD))
    return re.compile(re.sub(r"\[1-\d\]", r"\\d", pattern))


def best(cells: Cells, missing: Sequence[str] = MISSING_WORDS, order: str = "") -> tuple[str, int] | None:
    """The form that fits the most rows of a column, and their number; None if few are dates.

    order  the order of day, month and year; where a form that begins with a year of four digits fits more rows, that
           form is taken
    """
    forms = [
        form for form in likely_forms(cells, missing) if not order or order_of(form) in ("", order) or form[:2] == "%Y"
    ]
    found = [(int(cells.count[~np.isnat(days(cells, form, missing))].sum()), form) for form in forms]
    if not found:
        return None
    rows, form = max(found, key=lambda pair: (pair[0], order_of(pair[1]) == (order or None)))
    return (form, rows) if rows else None


def likely_forms(cells: Cells, missing: Sequence[str] = MISSING_WORDS) -> list[str]:
    """The forms that at least half of a column's first different texts fit."""

    def look() -> list[str]:
        return likely(cells.text.filter(pl.Series(~cells.missing(missing))).head(LOOKED_AT).to_list())

    return cells.once((likely_forms, tuple(missing)), look)


def likely_orders(cells: Cells) -> list[str]:
    """The forms that at least half of a column's first rows fit, of those that days and months may be swapped in."""
    if not any(map(DIGITS.search, cells.first(A_FEW))):
        return []
    forms = cells.once((likely_orders,), lambda: likely(cells.first(LOOKED_AT), tuple(NUMERIC)))
    return [form for form in forms if form[:2] != "%Y"]


def read_all(columns: Iterable[Cells], forms_of: Callable[[Cells], Sequence[str]]) -> None:
    """Read many columns together, each in its forms; what is asked of each one later is then known."""
    by_form: dict[str, list[Cells]] = {}
    for cells in columns:
        for form in forms_of(cells):
            by_form.setdefault(form, []).append(cells)
    for form, several in by_form.items():
        read_together(several, instants, form)


def unread(cells: Cells, form: str, missing: Sequence[str] = MISSING_WORDS) -> list[str]:
    """The words of a column that are not dates of this form, the most frequent first."""
    odd = np.isnat(days(cells, form, missing)) & ~cells.missing(missing)
    if not odd.any():
        return []
    table = pl.DataFrame({"word": cells.different_words(missing), "count": cells.count}).filter(pl.Series(odd))
    return list(dict.fromkeys(table.sort(["count", "word"], descending=[True, False])["word"].to_list()))


def order(column: pl.Series | Cells) -> Found:
    """The order of day and month in a column of dates written in digits, as all of its rows show it."""
    cells = Cells.of(column)
    forms = likely_orders(cells)
    if not forms:
        return Found("")
    there = ~cells.missing()
    words = cells.text.filter(pl.Series(there))
    parsed = {form: pl.Series(~np.isnat(days(cells, form))[there]) for form in forms}
    counts = {form: int(fits.sum()) for form, fits in parsed.items()}
    most = max(counts.values())
    tied = [form for form in forms if counts[form] == most]
    if most < MOSTLY * len(words):
        return Found("")
    tied = _without_unlikely_years(words, tied)
    if len(tied) == 1:
        others = [fits for form, fits in parsed.items() if form != tied[0] and counts[form] < most]
        against = words.filter(parsed[tied[0]] & ~others[0]) if others else words
        return Found(order_of(tied[0]), "proven", str(against[0]))
    usual = next((form for form in tied if order_of(form) == USUAL[form[2]]), tied[0])
    other = next(order_of(form) for form in tied if form != usual)
    return Found(order_of(usual), "assumed", str(words[0]), other=other)


def _without_unlikely_years(words: pl.Series, tied: list[str]) -> list[str]:
    """The forms without those whose two-digit years vary more than their days, which is unlikely in dates."""
    if not any("%y" in form for form in tied) or len({form.startswith("%y") for form in tied}) == 1:
        return tied
    first, last = (words.str.extract(pattern).n_unique() for pattern in (r"^\D*(\d+)", r"^\D*\d+\D+\d+\D+(\d+)"))
    if first == last:
        return tied
    return [form for form in tied if form.startswith("%y") == (first < last)]
