"""Predict a table: the columns that are kept, and the model's prediction for each row."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lamp.errors import ArgumentError, DataError
from lamp.tables.column import Unknown
from lamp.tables.conventions import Conventions
from lamp.tables.kinds import listed, no_column
from lamp.tables.model import TableModel
from lamp.tables.parsing import is_text
from lamp.tables.reading.inference import typed
from lamp.tables.reading.names import matching

FORMULA = r"^[=+\-@\t\r]"  # a spreadsheet takes text that begins so for a formula
NUMBER = r"^[+-]?[0-9.,]+(?:[eE][+-]?[0-9]+)?$"


def predict(
    model: TableModel,
    frame: pl.DataFrame,
    *,
    keep: Sequence[str] = (),
    prefix: str = "",
    unknown: Unknown | None = None,
    asked: Conventions | None = None,
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """A table with the columns to keep, unchanged, and the model's predictions for each row, in order.

    prefix   text before the names of the predicted columns
    unknown  what to do with values that were not in training: see Preprocessing.transform
    asked    how this table writes numbers and dates: see TableModel.asked
    notes    a list to which remarks are added

    Raises ArgumentError for a column to keep that is missing or has the name of a predicted one, and DataError as
    Preprocessing.transform does.
    """
    keep = [keep] if isinstance(keep, str) else list(dict.fromkeys(keep))
    there = set(frame.columns)
    keep = [matching(name, frame.columns) or name for name in keep]
    for name in keep:
        if name not in there:
            raise no_column(name, frame.columns)
    names = {name: f"{prefix}{name}" for name in model.predicted_names}
    both = [name for name in keep if name in set(names.values())]
    if both:
        raise ArgumentError(
            f"--keep: {'a column has' if len(both) == 1 else 'columns have'} the name of a prediction: {listed(both)}",
            expected="kept columns with other names than " + listed(list(names.values())),
            got=", ".join(f"--keep {name}" for name in both[:5]),
            fix="--prefix predicted_ puts predicted_ before the names of the predicted columns",
        )
    predicted = model.table_of(model.predict(frame, notes, unknown, asked)).rename(names)
    return frame.select(keep).hstack(predicted) if keep else predicted


def for_types(predicted: pl.DataFrame, frame: pl.DataFrame, keep: Sequence[str]) -> pl.DataFrame:
    """The table for a file format with types: kept columns of a text file that hold only numbers become numbers."""
    from_text = all(dtype == pl.String for dtype in frame.dtypes)
    return predicted.with_columns(typed(predicted.select(list(dict.fromkeys(keep))))) if from_text else predicted


def for_csv(frame: pl.DataFrame, *, escape_formulas: bool = False) -> pl.DataFrame:
    """The table for a CSV file.

    escape_formulas  whether to put ' before text and column names that a spreadsheet would take for a formula: those
                     that begin with = + - @, a tab or a return, and are not numbers

    Raises DataError for columns of lists and other values that CSV cannot hold.
    """
    for name, dtype in frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise DataError(
                f"column {name!r} cannot be written as CSV",
                expected="numbers, words, dates or booleans",
                got=f"values of type {dtype}",
                fix="--json, or --out with a name that ends in .parquet or .jsonl",
            )
    if not escape_formulas:
        return frame
    for series in frame.get_columns():
        if is_text(series.dtype):
            frame = frame.with_columns(_quoted(series.cast(pl.String)))
    names, taken = {}, set(frame.columns)
    for name, quoted in zip(frame.columns, _quoted(pl.Series(frame.columns)), strict=True):
        while quoted != name and quoted in taken:
            quoted = f"'{quoted}"
        names[name] = quoted
        taken.add(quoted)
    return frame.rename(names)


def _quoted(text: pl.Series) -> pl.Series:
    """The texts, with ' before those that a spreadsheet would take for a formula."""
    risky = text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
    return pl.select(pl.when(risky).then(pl.lit("'") + text).otherwise(text).alias(text.name)).to_series()
