"""Read tables from formats with types: Parquet, Arrow, and spreadsheets."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from datetime import date
from typing import Any, NoReturn

import polars as pl
from polars import selectors

from lamp.errors import DataError
from lamp.printable import counted
from lamp.tables.reading.delimited import note_data_as_names, repeats_of_names
from lamp.tables.reading.names import distinct
from lamp.tables.reading.options import MOST_BYTES, ReadOptions, check_width
from lamp.tables.reading.sheet_faults import faults, remarks_on, some
from lamp.tables.reading.sources import Content, refuse_large

# The errors that damaged files raise; a panic of polars is not a PolarsError
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)
BYTES_PER_VALUE = 8  # in memory, roughly
DAY_ZERO = (date(1899, 12, 30), date(1899, 12, 31))  # of a time of day, by program
READS_SHEETS = "fastexcel"
COLUMN = re.compile(r"could not determine dtype for column (.+)")
COMBINATION = re.compile(r"unsupported column type combination: \{(.+)\}")
UNNAMED = "__UNNAMED__"  # that package's name for a column without a name


def read_parquet(content: Content, options: ReadOptions) -> pl.DataFrame:
    """The table in a Parquet file. Raises DataError for a damaged one, and for too many columns or rows."""
    try:
        lazy = pl.scan_parquet(io.BytesIO(content.data))
        columns = len(lazy.collect_schema())
        check_width(content.name, columns, options)
        rows = int(lazy.select(pl.len()).collect().item())
        _check_size(content.name, rows * columns * BYTES_PER_VALUE, options)
        return pl.read_parquet(io.BytesIO(content.data))
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        _refuse(content.name, "Parquet", error)


def read_arrow(content: Content, options: ReadOptions) -> pl.DataFrame:
    """The table in an Arrow (Feather) file or stream. Raises DataError for a damaged one, and for too many columns."""
    read = pl.read_ipc if content.data.startswith(b"ARROW1") else pl.read_ipc_stream
    try:
        frame = read(io.BytesIO(content.data))
    except UNREADABLE as error:
        _refuse(content.name, "Arrow", error)
    check_width(content.name, frame.width, options)
    return frame


def read_sheets(content: Content, options: ReadOptions, notes: list[str]) -> pl.DataFrame:
    """The sheet of a spreadsheet that `options` name, by default the first; read by polars and fastexcel.

    Raises DataError if fastexcel is missing, for damaged files, and for a sheet that does not exist.
    """
    try:
        import fastexcel
    except ImportError as error:
        raise DataError(
            f"{content.name}: spreadsheets are read by the package {READS_SHEETS}, which cannot be imported",
            expected=READS_SHEETS,
            got=str(error),
            fix=f'pip install "{READS_SHEETS}>=0.12"; or save the sheet as CSV',
        ) from None
    try:
        reader = fastexcel.read_excel(content.data)
        names = list(reader.sheet_names)
    except (*UNREADABLE, fastexcel.FastExcelError) as error:
        _refuse(content.name, "spreadsheet", error)
    if not names or (options.sheet is not None and options.sheet not in names):
        raise DataError(
            f"{content.name}: no such sheet", expected=", ".join(names) or "a sheet", got=str(options.sheet),
            fix=f'--sheet "{names[0]}"' if names else "check the file",
        )  # fmt: skip
    chosen = options.sheet or names[0]
    if options.sheet is None and len(names) > 1:
        notes.append(
            f"{content.name}: read the first sheet, {chosen!r}; --sheet reads another: {', '.join(names[1:6])}"
        )
    lines = options.skip_lines or 0
    found = faults(content.data, chosen, options.max_bytes or MOST_BYTES)
    try:
        frame = _loaded(reader, content, chosen, options)
        first = reader.load_sheet(chosen, header_row=None, skip_rows=lines or None, n_rows=1, dtypes="string")
        header = ["" if each is None else str(each) for each in first.to_polars().row(0)] if first.width else []
    except (*UNREADABLE, fastexcel.FastExcelError) as error:
        _refuse_cells(content.name, error, found)
        _refuse(content.name, "spreadsheet", error)
    notes += [f"{content.name}: {each}" for each in remarks_on(found)]
    check_width(content.name, frame.width, options)
    there = frame.filter(~pl.all_horizontal(pl.all().is_null())) if frame.width else frame
    if empty := len(frame) - len(there):
        notes.append(
            f"{content.name}: {empty:,} empty rows skipped" if empty > 1 else f"{content.name}: an empty row skipped"
        )
    if options.header is False:
        return there.rename(dict(zip(there.columns, distinct([""] * there.width, [], content.name), strict=True)))
    if len(header) != there.width:  # of a header in another row
        header = ["" if name.startswith(UNNAMED) else name for name in there.columns]
    there = there.with_columns(map(_times_of_day, there.get_columns()))
    text = there.with_columns(selectors.duration().dt.total_seconds()).cast(pl.String)
    if repeated := repeats_of_names(text, header):
        verb = "repeats" if len(repeated) == 1 else "repeat"
        notes.append(f"{content.name}: left out {counted(len(repeated), 'row')} that {verb} the names of the columns")
        there = there[[k for k in range(len(there)) if k not in repeated]]
    elif options.header is None and len(there):
        note_data_as_names(text, header, content.name, notes)
    return there.rename(dict(zip(there.columns, distinct(header, notes, content.name), strict=True)))


def _loaded(reader: Any, content: Content, sheet: str, options: ReadOptions) -> pl.DataFrame:
    """The cells of a sheet."""
    lines, header = options.skip_lines or 0, options.header is not False
    by_fastexcel = {"header_row": lines} if header else {"skip_rows": lines}
    try:
        return pl.read_excel(
            io.BytesIO(content.data), sheet_name=sheet, engine="calamine", infer_schema_length=None, has_header=header,
            raise_if_empty=False, drop_empty_rows=False, drop_empty_cols=False,
            read_options=by_fastexcel if lines else None,
        )  # fmt: skip
    except pl.exceptions.InvalidOperationError:  # whole numbers beyond 64 bits, of which polars would make integers
        places = {} if header else {"header_row": None}
        found: pl.DataFrame = reader.load_sheet(sheet, schema_sample_rows=None, **by_fastexcel, **places).to_polars()
        return found


def _times_of_day(column: pl.Series) -> pl.Series:
    """The column, with times of day in place of points in time that are all on the day 0 of spreadsheets."""
    if not isinstance(column.dtype, pl.Datetime) or column.null_count() == len(column):
        return column
    return column.dt.time() if column.drop_nulls().dt.date().is_in(DAY_ZERO).all() else column


def _check_size(name: str, size: int, options: ReadOptions) -> None:
    most = options.max_bytes or 4 * MOST_BYTES
    if size > most:
        refuse_large(name, size, most)


def _refuse_cells(name: str, error: BaseException, found: Mapping[str, list[str]]) -> None:
    """Raise the DataError for a sheet of which a cell or a column cannot be read, if that is the error's cause."""
    said = str(error)
    column = COLUMN.search(said)
    where = f"{name}: column {column[1]!r}" if column else name
    wrong = next((each for each in found if each in said), "")
    if wrong:
        raise DataError(
            f"{where} has the error {wrong} in {some(found[wrong])}", expected="cells with values", got=wrong,
            fix="correct the formula or clear the cell, and save the file",
        ) from None  # fmt: skip
    if kinds := COMBINATION.search(said):
        raise DataError(
            f"{where} mixes kinds of values", expected="one kind in a column", got=kinds[1],
            fix="give the whole column one format: [h]:mm:ss for durations, hh:mm for times of day, or text",
        ) from None  # fmt: skip


def _refuse(name: str, kind: str, error: BaseException) -> NoReturn:
    said = str(error).strip().splitlines()
    raise DataError(
        f"{name}: this file cannot be read as a table",
        expected=f"a {kind} file",
        got=said[0] if said else type(error).__name__,
        fix=f"the file is damaged or not a {kind} file: write it again",
    ) from None
