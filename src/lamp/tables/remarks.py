"""Remarks on how a column was read: what was decided, what else it could mean, and which option changes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from shlex import quote

import numpy as np
import polars as pl

from lamp.printable import counted
from lamp.tables import dates, durations, numbers
from lamp.tables.cells import Array, Cells
from lamp.tables.conventions import Conventions
from lamp.tables.evidence import ALL, Found
from lamp.tables.missing import SHEET_ERRORS, is_text
from lamp.tables.number_texts import OTHER, parsed

SHOWN = 3  # words quoted in a remark
BOTH_MARKS = "numbers with a decimal point and numbers with a decimal comma"
MOST_NINES = 1e9
CODE_ROWS, CODE_SHARE = 3, 0.005  # least rows, and share of rows, of a number that may mean missing
LIMIT = r"^[<>≤≥~≈]=? ?[-+$€£]?[\d.,]"  # such as <5
MANY = 0.5  # share of numbers, or of dates, in a column of words from which a remark says so
FAR = 0.5  # distance from the other values, as a share of their range, beyond which a value is an outlier,
NO_DATA, FAR_FROM_DATA = 1e30, 1e10  # least size of such a mark, and how many times the others' size it is at least
YEARS = 10  # and for a day also the least distance


def some(words: Sequence[str]) -> str:
    """The first few words, quoted, with "..." for the rest."""
    return ", ".join(map(repr, words[:SHOWN])) + (", ..." if len(words) > SHOWN else "")


def of_gaps(odd: int, rows: int, one: str, several: str, words: Sequence[str]) -> str:
    """The remark that `odd` of a column's `rows` values are not of its kind: not "a number", or not "numbers"."""
    what = f"is not {one} and counts" if odd == 1 else f"are not {several} and count"
    return f"{odd:,} of {rows:,} values {what} as missing: {some(words)}"


def option(name: str, value: str, kind: str) -> str:
    """The text of a command-line option for one column, such as "--missing price=0"."""
    return f"--{kind} {quote(f'{name}={value}')}"


# ---- numbers ---------------------------------------------------------------------------------------------------------
def _of_marks(name: str, decimal: Found, seen: numbers.Seen) -> str:
    """How commas and points in numbers were read."""
    special, mark, other = seen.special, decimal.value, OTHER[decimal.value]
    open_to = decimal.known in ("assumed", "likely", "file", "against")
    example = decimal.example if open_to else next((word for word in special if "," in word or word.count(".") > 1), "")
    if not example:
        plain = next((word for word in special if re.search(r"\d[ '_\u00a0\u2009\u202f\u2019]\d", word)), "")
        return f"{plain!r} is read as {special[plain]:.15g}" if plain else ""
    value, otherwise = _value(seen, example, mark), _value(seen, example, other)
    read = f"{example!r} is read as {value}"
    if value == otherwise or not otherwise:
        return f"decimal comma: {read}" if mark == "," else read
    if decimal.known == "file" and mark == "." and "," not in example:
        return ""  # the usual mark, as in the rest of the file
    why = {
        "assumed": f" but may mean {otherwise}",
        "likely": ", because the numbers without a mark are below 1000",
        "file": f", as in column {decimal.by!r}",
        "against": f", as in column {decimal.by!r}, although the numbers without a mark are below 1000",
    }.get(decimal.known, "")
    return f"{read}{why} ({option(name, other, 'decimal')} reads {otherwise})"


def _value(seen: numbers.Seen, word: str, mark: str) -> str:
    value = seen.value(word, mark)
    return "" if value is None else f"{value:.15g}"


def of_numbers(name: str, decimal: Found, seen: numbers.Seen) -> str:
    """How a column's numbers are written, and which words in it are not numbers."""
    parts = []
    if seen.odd:
        parts.append(of_gaps(seen.odd_rows, seen.odd_rows + seen.rows, "a number", "numbers", seen.odd))
    if seen.mixed:
        parts.append(f"{BOTH_MARKS}, such as {seen.mixed!r}")
    parts.append(_of_marks(name, decimal, seen))
    if negative := next((word for word in seen.special if "(" in word or word.endswith("-")), ""):
        said = f"{negative!r} is read as {seen.special[negative]:.15g}"
        parts += [said] if said not in parts[-1] else []
    if seen.form.unit is None:
        parts.append("several units, which are not converted: " + ", ".join(unit or "none" for unit in seen.units))
    elif seen.form.unit == durations.SECOND and durations.are_durations(filter(None, seen.units)):
        example = next(iter(seen.special))
        parts.append(f"durations, in seconds: {example!r} is read as {seen.special[example]:.15g}")
    elif seen.form.unit:
        without = seen.units[""]
        parts.append(f"in {seen.form.unit}" + (f", {counted(without, 'value')} without it" if without else ""))
    if seen.scaled:
        parts.append(f"{seen.scaled!r} is read as {_value(seen, seen.scaled, decimal.value)}")
    if seen.form.zeros:
        parts.append(f"{seen.codes[0]!r} is read as {_value(seen, seen.codes[0], decimal.value)}")
    return "; ".join(filter(None, parts))


def of_near_numbers(seen: numbers.Seen, there: int, share: float, change: str) -> list[str]:
    """Why a column of which many values are numbers is taken for words, and the option that changes it."""
    if seen.mixed or sum(seen.units.values()) < share * there:
        return _of_many_numbers(seen, there, change)
    units = [unit for unit in seen.units if unit]
    if found := seen.open_scales:
        return [f"{some(found)} may be units or thousands, millions, billions: write the numbers out"]
    if len(units) > 1:
        return [f"numbers in several units, {some(units)}: {change} reads the numbers without converting them"]
    if seen.are_codes:
        return [f"{of_codes_in_digits(seen.codes)} ({change} reads numbers)"]
    if units and seen.units[""]:
        return [f"numbers with and without {units[0]}: {change} reads the numbers without converting them"]
    return []


def of_limits(cells: Cells, mark: str, missing: Sequence[str], share: float, otherwise: str) -> list[str]:
    """A remark on limits such as <5 in a column of words, if at least a share of its values are limits and numbers.

    otherwise  the option that changes it, and how

    Laboratories write <5 for less than they can measure. Without numbers beside them, <=50K and >50K are classes.
    """
    limits = cells.read(_are_limits) & ~cells.missing(missing)
    if not limits.any():
        return []
    rows, plain, there = int(cells.count[limits].sum()), numbers.rows(cells, mark, missing), cells.there(missing)
    if not plain or rows + plain < share * there:
        return []
    example = cells.text[int(limits.argmax())]
    return [
        f"{rows:,} of {there:,} values are limits, such as {example!r}, and count as words: write numbers in their "
        f"place; or {otherwise}"
    ]


def _are_limits(text: pl.Series) -> Array:
    return text.str.contains(LIMIT).to_numpy()


def of_codes_in_digits(codes: Sequence[str]) -> str:
    """The remark that words such as 007 are no numbers."""
    taken = "is taken for a word" if len(codes) == 1 else "are taken for words"
    return f"{some(codes)} {taken}, because numbers do not begin with 0"


def _of_many_numbers(seen: numbers.Seen, there: int, change: str) -> list[str]:
    """A remark on a column of which more than half the values are numbers, or of numbers with both decimal marks."""
    if not seen.odd:
        return []
    if seen.mixed or (seen.rows and seen.odd_are_numbers(OTHER[seen.form.decimal])):
        return [f"{BOTH_MARKS}, such as {seen.mixed or seen.odd[0]!r}: write all in one way"]
    if seen.rows <= MANY * there:
        return []
    return [f"{seen.rows:,} of {there:,} values are numbers, but not {some(seen.odd)}: {change} takes those for gaps"]


def of_missing_codes(name: str, read: pl.Series, low: float, high: float) -> str:
    """A remark on a number such as -999 or 9999 that is far from the others and may mean missing."""
    ends = {value: f"{value:.15g}" for value in (low, high) if _is_code(value)}
    values = read.to_numpy() if ends else np.empty(0)
    return _of_far_values(name, values[~np.isnan(values)], len(read), ends)


def of_no_data(read: pl.Series) -> tuple[list[str], str]:
    """Numbers such as -3.4e38, by which programs for maps mark a missing one, as words; and the remark on them."""
    values = read.to_numpy()
    values = values[~np.isnan(values)]
    size = np.abs(values)
    huge = np.isfinite(size) & (size >= NO_DATA)
    found = np.unique(values[huge]).tolist() if huge.any() and not huge.all() else []
    if not 0 < len(found) <= SHOWN or size[~huge].max() > size[huge].min() / FAR_FROM_DATA:
        return [], ""
    rows, verb = int(huge.sum()), "counts" if huge.sum() == 1 else "count"
    shown = " and ".join(f"{value:g}" for value in found)
    why = f"as a mark for no data: the others are below {size[~huge].max():.3g}"
    return [repr(value) for value in found], f"{shown} in {counted(rows, 'row')} {verb} as missing, {why}"


def of_missing_days(name: str, read: pl.Series) -> str:
    """A remark on a day such as 9999-12-31 or 1900-01-01 that is far from the others and may mean missing."""
    ends = [day for day in (read.min(), read.max()) if isinstance(day, datetime)]
    least = timedelta(days=366 * YEARS) // timedelta(microseconds=1)
    at = read.to_numpy()
    values = at[~np.isnat(at)].astype(np.int64)
    return _of_far_values(name, values, len(read), {_microseconds(day): moment(day) for day in ends}, least)


def _of_far_values(name: str, values: Array, rows: int, ends: Mapping[float, str], far: float = 0.0) -> str:
    """A remark on each of `ends` (the least and greatest value, with texts) that is frequent and far from the rest.

    values  those of a column that are not missing, in so many rows
    far     the least distance that is far
    """
    found = []
    for value, text in ends.items():
        others = values[values != value]
        holding = len(values) - len(others)
        if len(others) and holding >= max(CODE_ROWS, CODE_SHARE * rows):
            least, most = float(others.min()), float(others.max())
            if min(abs(value - least), abs(value - most)) > max(far, FAR * (most - least)):
                change = option(name, text, "missing")
                found.append(f"{text} in {holding:,} rows is far from all others; if it means missing: {change}")
    return "; ".join(found)


def _microseconds(day: datetime) -> int:
    return (day - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def _is_code(value: float) -> bool:
    """Whether people write this number for a missing one: -1, or 99, -99, 999, ..."""
    return value == -1 or (10 < abs(value) < MOST_NINES and set(f"{abs(value):.15g}") == {"9"})


def of_codes(name: str) -> str:
    """The remark on whole numbers that may be codes, by the name of their column."""
    return f"whole numbers are read as amounts; if they are codes: {option(name, 'category', 'kind')}"


# ---- dates -----------------------------------------------------------------------------------------------------------
def moment(at: datetime) -> str:
    """A point in time for a message."""
    return str(at.date() if at.time() == datetime.min.time() else at)


def of_dates(name: str, order: Found, form: str, odd: Sequence[str], odd_rows: int, rows: int) -> str:
    """How a column's dates are written, and which words in it are not dates."""
    parts = []
    if odd:
        parts.append(of_gaps(odd_rows, rows, "a date", "dates", odd))
    digits = dates.order_of(form)
    said = _of_order(name, order, form, digits) if digits else f"read as {dates.described(form)}"
    parts.append(said or (f"read as {dates.described(form)}" if odd else ""))
    if "%y" in form:
        parts.append("years 00 to 69 are 2000 to 2069, 70 to 99 are 1970 to 1999")
    return "; ".join(filter(None, parts))


def of_months(name: str, example: str, form: str) -> str:
    """The remark that words that look like numbers are read as months."""
    change = option(name, "number", "kind")
    return f"{example!r} and the like are read as {dates.described(form)} ({change} reads numbers)"


def of_near_dates(form: str, rows: int, there: int, odd: Sequence[str], change: str) -> list[str]:
    """A remark on a column of which at least half the values are dates of one form, and the others are not."""
    if not form or rows < MANY * there or not odd:
        return []
    kind = dates.described(form) if form == dates.TIME_ALONE else f"dates written as {dates.described(form)}"
    return [f"{rows:,} of {there:,} values are {kind}, but not {some(odd)}: {change} takes those for gaps"]


def of_dates_in_target(form: str, example: str, taken_for: str) -> str:
    """The remark that a target's dates, or times of day, are taken for "classes" or "numbers"."""
    what, fix = _of_target_form(form)
    return f"{example!r} and the like are {what}, but are predicted as {taken_for}; to predict when, {fix}"


def instead_of_dates(form: str) -> str:
    """What to do with a target of dates, or times of day, which cannot be predicted as such."""
    what, fix = _of_target_form(form)
    return f"{what} cannot be predicted: {fix}"


def _of_target_form(form: str) -> tuple[str, str]:
    """What the values of a target in this form are, and how to write them."""
    if form == dates.TIME_ALONE:
        return "times of day", "write them as numbers, such as minutes since midnight"
    return "dates", "write them as numbers, such as days since the first date"


def _of_order(name: str, order: Found, form: str, digits: str) -> str:
    """In which order days and months were read, and why."""
    read = f"read as {dates.described(form)}"
    if digits == "ydm":
        return f"{read}; where both fit, year/month/day is taken, unless --dates says ydm"
    if form[:2] == "%Y":
        return ""
    other = order.other or ("dmy" if digits == "mdy" else "mdy")
    if order.known == "proven":
        return f"{read}, as {order.example!r} shows"
    if order.known == "file":
        return f"{read}, as in column {order.by!r} ({option(name, other, 'dates')} changes it)"
    if order.known == "assumed":
        return (
            f"{read}, but {order.example!r} may mean {dates.ORDERS[other]} ({option(name, other, 'dates')} reads it so)"
        )
    return read


# ---- words -----------------------------------------------------------------------------------------------------------
def of_missing_words(name: str, found: Sequence[tuple[str, int]]) -> list[str]:
    """Remarks on frequent words that count as missing but may be values; a spreadsheet's errors have their own."""
    return [
        f"{word!r} in {rows:,} rows counts as missing ({option(name, 'none', 'missing')} takes it for a word)"
        for word, rows in found
        if word.lower() not in SHEET_ERRORS
    ]


def of_sheet_errors(name: str, cells: Cells, errors: Array) -> str:
    """The remark that a spreadsheet's errors among a column's words count as missing; `errors` (m,) says where."""
    rows = int(cells.count[errors].sum())
    words = some(numbers.those(cells, errors).to_list())
    verb, them = ("counts", "it for a word") if rows == 1 else ("count", "them for words")
    change = f"{option(name, 'none', 'missing')} takes {them}"
    return f"{counted(rows, 'cell')} with a spreadsheet's error, {words}, {verb} as missing ({change})"


def of_target_words(column: pl.Series, missing: Sequence[str], conventions: Conventions) -> list[str]:
    """Remarks on frequent words of a target that count as missing, or would in another column."""
    name, usual = column.name, conventions.missing_in(column.name)
    if name in conventions.missing or ALL in conventions.missing:
        return []  # the user has said it
    found = []
    for word, rows in Cells(column).frequent_missing(list(dict.fromkeys([*usual, *missing]))):
        if word.lower() in missing:
            change = f"{option(name, 'none', 'missing')} takes them for values"
            found.append(f"{name!r} is {word!r} in {rows:,} rows, which count as missing; {change}")
        else:
            change = f"{option(name, word.title(), 'missing')} leaves these rows out"
            found.append(f"{word!r}, in {rows:,} rows, is a class of {name!r}; {change}")
    return found


def of_unused_words(frame: pl.DataFrame, missing: Mapping[str, Sequence[str]]) -> list[str]:
    """Remarks on words of --missing that do not occur in the table; numbers and dates are not checked."""
    parts = []
    for name, given in missing.items():
        words = {word.strip().lower(): word for word in given}
        texts = [each for each, dtype in frame.schema.items() if is_text(dtype) and name in (each, ALL)]
        cell = pl.all().cast(pl.String).str.strip_chars().str.to_lowercase()
        found = frame.select(texts).select(cell.filter(cell.is_in(list(words))).unique().implode())
        there = {word for cells in (found.row(0) if texts else ()) for word in cells}
        asked = pl.Series(list(words), dtype=pl.String)
        other = parsed(asked, ".")["value"].is_null() & dates.read(asked, "%Y-%m-%d").is_null()
        none = [words[word] for word in asked.filter(other) if word not in there]
        if none:
            verb = "does" if len(none) == 1 else "do"
            parts.append(f"--missing: {some(none)} {verb} not occur" + (f" in {name!r}" if name else ""))
    return parts


def of_unused_forms(asked: Conventions, kinds: Mapping[str, str]) -> list[str]:
    """Remarks on --decimal and --dates for columns that hold no numbers or no dates.

    kinds  {column: kind} of the columns that are used
    """
    found = []
    for name, kind in kinds.items():
        if name in asked.decimal and kind != "number":
            found.append(f"--decimal: {name!r} holds no numbers, so its decimal mark changes nothing")
        if name in asked.dates and kind != "date":
            found.append(f"--dates: {name!r} holds no dates, so their order changes nothing")
    return found


def of_spellings(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """A remark on new words that differ from words of the training in capitals, blanks or leading zeros only."""
    there = {_plainly(word).lstrip("0"): word for word in reversed(known)}
    keys = {word: _plainly(word).lstrip("0") for word in words}
    same = [(word, there[key]) for word, key in keys.items() if key in there]
    if not same:
        return []
    new, old = (some(each) for each in zip(*same, strict=True))
    verb, them = ("differs", "it") if len(same) == 1 else ("differ", "them")
    return [
        f"{new} {verb} from training's {old} only in capitals, blanks or leading zeros: if the same is meant, write "
        f"{them} as in training"
    ]


def _plainly(word: str) -> str:
    return " ".join(word.lower().split())


def of_twins(words: pl.Series, rows: Array | None = None) -> list[str]:
    """A remark on words that differ only in capitals or blanks, those with the most rows first."""
    same = [_plainly(word) for word in words.to_list()]
    if len(set(same)) == len(same):
        return []
    table = pl.DataFrame({"word": words, "same": same})
    if rows is not None:
        table = table.with_columns(count=rows).sort(["count", "word"], descending=[True, False])
    twins = table.group_by("same", maintain_order=True).agg("word").filter(pl.col("word").list.len() > 1)
    first = " and ".join(map(repr, twins["word"][0].to_list()[:SHOWN]))
    more = f"; so are the spellings of {counted(len(twins) - 1, 'other word')}" if len(twins) > 1 else ""
    return [f"{first} are kept apart although they differ only in capitals or blanks{more}"]
