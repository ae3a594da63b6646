"""Read dates and times as people write them: 2021-03-03T14:30Z, 3/13/21 2:30 PM, 13.02.2021, March 3, 2021.

A column writes its days in one form, which is decided from all rows and saved; a time of day and a time zone may follow
in any cell. Text of another form is not a date; it is never read as a different one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import time
from functools import cache, lru_cache
from typing import Any

import numpy as np
import polars as pl

from lamp.tables.calendars import points_in_time
from lamp.tables.cells import Cells, read_together
from lamp.tables.evidence import Found
from lamp.tables.missing import MISSING_WORDS, in_ascii_digits, is_text
from lamp.tables.month_names import DAY_NAMES, MONTH_OF
from lamp.tables.quick_dates import as_series, read_quickly

Array = np.ndarray[Any, np.dtype[Any]]

DIGIT = re.compile(r"\d")  # part of every date
LETTER, ANY_DIGIT = re.compile("[a-z]"), str.maketrans("123456789", "0" * 9)
BETWEEN = "\0"  # words that are changed together
DIGITS = re.compile(r"\d[-/.]\d{1,2}[-/.]\d")  # part of every date written in digits
A_FEW = 20  # first values, one of which must match DIGITS
LOOKED_AT = 200  # first values, by which most forms are ruled out quickly
LIKELY = 0.5  # share of these values that a form must fit
MOSTLY = 0.9  # share of all values that must be dates

NEVER = np.datetime64("NaT", "us")
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
CLOCK_PARTS = ("hour", "minute", "second")
UNSAID |= dict.fromkeys(CLOCK_PARTS, 0)
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
HALVES = {"a": 0, "p": 12}
MAY_NAME_ZONE = (  # rules out most texts without a zone
    r"(?i)(?:[:h.]\d\d|\dt\d{4}|^\d{12}|\d ?[ap]\.? ?m|uhr).*?(?:z|[+-]\d\d|[a-z]{3,4})"
)
OFFSET = r"([+-])(\d{2}):?(\d{2})?"
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
MONTHS_LIKE_NUMBERS = {"%m.%Y": r"^(?:0?[1-9]|1[0-2])\.(?:19|20)\d\d$", "%Y.%m": r"^(?:19|20)\d\d\.(?:0[1-9]|1[0-2])$"}
OF_MONTHS = ["%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", *MONTHS_LIKE_NUMBERS]
SEVERAL = 4  # different texts from which they are months, as so many numbers would hardly all look like these
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
    if form not in NUMERIC:
        return _read(text, form)
    found, left = read_quickly(text, form)
    rest = left.arg_true()
    return found.alias(text.name).scatter(rest, _read(text.gather(rest), form)) if len(rest) else found.alias(text.name)


def instants(text: pl.Series, form: str) -> Array:
    """(m,) the same as an array of datetime64[us]; NEVER for text of another form."""
    return read(text, form).to_numpy()


def _read(text: pl.Series, form: str) -> pl.Series:
    """The texts that `read` does not read quickly."""
    groups = in_ascii_digits(text).str.to_lowercase().str.extract_groups(grammar(form)).struct.unnest()
    matched = groups.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    found = np.broadcast_to(points_in_time(_parts(groups), "%y" in form), len(text))
    return as_series(found, text.name).set(~matched, None)


def _parts(groups: pl.DataFrame) -> dict[str, Array]:
    """The parts of dates that the grammar's groups hold, for `points_in_time`."""
    timed = groups["hour"].null_count() < len(groups)
    names = [name for name in UNSAID if name in groups.columns and (timed or name not in CLOCK_PARTS)]
    numbers = groups.select(pl.col(name).cast(pl.Int64).fill_null(UNSAID[name]) for name in names)
    parts: dict[str, Array] = {name: numbers[name].to_numpy() for name in names}
    if "name" in groups:
        parts["month"] = groups["name"].replace_strict(MONTH_OF, default=1, return_dtype=pl.Int64).to_numpy()
    if timed and "half" in groups:
        fraction = groups["fraction"].str.pad_end(6, "0").str.head(6).cast(pl.Int64).fill_null(0)
        half = groups.select(pl.coalesce("half", "half2")).to_series()
        parts["fraction"] = fraction.to_numpy()
        parts["half"] = half.replace_strict(HALVES, default=-1, return_dtype=pl.Int64).to_numpy()
    if timed and "zone" in groups and groups["zone"].null_count() < len(groups):
        sign, hours, minutes = groups["zone"].str.extract_groups(OFFSET).struct.unnest()
        ahead = 60 * hours.cast(pl.Int64).fill_null(0).to_numpy() + minutes.cast(pl.Int64).fill_null(0).to_numpy()
        named = groups["zone"].replace_strict(ZONES, default=0, return_dtype=pl.Int64).to_numpy()
        parts["ahead"] = np.where((sign == "-").fill_null(False).to_numpy(), -ahead, ahead) + 60 * named
    return parts


def days(cells: Cells, form: str, missing: Sequence[str] = MISSING_WORDS) -> Array:
    """(m,) the dates and times in the different texts of a column, datetime64[us]; NEVER for other texts."""
    return np.where(cells.missing(missing), NEVER, cells.read(instants, form, alone=True))


def zones(cells: Cells, form: str | None, missing: Sequence[str] = MISSING_WORDS) -> tuple[int, int]:
    """The number of rows with a time of day that name a time zone, and of those that do not."""
    series = cells.series
    if isinstance(series.dtype, pl.Datetime):
        clocks = int((series.dt.time() != time()).sum())
        return (clocks, 0) if series.dtype.time_zone else (0, clocks)
    if form in (None, TIME_ALONE) or not is_text(series.dtype):
        return 0, 0
    at = days(cells, str(form), missing)
    named = ~np.isnat(at)
    named &= cells.read(names_zone, form, alone=True) if cells.read(may_name_zone, alone=True).any() else False
    clock = ~np.isnat(at) & (at != at.astype("datetime64[D]")) & ~named
    return int(cells.count[named].sum()), int(cells.count[clock].sum())


def may_name_zone(text: pl.Series) -> Array:
    """(m,) booleans: which texts may name a time zone, whatever their form."""
    return text.str.contains(MAY_NAME_ZONE).to_numpy()


def names_zone(text: pl.Series, form: str) -> Array:
    """(m,) booleans: which texts of a form name a time zone."""
    at = np.flatnonzero(may_name_zone(text))
    named = np.zeros(len(text), bool)
    if len(at):
        groups = text.gather(at).str.to_lowercase().str.extract_groups(grammar(form)).struct.unnest()
        named[at] = groups["zone"].is_not_null().to_numpy()
    return named


def months_in(cells: Cells, missing: Sequence[str] = MISSING_WORDS) -> str:
    """The form of a column of months that look like numbers, such as 03.2021 or 2021.03; "" for any other column."""

    def look() -> str:
        few = [each for each in cells.first(A_FEW) if each.lower() not in missing]
        return months_like_numbers(cells.text.filter(pl.Series(~cells.missing(missing)))) if _month_form(few) else ""

    return cells.once((months_in, tuple(missing)), look)


def months_like_numbers(text: pl.Series) -> str:
    """The form of months such as 03.2021 or 2021.03, if all these texts have it, none of them null; else ""."""
    form = _month_form(text.head(A_FEW).to_list())
    if not form or not text.str.contains(MONTHS_LIKE_NUMBERS[form]).all():
        return ""
    telling = text.n_unique() >= SEVERAL or (form[:2] != "%Y" and bool(text.str.starts_with("0").any()))
    return form if telling else ""


def _month_form(words: Sequence[str]) -> str:
    fitting = (form for form, each in MONTHS_LIKE_NUMBERS.items() if all(re.match(each, word) for word in words))
    return next(fitting, "") if words else ""


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
        gaps = cells.missing(missing)
        text = cells.text.filter(pl.Series(~gaps)) if gaps.any() else cells.text
        return likely(text.head(LOOKED_AT).to_list())

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
    return list(dict.fromkeys(cells.frequent_first(odd, missing)[1]))


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
