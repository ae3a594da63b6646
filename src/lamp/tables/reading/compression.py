"""Decompress gzip, bzip2, xz, Zstandard and zip, up to a limit of bytes."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import IO, Any, NoReturn

import polars as pl

from lamp.errors import DataError
from lamp.tables.reading.options import MOST_BYTES, ReadOptions

MOST_TIMES = 200  # largest ratio of decompressed to compressed size unless --max-bytes is given;
LEAST = 64 * 2**20  # up to so many bytes the ratio does not matter
CHUNK = 1 << 20
MOST_MEMORY = 256 * 2**20  # bytes that a file may ask of the xz decoder

MARKS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty one
}
SHEETS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")  # files by which a zip is a spreadsheet
JUNK = ("__MACOSX/",)

# The errors that damaged files raise. RuntimeError: an encrypted zip; NotImplementedError: an unknown zip version
DAMAGED = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError,
           zipfile.BadZipFile)  # fmt: skip
READ_AS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".feather",
           ".arrow", ".xlsx", ".xls", ".ods", ".gz", ".bz2", ".xz", ".zst")  # fmt: skip


def unpacked(data: bytes, name: str, options: ReadOptions) -> tuple[bytes, str, bool]:
    """The decompressed bytes, the name of the file (in an archive, the member's), and whether it was compressed.

    Raises DataError for damaged files, for files beyond the limit, and for archives with several tables.
    """
    packed, whole = False, len(data)
    for _ in range(2):  # twice, for a .csv.gz in a .zip
        kind = next((kind for mark, kind in MARKS.items() if data.startswith(mark)), None)
        if kind is None or (kind == "zip" and _is_spreadsheet(data, name, options)):
            break
        most = _most(whole, options)
        packed = True
        try:
            if kind == "zip":
                data, name = _of_zip(data, name, most, options)
            elif kind == "Zstandard":
                data = _of_zstandard(data, name, most, options)
            else:
                opened: dict[str, Callable[[Any], Any]] = {
                    "gzip": lambda raw: gzip.GzipFile(fileobj=raw), "bzip2": bz2.BZ2File, "xz": _Xz,
                }  # fmt: skip
                with opened[kind](io.BytesIO(data)) as file:
                    data = _some(file, name, most, options)
        except DAMAGED as error:
            if isinstance(error, DataError):
                raise
            _refuse_damaged(name, kind, error)
    return data, name, packed


class _Xz(io.RawIOBase):
    """An xz file that is decompressed with at most MOST_MEMORY bytes of memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._data, self._decoder = raw.read(), lzma.LZMADecompressor(memlimit=MOST_MEMORY)
        self._fed = False

    def read(self, size: int = -1) -> bytes:
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0")
                if not rest:
                    return b""
                self._data, self._decoder, self._fed = rest, lzma.LZMADecompressor(memlimit=MOST_MEMORY), False
            part = self._decoder.decompress(b"" if self._fed else self._data, size)
            self._fed = True
            if part:
                return part
            if not self._decoder.eof and self._decoder.needs_input:
                raise EOFError("the file ends too early")


def _most(packed: int, options: ReadOptions) -> int:
    if options.max_bytes is not None:
        return options.max_bytes
    return min(MOST_BYTES, max(LEAST, MOST_TIMES * packed))


def _some(file: Any, name: str, most: int, options: ReadOptions) -> bytes:
    parts, size = [], 0
    while part := file.read(CHUNK):
        size += len(part)
        if size > most:
            _refuse_bomb(name, most, options)
        parts.append(part)
    return b"".join(parts)


def _is_spreadsheet(data: bytes, name: str, options: ReadOptions) -> bool:
    """Whether a zip is a spreadsheet. Checks its decompressed size, because another package decompresses it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if not set(SHEETS) & set(archive.namelist()):
                return False
            size = sum(each.file_size for each in archive.infolist())
    except DAMAGED as error:
        _refuse_damaged(name, "zip", error)
    if size > (most := _most(len(data), options)):
        _refuse_bomb(name, most, options)
    return True


def _of_zip(data: bytes, name: str, most: int, options: ReadOptions) -> tuple[bytes, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [
            each
            for each in archive.infolist()
            if each.filename
            and not (each.is_dir() or each.filename.startswith(JUNK) or PurePosixPath(each.filename).name[0] == ".")
        ]
        tables = [each for each in files if PurePosixPath(each.filename).suffix.lower() in READ_AS]
        if len(tables) > 1 and options.sheet is not None:
            tables = [each for each in tables if options.sheet in (each.filename, PurePosixPath(each.filename).name)]
        tables = tables or (files if len(files) == 1 else [])
        if len(tables) != 1:
            names = [each.filename for each in tables or files]
            names.sort(key=lambda each: PurePosixPath(each).suffix.lower() == ".txt")  # which may be a README
            raise DataError(
                f"{name}: the archive holds {'several tables' if tables else 'no table'}",
                expected="one table",
                got=", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "an empty archive",
                fix=f'choose one: --sheet "{names[0]}"' if names else "check how it was made",
            )
        if tables[0].flag_bits & 1:
            raise DataError(
                f"{name}: the archive is locked with a password", expected="an open archive", got="an encrypted file",
                fix=f"unpack it: unzip {name}",
            )  # fmt: skip
        if tables[0].file_size > most:
            _refuse_bomb(name, most, options)
        with archive.open(tables[0]) as file:
            return _some(file, name, most, options), f"{name}/{tables[0].filename}"


def _of_zstandard(data: bytes, name: str, most: int, options: ReadOptions) -> bytes:
    for module in ("compression.zstd", "backports.zstd", "pyzstd"):
        try:
            opener = importlib.import_module(module).open
        except ImportError:
            continue
        with opener(io.BytesIO(data)) as file:
            return _some(file, name, most, options)
    size = _told_size(data)
    if size is None:
        raise DataError(
            f"{name}: the file does not state its decompressed size, so polars cannot decompress it within a limit",
            expected="a package that decompresses Zstandard in pieces",
            got="none",
            fix=f"pip install pyzstd, or decompress it: zstd -d {name}",
        )
    if size > most:
        _refuse_bomb(name, most, options)
    try:  # read as a single cell: neither of these two characters occurs in a text file
        frame = pl.read_csv(data, has_header=False, separator="\x02", eol_char="\x01", quote_char=None,
                            schema={"text": pl.String}, raise_if_empty=False)  # fmt: skip
    except pl.exceptions.PolarsError as error:
        _refuse_damaged(name, "Zstandard", error)
    text = "".join(frame["text"].to_list()).encode()
    if len(text) != size:
        _refuse_damaged(name, "Zstandard", ValueError(f"{len(text):,} bytes of text for {size:,}"))
    return text


def _told_size(data: bytes) -> int | None:
    """The decompressed size in the header of a Zstandard frame (RFC 8878, 3.1.1.1); None if it is not there."""
    if len(data) < 18:
        return None
    flags = data[4]
    single, width = flags >> 5 & 1, (0, 2, 4, 8)[flags >> 6]
    width = 1 if width == 0 and single else width
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    if width == 0:
        return None
    return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)


def _refuse_bomb(name: str, most: int, options: ReadOptions) -> NoReturn:
    times = f", {MOST_TIMES} times the compressed size," if options.max_bytes is None and most < MOST_BYTES else ""
    raise DataError(
        f"{name}: the decompressed file is larger than allowed",
        expected=f"at most {most / 2**20:,.0f} MiB{times} unless --max-bytes says more",
        got="more",
        fix="is it the right file? --max-bytes 16G decompresses it, if there is memory for it",
    )


def _refuse_damaged(name: str, kind: str, error: Exception) -> NoReturn:
    raise DataError(
        f"{name}: the file is damaged",
        expected=f"an intact {kind} file",
        got=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
        fix="copy or download it again",
    ) from None
