"""Evaluate a trained model on a table that has the target's column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import polars as pl
import torch
from torch import Tensor

from lamp.errors import DataError
from lamp.printable import counted
from lamp.tables import another_table, metrics, parsing, remarks, target_column, targets
from lamp.tables.cells import Cells
from lamp.tables.column import Unknown
from lamp.tables.conventions import Conventions
from lamp.tables.kinds import listed
from lamp.tables.metrics import Estimates
from lamp.tables.model import Prediction, TableModel
from lamp.tables.targets import Target


@dataclass(frozen=True)
class Measured:
    """Metrics on a number of rows, with remarks."""

    rows: int
    estimates: Estimates
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The result as a dict for JSON."""
        metrics = {name: estimate.to_dict() for name, estimate in self.estimates.items()}
        return {"rows": self.rows, "metrics": metrics, "notes": self.notes}


def evaluate(
    model: TableModel,
    frame: pl.DataFrame,
    *,
    seed: int = 0,
    unknown: Unknown | None = None,
    asked: Conventions | None = None,
) -> Measured:
    """The metrics of a model on a table; rows without a target are left out.

    unknown  what to do with values that were not in training: see Preprocessing.transform. In the target, a class that
             was not in training counts as wrong, unless unknown is "error"; rows in which a numeric target is not a
             number are refused, or left out if unknown is "gap"
    asked    how this table writes numbers and dates: see TableModel.asked

    Raises ArgumentError for a table without the target's column, and DataError if no row has a usable target, for
    refused values, and as Preprocessing.transform does.
    """
    target, notes = model.target, list[str]()
    column = target_column.find(frame, target.name)
    if not target.is_classes:
        target = another_table.target_as_written(target, column, asked or Conventions())
    there = targets.there(column, target.missing_words)
    if not there.any():
        raise DataError(
            f"the target {target.name!r} is missing in every row",
            expected="values to compare with",
            got=f"{len(frame):,} rows without a value",
            fix="add the true values; lamp predict works without them",
        )
    if not there.all():
        notes.append(targets.remark_on_gaps(column, there))
        frame = frame.filter(there)
    new = target.unknown(frame[target.name])
    if not target.is_classes and unknown == "gap" and new.any() and not new.all():
        notes.append(f"{counted(int(new.sum()), 'row', 'left out')}, where {target.name!r} is not a finite number")
        frame, new = frame.filter(~new), new.filter(~new)
    if not target.is_classes and new.any():
        _refuse_words(target, column, there.arg_true().filter(new), len(new))
    if unknown == "error" or new.all() or not new.any():
        truth, classes = target.encode(frame[target.name]), 0
    else:
        truth, classes = _with_new_classes(target, frame[target.name], new, notes)
    prediction = model.predict(frame, notes, unknown, asked)
    if classes:  # new classes have probability 0
        p = torch.cat([prediction.mean, prediction.mean.new_zeros(len(frame), classes)], 1)
        prediction = Prediction(p, prediction.spread)
    return Measured(len(frame), model.measured(prediction, truth, seed=seed), notes)


def _with_new_classes(target: Target, column: pl.Series, new: pl.Series, notes: list[str]) -> tuple[Tensor, int]:
    """Class indices (n,), in which new classes follow the known ones, and the number of new classes."""
    words = parsing.words(column, target.missing_words)
    more = words.filter(new).unique(maintain_order=True).to_list()
    at = Cells(column).looked_up([*target.classes, *more], target.missing_words)
    rows = int(new.sum())
    have, count = ("has a class that was", "counts") if rows == 1 else ("have classes that were", "count")
    notes.append(
        f"{rows:,} of {len(column):,} rows {have} not in training, and {count} as wrong (in the log loss, with a "
        f"probability of {metrics.SMALLEST:g}): {listed(more, 5)}"
    )
    notes += [f"{target.name}: {each}" for each in remarks.of_spellings(more, target.classes)]
    if len(target.classes) == 2:
        notes.append("ROC AUC is left out, because it is for two classes")
    return torch.from_numpy(at), len(more)


def _refuse_words(target: Target, column: pl.Series, wrong: pl.Series, there: int) -> NoReturn:
    """Raise the DataError for a numeric target that is none in these rows (counted from 0) of those that have one."""
    first = int(wrong[0])
    raise DataError(
        f"the target {target.name!r} is not {target.form.described} in {len(wrong):,} of {there:,} rows",
        expected="finite numbers to compare with, or empty cells where the number is unknown",
        got=f"{column[first]!r} in row {first + 1:,}",
        fix="correct the values"
        if len(wrong) == there
        else "correct the values, or leave these rows out with --unknown gap",
    )
