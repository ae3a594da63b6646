"""Mistakes with the values of a table: numbers, dates, codes, words that mean missing, and the options for them."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lamp.errors import ArgumentError, DataError
from lamp.tables import Preprocessing, kinds, targets
from lamp.tables.conventions import Conventions
from lamp.tables.planning import Request, plan_training
from tests.cases.mistakes import Mistake

ROWS = 60


def trained_on(
    target: Sequence[str], x: Sequence[str] = ("1", "2.5", "4"), name: str = "y", **request: Any
) -> Callable[[], Any]:
    """Examines a file with a target y and a column x that repeats these words."""

    def call() -> Any:
        lines = [f'"{x[k % len(x)]}",{(7 * k) % 13},"{target[k % len(target)]}"' for k in range(ROWS)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "t.csv"
            path.write_text("x,beside,y\n" + "\n".join(lines) + "\n")
            return plan_training(Request(path, name, **request))

    return call


def many(form: str, *others: str) -> list[str]:
    """Words of a form, for k = 1, 2, ..., followed by other words."""
    return [form.format(k) for k in range(1, ROWS + 1 - len(others))] + list(others)


def given(training: Sequence[Any], new: Any, kind: str | None = None, **said: Sequence[str]) -> Callable[[], Any]:
    """Fits a column on some values and encodes others."""

    def call() -> Any:
        rows = 36
        frame = pl.DataFrame(
            {"x": [training[k % len(training)] for k in range(rows)], "beside": [(7 * k) % 13 for k in range(rows)]}
        )
        conventions = Conventions.asked(
            frame.columns, said.get("missing", ()), said.get("decimal", ()), said.get("dates", ())
        )
        made = Preprocessing().fit(frame, kinds.decide(frame, "", {"x": kind} if kind else None, conventions))
        return made.transform(pl.DataFrame({"x": [training[0], new], "beside": [1, 2]}, strict=False))

    return call


def encoded(training: Sequence[Any], new: Sequence[Any]) -> Callable[[], Any]:
    """Fits a target on some values and encodes others."""
    return lambda: targets.decide(pl.Series("y", list(training) * 9)).encode(pl.Series("y", new))


YES_NO = ("up", "down")
DAYS = ["2021-01-01", "2021-02-03", "2021-03-05"]

MISTAKES = [
    # ---- targets ----
    Mistake(
        "a word in a target of numbers",
        trained_on(many("{}.5", "sold")),
        DataError,
        "'y'",
        ("'sold'", "row 60", "--leave-out-odd", "--missing y=sold"),
    ),
    Mistake(
        "two words in a target of money",
        trained_on(many("${},000", "sold", "n.a.")),
        DataError,
        "'y'",
        ("2 of 60 rows", "--leave-out-odd"),
    ),
    Mistake(
        "half a target of words, to be a number",
        trained_on(["1.5", "high"], task="regression"),
        DataError,
        "'y'",
        ("30 of 60 rows",),
    ),
    Mistake(
        "a target of words to be a number",
        trained_on(["low", "high"], task="regression"),
        DataError,
        "'y'",
        ("'low'", "--task classification"),
    ),
    Mistake(
        "a target of days",
        trained_on([f"2021-{1 + k // 28:02}-{1 + k % 28:02}" for k in range(ROWS)]),
        DataError,
        "'y'",
        ("dates", "days since"),
    ),
    Mistake("a target of free text", trained_on(many("comment {}")), DataError, "'y'", ("too many classes",)),
    Mistake(
        "a target of many numbers as classes",
        trained_on(many("{}.25"), task="classification"),
        DataError,
        "'y'",
        ("--task regression",),
    ),
    Mistake(
        "a target in two units",
        trained_on([*many("{}.5 kg")[:30], *many("{}.5 lb")[30:]]),
        DataError,
        "'y'",
        ("several units", "--task regression"),
    ),
    Mistake(
        "a target with and without %",
        trained_on([*many("{}.5%")[:30], *many("0.{}")[30:]]),
        DataError,
        "'y'",
        ("with and without %", "--task regression"),
    ),
    Mistake(
        "a target of many codes", trained_on(many("00{}")), DataError, "'y'", ("begin with 0", "--task regression")
    ),
    Mistake("a target of one word and NA", trained_on(["yes", "NA"]), DataError, "'y'", ("only one value",)),
    Mistake("a target of nothing but NA", trained_on(["NA", ""]), DataError, "'y'", ("missing in every row",)),
    Mistake(
        "a target that is missing in every row by option",
        trained_on(YES_NO, missing=["y=up", "y=down"]),
        DataError,
        "'y'",
        ("missing in every row",),
    ),
    Mistake("an infinite target", trained_on(many("{}.5", "inf")), DataError, "'y'", ("infinite values",)),
    Mistake("a class that is not known", encoded(["a", "b"], ["a", "c"]), DataError, "'y'", ("c in 1 of 2",)),
    Mistake("a class with a leading zero", encoded(["1", "2"], ["1", "02"]), DataError, "'y'", ("02",)),
    Mistake("money where a target was plain", encoded([1.5, 2.25, 7.0], ["1.5", "€7"]), DataError, "'y'", ("€7",)),
    # ---- options ----
    Mistake("a kind that is none", trained_on(YES_NO, kinds={"x": "money"}), ArgumentError, "x=money", ("number",)),
    Mistake(
        "a kind of a column that is not there",
        trained_on(YES_NO, kinds={"besides": "number"}),
        ArgumentError,
        "'besides'",
        ("'beside'",),
    ),
    Mistake(
        "words as numbers", trained_on(YES_NO, x=["a", "b"], kinds={"x": "number"}), DataError, "x=number", ("'a'",)
    ),
    Mistake("words as dates", trained_on(YES_NO, x=["a", "b"], kinds={"x": "date"}), DataError, "x=date", ("'a'",)),
    Mistake(
        "words as yes and no",
        trained_on(YES_NO, x=["a", "b"], kinds={"x": "boolean"}),
        DataError,
        "x=boolean",
        ("'a'",),
    ),
    Mistake("a decimal mark that is none", trained_on(YES_NO, decimal=[";"]), ArgumentError, "--decimal ;", (".", ",")),
    Mistake(
        "a decimal mark of a column that is not there",
        trained_on(YES_NO, decimal=["besides=,"]),
        ArgumentError,
        "--decimal besides=,",
        ("'beside'",),
    ),
    Mistake(
        "an order of dates that is none",
        trained_on(YES_NO, dates=["european"]),
        ArgumentError,
        "--dates european",
        ("dmy",),
    ),
    Mistake(
        "an order of dates of a column that is not there",
        trained_on(YES_NO, dates=["besides=dmy"]),
        ArgumentError,
        "--dates besides=dmy",
        ("'beside'",),
    ),
    Mistake(
        "a missing word of a column that is not there",
        trained_on(YES_NO, missing=["besides=NA"]),
        ArgumentError,
        "--missing besides=NA",
        ("'beside'",),
    ),
    Mistake(
        "no column is left",
        trained_on(YES_NO, kinds={"x": "drop", "beside": "drop"}),
        DataError,
        "column",
        ("asked for",),
    ),
    Mistake(
        "infinities in a column",
        trained_on(YES_NO, x=["1", "2.5", "inf"]),
        DataError,
        "'x'",
        ("infinite values", "row 3"),
    ),
    # ---- values that training did not have ----
    Mistake("a word for a number", given(["1", "2.5"], "many"), DataError, "'x'", ("'many' in row 2",)),
    Mistake("a code for a number", given(["1", "2.5"], "007"), DataError, "'x'", ("'007' in row 2",)),
    Mistake("a comma for a point", given(["1", "2.5"], "1,25"), DataError, "'x'", ("'1,25' in row 2",)),
    Mistake("a point for a comma", given(["1", "2,5"], "1.25"), DataError, "'x'", ("'1.25' in row 2", "decimal comma")),
    Mistake("euros for dollars", given(["$1", "$2.5"], "€3"), DataError, "'x'", ("'€3' in row 2", "in $")),
    Mistake("a share for a percentage", given(["1%", "2.5%"], "0.5"), DataError, "'x'", ("'0.5' in row 2", "in %")),
    Mistake("an infinite number", given([1.0, 2.5], float("inf")), DataError, "'x'", ("infinite values",)),
    Mistake("a number for yes or no", given(["yes", "no"], "2"), DataError, "'x'", ("'2' in row 2",)),
    Mistake("another language's yes", given(["yes", "no"], "oui"), DataError, "'x'", ("'oui' in row 2",)),
    Mistake(
        "a date in another form",
        given(DAYS, "13/02/2021"),
        DataError,
        "'x'",
        ("'13/02/2021' in row 2", "year-month-day"),
    ),
    Mistake("a day that there is not", given(DAYS, "2021-02-30"), DataError, "'x'", ("'2021-02-30' in row 2",)),
    Mistake(
        "the month where the day was",
        given(["13/02/2021", "01/02/2021"], "02/13/2021"),
        DataError,
        "'x'",
        ("'02/13/2021' in row 2", "day/month/year"),
    ),
    Mistake("a time of day for a date", given(DAYS, datetime.time(14, 30)), DataError, "'x'", ("is not a date",)),
    Mistake("a number for a date", given(DAYS, 5), DataError, "'x'", ("'5' in row 2",)),
    Mistake(
        "a word that no longer means missing",
        given(["1", "2.5"], "NA", missing=["none"]),
        DataError,
        "'x'",
        ("'NA' in row 2",),
    ),
]
