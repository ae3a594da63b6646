"""Records of delimited text: an exact reader, and an independent count of all records.

The exact reader knows the line on which each record begins. The count checks the faster reader of polars, so that no
record can get lost unnoticed.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper

import numpy as np

CHUNK = 1 << 18  # bytes counted together, few enough to stay in cache

LF, CR, QUOTE = b'\n\r"'


@dataclass(frozen=True)
class Dialect:
    """How fields and records are separated.

    separator  one character; " " stands for any number of blanks
    quote      "double", "backslash" or "none", as in `ReadOptions`
    padded     whether there may be blanks between a separator and a quote
    comment    lines that begin with this are skipped; "" skips none
    """

    separator: str
    quote: str = "double"
    padded: bool = False
    comment: str = ""


@contextmanager
def long_fields() -> Iterator[None]:
    """A context in which Python's csv reader accepts fields of any length; its limit is global to the process."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


class BadQuote(Exception):
    """A quoted field does not end as it should; `line` is the line on which its record begins."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


class Records:
    """An iterable over the records of a text, each with the number of its line.

    body        the text in UTF-8
    line        the number of its first line
    comments    (line, text) of the lines skipped as comments so far
    lines_read  number of lines read so far
    raw         the lines of the last record, unchanged
    """

    def __init__(self, body: bytes, dialect: Dialect, line: int = 1) -> None:
        self.body, self.dialect, self.line = body, dialect, line
        self.comments: list[tuple[int, str]] = []
        self.lines_read = 0
        self.raw: list[str] = []

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """(line, fields) of each record; an empty line is a record without fields. Raises BadQuote."""
        self.comments, self.lines_read = [], 0
        dialect = self.dialect
        reader = csv.reader(
            self._lines(TextIOWrapper(BytesIO(self.body), "utf-8", newline="")),
            delimiter=dialect.separator,
            quoting=csv.QUOTE_NONE if dialect.quote == "none" else csv.QUOTE_MINIMAL,
            doublequote=dialect.quote != "backslash",
            escapechar="\\" if dialect.quote == "backslash" else None,
            skipinitialspace=dialect.padded or dialect.separator == " ",
            strict=True,
        )
        while True:
            self._begins, self._first = True, self.lines_read
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadQuote(self.line + self._first, _in_words(str(error))) from None
            yield self.line + self._first, fields

    def _lines(self, lines: Iterable[str]) -> Iterator[str]:
        dialect = self.dialect
        escapes = re.compile(rf'\\(["\\\r\n{re.escape(dialect.separator)}]?)')
        closed = re.compile(rf'(?<!")"[ \t]+(?=[\r\n{re.escape(dialect.separator)}]|$)')
        for text in lines:
            self.lines_read += 1
            if self._begins:
                if dialect.comment and text.startswith(dialect.comment):
                    self.comments.append((self.line + self.lines_read - 1, text))
                    self._first += 1
                    continue
                self._begins, self.raw = False, []
            self.raw.append(text)
            if dialect.separator == " ":
                if '"' not in text:
                    text = text.replace("\t", " ")
                text = text.strip() + "\n" if text.count('"') % 2 == 0 else text
            if dialect.padded:
                text = closed.sub('"', text)
            if dialect.quote == "backslash" and "\\" in text:  # before other characters a backslash is literal
                text = escapes.sub(lambda found: found[0] if found[1] else "\\\\", text)
            yield text


def _in_words(error: str) -> str:
    if "expected after" in error:
        return "a single quote character inside a quoted value"
    if "unexpected end" in error:
        return "a quote opens a value, and no quote closes it"
    return error


# ---- counting --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Count:
    """The counts of a text.

    lines       number of lines
    records     number of lines that end outside quoted fields
    separators  number of separators outside quoted fields
    plain       whether the text can be read in only one way: each quote opens a field, closes it, or is one of a pair
                inside it; no line is empty; and every carriage return precedes a line feed
    """

    lines: int
    records: int
    separators: int
    plain: bool


def count(body: bytes, separator: str, quoted: bool) -> Count:
    """Count the records of a UTF-8 text independently of any reader, in chunks of bytes.

    quoted  whether quotes enclose fields (and doubled ones stand for one quote)
    """
    at = np.frombuffer(body, np.uint8)
    mark = ord(separator)
    lines = records = separators = 0
    plain = b"\n\n" not in body and b"\n\r\n" not in body and not body.startswith((b"\n", b"\r\n"))
    plain = plain and (b"\r" not in body or body.count(b"\r") == body.count(b"\r\n"))
    inside = False
    quoted = quoted and b'"' in body
    for start in range(0, len(at), CHUNK):
        part = at[start : start + CHUNK]
        ends, parts = part == LF, part == mark
        lines += int(np.count_nonzero(ends))
        if quoted:
            quotes = part == QUOTE
            places = np.flatnonzero(quotes)
            if len(places):
                plain = plain and _well_placed(at, places + start, mark, inside)
                outside = (np.add.accumulate(quotes.view(np.uint8), dtype=np.uint8) & 1) == inside
                inside ^= bool(len(places) % 2)
                ends, parts = ends & outside, parts & outside
            elif inside:
                continue
        records += int(np.count_nonzero(ends))
        separators += int(np.count_nonzero(parts))
    unended = len(body) > 0 and not body.endswith(b"\n")
    return Count(lines + unended, records + unended, separators, plain and not inside)


def _well_placed(at: np.ndarray, places: np.ndarray, mark: int, inside: bool) -> bool:
    """Whether each opening quote begins a field or follows a quote, and each closing one ends a field or precedes one.

    inside  whether the first of these quotes is a closing one
    """
    opening, closing = places[int(inside) :: 2], places[1 - int(inside) :: 2]
    before = at[opening[opening > 0] - 1]
    after = at[closing[closing < len(at) - 1] + 1]
    return bool(
        ((before == mark) | (before == LF) | (before == QUOTE)).all()
        and ((after == mark) | (after == LF) | (after == CR) | (after == QUOTE)).all()
    )
