"""Errors for text whose lines have different numbers of values, or whose quotes do not end."""

from __future__ import annotations

import re
from typing import NoReturn

from lamp.errors import DataError
from lamp.printable import counted
from lamp.tables.reading import dialects
from lamp.tables.reading.attempts import Attempt, Text

SHOWN = 60  # characters of a line in a message


def refuse_quote(text: Text, read: Attempt) -> NoReturn:
    """Raise the DataError for a quoted value that does not end as it should."""
    assert read.bad_quote is not None
    line = read.bad_quote.line
    raw = line_at(text, line)
    raise DataError(
        f"{text.name}, line {line:,}: {read.bad_quote.what}",
        expected='quoted values in which a quote is doubled: "size 3"" wide"',
        got=raw[:SHOWN] + ("..." if len(raw) > SHOWN else ""),
        fix="correct the line; or say how quotes are written: --quote none (letters like others), --quote backslash, "
        "--quote double",
    )


def refuse_ragged(text: Text, read: Attempt) -> NoReturn:
    """Raise the DataError for records with too few or too many values."""
    line, length, shown = read.odd[0]
    separator, width = read.dialect.separator, read.width
    what = "more" if length > width else "fewer"
    names = "the first line has names" if read.header is not None else "the first line has values"
    more = read.odd_count - 1
    others = f"; {counted(more, 'other line')} {'does' if more == 1 else 'do'} not fit either" if more else ""
    usual, often = max(read.lengths.items(), key=lambda item: item[1])
    if usual != width and often > 0.5 * sum(read.lengths.values()):
        begin = next(number for number, found, _ in read.odd if found == usual)
        raise DataError(
            f"{text.name}, line {read.header_line:,}: this line has {_values(width)}, but most lines have {usual}",
            expected=f"the columns' names, separated by {dialects.named(separator)}",
            got=line_at(text, read.header_line)[:SHOWN],
            fix=f"if other lines precede the names: --skip-lines {begin - 1} begins with line {begin:,}"
            + ("; if the table is a single column of text: --separator tab" if width == 1 else ""),
        )
    raise DataError(
        f"{text.name}, line {line:,}: {what} values ({length}) than {names} ({width}){others}",
        expected=f"{width} values, separated by {dialects.named(separator)}",
        got=shown,
        fix=_fix(read, line, length, shown),
    )


def _fix(read: Attempt, line: int, length: int, shown: str) -> str:
    separator, width = read.dialect.separator, read.width
    if shown.startswith(("#", "%", "//")):
        return f'if it is a comment: --comment "{shown[0] if shown[0] != "/" else "//"}" skips such lines'
    if length > width and re.search(r"'[^']*" + re.escape(separator) + "[^']*'", shown):
        return "if values are in single quotes: replace these by double quotes"
    if length > width:
        return (
            f"put values that contain {dialects.named(separator)} in quotes; or choose another --separator; "
            "or leave such lines out: --ragged drop"
        )
    if line == read.last_line and read.odd_count == 1:
        return "if this last line is cut off or is a sum: --ragged drop leaves it out"
    return "correct it; or --ragged fill adds missing values; or --ragged drop leaves such lines out"


def refuse_one_column(text: Text, read: Attempt, likely: str, says: str) -> NoReturn:
    """Raise the DataError for text that is not separated by the separator that was named, but by another one.

    says  what names it: "--separator", or a line of the file
    """
    raise DataError(
        f"{text.name}: the table has only one column",
        expected=f"columns separated by {dialects.named(read.dialect.separator)}, as {says} says",
        got=f"the first line {line_at(text, read.header_line)[:SHOWN]!r}",
        fix=f"it seems separated by {dialects.named(likely)}: {dialects.option(likely)}"
        + (", or leave --separator out" if says == "--separator" else ""),
    )


def line_at(text: Text, line: int) -> str:
    """The text of a line, at most its first 1000 bytes."""
    at = 0
    for _ in range(line - text.line):
        at = dialects.next_line(text.body, at)
    return text.body[at : dialects.next_line(text.body, at)][:1000].decode("utf-8", "replace").rstrip("\r\n")


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"
