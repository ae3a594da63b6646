"""How well a trained model does on a table with the target in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from lamp.errors import DataError
from lamp.tables import targets
from lamp.tables.metrics import Estimates
from lamp.tables.model import TableModel


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


def evaluate(model: TableModel, frame: pl.DataFrame, *, seed: int = 0) -> Measured:
    """The metrics of a model on a table; rows of which the target is missing are left out.

    Raises ArgumentError for a table without the target, DataError where it is missing everywhere or has classes that
    are not known, and as `predict` does.
    """
    column = targets.find(frame, model.target.name)
    there = targets.there(column, model.target.missing_words)
    notes = []
    if not there.any():
        raise DataError(
            f"the target {model.target.name!r} is missing everywhere",
            expected="values to compare with",
            got=f"{len(frame):,} rows without one",
            fix="lamp predict needs none",
        )
    if not there.all():
        notes.append(f"{int((~there).sum()):,} rows without a {model.target.name!r} are left out")
        frame = frame.filter(there)
    truth = model.target.encode(frame[model.target.name])
    prediction = model.predict(frame, notes)
    return Measured(len(frame), model.measured(prediction, truth, seed=seed), notes)
