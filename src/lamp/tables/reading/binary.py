"""Read tables from formats with types: Parquet, Arrow, and spreadsheets."""

from __future__ import annotations

import io
from datetime import date
from typing import NoReturn

import polars as pl

from lamp.errors import DataError
from lamp.printable import counted
from lamp.tables.reading.delimited import note_data_as_names, repeats_of_names
from lamp.tables.reading.names import distinct
from lamp.tables.reading.options import MOST_BYTES, ReadOptions, check_width
from lamp.tables.reading.sources import Content, refuse_large

# The errors that damaged files raise; a panic of polars is not a PolarsError
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)
BYTES_PER_VALUE = 8  # in memory, roughly
DAY_ZERO = (date(1899, 12, 30), date(1899, 12, 31))  # of a time of day, by program
READS_SHEETS = "fastexcel"
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
    by_fastexcel = {"skip_rows": lines} if options.header is False else {"header_row": lines}
    try:
        frame = pl.read_excel(
            io.BytesIO(content.data), sheet_name=chosen, engine="calamine", infer_schema_length=None,
            has_header=options.header is not False, raise_if_empty=False, drop_empty_rows=False, drop_empty_cols=False,
            read_options=by_fastexcel if lines else None,
        )  # fmt: skip
        first = reader.load_sheet(chosen, header_row=None, skip_rows=lines or None, n_rows=1, dtypes="string")
        header = ["" if each is None else str(each) for each in first.to_polars().row(0)] if first.width else []
    except (*UNREADABLE, fastexcel.FastExcelError) as error:
        _refuse(content.name, "spreadsheet", error)
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
    text = there.cast(pl.String)
    if repeated := repeats_of_names(text, header):
        verb = "repeats" if len(repeated) == 1 else "repeat"
        notes.append(f"{content.name}: left out {counted(len(repeated), 'row')} that {verb} the names of the columns")
        there = there[[k for k in range(len(there)) if k not in repeated]]
    elif options.header is None and len(there):
        note_data_as_names(text, header, content.name, notes)
    return there.rename(dict(zip(there.columns, distinct(header, notes, content.name), strict=True)))


def _times_of_day(column: pl.Series) -> pl.Series:
    """The column, with times of day in place of points in time that are all on the day 0 of spreadsheets."""
    if not isinstance(column.dtype, pl.Datetime) or column.null_count() == len(column):
        return column
    return column.dt.time() if column.drop_nulls().dt.date().is_in(DAY_ZERO).all() else column


def _check_size(name: str, size: int, options: ReadOptions) -> None:
    most = options.max_bytes or 4 * MOST_BYTES
    if size > most:
        refuse_large(name, size, most)


def _refuse(name: str, kind: str, error: BaseException) -> NoReturn:
    said = str(error).strip().splitlines()
    raise DataError(
        f"{name}: this file cannot be read as a table",
        expected=f"a {kind} file",
        got=said[0] if said else type(error).__name__,
        fix=f"the file is damaged or not a {kind} file: write it again",
    ) from None
