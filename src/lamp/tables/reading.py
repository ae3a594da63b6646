"""Tables from files and into files: CSV, TSV, Parquet, JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from lamp.errors import DataError, LampError
from lamp.saving import write_file
from lamp.tables.inference import typed

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ","}
PARQUET, JSON_LINES = (".parquet", ".pq"), (".jsonl", ".ndjson", ".json")
ENDINGS = ".csv, .tsv (also .csv.gz, .csv.zst), .parquet, .jsonl"
LIKELY = {";": "a semicolon", "\t": "a tab", "|": "a bar", ",": "a comma"}


def read_table(path: str | Path, delimiter: str | None = None, *, as_text: bool = False) -> pl.DataFrame:
    """The table in a file, by the ending of its name.

    delimiter   of a CSV file; None for the one its ending tells: a comma, or a tab for .tsv
    as_text     whether the cells of a CSV file stay as they are written, for `kinds.decide` and a trained model to read

    Raises DataError for a file that is missing, cannot be read, is empty or no table; for one column alone, where a
    wrong delimiter is likely; and for columns that share a name.
    """
    path = Path(path)
    kind = _kind(path)
    try:
        if kind in PARQUET:
            frame = pl.read_parquet(path, glob=False)
        elif kind in JSON_LINES:
            frame = _json_lines(path)
        else:
            frame = _csv(path, delimiter or SEPARATORS[kind], given=delimiter is not None)
    except LampError:
        raise
    except OSError as error:
        _refuse_file(path, error)
    except (pl.exceptions.PolarsError, ValueError) as error:
        _refuse_content(path, kind, error)
    frame = _named(frame, path)
    if not as_text and kind in SEPARATORS:
        frame = typed(frame)
    if not len(frame):
        raise DataError(
            f"{path}: the table is empty",
            expected="at least one row under the names of the columns",
            got=f"{len(frame.columns)} columns, no row",
            fix="look at how the file was written",
        )
    return frame


def _kind(path: Path) -> str:
    """The ending that says what is in a file, without that of its compression."""
    if path.is_dir():
        raise DataError(f"{path} is a folder", expected="a file with a table", got="a folder", fix="name a file in it")
    name = path.with_suffix("") if path.suffix.lower() in (".gz", ".zst") else path
    kind = name.suffix.lower()
    if kind not in (*SEPARATORS, *PARQUET, *JSON_LINES):
        raise DataError(
            f"{path}: it is not known what is in a file of this name",
            expected=ENDINGS,
            got=repr(path.name),
            fix="rename it, or save it as one of these",
        )
    return kind


def _csv(path: Path, separator: str, given: bool) -> pl.DataFrame:
    if len(separator.encode()) != 1:
        raise DataError(
            "a delimiter is one letter", expected='"," or ";" or "|" ...', got=repr(separator), fix='--delimiter ";"'
        )
    header = pl.read_csv(
        path,
        has_header=False,
        n_rows=1,
        infer_schema=False,
        separator=separator,
        truncate_ragged_lines=True,  # a later line with another number of values is told of below
        raise_if_empty=False,
        glob=False,
    )
    names = [str(name) if name is not None else "" for name in header.row(0)] if len(header) else []
    if len(names) == 1:
        _refuse_one_column(path, names[0], separator, given)
    repeated = [name for name, count in Counter(name.strip() for name in names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}: several columns have one name",
            expected="each name once",
            got=", ".join(
                f"{name!r} {names.count(name)} times" if name else "columns without a name" for name in repeated
            ),
            fix="rename the columns in the file's first line",
        )
    return pl.read_csv(path, separator=separator, infer_schema=False, raise_if_empty=False, glob=False)


def _json_lines(path: Path) -> pl.DataFrame:
    with path.open("rb") as file:
        begins = file.read(64).lstrip()[:1]
    if begins == b"[":
        return pl.read_json(path, infer_schema_length=None)
    return pl.read_ndjson(path, infer_schema_length=None)


def _named(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The table without blanks around its columns' names; DataError where two become one."""
    names = [name.removeprefix("\ufeff").strip() for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"{path}: several columns have one name", expected="each name once", got=repr(twice))
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


# ---- what cannot be read ---------------------------------------------------------------------------------------------
def _refuse_one_column(path: Path, header: str, separator: str, given: bool) -> NoReturn:
    counts = {mark: header.count(mark) for mark in LIKELY if mark != separator}
    likely = max(counts, key=lambda mark: counts[mark])
    wrong = counts[likely] > 0
    shown = "\\t" if likely == "\t" else likely
    raise DataError(
        f"{path}: the table has one column only",
        expected="columns parted by "
        + LIKELY.get(separator, repr(separator))
        + ("" if given else ", as its name says"),
        got=f"the first line {header[:60]!r}{'...' if len(header) > 60 else ''}",
        fix=f"it seems to be parted by {LIKELY[likely]}: --delimiter "
        + (f"$'{shown}'" if likely == "\t" else f'"{shown}"')
        if wrong
        else "name the delimiter: --delimiter, or add the column to predict",
    )


def _refuse_file(path: Path, error: OSError) -> NoReturn:
    near = [each.name for each in path.parent.iterdir()] if not path.exists() and path.parent.is_dir() else []
    close = get_close_matches(path.name, near, 1)
    missing = not path.exists()
    raise DataError(
        f"{path}: there is no such file" if missing else f"{path} cannot be read",
        expected="a file with a table",
        got="nothing" if missing else str(error.strerror or error),
        fix=f"did you mean {path.parent / close[0]}?"
        if close
        else "look at the path"
        if missing
        else "look at its rights",
    ) from error


def _refuse_content(path: Path, kind: str, error: Exception) -> NoReturn:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, pl.exceptions.NoDataError) or path.stat().st_size == 0:
        raise DataError(
            f"{path}: the table is empty",
            expected="a line with the names of the columns, and rows",
            got="an empty file",
            fix="look at how the file was written",
        ) from error
    fix = "look at the file in an editor"
    if "utf-8" in said.lower():
        fix = f"save it in UTF-8, for instance: iconv -f latin1 -t utf8 {path.name} > utf8-{path.name}"
    elif "more fields" in said:
        said = "a line with more values than the first line has names"
        fix = "is a value with a comma in it not in quotes? or name the delimiter: --delimiter"
    elif kind in PARQUET:
        fix = "the file is damaged or no Parquet file: write it again"
    elif kind in JSON_LINES:
        fix = 'write an object a line: {"name": value, ...}'
    raise DataError(f"{path}: this is no table that can be read", expected=ENDINGS, got=said, fix=fix) from error


# ---- writing ---------------------------------------------------------------------------------------------------------
def write_table(frame: pl.DataFrame, path: Path) -> Path:
    """Write a table as the ending of the name says, whole or not at all.

    Raises DataError for an ending that is not known, CheckpointError where it cannot be written.
    """
    kind = path.suffix.lower()
    write: dict[str, Callable[[Any], Any]] = {
        **{ending: partial(frame.write_csv, separator=mark) for ending, mark in SEPARATORS.items()},
        **dict.fromkeys(PARQUET, frame.write_parquet),
        **dict.fromkeys(JSON_LINES, frame.write_ndjson),
    }
    if kind not in write:
        raise DataError(f"no table is written as {path.suffix!r}", expected=ENDINGS, got=str(path), fix="name it .csv")
    write_file(path, write[kind])
    return path
