"""Records of delimited text: read exactly, one after the other, and counted independently, all at once.

The exact reader knows for each record the line on which it begins. The count is what a faster reader is held against,
so that no record can be lost unseen.
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

CHUNK = 1 << 18  # bytes counted together: they stay in cache

LF, CR, QUOTE = b'\n\r"'


@dataclass(frozen=True)
class Dialect:
    """How fields and records are told apart.

    separator  one character; " ": any number of blanks
    quote      "double", "backslash" or "none", as in `ReadOptions`
    padded     whether blanks may stand between a separator and a quote
    comment    what lines begin with that are left out; "" for none
    """

    separator: str
    quote: str = "double"
    padded: bool = False
    comment: str = ""


@contextmanager
def long_fields() -> Iterator[None]:
    """Fields of any length for Python's reader, whose limit is one for the process."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


class BadQuote(Exception):
    """A quoted field that does not end as it should; `line` is where its record begins."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


class Records:
    """The records of text, each with the number of its line; iterate over it.

    body        UTF-8
    line        the number of its first line
    comments    (line, text) of the lines left out as comments so far
    lines_read  how many lines were read so far
    raw         the lines of the last record as they stand
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
            if dialect.quote == "backslash" and "\\" in text:  # before anything else a backslash is a letter
                text = escapes.sub(lambda found: found[0] if found[1] else "\\\\", text)
            yield text


def _in_words(error: str) -> str:
    if "expected after" in error:
        return "a quote within a quoted value"
    if "unexpected end" in error:
        return "a quote that opens a value, and none that ends it"
    return error


# ---- counting --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Count:
    """What was counted in text, quoted fields apart.

    lines       line ends, and one more where the last line has none
    records     the same outside of quoted fields
    separators  outside of quoted fields
    plain       whether it is plain: each quote opens a field, ends it or is one of two in it; no empty line; and no
                carriage return but before a line feed. Then it can be read in one way only
    """

    lines: int
    records: int
    separators: int
    plain: bool


def count(body: bytes, separator: str, quoted: bool) -> Count:
    """Count the records of text (UTF-8) independently of any reader, in chunks of bytes.

    quoted  whether quotes have a meaning (doubled ones stand for themselves)
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
    """Whether quotes that open stand at the beginning of a field or after another quote, and those that close before
    the end of one or another quote; `inside` says whether the first closes."""
    opening, closing = places[int(inside) :: 2], places[1 - int(inside) :: 2]
    before = at[opening[opening > 0] - 1]
    after = at[closing[closing < len(at) - 1] + 1]
    return bool(
        ((before == mark) | (before == LF) | (before == QUOTE)).all()
        and ((after == mark) | (after == LF) | (after == CR) | (after == QUOTE)).all()
    )
