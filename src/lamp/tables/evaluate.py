"""How well a trained model does on a table with the target in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import polars as pl
import torch
from torch import Tensor

from lamp.errors import DataError
from lamp.tables import metrics, parsing, targets
from lamp.tables.column import Unknown
from lamp.tables.kinds import listed
from lamp.tables.metrics import Estimates
from lamp.tables.missing import places
from lamp.tables.model import Prediction, TableModel
from lamp.tables.targets import Target


@dataclass(frozen=True)
class Measured:
    """Metrics of so many rows, and what there is to remark on them."""

    rows: int
    estimates: Estimates
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        metrics = {name: estimate.to_dict() for name, estimate in self.estimates.items()}
        return {"rows": self.rows, "metrics": metrics, "notes": self.notes}


def evaluate(model: TableModel, frame: pl.DataFrame, *, seed: int = 0, unknown: Unknown | None = None) -> Measured:
    """The metrics of a model on a table; rows of which the target is missing are left out.

    unknown  what becomes of values that training has not taught to read: see Preprocessing.transform. In the target,
             rows of a class that training had not count as wrong, unless it is "error"; rows with a word for a number
             are left out where it is "gap"

    Raises ArgumentError for a table without the target, DataError where it is missing everywhere or has no value that
    is known, and as `predict` does.
    """
    target = model.target
    column = targets.find(frame, target.name)
    there = targets.there(column, target.missing_words)
    notes = []
    if not there.any():
        raise DataError(
            f"the target {target.name!r} is missing everywhere",
            expected="values to compare with",
            got=f"{len(frame):,} rows without one",
            fix="lamp predict needs none",
        )
    if not there.all():
        notes.append(f"{int((~there).sum()):,} rows without a {target.name!r} are left out")
        frame = frame.filter(there)
    new = target.unknown(frame[target.name])
    if not target.is_classes and unknown == "gap" and new.any() and not new.all():
        notes.append(f"{int(new.sum()):,} rows are left out: their {target.name!r} is no finite number")
        frame, new = frame.filter(~new), new.filter(~new)
    if not target.is_classes and new.any():
        _refuse_words(target, frame[target.name], new)
    if unknown == "error" or new.all() or not new.any():
        truth, classes = target.encode(frame[target.name]), 0
    else:
        truth, classes = _with_new_classes(target, frame[target.name], new, notes)
    prediction = model.predict(frame, notes, unknown)
    if classes:  # whose probability is 0
        p = torch.cat([prediction.mean, prediction.mean.new_zeros(len(frame), classes)], 1)
        prediction = Prediction(p, prediction.spread)
    return Measured(len(frame), model.measured(prediction, truth, seed=seed), notes)


def _with_new_classes(target: Target, column: pl.Series, new: pl.Series, notes: list[str]) -> tuple[Tensor, int]:
    """Class indices (n,), those of classes that training had not after all others, and how many such there are."""
    words = parsing.words(column, target.missing_words)
    more = words.filter(new).unique(maintain_order=True).to_list()
    _, at = places(column, [*target.classes, *more], target.missing_words, -1)
    notes.append(
        f"{int(new.sum()):,} of {len(column):,} rows are of classes that training had not, and count as wrong "
        f"(in the log loss with a probability of {metrics.SMALLEST:g}): {listed(more, 5)}"
    )
    if len(target.classes) == 2:
        notes.append("ROC AUC is for two classes, and left out")
    return torch.from_numpy(at.to_numpy().copy()), len(more)


def _refuse_words(target: Target, column: pl.Series, wrong: pl.Series) -> NoReturn:
    first = int(wrong.arg_max() or 0)
    raise DataError(
        f"the target {target.name!r} is no finite number in {int(wrong.sum()):,} of {len(column):,} rows",
        expected="finite numbers to compare with, or nothing where none is known",
        got=f"{column[first]!r} in row {first + 1:,} of those with a target",
        fix="correct the values" if wrong.all() else "correct the values, or --unknown gap leaves these rows out",
    )
