"""`Sweep`: the result of a sweep, with its settings from best to worst and the networks that were trained to the
end."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamp.errors import ArgumentError, MissingIndexError
from lamp.module import Module
from lamp.plots import heat_map
from lamp.replicas import Population
from lamp.saving import write_file
from lamp.signatures import called
from lamp.studies.settings import Setting, shown
from lamp.studies.trial import Trial
from lamp.tabular import Table
from lamp.torch_habits import explains_attributes, without_items
from lamp.training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS_SHOWN = 20
INSTEAD = {  # what users of scikit-learn, Keras and Optuna look for
    **dict.fromkeys(("best_params_", "best_params", "best_setting", "best_config"), "sweep.best"),
    **dict.fromkeys(("best_score_", "best_score", "best_value"), "sweep.rows[0].mean"),
    **dict.fromkeys(("best_estimator_", "best_model", "best_network", "model", "models"), "sweep.networks(0)"),
    **dict.fromkeys(("results", "cv_results_", "trials", "settings", "parameters", "params"), "sweep.rows"),
    **dict.fromkeys(("to_frame", "to_pandas", "df"), "polars.read_csv(io.StringIO(sweep.to_csv()))"),
    "histories": "sweep.history(rank)",
    "plot": "sweep.heat_map(x, y), or sweep.history(0).plot()",
}


@explains_attributes(INSTEAD)
class Sweep:
    """The result of `lamp.sweep`. It prints as a table.

    rows     the settings, best first. Each has `setting` (a dict), `scores` (seeds,) at its last epoch, their `mean`
             and `std`, `epochs`, and `failed`, the number of networks whose loss was not finite, which do not count in
             mean and std. Settings that successive halving dropped come after those that were trained for longer
    best     the setting of the first row
    seeds    the seeds that each setting was trained with
    score    the name of the score that the rows are ranked by; `mode` is "min" or "max"
    stopped  "all epochs done", or when the sweep was interrupted
    """

    def __init__(self, rows: Sequence[Trial], seeds: Sequence[int], score: str, mode: str, stopped: str) -> None:
        self.rows, self.seeds = list(rows), list(seeds)
        self.score, self.mode, self.stopped = score, mode, stopped

    @property
    def best(self) -> Setting:
        return Setting(self.rows[0].setting)

    def __len__(self) -> int:
        """The number of settings."""
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        fix = "sweep.rows[0] is the best setting; sweep.networks(0) and sweep.history(0) are of its networks"
        raise without_items(self, index, fix)

    # ---- the trained networks ----------------------------------------------------------------------------------------
    @called()
    def population(self, rank: int = 0) -> Population:
        """The networks of a setting as a population, in order of the seeds, without those that failed.

        Raises ArgumentError if there are none: halving dropped them, all failed, or they were not trained.
        """
        row = self._row(rank)
        if row.group is None or not row.going:
            raise ArgumentError(
                f"there are no networks of {shown(row.setting)}",
                expected="a setting that was trained to the end",
                got="networks that all failed"
                if not row.going
                else f"one that was dropped after {row.epochs} epochs"
                if row.epochs
                else "one that was not trained",
                fix="choose another rank, or halving=None",
            )
        return row.group.networks_of(row)

    @called()
    def networks(self, rank: int = 0) -> list[Module]:
        """The networks of a setting as a list of ordinary networks."""
        return list(self.population(rank))

    @called()
    def history(self, rank: int = 0) -> History:
        """The history of a setting's networks, with tensors (epochs, seeds)."""
        return self._row(rank).history()

    def _row(self, rank: int) -> Trial:
        if not isinstance(rank, int) or not -len(self.rows) <= rank < len(self.rows):
            raise MissingIndexError(
                f"the sweep has no setting of rank {rank!r}",
                expected=f"a whole number below {len(self.rows)}; 0 is the best setting",
                got=repr(rank),
                fix="print(sweep) lists the settings by rank",
            )
        return self.rows[rank]

    # ---- as a figure -------------------------------------------------------------------------------------------------
    @called()
    def heat_map(self, x: str, y: str, ax: Axes | None = None) -> Axes:
        """A heat map of the mean score over two hyperparameters.

        If other hyperparameters vary too, a cell shows the best row with its two values. Returns the axes.
        """
        names = list(self.rows[0].setting)
        for name in (x, y):
            if name not in names:
                raise ArgumentError(
                    "no such hyperparameter", expected=", ".join(names), got=name, fix="name two that were varied"
                )
        cells: dict[tuple[Any, Any], float] = {}
        for row in self.rows:
            column, line = (tuple(at) if isinstance(at, list) else at for at in (row.setting[x], row.setting[y]))
            cells.setdefault((column, line), row.mean)
        columns, lines = (_in_order([cell[k] for cell in cells]) for k in (0, 1))
        return heat_map(
            [[cells.get((column, line), math.nan) for column in columns] for line in lines],
            [shown(each) for each in columns],
            [shown(each) for each in lines],
            ax,
            xlabel=x,
            ylabel=y,
            label=self.score.replace("_", " "),
            best=self.mode,
        )

    # ---- as a table, a file ------------------------------------------------------------------------------------------
    @called()
    def table(self) -> Table:
        """The best settings, with the mean and the standard deviation of their scores."""
        names, failures = list(self.rows[0].setting), any(row.failed for row in self.rows)
        rows = []
        for rank, row in enumerate(self.rows[:ROWS_SHOWN]):
            spread = f"{row.mean:.4g} ± {row.std:.2g}".removesuffix(" ± nan")
            failed = [str(row.failed or "")] * failures
            values = [shown(value) for value in row.setting.values()]
            rows.append([str(rank), *values, spread, str(len(row.going)), *failed, str(row.epochs)])
        best = "lowest" if self.mode == "min" else "highest"
        headline = f"{len(self.rows)} settings x {len(self.seeds)} seeds, {best} first; {self.stopped}"
        left = len(self.rows) - ROWS_SHOWN
        columns = ["", *names, f"{self.score.replace('_', ' ')} (mean ± std)", "n", *["failed"] * failures, "epochs"]
        return Table(headline, columns, rows, footer=f"and {left} others" if left > 0 else "", wraps=True)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __repr__(self) -> str:
        return f"Sweep({len(self.rows)} settings x {len(self.seeds)} seeds; best: {shown(self.best)}; {self.stopped})"

    @called()
    def to_dict(self) -> dict[str, Any]:
        """The whole table and the scores of each seed, as a dict of numbers, lists and strings."""
        rows = [
            {
                "setting": {name: _plain(value) for name, value in row.setting.items()},
                "mean": _plain(row.mean),
                "std": _plain(row.std),
                "scores": [_plain(score) for score in row.scores.tolist()],
                "epochs": row.epochs,
                "failed": row.failed,
            }
            for row in self.rows
        ]
        return {"score": self.score, "mode": self.mode, "seeds": self.seeds, "stopped": self.stopped, "rows": rows}

    @called()
    def to_json(self, path: str | Path | None = None) -> str:
        """The dict of `to_dict` as JSON text, which is also written to a file if a path is given."""
        return _written(json.dumps(self.to_dict(), indent=1) + "\n", path)

    @called()
    def to_csv(self, path: str | Path | None = None) -> str:
        """CSV text with one line per setting, and one column per hyperparameter and per seed.

        It is also written to a file if a path is given.
        """
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        of_seeds = [f"{self.score} of seed {seed}" for seed in self.seeds]
        writer.writerow([*self.rows[0].setting, "mean", "std", "epochs", "failed", *of_seeds])
        for row in self.to_dict()["rows"]:
            numbers = [row["mean"], row["std"], row["epochs"], row["failed"], *row["scores"]]
            writer.writerow([*row["setting"].values(), *numbers])
        return _written(text.getvalue(), path)


def _in_order(values: Sequence[Any]) -> list[Any]:
    """Each value once, sorted if the values can be compared, else in their order."""
    once = list(dict.fromkeys(values))
    try:
        return sorted(once)
    except TypeError:
        return once


def _plain(value: Any) -> Any:
    """The value in a form that JSON has: None for NaN, and a text for a class."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | str | None) else shown(value)


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        write_file(path, lambda file: file.write(text.encode()))
    return text
