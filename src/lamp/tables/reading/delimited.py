"""Read delimited text (CSV and its relatives): detect the dialect and read every record, or refuse the text.

Text is read in every dialect that it might be in. A dialect is accepted if all records have as many fields as the first
line has names and no other dialect fits as well. Ambiguous text is refused, with the option that decides.
"""

from __future__ import annotations

import re
from typing import NoReturn

import polars as pl

from lamp.errors import DataError
from lamp.printable import counted
from lamp.tables.reading import dialects
from lamp.tables.reading.attempts import Attempt, Text, attempt, is_numeric, numeric_columns, swallowed
from lamp.tables.reading.dialects import NUMBER
from lamp.tables.reading.encodings import line_of
from lamp.tables.reading.names import distinct
from lamp.tables.reading.options import ReadOptions
from lamp.tables.reading.ragged import line_at, refuse_one_column, refuse_quote, refuse_ragged
from lamp.tables.reading.records import Dialect, Records, long_fields

COMMENT = "#"
OTHER_ENDS = ("\x85".encode(), "\u2028".encode(), "\u2029".encode(), b"\x1e")  # of lines, in Unicode and on mainframes
MOST_IN_SINGLE, SHOWN = 0.5, 40  # values in single quotes per line from which a remark says so; characters of one
YEARS = range(1900, 2101)  # numbers that may well be column names
RULE = re.compile(":?-{3,}:?")  # a cell of the line below the names of a Markdown table


def read_delimited(data: bytes, name: str, likely: str, options: ReadOptions, notes: list[str]) -> pl.DataFrame:
    """The table in UTF-8 text, with all cells as text.

    likely  the separator that the file's name suggests

    Raises DataError, with the line, for text that cannot be read without doubt.
    """
    body, line, said = dialects.preamble(_with_line_feeds(data, name, notes), options)
    body = body.rstrip(b"\x1a")  # DOS marks the end of a file so
    body, line, comment = _without_comments(body, line, name, options, notes)
    if (not body or body.isspace()) and options.skip_lines and not data.isspace():
        refuse_empty(name, "no lines after those skipped", f"fewer lines: --skip-lines {options.skip_lines} skips all")
    if not body or body.isspace():
        refuse_empty(name, "an empty file")
    if b"\r\r\n" in body and body.count(b"\r\r\n") == body.count(b"\n"):
        notes.append(f"{name}: every line ends in one carriage return too many; these were removed")
        body = body.replace(b"\r\r\n", b"\r\n")
    if b"\r" in body and b"\n" in body and (lone := body.count(b"\r") - body.count(b"\r\n")):
        marks = "carriage return ends a line or is" if lone == 1 else "carriage returns end lines or are"
        notes.append(f"{name}: mixed line ends; {lone:,} {marks} in quotes, without a line feed")
    with long_fields():
        sample = dialects.sample_of(body)
        separator = options.separator or said or dialects.separator_of(sample, likely)
        if separator != likely and options.separator is None:
            notes.append(f"{name}: the values are separated by {dialects.named(separator)}")
        text = Text(body, line, name)
        read = _read(text, separator, comment, said, options, notes)
        return _named(text, read, options, notes)


# ---- lines before the table ------------------------------------------------------------------------------------------
def _with_line_feeds(data: bytes, name: str, notes: list[str]) -> bytes:
    """The text with line feeds in place of other characters that end all of its lines."""
    end = next((mark for mark in OTHER_ENDS if mark in data), None)
    if end is None or b"\n" in (lines := data.rstrip()) or b"\r" in lines:
        return data
    notes.append(f"{name}: lines end in the character U+{ord(end.decode()):04X}")
    return data.replace(end, b"\n")


def _without_comments(
    body: bytes, line: int, name: str, options: ReadOptions, notes: list[str]
) -> tuple[bytes, int, str]:
    """The text without the comments at its beginning, the number of its first line, and the comment mark.

    If the last comment looks like the columns' names (see `_names`), it is kept as the header.
    """
    comment = COMMENT if options.comment is None else options.comment
    mark, at, begin, skipped = comment.encode(), 0, 0, 0
    while comment and body.startswith(mark, at):
        begin, at = at, dialects.next_line(body, at)
        skipped += 1
    if not skipped:
        return body, line, comment if options.comment else ""
    first = dialects.next_line(body, at)
    heading, row = (body[a:b].decode("utf-8", "replace").strip() for a, b in ((begin + len(mark), at), (at, first)))
    separator = options.separator or dialects.separator_of(f"{heading}\n{row}\n", ",")
    if options.header is not False and _names(heading.split(separator), row.split(separator)):
        start = begin if heading.startswith(separator) else begin + len(mark)  # a column may be called #
        number = line_of(body, begin) + line - 1
        notes.append(f"{name}: the names of the columns were read from line {number:,}, after {comment!r}")
        return body[start:].lstrip(b" ") if start > begin else body[start:], number, "" if start == begin else comment
    what = "a line that begins" if skipped == 1 else f"{skipped:,} lines that begin"
    notes.append(f"{name}: skipped {what} with {comment!r} at the beginning")
    return body[at:], line + line_of(body, at) - 1, comment


def _names(heading: list[str], values: list[str]) -> bool:
    """Whether `heading` looks like the names of `values`.

    It does if it has as many fields, none of them a number, and either some value is a number or it has three or more
    fields, each of which is a single word.
    """
    heading, values = [each.strip() for each in heading], [each.strip() for each in values]
    if len(heading) != len(values) or len(heading) < 2 or any(map(NUMBER.fullmatch, heading)):
        return False
    words = len(heading) > 2 and all(heading) and not any(" " in each for each in heading)
    return words or any(map(NUMBER.fullmatch, values))


def refuse_empty(name: str, got: str, fix: str = "check how the file was written") -> NoReturn:
    """Raise the DataError for a file without a table."""
    raise DataError(
        f"{name}: the table is empty",
        expected="a line with the names of the columns, and rows",
        got=got,
        fix=fix,
    )


# ---- choosing the dialect --------------------------------------------------------------------------------------------
def _read(
    text: Text, separator: str, comment: str, said: str | None, options: ReadOptions, notes: list[str]
) -> Attempt:
    """The text read in the only dialect that fits. Raises DataError if none fits, or more than one.

    said  the separator that a line such as `sep=;` names, or None
    """
    body, name = text.body, text.name
    comment = comment if comment and _has_lines_with(body, comment) else ""

    def by(quote: str) -> Attempt:
        tried = attempt(text, Dialect(separator, quote, comment=comment), options)
        if quote == "none" or not _has_padded_quotes(body, separator):
            return tried
        other = attempt(text, Dialect(separator, quote, padded=True, comment=comment), options)
        return other if _has_fewer_quotes(other, tried) else tried

    quoted, mark = b'"' in body, f"\\{separator}".encode()
    if options.quote is not None:
        read = by(options.quote)
    elif not quoted:
        read = by("none")
        if read.frame is None and read.width > 1 and mark in body:
            read = (
                _noted(by("backslash"), f"{name}: in values, {separator!r} is written after a backslash", notes) or read
            )
    else:
        read = by("double")
        escaped = b'\\"' in body or (read.frame is None and mark in body)
        other = by("backslash") if escaped and read.width != 1 else None  # with one column there is no separator
        if read.frame is not None:
            _refuse_swallowed(text, read, options)
            if other is not None and other.frame is not None and not other.frame.equals(read.frame):
                _refuse_two_ways(text, body.find(b'\\"'), "a backslash before a quote", "double", "backslash")
        elif other is not None and other.frame is not None:
            read = _noted(other, f"{name}: in values, quotes are written after a backslash", notes) or read
        else:
            read = _literal(text, by("none"), separator, read, notes)
    if read.bad_quote is not None:
        refuse_quote(text, read)
    if read.width == 1 and (options.separator or said):
        found = dialects.separator_of(dialects.sample_of(body), ",")
        if found.encode() in line_at(text, read.header_line).encode():
            refuse_one_column(text, read, found, "--separator" if options.separator else f"the line sep={said}")
    if read.width == 0:
        refuse_empty(name, "only comments and empty lines")
    if read.frame is None:
        refuse_ragged(text, read)
    if options.comment is None:
        _refuse_data_in_comments(read, name)
    _note_left_out(read, name, options.ragged == "fill", notes)
    _note_single_quotes(text, read, notes)
    return read


def _has_fewer_quotes(padded: Attempt, strict: Attempt) -> bool:
    """Whether reading blanks around quotes joins values that these enclose, or else takes nothing but quotes away."""
    one, other = padded.frame, strict.frame
    if one is None or other is None or one.width != other.width:
        return one is not None and (other is None or one.width < other.width)
    names = [pl.Series(each.header or (), dtype=pl.String) for each in (padded, strict)]
    if len(one) != len(other) or len(names[0]) != len(names[1]):
        return False
    removed, blanks = False, " \t".replace(strict.dialect.separator, "")
    for read, column in ((names[0], names[1]), *zip(one, other, strict=True)):
        read, cells = read.fill_null(""), column.fill_null("").str.strip_chars(blanks)
        inner = cells.str.replace(r'(?s)^"(.*)"$', "${1}").str.replace_all('""', '"', literal=True)
        unquoted = cells.str.contains(r'(?s)^".*"$') & (read == inner)
        if not (unquoted | (read.str.strip_chars(blanks) == cells)).all():
            return False
        removed |= bool((unquoted & (read != cells)).any())
    return removed


def _has_padded_quotes(body: bytes, separator: str) -> bool:
    """Whether blanks stand between some quotes and separators."""
    return any(f'{separator}{blank}"'.encode() in body or f'"{blank}{separator}'.encode() in body for blank in " \t")


def _noted(read: Attempt, note: str, notes: list[str]) -> Attempt | None:
    if read.frame is None:
        return None
    notes.append(note)
    return read


def _literal(text: Text, plain: Attempt, separator: str, read: Attempt, notes: list[str]) -> Attempt:
    """The attempt that takes quotes literally, if it fits and no value is in quotes; else the failed one, `read`."""
    mark = re.escape(separator)
    within = re.compile(rf'(?:^|{mark}|[\r\n])"[^{mark}\r\n]*"(?=[\r\n]|{mark}|$)'.encode())
    longer = plain.header is not None and plain.width > len(plain.header)  # a quoted value was cut in two
    if plain.frame is None or longer or within.search(text.body):
        return read if read.bad_quote is not None or plain.frame is None else plain
    where = f" (line {read.bad_quote.line:,})" if read.bad_quote is not None else ""
    notes.append(f"{text.name}: quotes are taken literally{where}; if that is wrong: --quote double")
    return plain


def _refuse_swallowed(text: Text, read: Attempt, options: ReadOptions) -> None:
    """Raise DataError if a quote has probably joined several records into one."""
    if not read.several or read.frame is None:
        return
    line = swallowed(text, read)
    if line is None and read.width > 1:
        plain = attempt(text, Dialect(read.dialect.separator, "none"), options)
        if plain.frame is None or len(numeric_columns(plain.frame)) < len(numeric_columns(read.frame)):
            return
        line = read.header_line
    if line is not None:
        raise DataError(
            f"{text.name}, line {line:,}: a quote opens here and closes lines later, but each line could be a record",
            expected="text that can be read in only one way",
            got=f"{len(read.frame):,} records with quotes, more without",
            fix="--quote none takes quotes literally, with one record per line; --quote double reads to the next quote",
        )


def _refuse_two_ways(text: Text, at: int, what: str, one: str, other: str) -> NoReturn:
    raise DataError(
        f"{text.name}, line {text.line + line_of(text.body, at) - 1:,}: {what} can be read in two ways",
        expected="text that can be read in only one way",
        got=text.body[max(0, at - 20) : at + 20].decode("utf-8", "ignore").splitlines()[0],
        fix=f"choose one: --quote {one} or --quote {other}",
    )


def _has_lines_with(body: bytes, comment: str) -> bool:
    mark = comment.encode()
    return body.startswith(mark) or b"\n" + mark in body or b"\r" + mark in body


def _refuse_data_in_comments(read: Attempt, name: str) -> None:
    """Raise DataError if a line that was left out as a comment could be a record."""
    mark = read.dialect.separator
    line, shown = next(
        ((line, text) for line, text in read.comments if text.count(mark) == read.width - 1 > 0), (0, "")
    )
    if line:
        raise DataError(
            f"{name}, line {line:,}: this line could be a comment or a record",
            expected="comments that do not look like records",
            got=shown.strip()[:60],
            fix=f'--comment "{read.dialect.comment}" skips such lines; --comment "" reads them as records',
        )


def _note_single_quotes(text: Text, read: Attempt, notes: list[str]) -> None:
    """Add a note if values stand in single quotes, which stay a part of them."""
    if b"'" not in text.body:
        return
    sample, mark = dialects.sample_of(text.body), re.escape(read.dialect.separator)
    found = re.findall(rf"(?:^|{mark}) *('[^'{mark}\r\n]+') *(?={mark}|[\r\n]|$)", sample, re.MULTILINE)
    if found and len(found) >= MOST_IN_SINGLE * max(1, sample.count("\n"), sample.count("\r")):
        notes.append(
            f"{text.name}: values such as {found[-1][:SHOWN]} keep their single quotes; if these only enclose them, "
            "write double quotes"
        )


def _note_left_out(read: Attempt, name: str, filled: bool, notes: list[str]) -> None:
    if read.empty:
        what = "skipped" if read.width > 1 else "read as missing values"
        notes.append(
            f"{name}: {read.empty:,} empty lines {what}" if read.empty > 1 else f"{name}: an empty line {what}"
        )
    if read.comments:
        what = "comments" if len(read.comments) > 1 else "a comment"
        notes.append(f"{name}: {counted(len(read.comments), 'line')} skipped as {what}")
    if read.odd_count:
        lines = ", ".join(f"{line:,}" for line, _, _ in read.odd[:5]) + (", ..." if read.odd_count > 5 else "")
        done = "filled or cut" if filled else "left out"
        notes.append(f"{name}: {done} {counted(read.odd_count, 'line')} with too few or too many values: {lines}")


# ---- the names of the columns ----------------------------------------------------------------------------------------
def _named(text: Text, read: Attempt, options: ReadOptions, notes: list[str]) -> pl.DataFrame:
    """The table with its columns' names."""
    assert read.frame is not None
    frame, header, name = read.frame, read.header, text.name
    if header is None:
        header = [""] * read.width
        return frame.rename(dict(zip(frame.columns, distinct(header, [], name), strict=True)))
    if len(header) < frame.width:
        frame, header = _with_one_more(frame, header, name, notes)
    while len(header) > 1 and not header[-1].strip() and _all_empty(frame[frame.columns[len(header) - 1]]):
        header = header[:-1]
    if len(header) < frame.width:
        frame = frame.select(frame.columns[: len(header)])
    if read.dialect.separator == "|":
        frame = _without_rule(frame, name, notes)
    if repeated := repeats_of_names(frame, header):
        records = Records(text.body, read.dialect, text.line)
        same = (line for line, fields in records if fields[: len(header)] == header)
        lines = [f"{line:,}" for line in same if line > read.header_line]
        where = f"line {lines[0]}, which repeats" if len(lines) == 1 else f"lines {', '.join(lines[:5])}"
        where += (", ..." if len(lines) > 5 else "") + (", which repeat" if len(lines) > 1 else "")
        notes.append(f"{name}: left out {where} the names of the columns, as where files were joined")
        frame = frame[[k for k in range(len(frame)) if k not in repeated]]
    elif len(frame) and options.header is None:
        note_data_as_names(frame, header, name, notes)
    return frame.rename(dict(zip(frame.columns, distinct(header, notes, name), strict=True)))


def _without_rule(frame: pl.DataFrame, name: str, notes: list[str]) -> pl.DataFrame:
    """The table without a first row of dashes, which separates the names from the rows in Markdown."""
    first = [cell.strip() for cell in frame.row(0) if cell and cell.strip()] if len(frame) else []
    if not first or not all(map(RULE.fullmatch, first)):
        return frame
    notes.append(f"{name}: skipped a line of dashes below the names of the columns")
    return frame[1:]


def _with_one_more(
    frame: pl.DataFrame, header: list[str], name: str, notes: list[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Table and names for rows with one value more than names: an empty last one, or row names first, as R writes."""
    last, first = frame[frame.columns[-1]], frame[frame.columns[0]]
    if len(header) > 1 and _all_empty(last):
        return frame.select(frame.columns[:-1]), header
    numbers = [str(k + 1) for k in range(len(first))]
    if len(header) > 1 and first.n_unique() == len(first) > 1 and (not is_numeric(first) or first.to_list() == numbers):
        notes.append(f"{name}: rows have one value more than there are names; the first one is taken for a row name")
        return frame, ["", *header]
    raise DataError(
        f"{name}: each line has more values ({frame.width}) than the first line has names ({len(header)})",
        expected=f"{len(header)} values",
        got=", ".join(map(repr, frame.row(0)))[:80],
        fix="add the missing name to the first line; --no-header, if it has no names; --skip-lines, if it is a title"
        + ("; --separator tab, if the table is a single column of text" if len(header) == 1 else ""),
    )


def _all_empty(column: pl.Series) -> bool:
    return not (column.drop_nulls().str.strip_chars() != "").any()


def note_data_as_names(frame: pl.DataFrame, header: list[str], name: str, notes: list[str]) -> None:
    """Add a note if the first line looks like data.

    It does if the name of every numeric column is a number, or, without numeric columns, if a name is also a value of
    its column.
    """
    names = [each.strip() for each in header]
    numbers = [each for each in names if NUMBER.fullmatch(each)]
    if numbers:
        years = all(each.isdecimal() and int(each) in YEARS for each in numbers)
        is_data = not years and {names[k] for k in numeric_columns(frame)} <= set(numbers)
    elif any(is_numeric(column) for column in frame):
        is_data = False
    else:
        is_data = all(names) and any(names[k] in set(column.head(1000)) for k, column in enumerate(frame))
    if is_data:
        shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
        notes.append(f"WARNING: {name}: the first line looks like data, not like column names: {shown}. "
                     "If it is data, use --no-header; the columns are then column_1, column_2, ...")  # fmt: skip


def repeats_of_names(frame: pl.DataFrame, header: list[str]) -> set[int]:
    """The rows that repeat the first line, as in concatenated files.

    If most of the first line's words occur in other rows too, it is a record like those, and no row counts as a repeat.
    """
    if frame.width < 2:
        return set()
    candidates = (frame.to_series(0) == header[0]).arg_true()
    rows = zip(candidates.to_list(), frame[candidates].iter_rows(), strict=True)
    same = {k for k, row in rows if ["" if value is None else value for value in row] == header}
    if not same:
        return same
    others = frame[[k for k in range(len(frame)) if k not in same]]
    known = sum(name in others.to_series(k) for k, name in enumerate(header))
    return same if len(others) and known <= frame.width / 2 else set()
