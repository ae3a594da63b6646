"""Read the bytes of a table: from a file, which may be compressed or in an archive, or from standard input."""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, NoReturn

from lamp.errors import ArgumentError, DataError
from lamp.tables.reading.compression import unpacked
from lamp.tables.reading.options import MOST_BYTES, ReadOptions

STDIN = "-"
TEXT = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ",", ".dat": ",", ".data": ","}
PARQUET, JSON, ARROW = (".parquet", ".pq"), (".jsonl", ".ndjson", ".json"), (".feather", ".arrow", ".ipc")
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
TABLES = (*TEXT, *PARQUET, *JSON, *ARROW, *SHEETS)
ENDINGS = (
    ".csv, .tsv, .txt, .parquet, .jsonl, .json, .xlsx, .ods, .feather, .arrow; compressed: .gz, .zip, .bz2, .xz, .zst"
)
CHUNK = 1 << 20

# (first bytes, kind of file, fix) of files that lamp does not read as tables
NO_TABLES = (
    (b"%PDF", "a PDF document", "copy its table into a spreadsheet and save that as CSV"),
    (b"SQLite format 3", "an SQLite database", 'export it: sqlite3 -header -csv FILE "select * from T" > table.csv'),
    (b"\x89HDF", "an HDF5 file", "save its table as CSV or Parquet"),
    (b"\x93NUMPY", "a numpy array", "save it with names: pandas.DataFrame(array, columns=[...]).to_csv('table.csv')"),
    (b"\x80\x03", "a Python pickle", "save it with DataFrame.to_parquet('table.parquet')"),
    (b"\x80\x04", "a Python pickle", "save it with DataFrame.to_parquet('table.parquet')"),
    (b"\x80\x05", "a Python pickle", "save it with DataFrame.to_parquet('table.parquet')"),
    (b"FEA1", "a Feather file of the first version", "write it again with a current pyarrow or polars"),
    (b"Obj\x01", "an Avro file", "save its table as Parquet"),
    (b"ORC", "an ORC file", "save its table as Parquet"),
    (b"$FL2", "an SPSS file", "save it as CSV"),
    (b"<stata_dta>", "a Stata file", "save it as CSV"),
    (b"\x89PNG", "a picture", "name a file with a table"),
    (b"\xff\xd8\xff", "a picture", "name a file with a table"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it: 7z x FILE"),
    (b"Rar!", "a RAR archive", "unpack it: unrar x FILE"),
)  # fmt: skip
PAGES = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class Content:
    """The bytes of a table, decompressed.

    kind    "text", "json", "parquet", "arrow" or "sheets"
    name    the file's name, for messages
    member  whether it is one of several files in an archive
    ending  the ending of the name, without that of a compression
    """

    data: bytes
    kind: str
    name: str
    ending: str
    member: bool = False


def content_of(source: object, options: ReadOptions, notes: list[str]) -> Content:
    """The decompressed bytes of a table and the kind of their file.

    source  a path, "-" for standard input, bytes, or an open file

    Raises ArgumentError for another source, and DataError for a file that is missing, cannot be read, is too large, or
    is not a table.
    """
    most = options.max_bytes or MOST_BYTES
    if isinstance(source, bytes | bytearray | memoryview):
        name, data = "the bytes given", bytes(source)
    elif isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        name = os.fsdecode(path)
        if name == STDIN:
            name, data = "standard input", _from_stdin(most)
        else:
            data = _from_file(name, most)
    elif getattr(source, "closed", False) is True:
        raise ArgumentError(
            "read_table reads an open file",
            expected='a path, "-" for standard input, bytes or an open file',
            got="a file that is closed",
            fix="read the table before the file is closed, or pass its path",
        )
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", "the file given"))
        data = _some(source, most, name)  # type: ignore[arg-type]
    else:
        raise ArgumentError(
            "read_table reads a file",
            expected='a path, "-" for standard input, bytes or an open file',
            got=type(source).__name__,
            fix="write the table to a file first, such as frame.write_parquet('table.parquet')",
        )
    outside = name
    data, name, packed = unpacked(data, name, options)
    ending = _ending(name, packed)
    _refuse_other(data, name)
    return Content(data, _kind(data, name, ending, notes), name, ending, name != outside)


def refuse_large(name: str, size: int | None, most: int) -> NoReturn:
    """Raise the DataError for a file that is larger than allowed."""
    raise DataError(
        f"{name}: the table is too large",
        expected=f"at most {shown_bytes(most)}",
        got=shown_bytes(size) if size is not None else "more",
        fix="use a part of it; or --max-bytes 16G, if there is memory for it",
    )


def shown_bytes(count: int) -> str:
    """A number of bytes as text, such as "1.5 MiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,} bytes"


# ---- reading ---------------------------------------------------------------------------------------------------------
def _from_stdin(most: int) -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(
            "standard input is a terminal: nothing is piped into lamp",
            expected="a table, as in: cat table.csv | lamp ... -",
            got="a terminal",
            fix="pipe a table into it, or name a file",
        )
    return _some(sys.stdin.buffer, most, "standard input")


def _from_file(name: str, most: int) -> bytes:
    if re.match(r"[A-Za-z][A-Za-z0-9+]+:/", name) and not os.path.exists(name):
        raise DataError(
            f"{name}: lamp does not download tables",
            expected="a file",
            got="a URL",
            fix="download it first: curl -LO URL",
        )
    try:
        path = Path(name)
        if not path.exists() and name.startswith("~"):
            path = path.expanduser()
        known = path.stat()
        if stat.S_ISDIR(known.st_mode):
            _refuse_folder(path)
        if stat.S_ISREG(known.st_mode) and known.st_size > most:
            refuse_large(name, known.st_size, most)
        with path.open("rb") as file:
            return _some(file, most, name)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        _refuse_file(Path(name), error)


def _some(file: IO[Any], most: int, name: str) -> bytes:
    """The contents of an open file. Raises DataError if it is larger than allowed."""
    parts, size = [], 0
    while part := file.read(CHUNK):
        part = part.encode() if isinstance(part, str) else part
        size += len(part)
        if size > most:
            refuse_large(name, None, most)
        parts.append(part)
    return b"".join(parts)


def _refuse_folder(path: Path) -> NoReturn:
    there = sorted(each.name for each in path.iterdir() if each.suffix.lower() in TABLES)
    ending = Path(there[0]).suffix if there else ".csv"
    raise DataError(
        f"{path} is a folder",
        expected="a file with a table",
        got=("a folder with " + ", ".join(there[:5]) + (", ..." if len(there) > 5 else "")) if there else "a folder",
        fix=f"name a file in it: {path / (there[0] if there else 'table.csv')}"
        + (f'; or read all of them as one table: "{path}/*{ending}"' if len(there) > 1 else ""),
    )


def _refuse_file(path: Path, error: Exception) -> NoReturn:
    try:
        missing = isinstance(error, OSError) and not path.exists()
        near = [each.name for each in path.parent.iterdir()] if missing and path.parent.is_dir() else []
    except (OSError, ValueError):
        missing, near = False, []
    close = get_close_matches(path.name, near, 1)
    reason = getattr(error, "strerror", None) or str(error)
    raise DataError(
        f"{path}: no such file" if missing else f"{path} cannot be read",
        expected="a file with a table",
        got="no file" if missing else reason,
        fix=f"did you mean {path.parent / close[0]}?" if close else "check the path" if missing
        else "check its name and permissions",
    ) from None  # fmt: skip


# ---- the kind of file ------------------------------------------------------------------------------------------------
def _ending(name: str, packed: bool) -> str:
    path = Path(name)
    if packed and path.suffix.lower() in (".gz", ".bz2", ".xz", ".lzma", ".zst", ".zstd"):
        path = path.with_suffix("")
    return path.suffix.lower()


def _refuse_other(data: bytes, name: str) -> None:
    begin = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next(((what, fix) for mark, what, fix in NO_TABLES if data.startswith(mark)), None)
    if begin.lower().startswith(PAGES):
        found = ("a web page", "download the table itself, not the page that shows it (on GitHub: Raw)")
    elif begin.lower().startswith(b"<?xml"):
        found = ("an XML file", "save its table as CSV")
    elif b"@relation" in begin.lower() and b"@attribute" in data[:65536].lower():
        found = (
            "an ARFF file",
            "save it as CSV: the column names in the first line, then the lines below @data",
        )
    elif data[257:262] == b"ustar":
        found = ("a tar archive", f"unpack it: tar xf {name}")
    elif begin.startswith(b"version https://git-lfs"):
        found = ("a Git LFS pointer, not the file itself", "fetch it: git lfs pull")
    if found is not None:
        what, fix = found
        raise DataError(f"{name}: this is not a table", expected=ENDINGS, got=what, fix=fix)


def _kind(data: bytes, name: str, ending: str, notes: list[str]) -> str:
    """The kind of file, by its content if that is conclusive, else by its ending."""
    found = None
    if data.startswith(b"PAR1"):
        found = "parquet"
    elif data.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        found = "arrow"
    elif data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        found = "sheets"
    elif ending not in (*PARQUET, *ARROW, *SHEETS):
        begins = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
        if ending in JSON:
            return "json"
        if begins.startswith((b'{"', b'[{"', b"[{", b'{ "')):
            found = "json"
    by_name = (
        "parquet" if ending in PARQUET else "arrow" if ending in ARROW else "sheets" if ending in SHEETS else "text"
    )
    if found is None or found == by_name:
        return by_name
    if ending:
        notes.append(f"{name}: read as {found} because of its content, although its name says otherwise")
    return found
