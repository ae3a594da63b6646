"""Write tables to files: CSV, TSV, Parquet or JSON lines."""

from __future__ import annotations

import os
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


def write_table(frame: pl.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a table in the format that the file's ending names, either all of it or nothing. Returns the path.

    Raises DataError for an unknown ending, and CheckpointError if the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    write: dict[str, Callable[[Any], Any]] = {
        **{ending: partial(frame.write_csv, separator=mark) for ending, mark in SEPARATORS.items()},
        **dict.fromkeys(PARQUET, frame.write_parquet),
        **dict.fromkeys(JSON_LINES, frame.write_ndjson),
    }
    if kind not in write:
        raise DataError(f"unknown ending {path.suffix!r}", expected=ENDINGS, got=str(path), fix="use .csv, for example")
    write_file(path, write[kind])
    return path
