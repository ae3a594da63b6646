"""Read a table from a file of any supported kind."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Any

import polars as pl

from lamp.errors import ArgumentError, DataError
from lamp.tables.reading.binary import read_arrow, read_parquet, read_sheets
from lamp.tables.reading.delimited import read_delimited, refuse_empty
from lamp.tables.reading.encodings import as_utf8
from lamp.tables.reading.inference import typed
from lamp.tables.reading.json_rows import read_json
from lamp.tables.reading.names import distinct
from lamp.tables.reading.options import ReadOptions
from lamp.tables.reading.sources import TEXT, Content, content_of


def read_table(
    source: Any,
    separator: str | None = None,
    *,
    notes: list[str] | None = None,
    as_text: bool = False,
    **options: Any,
) -> pl.DataFrame:
    """The table in a file: delimited text, JSON, Parquet, Arrow or a spreadsheet, compressed or not.

    source     a path, a pattern such as "month-*.csv" (its tables are concatenated), "-" for standard input, bytes, or
               an open file
    separator  the character between values; this and the other `options` are those of `ReadOptions`, and are detected
               in the file if they are not given
    notes      a list to which remarks are added, such as on what was detected, skipped or renamed
    as_text    whether the cells of delimited text stay text, as `kinds.decide` and a trained model need them

    Every record is read, or the file is refused. Raises DataError, with the line, for a file that is missing,
    unreadable, ambiguous, empty or not a table, and ArgumentError for an option that does not fit.
    """
    return read_with(source, ReadOptions.of(separator=separator, **options), notes=notes, as_text=as_text)


def read_with(
    source: Any,
    options: ReadOptions,
    kept: ReadOptions | None = None,
    *,
    notes: list[str] | None = None,
    as_text: bool = False,
) -> pl.DataFrame:
    """The same as `read_table`, with the options as one object.

    kept  the options of an earlier table, such as a model's training table; they apply where `options` has None and
          where they are meaningful for this kind of file
    """
    notes = [] if notes is None else notes
    kept = kept or ReadOptions()
    paths = matches(source)
    if paths is None:
        return _read(source, options, kept, notes, as_text)
    return _stacked(paths, [_read(path, options, kept, notes, as_text) for path in paths])


def matches(source: Any) -> Sequence[str] | None:
    """The files that match a pattern, in alphabetical order; None if the source is not a pattern.

    Raises DataError if no file matches.
    """
    pattern = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if not isinstance(pattern, str) or not glob.has_magic(pattern) or os.path.exists(pattern):
        return None
    found = sorted(glob.glob(pattern))
    if not found:
        raise DataError(
            f"{pattern}: no file matches this pattern",
            expected="a pattern that matches files with tables",
            got="no file",
            fix="check the path; on the command line, put the pattern in quotes",
        )
    return found


def _stacked(paths: Sequence[str], frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The concatenation of tables with the same columns. Raises DataError if their columns differ."""
    first = frames[0]
    for path, frame in zip(paths, frames, strict=True):
        lacking = [name for name in first.columns if name not in frame.columns]
        extra = [name for name in frame.columns if name not in first.columns]
        if lacking or extra:
            raise DataError(
                f"{path} has other columns than {paths[0]}",
                expected=", ".join(first.columns[:8]),
                got=", ".join([f"no {name!r}" for name in lacking[:4]] + [f"also {name!r}" for name in extra[:4]]),
                fix="choose files with the same columns",
            )
    try:
        return pl.concat([frame.select(first.columns) for frame in frames], how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        text = [frame.select(pl.col(first.columns).cast(pl.String)) for frame in frames]
        return pl.concat(text)


def _read(source: Any, given: ReadOptions, kept: ReadOptions, notes: list[str], as_text: bool) -> pl.DataFrame:
    options = given.over(kept)
    content = content_of(source, options, notes)
    name = content.name
    if not content.data:
        refuse_empty(name, "an empty file")
    _check_fitting(content, given)
    if content.kind in ("text", "json"):
        data = as_utf8(content.data, options.encoding, name, notes)
        if not data or data.isspace():
            refuse_empty(name, "an empty file")
        if content.kind == "json":
            frame = read_json(data, name, options, notes)
        else:
            frame = read_delimited(data, name, TEXT.get(content.ending, ","), options, notes)
            frame = frame if as_text else typed(frame)
    elif content.kind == "parquet":
        frame = read_parquet(content, options)
    elif content.kind == "arrow":
        frame = read_arrow(content, options)
    else:
        frame = read_sheets(content, options, notes)
    if content.kind != "text":
        frame = frame.rename(dict(zip(frame.columns, distinct(frame.columns, notes, name), strict=True)))
    if not len(frame):
        refuse_empty(name, f"{len(frame.columns)} columns and no rows")
    return frame


def _check_fitting(content: Content, options: ReadOptions) -> None:
    """Raise ArgumentError for a given option that does not apply to this kind of file."""
    kind, name = content.kind, content.name
    of_text = options.of_text
    if kind == "sheets":
        of_text = [each for each in of_text if each not in ("--header", "--skip-lines")]
    if kind == "json":
        of_text = [each for each in of_text if each != "--encoding"]
    wrong = of_text if kind != "text" else []
    if options.sheet is not None and kind != "sheets" and not content.member:
        wrong = [*wrong, "--sheet"]
    if wrong:
        what = {"json": "JSON", "parquet": "Parquet", "arrow": "Arrow", "sheets": "a spreadsheet", "text": "text"}[kind]
        raise ArgumentError(
            f"{name}: {', '.join(wrong)} does not apply to this file",
            expected="options for text with text files, options for spreadsheets with spreadsheets",
            got=f"a file of {what}" if kind != "sheets" else what,
            fix="leave it out",
        )
