"""Read delimited text in one dialect: a table of text with every record, or the reason why that fails."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import polars as pl

from lamp.tables.reading.dialects import NUMBER, next_line
from lamp.tables.reading.options import ReadOptions, check_width
from lamp.tables.reading.records import BadQuote, Dialect, Records, count

ROWS_TOGETHER = 20_000  # rows turned into columns together
LOOKED_AT = 50  # first values by which a column counts as numeric
SHOWN = 60  # characters of a line in a message


@dataclass(frozen=True)
class Text:
    """The text of a table: the UTF-8 `body`, the number of its first line, and the file's name for messages."""

    body: bytes
    line: int
    name: str


@dataclass
class Attempt:
    """The result of reading text in a dialect.

    frame      the table, all text, with columns "0", "1", ...; None if it could not be read
    header     the names in the first line; None without a header
    width      number of fields per record
    several    whether some record goes on over several lines
    empty      number of empty lines between the records
    comments   (line, text) of the lines left out as comments
    odd        (line, number of fields, text) of the first records with a wrong number of fields
    odd_count  number of such records
    lengths    {number of fields: number of records}
    last_line  the line of the last record
    bad_quote  the quoted field that does not end, if there is one
    """

    dialect: Dialect
    frame: pl.DataFrame | None = None
    header: list[str] | None = None
    header_line: int = 1
    width: int = 0
    several: bool = False
    empty: int = 0
    comments: list[tuple[int, str]] = field(default_factory=list)
    odd: list[tuple[int, int, str]] = field(default_factory=list)
    odd_count: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    last_line: int = 0
    bad_quote: BadQuote | None = None


def attempt(text: Text, dialect: Dialect, options: ReadOptions) -> Attempt:
    """Read text in this dialect: by polars if an independent count of the records agrees, else record by record.

    Raises DataError for too many columns.
    """
    tried = Attempt(dialect)
    records = Records(text.body, dialect, text.line)
    try:
        first = next(((line, fields) for line, fields in records if not _is_empty(fields)), None)
        if first is None:
            return tried
        tried.header_line, fields = first
        tried.width, at, line = len(fields), 0, text.line
        check_width(f"{text.name}, line {tried.header_line:,}", tried.width, options)
        if options.header is not False:
            tried.header = fields
            line = text.line + records.lines_read
            at = _after_lines(text.body, records.lines_read)
        end = len(text.body)
        while tried.width > 1 and end > at and text.body[end - 1] in b"\r\n":
            end -= 1
        rest = text.body[at:end]
        if tried.header is not None:
            tried.width = _width_below(Records(rest, dialect, line), tried.width)
        tried.frame = _quickly(rest, tried)
        if tried.frame is None:
            _exactly(Records(rest, dialect, line), tried, options.ragged or "error")
        tried.comments += records.comments
    except BadQuote as error:
        tried.bad_quote, tried.frame = error, None
    return tried


def _width_below(records: Records, width: int) -> int:
    """The number of fields per record: the header's, or one more if the first record below it has one more."""
    first = next((fields for _, fields in records if not _is_empty(fields)), [])
    return width + 1 if len(first) == width + 1 > 2 else width


def _after_lines(body: bytes, lines: int) -> int:
    at = 0
    for _ in range(lines):
        at = next_line(body, at)
    return at


def _is_empty(fields: list[str]) -> bool:
    return not fields or (len(fields) == 1 and not fields[0].strip())


# ---- by polars -------------------------------------------------------------------------------------------------------
def _quickly(rest: bytes, tried: Attempt) -> pl.DataFrame | None:
    """The table read by polars; None unless the text is plain and polars finds the records and fields that we count."""
    dialect, width = tried.dialect, tried.width
    if dialect.quote == "backslash" or dialect.padded or dialect.comment:
        return None
    if dialect.separator == " " or not dialect.separator.isascii():
        return None
    counted = count(rest, dialect.separator, dialect.quote == "double")
    if not counted.plain or counted.separators != counted.records * (width - 1):
        return None
    try:
        frame = pl.read_csv(
            rest,
            has_header=False,
            separator=dialect.separator,
            quote_char='"' if dialect.quote == "double" else None,
            schema={str(k): pl.String for k in range(width)},
            raise_if_empty=False,
        )
    except pl.exceptions.PolarsError:
        return None
    if frame.shape != (counted.records, width):
        return None
    tried.several = counted.lines != counted.records
    return frame


# ---- record by record ------------------------------------------------------------------------------------------------
def _exactly(records: Records, tried: Attempt, ragged: str) -> None:
    """Read record by record: set the table in `tried`, or what is wrong with the records."""
    width, parts, rows = tried.width, [], list[list[str]]()
    for line, fields in records:
        if _is_empty(fields):
            if width > 1:
                tried.empty += 1
                continue
            fields = fields or [""]
            tried.empty += 1
        length = len(fields)
        if length != width:
            if length == width + 1 > 2 and not fields[-1].strip():  # a separator at the end of the line
                fields = fields[:-1]
            else:
                tried.odd_count += 1
                if len(tried.odd) < SHOWN:
                    tried.odd.append((line, length, tried.dialect.separator.join(fields)[:SHOWN]))
                if ragged != "fill":
                    tried.lengths[length] += 1
                    tried.last_line = line
                    continue
                fields = (fields + [""] * (width - length))[:width]
        tried.several |= len(records.raw) > 1
        tried.lengths[length] += 1
        tried.last_line = line
        if tried.odd_count and ragged == "error":
            continue  # the rest is only counted
        rows.append(fields)
        if len(rows) == ROWS_TOGETHER:
            parts.append(_table(rows, width))
            rows = []
    tried.comments += records.comments
    if tried.odd_count == 0 or ragged != "error":
        tried.frame = pl.concat([*parts, _table(rows, width)])


def _table(rows: list[list[str]], width: int) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else [()] * width
    return pl.DataFrame([pl.Series(str(k), column, pl.String) for k, column in enumerate(columns)])


# ---- checks of the result --------------------------------------------------------------------------------------------
def numeric_columns(frame: pl.DataFrame) -> list[int]:
    """The columns whose first values are all numbers."""
    return [k for k, column in enumerate(frame) if is_numeric(column)]


def is_numeric(column: pl.Series) -> bool:
    """Whether the first values of a column of text are all numbers."""
    there = [value.strip() for value in column.head(LOOKED_AT).to_list() if value and value.strip()]
    return bool(there) and all(NUMBER.fullmatch(value) for value in there)


def swallowed(text: Text, tried: Attempt) -> int | None:
    """The line of a record in which a quote has probably swallowed other records; None if there is no such record.

    Such a record spans several lines, each of which would be a record by itself, with the right number of fields and
    with numbers in the numeric columns.
    """
    assert tried.frame is not None
    numeric = numeric_columns(tried.frame)
    if not numeric or tried.width < 2:
        return None
    records = Records(text.body, tried.dialect, text.line)
    for line, _ in islice(records, 1 if tried.header is not None else 0, None):
        if len(records.raw) > 1:
            each = [raw.rstrip("\r\n").split(tried.dialect.separator) for raw in records.raw]
            if all(
                len(fields) == tried.width and all(NUMBER.fullmatch(fields[k].strip(' "')) for k in numeric)
                for fields in each
            ):
                return line
    return None
