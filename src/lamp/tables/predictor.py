"""`load`: a trained folder as an object that predicts rows in Python, from several threads if you like."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from lamp.errors import ArgumentError, DataError, DTypeError, warn_of
from lamp.tables.column import Unknown
from lamp.tables.folder import load_model, load_reading
from lamp.tables.model import TableModel
from lamp.tables.predict import predict
from lamp.tables.reading import ReadOptions, read_with
from lamp.torch_habits import explains_attributes, without_items

# What other libraries call it, and what to write here
HABITS = {
    "predict_proba": "predict(rows) has the columns p(...), the probability of each class",
    "predict_log_proba": "predict(rows) has the columns p(...), the probability of each class",
    "classes_": "classes",
    "feature_names_in_": "columns",
    "n_features_in_": "len(model.columns)",
    "score": "lamp evaluate FOLDER TABLE compares predictions with the truth",
    "fit": "lamp train TABLE --target COLUMN trains a model",
    "evaluate": "lamp evaluate FOLDER TABLE compares predictions with the truth",
    "save": "the folder that it was loaded from holds all of it: copy that",
    "transform": "predict(rows): preprocessing is a part of it",
    "decision_function": "predict(rows) has the columns p(...), the probability of each class",
    "feature_importances_": "lamp inspect FOLDER shows how much each column matters; metrics.json holds it",
    "coef_": "lamp inspect FOLDER shows how much each column matters",
    "get_params": "config.json in the folder says how it was trained",
    "set_params": "lamp train TABLE --target COLUMN trains a model with other options",
    **dict.fromkeys(("feature_names_", "feature_name_", "feature_names"), "columns"),
    **dict.fromkeys(("eval", "to", "cpu", "cuda"), "leave it out: a loaded model only predicts, on the processor"),
    **dict.fromkeys(("parameters", "state_dict", "forward"), "predict(rows) runs the networks of model.model.groups"),
}
NO_LENGTH = "len(model.columns) columns are read; model.model.members networks predict"


@explains_attributes(HABITS)
class TablePredictor:
    """A trained model of a table that predicts rows: `lamp.tables.load(folder).predict(frame)`.

    target   the name of the predicted column
    classes  its classes, in the order of the columns p(...); none for numbers
    columns  the names of the columns that rows must have
    reading  the options with which the training table was read

    A predictor keeps nothing between calls, so any number of threads may use one at the same time.
    """

    def __init__(self, model: TableModel, reading: ReadOptions | None = None) -> None:
        self.model, self.reading = model, reading or ReadOptions()
        self.target, self.classes = model.target.name, list(model.target.classes)
        self.columns = [column.name for column in model.preprocessing.used]

    def read(self, path: str | os.PathLike[str], *, notes: list[str] | None = None) -> pl.DataFrame:
        """The rows of a file for `predict`, read as `lamp predict` reads it: as text, and with the training's options.

        notes  a list to which remarks are added, such as on what was detected

        Raises what `read_table` raises.
        """
        return read_with(path, ReadOptions(), self.reading, notes=notes, as_text=True)

    def predict(
        self,
        rows: Any,
        *,
        unknown: Unknown | None = None,
        decimal: str | Sequence[str] = (),
        dates: str | Sequence[str] = (),
        notes: list[str] | None = None,
        **others: Any,
    ) -> Any:
        """The predictions for rows, in order: the columns that `lamp predict` writes.

        rows     a polars or pandas table, a dict {column: values}, or a list with a dict {column: value} per row; None,
                 NaN and an empty text are missing values. Columns that training did not have are not used
        unknown  what to do with words that were not in training, and with values that do not fit their column (a word
                 among numbers): "gap" takes both for missing, "error" refuses both, None refuses only the latter
        decimal  the decimal mark in text, "point" or "comma", or "COLUMN=comma" for one column; by default training's
        dates    the order of days, months and years in text, "dmy", "mdy", "ymd" or "ydm", or "COLUMN=mdy" for one
                 column; by default training's
        notes    a list to which remarks are added, such as on new words; without one, they are warnings

        Returns a polars table, or a pandas table with the same index if `rows` is one.

        Raises DTypeError for rows of another type, ArgumentError for other values of `unknown`, `decimal` and `dates`,
        and DataError for missing columns, for refused values, and for columns that seem to have another decimal mark,
        unit or order of dates than training.
        """
        for name, value in others.items():
            raise ArgumentError(
                f"predict has no argument {name!r}",
                expected="unknown, decimal, dates, notes",
                got=f"{name}={value!r}"[:60],
                fix="leave it out: all rows are predicted in one call",
            )
        if not (notes is None or isinstance(notes, list)):
            raise ArgumentError(
                "notes must be a list to which remarks are added",
                expected="a list, or None",
                got=repr(notes)[:60],
                fix="notes = []; model.predict(rows, notes=notes)",
            )
        remarks: list[str] = [] if notes is None else notes
        frame, asked = _as_polars(rows, self.columns), self.model.asked(decimal, dates)
        predicted = predict(self.model, frame, unknown=unknown, asked=asked, notes=remarks)
        if notes is None:
            for remark in remarks:
                warn_of(remark, UserWarning)
        if _is_pandas(rows):
            return type(rows)(predicted.to_dict(as_series=False), index=rows.index)
        return predicted

    __call__ = predict

    def __getitem__(self, index: Any) -> Any:
        raise without_items(self, index, "predict(rows) has a row for each of yours; columns names what it reads")

    def __len__(self) -> int:
        raise ArgumentError(
            "TablePredictor has no length", expected="an attribute or a method", got="len(model)", fix=NO_LENGTH
        )

    def __bool__(self) -> bool:
        return True  # which would ask for the length

    def __repr__(self) -> str:
        return f"TablePredictor({self.target!r} from {len(self.columns)} columns; {self.model.members} networks)"


def load(path: str | os.PathLike[str]) -> TablePredictor:
    """The trained model in a folder of `lamp train`, to predict rows with. Every byte of the folder is checked.

    Raises DataError for another folder, and CheckpointError for a damaged one.
    """
    return TablePredictor(load_model(path), load_reading(path))


# ---- rows as a polars table ------------------------------------------------------------------------------------------
def _as_polars(rows: Any, columns: Sequence[str]) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        return rows
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if _is_pandas(rows):
        return pl.DataFrame({str(name): _of_pandas(rows[name]) for name in rows.columns}, strict=False)
    if isinstance(rows, list) and not rows:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    if isinstance(rows, Mapping) or (isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)):
        return _of_values(rows)
    kind = type(rows)
    raise DTypeError(
        "predict takes the rows of a table",
        expected="a polars or pandas table, a dict {column: values}, or a list with a dict {column: value} per row",
        got=f"{kind.__module__.split('.')[0]}.{kind.__name__}",
        fix="model.predict(model.read(path)) predicts the rows of a file"
        if isinstance(rows, str | os.PathLike)
        else "polars.DataFrame(rows)",
    )


def _of_values(rows: Any) -> pl.DataFrame:
    """A table from a dict of columns, or from a list of dicts."""
    try:
        if isinstance(rows, Mapping):
            return pl.DataFrame({name: _in_one_type(values) for name, values in rows.items()})
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pl.DataFrame({name: _in_one_type([row.get(name) for row in rows]) for name in names})
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(
            "these rows do not make a table",
            expected="columns of the same length, that hold numbers, words, booleans or dates",
            got=str(error)[:200],
            fix="look at the values of each column",
        ) from None


def _in_one_type(values: Any) -> Any:
    """The values of a column; as text where they have several types."""
    if not isinstance(values, list | tuple):
        return values
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2 or kinds <= {int, float}:
        return pl.Series(values, strict=False)
    return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)


def _is_pandas(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns")


def _of_pandas(column: Any) -> pl.Series:
    """A column of a pandas table, which has many types for the same values."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufM":
        return pl.Series(column.to_numpy())
    gaps = column.isna().tolist()
    values = [None if gap else value for value, gap in zip(column.astype(object), gaps, strict=True)]
    return cast("pl.Series", _in_one_type(values))
