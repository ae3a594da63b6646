"""Tables into files: CSV, TSV, Parquet, JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from lamp.errors import DataError
from lamp.saving import write_file

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ","}
PARQUET, JSON_LINES = (".parquet", ".pq"), (".jsonl", ".ndjson", ".json")
ENDINGS = ".csv, .tsv, .parquet, .jsonl"


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
