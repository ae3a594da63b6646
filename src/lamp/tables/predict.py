"""A table of predictions: what a trained model says of each row, beside columns of the table that are kept."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lamp.errors import ArgumentError, DataError
from lamp.tables.column import Unknown
from lamp.tables.kinds import listed, no_column
from lamp.tables.model import TableModel
from lamp.tables.parsing import is_text
from lamp.tables.reading.inference import typed
from lamp.tables.reading.names import matching

FORMULA = r"^[=+\-@\t\r]"  # how text begins that a spreadsheet takes for a formula
NUMBER = r"^[+-]?[0-9.,]+(?:[eE][+-]?[0-9]+)?$"


def predict(
    model: TableModel,
    frame: pl.DataFrame,
    *,
    keep: Sequence[str] = (),
    prefix: str = "",
    unknown: Unknown | None = None,
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """The kept columns of a table, as they are, and what the model predicts for each row, in order.

    prefix   goes before the names of the predicted columns
    unknown  what becomes of values that training has not taught to read: see Preprocessing.transform
    notes    a list that remarks are added to

    Raises ArgumentError for a kept column that is not there or has the name of a predicted one, DataError as
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
            f"the table has {'a column' if len(both) == 1 else 'columns'} named like what is predicted: {listed(both)}",
            expected="kept columns of other names than the predicted ones: " + listed(list(names.values())),
            got=", ".join(f"--keep {name}" for name in both[:5]),
            fix="--prefix predicted_ puts that before the names of the predicted columns",
        )
    predicted = model.table_of(model.predict(frame, notes, unknown)).rename(names)
    return frame.select(keep).hstack(predicted) if keep else predicted


def for_types(predicted: pl.DataFrame, frame: pl.DataFrame, keep: Sequence[str]) -> pl.DataFrame:
    """The table as a file with types holds it: kept columns of a text file, if they hold numbers alone, are numbers."""
    from_text = all(dtype == pl.String for dtype in frame.dtypes)
    return predicted.with_columns(typed(predicted.select(list(dict.fromkeys(keep))))) if from_text else predicted


def for_csv(frame: pl.DataFrame, *, escape_formulas: bool = False) -> pl.DataFrame:
    """The table as CSV can hold it.

    escape_formulas  a ' goes before text, and before names of columns, that a spreadsheet would take for a formula: it
                     begins with = + - @, a tab or a return, and is no number

    Raises DataError for columns of lists or other values that no line of text holds.
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
    """The text with a ' before each that a spreadsheet would take for a formula."""
    risky = text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
    return pl.select(pl.when(risky).then(pl.lit("'") + text).otherwise(text).alias(text.name)).to_series()
