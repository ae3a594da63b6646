"""What each column of a table is: a number, a category, a date, an answer, or nothing a network could learn from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import polars as pl

from lamp.errors import ArgumentError, DataError
from lamp.tables import parsing
from lamp.tables.columns import MOST_LEVELS, frequent, level_counts

DROP = "drop"
ASKED = {"number": "number", "category": "category", "boolean": "boolean", "date": "date", DROP: "left out"}

ASKED_FOR = "asked for"

ENOUGH_TO_TELL = 20  # rows from which "all values differ" says something
MOSTLY = 0.9  # share of the texts that must be numbers for a column of numbers
MOST_ODD_WORDS = 20  # different words that may stand between numbers
COVERED = 0.5  # share of the rows that frequent words must cover for a category
IDENTIFIER = re.compile(r"(^|[_\W])(id|uuid|guid|key|index|row|rownumber|nr)$|[a-z]I[dD]$", re.IGNORECASE)


@dataclass(frozen=True)
class Decision:
    """What a column is taken for: its kind (as in `lamp.tables.columns`), and why, where that is not plain.

    known  what all rows together say of how it is read: `words` between numbers, `decimal` mark, `format` of dates
    """

    name: str
    kind: str
    why: str = ""
    known: dict[str, Any] = field(default_factory=dict)


def decide(frame: pl.DataFrame, target: str, asked: Mapping[str, str] | None = None) -> list[Decision]:
    """The kind of each column of a table but the target, in the table's order.

    asked  kinds that the user has named: number, category, boolean, date or drop

    Raises ArgumentError for a column or a kind that is not there, DataError for infinities, for values that are not of
    the kind asked for, and where no column is left to learn from.
    """
    asked = dict(asked or {})
    inputs = [name for name in frame.columns if name != target]
    for name, kind in asked.items():
        if name not in inputs:
            raise no_column(name, inputs)
        if kind not in ASKED:
            raise ArgumentError(
                f"--kind {name}={kind}: there is no such kind",
                expected=", ".join(ASKED),
                got=kind,
                fix="name one of these",
            )
    decisions = [_asked(frame[name], asked[name]) if name in asked else _decide(frame[name]) for name in inputs]
    used = [decision for decision in decisions if decision.kind != "left out"]
    for decision in used:
        _refuse_infinities(frame[decision.name], decision)
    if not used:
        raise DataError(
            "no column is left to learn from",
            expected="at least one column beside the target that varies",
            got="; ".join(f"{each.name}: {each.why}" for each in decisions[:5]) or "the target alone",
            fix="--kind NAME=category (or number, date, boolean) uses a column all the same",
        )
    return decisions


def _asked(series: pl.Series, kind: str) -> Decision:
    if kind in ("number", "date", "boolean"):
        read = {"number": parsing.numbers, "date": lambda s: parsing.times(s, None), "boolean": parsing.answers}[kind](
            series
        )
        if read.count() == 0 and series.count():
            raise DataError(
                f"--kind {series.name}={kind}: none of its values is one",
                expected=f"values that are read as {kind}",
                got=", ".join(repr(each) for each in series.drop_nulls().head(3).to_list()),
                fix="name another kind, or none",
            )
    known: dict[str, Any] = {}
    if parsing.is_text(series.dtype):
        text = parsing.words(series)
        if kind == "number":
            known = _odd_words(text)
        elif kind == "date":
            known = {"format": parsing.time_format(text)}
    return Decision(series.name, ASKED[kind], ASKED_FOR, known)


def _odd_words(text: pl.Series) -> dict[str, Any]:
    """How text is read as numbers, and the words in it that are none."""
    decimal = parsing.decimal_mark(text)
    odd = text.filter(parsing.numbers(text, decimal).is_null() & text.is_not_null()).unique().sort()
    return {"decimal": decimal, "words": odd.to_list()}


def _decide(series: pl.Series) -> Decision:
    name, dtype, there = series.name, series.dtype, series.count()
    if there == 0 or dtype == pl.Null:
        return Decision(name, "left out", "all values are missing")
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return Decision(name, "left out", f"values of type {dtype} are neither numbers nor words")
    if parsing.is_time(dtype):
        return _varying(series, Decision(name, "date"))
    if dtype == pl.Boolean:
        return _varying(series, Decision(name, "boolean"))
    if parsing.is_text(dtype):
        return _decide_text(series)
    numbers = parsing.numbers(series)
    if numbers.count() == 0:
        return Decision(name, "left out", "all values are missing")
    if dtype.is_integer() and there >= ENOUGH_TO_TELL and series.drop_nulls().n_unique() == there:
        if IDENTIFIER.search(name):
            return Decision(name, "left out", "an identifier: every value differs")
        if int(series.max()) - int(series.min()) + 1 == there:  # type: ignore[arg-type]
            return Decision(name, "left out", "it numbers the rows")
    return _varying(numbers, Decision(name, "number"))


def _decide_text(series: pl.Series) -> Decision:
    name, text = series.name, parsing.words(series)
    there = text.count()
    if there == 0:
        return Decision(name, "left out", "all values are missing")
    different = text.drop_nulls().n_unique()
    if different == 1:
        return _varying(text, Decision(name, "category"))
    if parsing.answers(text.drop_nulls().unique()).null_count() == 0 and different <= 4:
        return Decision(name, "boolean")
    known = _odd_words(text)
    decimal, odd = known["decimal"], known["words"]
    numbers = parsing.numbers(text, decimal)
    if numbers.count() >= MOSTLY * there and len(odd) <= MOST_ODD_WORDS:
        why = "with a comma for the point" if decimal == "," else ""
        if len(odd):
            shown = ", ".join(map(repr, odd[:3])) + (", ..." if len(odd) > 3 else "")
            why = f"{there - numbers.count():,} of {there:,} values are no numbers and count as missing: {shown}"
        return _varying(numbers.rename(name), Decision(name, "number", why, known))
    form = parsing.time_format(text)
    if form is not None:
        why = (
            "read as {}".format("month/day/year" if form.startswith("%m") else "day/month/year")
            if form[2] == "/"
            else ""
        )
        return _varying(parsing.times(text, form), Decision(name, "date", why, {"format": form}))
    if different == there and there >= ENOUGH_TO_TELL:
        return Decision(name, "left out", "an identifier or free text: every value differs")
    levels = frequent(counted := level_counts(text), len(text))
    covered = sum(count for word, count in counted if word in set(levels)) / there
    if not levels or (different > MOST_LEVELS and covered < COVERED):
        return Decision(
            name,
            "left out",
            f"{different:,} different words in {there:,} rows; {len(levels)} of them in {100 * covered:.0f} %",
        )
    return Decision(
        name, "category", f"{different:,} words, {len(levels)} with a feature" if different > len(levels) else ""
    )


def _varying(series: pl.Series, decision: Decision) -> Decision:
    """The decision, unless there is but one value and no gap: then the column is constant."""
    there = series.drop_nulls()
    if there.min() != there.max():
        return decision
    if series.null_count() == 0:
        return Decision(decision.name, "left out", f"constant: {parsing.words(series.head(1))[0]}")
    return Decision(decision.name, "category", "one value, or missing")


def _refuse_infinities(series: pl.Series, decision: Decision) -> None:
    if decision.kind != "number":
        return
    numbers = parsing.numbers(series)
    infinite = numbers.is_infinite().fill_null(False)
    if infinite.any():
        row = int(infinite.arg_max() or 0)
        raise DataError(
            f"column {series.name!r} holds infinities",
            expected="finite numbers, and nothing where a number is not known",
            got=f"{numbers[row]} in row {row + 1:,}; such stand in {int(infinite.sum()):,} of {len(series):,} rows",
            fix=f'replace them, or leave the column out: --kind "{series.name}=drop"',
        )


def no_column(name: str, names: Sequence[str]) -> ArgumentError:
    """The error for a column that is not there."""
    close = get_close_matches(name, names, 1)
    return ArgumentError(
        f"the table has no column {name!r}",
        expected=listed(names),
        got=name,
        fix=f"did you mean {close[0]!r}?" if close else "name one of these",
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, the first few of many."""
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
