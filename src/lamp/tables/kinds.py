"""Decide what each column of a table holds: numbers, a category, dates, yes or no, or nothing to learn from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from lamp.errors import ArgumentError, DataError
from lamp.printable import shortened
from lamp.tables import date_column, dates, decimal_marks, durations, numbers, parsing, plain, remarks
from lamp.tables.cells import Cells, cells_of, read_together
from lamp.tables.column import refuse_infinite
from lamp.tables.columns import MOST_LEVELS, frequent
from lamp.tables.conventions import Conventions
from lamp.tables.missing import MISSING_WORDS, PLACEHOLDERS, SHEET_ERRORS, as_text
from lamp.tables.plain import Summary
from lamp.tables.reading.names import near
from lamp.tables.scales import refuse_open_scales

DROP = "drop"
ASKED = {"number": "number", "category": "category", "boolean": "boolean", "date": "date", DROP: "left out"}
ASKED_FOR = "asked for"

ENOUGH_TO_TELL = 20  # with fewer rows, "all values differ" may be chance
MOSTLY = 0.9  # share of the values that must be numbers (or dates) for a column to be numeric (or of dates)
MOST_ODD_WORDS = 20  # different other words that such a column may hold
LONGEST_NAME = 60  # characters of a name in a message
COVERED = 0.5  # share of the rows that frequent words must cover for a category
MOST_ANSWERS = 4  # different words of a column of yes and no
EXACT = 2**53  # float64 holds all whole numbers up to here, and not all beyond
DAYS_IN_DIGITS = (19000101, 20991231)  # the range in which a number such as 20210303 is taken for a date,
CLOCKS = (1, 10**4, 10**6)  # as are 202103031430 and 20210303143000: a day with this many digits of a time behind it
CODE = re.compile(
    r"(^|[_\W])(zip|zip_?codes?|plz|postal|post_?codes?|codes?|area_?code|sku|ean|upc|isbn|fips|naics|sic|icd\d*)$"
    r"|[a-z](Zip|Code|Plz)$",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(r"(^|[_\W])(id|uuid|guid|key|index|row|rownumber|nr)$|[a-z]I[dD]$", re.IGNORECASE)


@dataclass(frozen=True)
class Decision:
    """How a column is used: its kind (see `lamp.tables.columns`), and the reason where it is not obvious.

    known     fields of the column's class that were found from all rows, such as the format of dates
    reported  whether the reason is shown to the user before the training begins
    """

    name: str
    kind: str
    why: str = ""
    known: dict[str, Any] = field(default_factory=dict)
    reported: bool = False


def decide(
    frame: pl.DataFrame,
    target: str,
    asked: Mapping[str, str] | None = None,
    conventions: Conventions | None = None,
) -> list[Decision]:
    """The kind of each column of a table except the target, in the table's order.

    asked        {column: kind} as the user chose: number, category, boolean, date or drop
    conventions  how the table writes its values; by default detected

    Raises ArgumentError for an unknown column or kind. Raises DataError for infinities, for a column none of whose
    values is of the kind asked for, and if no column is left to learn from.
    """
    asked = dict(asked or {})
    inputs = [name for name in frame.columns if name != target]
    for name, kind in asked.items():
        if name == target:
            raise ArgumentError(
                f"--kind {name}={kind}: {name!r} is the target",
                expected="a column to learn from",
                got=name,
                fix="--task says whether the target is read as classes or as a number",
            )
        if name not in inputs:
            raise no_column(name, inputs)
        if kind not in ASKED:
            raise ArgumentError(f"--kind {name}={kind}: unknown kind", expected=", ".join(ASKED), got=kind,
                                fix="name one of these")  # fmt: skip
    conventions = conventions or Conventions()
    if conventions.plain is None:
        conventions = conventions.settled(frame)
    words = [conventions.cells[name] for name in inputs if name not in asked and name in conventions.cells]
    numbers.read_all(words, lambda cells: conventions.decimal_in(cells.name).value)
    forms = {cells.name: _date_forms(cells, conventions) for cells in words}
    dates.read_all(words, lambda cells: forms[cells.name])
    read_together([cells for cells in words if forms[cells.name]], dates.may_name_zone)
    decisions, there = [], dict(zip(frame.columns, frame.get_columns(), strict=True))
    for name in inputs:
        missing = conventions.missing_in(name)
        known = {} if missing == MISSING_WORDS else {"missing_words": list(missing)}
        cells = conventions.cells_of(there[name])
        found = _asked(cells, asked[name], conventions) if name in asked else _decide(cells, conventions)
        if found.kind == "number" and conventions.plain_in(name) is None:
            marks, why = remarks.of_no_data(parsing.numbers(cells, form_of(found), missing))
            if marks:
                known = {"missing_words": [*missing, *marks]}
                found = replace(found, why="; ".join(filter(None, [found.why, why])), reported=True)
        decisions.append(replace(found, known={**found.known, **known}))
    used = [decision for decision in decisions if decision.kind != "left out"]
    for decision in used:
        if conventions.plain_in(decision.name) is None:
            _refuse_infinities(conventions.cells_of(there[decision.name]), decision)
    if not used:
        raise DataError(
            "no column is left to learn from",
            expected="at least one column besides the target whose values vary",
            got="; ".join(f"{each.name}: {each.why}" for each in decisions[:5]) or "the target alone",
            fix="--kind NAME=category (or number, date, boolean) uses a column anyway",
        )
    return decisions


def typed(frame: pl.DataFrame, decisions: Sequence[Decision], conventions: Conventions) -> pl.DataFrame:
    """The table with text parsed into numbers and dates where its columns hold those."""
    read, there = [], dict(zip(frame.columns, frame.get_columns(), strict=True))
    digits = cells_of(there[each.name] for each in decisions if each.known.get("format") == dates.COMPACT)
    dates.read_all((cells for cells in digits.values() if parsing.is_text(cells.dtype)), lambda _: [dates.COMPACT])
    for each in decisions:
        if each.kind == "number" and conventions.plain is not None and conventions.plain_in(each.name) is not None:
            read.append(conventions.plain.numbers[each.name])
            continue
        cells = digits.get(each.name) or conventions.cells_of(there[each.name])
        if parsing.is_text(cells.dtype):
            missing = each.known.get("missing_words", MISSING_WORDS)
            if each.kind == "number":
                read.append(parsing.numbers(cells, form_of(each), missing))
            elif each.kind == "date" and each.known["format"] != dates.TIME_ALONE:
                read.append(parsing.times(cells, each.known["format"], missing))
    return frame.with_columns(read)


def form_of(decision: Decision) -> numbers.NumberForm:
    """How a numeric column writes its numbers."""
    return numbers.NumberForm(**{key: decision.known[key] for key in FORM if key in decision.known})


FORM = ("decimal", "unit", "zeros", "scales")


def _of_form(seen: numbers.Seen) -> dict[str, Any]:
    """The fields of a NumberColumn that say how its numbers are written."""
    form = {key: getattr(seen.form, key) for key in FORM}
    without = seen.form.unit in ("", None) or bool(seen.units[""])
    return {**form, "words": seen.odd, "without": without, "unscaled": seen.unscaled}


# ---- kinds that the user asked for -----------------------------------------------------------------------------------
def _asked(cells: Cells, kind: str, conventions: Conventions) -> Decision:
    name, dtype, missing = cells.name, cells.dtype, conventions.missing_in(cells.name)
    known: dict[str, Any] = {}
    if kind == "number" and parsing.is_text(dtype):
        decimal = conventions.decimal_in(name)
        seen = numbers.seen(cells, decimal.value, missing, asked=True)
        if found := seen.open_scales:
            refuse_open_scales(name, found, seen.scaled)
        read, why = seen.rows, remarks.of_numbers(name, decimal, seen)
        known = {**_of_form(seen), **decimal_marks.seen_in(cells, decimal.value)}
    elif kind == "date" and (parsing.is_text(dtype) or dtype.is_integer()):
        order = conventions.dates_in(name)
        form, read = dates.best(cells, missing, order.value) or (None, 0)
        odd = dates.unread(cells, form, missing) if form else []
        zoned, mixed = date_column.zoned(cells, form, missing)
        known = {"format": form, "words": odd, **zoned}
        rows = cells.there(missing)
        why = remarks.of_dates(name, order, form, odd, rows - read, rows) if form else ""
        why = "; ".join(filter(None, [why, mixed]))
    elif kind == "boolean":
        read, why = parsing.answers(cells, missing).count(), ""
    elif kind in ("number", "date"):
        read = parsing.numbers(cells).count() if kind == "number" else parsing.times(cells, None).count()
        why, known = "", {} if kind == "number" else {"format": None, **date_column.zoned(cells, None, missing)[0]}
    else:
        return Decision(name, ASKED[kind], ASKED_FOR)
    if read == 0 and cells.series.count():
        raise DataError(
            f"--kind {name}={kind}: none of its values is a {kind}",
            expected=f"values that can be read as {kind}",
            got=", ".join(repr(each) for each in cells.series.drop_nulls().head(3).to_list()),
            fix="choose another kind, or leave the option out",
        )
    return Decision(name, ASKED[kind], "; ".join(filter(None, [ASKED_FOR, why])), known, bool(why))


# ---- kinds that are detected -----------------------------------------------------------------------------------------
def _decide(cells: Cells, conventions: Conventions) -> Decision:
    name, dtype, missing = cells.name, cells.dtype, conventions.missing_in(cells.name)
    if cells.series.null_count() == len(cells) or dtype == pl.Null:
        return Decision(name, "left out", "all values are missing")
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return Decision(name, "left out", f"values of type {dtype} are neither numbers nor words")
    if parsing.is_time(dtype):
        zoned, _ = date_column.zoned(cells, None, missing)
        known = {"format": dates.TIME_ALONE if dtype == pl.Time else None, **zoned}
        return _varying(parsing.times(cells, None, missing), Decision(name, "date", known=known))
    if isinstance(dtype, pl.Duration):
        decision = Decision(name, "number", "durations are read as seconds", {"unit": durations.SECOND}, reported=True)
        return _decide_numbers(cells, parsing.numbers(cells), decision, missing)
    if dtype == pl.Boolean:
        return _varying(cells.series, Decision(name, "boolean"))
    if (summary := conventions.plain_in(name)) is not None and conventions.plain is not None:
        decision = Decision(name, "number", known={"open": not summary.example})
        return _decide_numbers(cells, conventions.plain.numbers[name], decision, missing, summary)
    if parsing.is_text(dtype):
        return _decide_text(cells, conventions)
    return _decide_numbers(cells, parsing.numbers(cells, missing=missing), Decision(name, "number"), missing)


def _decide_numbers(
    cells: Cells, read: pl.Series, decision: Decision, missing: Sequence[str], summary: Summary | None = None
) -> Decision:
    """The decision for a column that holds mostly these numbers: "number", unless they are codes or days."""
    name, there = decision.name, read.count()
    if there == 0:
        return Decision(name, "left out", "all values are missing")
    summary = summary or plain.summary(read)
    low, high, whole = summary.low, summary.high, summary.whole and not decision.known.get("words")
    change = remarks.option(name, "number", "kind")
    if whole and max(abs(low), abs(high)) >= EXACT and _in_digits(cells.series):
        why = f"whole numbers beyond 2**53 are taken for codes ({change} reads them as numbers, rounded)"
        return _decide_words(cells, missing, [why])
    if low == high:
        return _varying(read.rename(name), decision)
    may_differ = whole and there >= ENOUGH_TO_TELL and high - low + 1 >= there
    if may_differ and len(np.unique(read.to_numpy())) == there + (there < len(read)):
        if IDENTIFIER.search(name):
            return Decision(name, "left out", "an identifier: every value differs")
        if high - low + 1 == there:
            return Decision(name, "left out", "row numbers: every whole number in its range occurs once")
    if whole and any(
        DAYS_IN_DIGITS[0] <= low // each < DAYS_IN_DIGITS[1] and high // each <= DAYS_IN_DIGITS[1] for each in CLOCKS
    ):
        days = parsing.times(read.cast(pl.Int64), dates.COMPACT)
        if days.count() == there:
            why = f"{low:.0f} is read as {remarks.moment(days[int(days.arg_min() or 0)])} ({change} reads numbers)"
            return _varying(days, Decision(name, "date", why, {"format": dates.COMPACT}, reported=True))
    notes = [remarks.of_missing_codes(name, read, low, high)]
    if whole and low >= 0 and high > 1 and (CODE.search(name) or IDENTIFIER.search(name)):
        notes.append(remarks.of_codes(name))
    if any(notes):
        return replace(decision, why="; ".join(filter(None, [decision.why, *notes])), reported=True)
    return decision


def _in_digits(series: pl.Series) -> bool:
    return series.dtype.is_integer() or (
        parsing.is_text(series.dtype) and bool(series.str.contains(r"^\s*[+-]?\d{16,}\s*$").any())
    )


def _date_forms(cells: Cells, conventions: Conventions) -> list[str]:
    """The forms in which a column's dates may be written; none for numbers."""
    numeric = conventions.plain_in(cells.name) is not None or _half_are_numbers(cells, conventions)
    return [] if numeric else dates.likely_forms(cells, conventions.missing_in(cells.name))


def _half_are_numbers(cells: Cells, conventions: Conventions) -> bool:
    """Whether at least half of a column's values are numbers."""
    missing, mark = conventions.missing_in(cells.name), conventions.decimal_in(cells.name).value

    def look() -> bool:
        return numbers.rows(cells, mark, missing) >= cells.there(missing) / 2

    return cells.once((_half_are_numbers, mark, missing), look)


def _decide_text(cells: Cells, conventions: Conventions) -> Decision:
    name, missing, decimal = cells.name, conventions.missing_in(cells.name), conventions.decimal_in(cells.name)
    there = cells.there(missing)
    if there == 0:
        return Decision(name, "left out", "all values are missing")
    if months := dates.months_in(cells, missing):
        why = remarks.of_months(name, cells.counted(missing).words[0], months)
        return _varying(parsing.times(cells, months, missing), Decision(name, "date", why, {"format": months}, True))
    numeric = _half_are_numbers(cells, conventions)
    seen = numbers.seen(cells, decimal.value, missing) if numeric else numbers.nothing(cells)
    known = {"decimal": decimal.value, "open": not decimal.known}
    known |= decimal_marks.seen_in(cells, decimal.value) if numeric else {}
    if seen.are_plain:
        read, why = parsing.numbers(cells, seen.form, missing), remarks.of_numbers(name, decimal, seen)
        return _decide_numbers(cells, read, Decision(name, "number", why, known, bool(why)), missing)
    words = cells.counted(missing).words
    if len(words) == 1 and not (missing == MISSING_WORDS and words[0].lower() in SHEET_ERRORS):
        return _single(name, words[0], there < len(cells))
    if len(words) <= MOST_ANSWERS and None not in parsing.meant(words.to_list()):
        return Decision(name, "boolean")
    mixed = seen.mixed and decimal.known != "asked"
    if mostly(seen.rows, there, seen.odd) and not (seen.are_codes or mixed):
        read, why = parsing.numbers(cells, seen.form, missing), remarks.of_numbers(name, decimal, seen)
        decision = Decision(name, "number", why, {**known, **_of_form(seen)}, bool(why))
        return _decide_numbers(cells, read, decision, missing)
    order = conventions.dates_in(name)
    form, rows = dates.best(cells, missing, order.value) or ("", 0)
    odd = dates.unread(cells, form, missing) if form else []
    if mostly(rows, there, odd):
        days = parsing.times(cells, form, missing)
        far = "" if form == dates.TIME_ALONE else remarks.of_missing_days(name, days)
        if form == dates.TIME_ALONE and durations.CLOCK in seen.units:
            far = f"{remarks.option(name, 'number', 'kind')} reads durations"
        zoned, partly = date_column.zoned(cells, form, missing)
        why = "; ".join(filter(None, [remarks.of_dates(name, order, form, odd, there - rows, there), partly, far]))
        return _varying(days, Decision(name, "date", why, {"format": form, "words": odd, **zoned}, bool(why)))
    change = remarks.option(name, "number", "kind")
    notes = remarks.of_near_numbers(seen, there, MOSTLY, change)
    notes = notes or remarks.of_limits(cells, decimal.value, missing, MOSTLY, f"{change} takes them for gaps")
    if order.known == "asked" and (other := dates.best(cells, missing)) and other[1] >= MOSTLY * there:
        notes.append(
            f"dates written as {dates.described(other[0])}, and not {dates.ORDERS[order.value]} as --dates says"
        )
    notes += remarks.of_near_dates(form, rows, there, odd, remarks.option(name, "date", "kind"))
    notes += remarks.of_missing_words(name, cells.frequent_missing(missing))
    if missing == MISSING_WORDS and (errors := cells.missing(SHEET_ERRORS)).any():
        gaps = (*missing, *SHEET_ERRORS)
        found = _decide_text(cells, replace(conventions, missing={**conventions.missing, name: gaps}))
        why = "; ".join(filter(None, [remarks.of_sheet_errors(name, cells, errors), found.why]))
        return replace(found, why=why, known={**found.known, "missing_words": list(gaps)}, reported=True)
    return _decide_words(cells, missing, notes)


def _decide_words(cells: Cells, missing: Sequence[str], notes: Sequence[str]) -> Decision:
    """The decision for a column of words: "category", unless it holds too many different ones."""
    name, rows = cells.name, len(cells)
    counted, there = cells.counted(missing), cells.there(missing)
    different = len(counted.words)
    reported = bool(notes)

    def left_out(why: str) -> Decision:
        return Decision(name, "left out", "; ".join([why, *notes]), reported=reported)

    if different == there and there >= ENOUGH_TO_TELL:
        return left_out("an identifier or free text: every value differs")
    levels, covered = frequent(counted, rows)
    if not levels or (different > MOST_LEVELS and covered < COVERED * there):
        why = f"too many different words: {different:,} in {rows:,} rows"
        return left_out(f"{why}, {100 * covered / there:.0f} % of which hold a frequent one")
    twins = remarks.of_twins(*counted)
    each = f"{different:,} words; frequent ones, with an input each: {len(levels)}"
    rare = [each] if different > len(levels) else []
    return Decision(name, "category", "; ".join([*rare, *notes, *twins]), reported=bool(reported or twins))


def mostly(rows: int, there: int, odd: Sequence[str]) -> bool:
    """Whether a column is numeric (or of dates) if `rows` of its `there` values can be read and `odd` words cannot."""
    if all(word.lower() in PLACEHOLDERS for word in odd):
        return rows > there / 2
    return rows >= MOSTLY * there and len(odd) <= MOST_ODD_WORDS


def _varying(series: pl.Series, decision: Decision) -> Decision:
    """The decision, unless the column has a single value: then it is left out, or a category if values are missing."""
    if series.min() != series.max():
        return decision
    return _single(decision.name, as_text(series.head(1))[0], series.null_count() > 0)


def _single(name: str, word: str, missing: bool) -> Decision:
    """The decision for a column with a single value: it is left out, or a category if values are missing."""
    if missing:
        return Decision(name, "category", "a single value, or missing")
    return Decision(name, "left out", f"constant: {word}")


def _refuse_infinities(cells: Cells, decision: Decision) -> None:
    if decision.kind == "number":
        read = parsing.numbers(cells, form_of(decision), decision.known.get("missing_words", MISSING_WORDS)).to_numpy()
        if np.isinf(read).any():
            refuse_infinite(cells.name, read, f'replace them, or leave the column out: --kind "{cells.name}=drop"')


def no_column(name: str, names: Sequence[str]) -> ArgumentError:
    """The error for a column that the table does not have."""
    close = near(name, names)
    return ArgumentError(
        f"the table has no column {name!r}",
        expected=listed(names),
        got=name,
        fix=f"did you mean {close!r}?" if close else "name one of these",
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first `most` names as text for a message, each shortened and printable."""
    return ", ".join(shortened(names[:most], LONGEST_NAME)) + (
        f", ... ({len(names):,} in all)" if len(names) > most else ""
    )
