"""The column that the user names as the target; where there is none of this name, advice on where it is."""

from __future__ import annotations

import math
import re
from shlex import quote

import polars as pl

from lamp.errors import ArgumentError
from lamp.tables.kinds import listed
from lamp.tables.reading.names import matching, near

FIRST_ROWS = 20  # rows in which a missing target's name is looked for
USUAL_SEPARATORS = ",;|\t"  # which are detected


def find(frame: pl.DataFrame, name: str) -> pl.Series:
    """The target's column. Raises ArgumentError, which suggests a similar name, if there is none of this name."""
    if (found := matching(name, frame.columns)) is not None:
        return frame[found]
    raise ArgumentError(
        f"the table has no column {name!r} to predict",
        expected=listed(frame.columns),
        got=name,
        fix=_where_it_is(frame, name),
    )


def _where_it_is(frame: pl.DataFrame, name: str) -> str:
    """The fix for a target that no column is called: where its name stands in the file, or a similar name."""
    first = frame.head(0 if is_finite(name) else FIRST_ROWS).cast(pl.String, strict=False)  # a number is a value
    for number, row in enumerate(first.iter_rows(), 1):
        if matching(name, [each for each in row if each]) is not None:
            if number == 1 and frame.columns[0] == "column_1":
                return "the first line seems to name the columns: leave out --no-header"
            return f"row {number:,} of the table seems to name the columns: --skip-lines leaves out the lines above it"
    if frame.width == 1 and name in re.split(r"\W+", only := frame.columns[0]):
        marks = re.findall(r"[^\w \"']", only) or [" "]
        if marks[0] in USUAL_SEPARATORS:
            return "the whole first line was read as one name: if each line is in quotes as a whole, remove these"
        mark = quote(marks[0]) if marks[0].isprintable() else f"$'\\x{ord(marks[0]):02x}'"
        return f"the first line was read as one name: --separator {mark} may separate the names in it"
    if (close := near(name, frame.columns)) is not None:
        return f"did you mean --target {close!r}?"
    if any(is_finite(each) for each in frame.columns):
        return "name one of these; if the first line is data, --no-header calls the columns column_1, column_2, ..."
    return "name one of these"


def is_finite(word: str) -> bool:
    """Whether a text is a finite number, as programs write it."""
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
