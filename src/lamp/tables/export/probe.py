"""Rows to try an exported file with, and the check that it predicts what the model predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from lamp.errors import ExportError
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from lamp.tables.dates import TIME_ALONE
from lamp.tables.model import TableModel

ROWS, SEED = 60, 0
GAPS = 0.15  # share of missing values
DAY = 86_400_000_000  # microseconds
LIMITS = -719_000, 2_932_000  # days from 1970-01-01 to the years 1 and 9997, between which Python has dates
TOLERANCE = 1e-3  # of a probability, or of the target's standard deviation: networks compute in float32


def rows_for(model: TableModel, rows: int = ROWS, seed: int = SEED) -> pl.DataFrame:
    """Random rows of the kinds that training had, with missing values and, in categories, a word that is new."""
    random = np.random.default_rng(seed)
    return pl.DataFrame([_values(column, rows, random) for column in model.preprocessing.used])


def _values(column: Column, rows: int, random: np.random.Generator) -> pl.Series:
    values: Any
    if isinstance(column, NumberColumn):
        values = random.uniform(column.low, column.high, rows).tolist()
    elif isinstance(column, BooleanColumn):
        values = random.choice(["yes", "no", "YES", "no "], rows).tolist()
    elif isinstance(column, CategoryColumn):
        values = random.choice([*column.levels, "a word that is new"], rows).tolist()
    else:
        assert isinstance(column, DateColumn)
        mean, std = column.parts.get("days", (10_000.0, 1_000.0))
        days = random.normal(mean, 2 * std, rows).clip(*LIMITS)
        of_time = column.format == TIME_ALONE
        at = (random.random(rows) if of_time else days) * DAY
        values = at.astype(np.int64).astype("datetime64[us]").tolist()
        values = [each.time() for each in values] if of_time else values
    gaps = random.random(rows) < GAPS
    return pl.Series(column.name, [None if gap else value for gap, value in zip(gaps, values, strict=True)])


def check(model: TableModel, compute: Callable[[pl.DataFrame], Any], path: object) -> None:
    """Raise ExportError unless the exported file predicts what the model does, on random rows.

    compute  a function that runs the file on a table; it returns probabilities (n, C) or numbers (n,)
    """
    frame = rows_for(model)
    expected = model.predict(frame).mean.numpy()
    got = np.asarray(compute(frame), dtype=np.float64).reshape(expected.shape)
    unit = 1.0 if model.target.is_classes else model.target.std
    off = np.abs(got - expected).max()
    if not off <= TOLERANCE * unit:
        raise ExportError(
            f"the exported file for {path} does not predict what the model predicts",
            expected=f"differences of at most {TOLERANCE * unit:.3g}, by rounding",
            got=f"a difference of {off:.3g}",
            fix="nothing was written; please report it, with the folder's preprocessing.json",
        )
