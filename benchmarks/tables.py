"""`lamp train` beside boosted trees, a linear model and other networks: scores, times and calibration.

All contenders learn the same rows of a table, with one thread, and predict the same test rows, which nothing is chosen
by. The split's number is the seed of whatever is random in a contender.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
from threadpoolctl import threadpool_limits

from benchmarks.harness import Absent, NotEqual
from benchmarks.tables_data import Array, Loaded, Table, is_test, labels_of, used
from benchmarks.tables_peers import PEERS, Training, learned
from lamp.cpu_settings import threads_for
from lamp.tables import metrics
from lamp.tables.planning import Request, plan_training
from lamp.tables.train import train

LOG_LOSS, RMSE = "log loss", "RMSE"
FIFTHS = 5
CLOCK = "clock"  # a remark of lamp's with this word says that the result depends on how busy the machine is


@dataclass(frozen=True)
class Score:
    """One contender on one split of one table.

    rows               at most so many rows of the table are used; 0: all
    value              the log loss or the root mean squared error on the test rows
    seconds            for preprocessing, training and prediction
    calibration_error  for classes, the expected calibration error
    fifths             the share of numbers within the 90 % interval, per fifth of the test rows, from the lowest
                       predictions to the highest; for contenders that give intervals
    floor              the least value possible, where it is known
    note               a remark of the contender's that one should know of
    """

    table: str
    rows: int
    split: int
    contender: str
    measure: str
    value: float
    seconds: float
    calibration_error: float | None = None
    fifths: Sequence[float] | None = None
    floor: float | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What there is one score of."""
        return self.table, self.rows, self.split, self.contender


# ---- measuring -------------------------------------------------------------------------------------------------------
def lamp_name(budget: float) -> str:
    """The contender's name of `lamp train` with a budget in seconds."""
    return f"lamp {budget:g} s"


def contenders(budgets: Iterable[float], without: Iterable[str] = ()) -> dict[str, float | None]:
    """{name: budget in seconds of lamp, None for a peer}, without those whose names begin so."""
    everyone = {**{lamp_name(budget): budget for budget in sorted(budgets)}, **dict.fromkeys(PEERS)}
    return {name: budget for name, budget in everyone.items() if not name.startswith(tuple(without))}


def measure(
    table: Table,
    who: Mapping[str, float | None],
    splits: int,
    rows: int,
    known: dict[tuple[str, int, int, str], Score],
    say: Callable[[str], None] = lambda text: None,
    save: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Measure what is not in `known` yet, and add it; return why contenders are absent.

    save  a function that is called after each score
    """
    loaded, absent = table.load(), {}
    chosen = used(len(loaded.frame), rows)
    loaded = Loaded(loaded.frame[chosen], loaded.target, loaded.floor)
    y, classes = labels_of(loaded)
    for split in range(splits):
        test = is_test(y, classes, split)
        for name, budget in who.items():
            if (table.name, rows, split, name) in known or name in absent:
                continue
            say(f"{table.name}, split {split + 1} of {splits}: {name}")
            begun = time.perf_counter()
            try:
                with threadpool_limits(1), threads_for(0):
                    found = _peer(name, loaded, y, classes, test, split) if budget is None else None
                    found = found or _lamp(budget or 0.0, loaded, test, split)
            except Absent as reason:
                absent[name] = str(reason)
                continue
            seconds = time.perf_counter() - begun
            score = Score(
                table.name,
                rows,
                split,
                name,
                LOG_LOSS if classes else RMSE,
                seconds=seconds,
                floor=loaded.floor,
                **found,
            )
            known[score.key] = score
            save()
    return absent


def _lamp(budget: float, table: Loaded, test: Array, split: int) -> dict[str, Any]:
    """The scores of `lamp train`. Raises NotEqual if it has other test rows than these."""
    told: list[str] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        table.frame.write_csv(path)
        plan = plan_training(Request(path, table.target, seed=split, seconds=budget, with_peers=False))
    if not np.array_equal(plan.rows[plan.split.test].numpy(), np.flatnonzero(test)):
        raise NotEqual("lamp train holds out other test rows than those of the other contenders")
    outcome = train(plan, progress=False, tell=told.append)
    found = outcome.prediction.mean
    truth = outcome.plan.truth[outcome.plan.split.test]
    note = next((text for text in told if CLOCK in text), "")
    if outcome.plan.target.is_classes:
        return {**_scores_of_classes(found, truth), "note": note}
    predicted = outcome.model.table_of(outcome.prediction)
    inside = (predicted["low"].to_torch() <= truth) & (truth <= predicted["high"].to_torch())
    fifths = [each.value for each in metrics.shares_by_size(found, inside, FIFTHS)]
    return {**_score_of_numbers(found, truth), "fifths": fifths, "note": note}


def _peer(name: str, table: Loaded, y: Array, classes: int, test: Array, split: int) -> dict[str, Any]:
    x, categories = _numbers(table.frame.drop(table.target), ~test)
    truth = torch.from_numpy(y[test])
    if not classes:
        predict = learned(name, Training(x[~test], y[~test], categories, 0, split))
        return _score_of_numbers(torch.from_numpy(predict(x[test]).astype(np.float64).reshape(-1)), truth)
    seen, labels = np.unique(y[~test], return_inverse=True)
    predict = learned(name, Training(x[~test], labels, categories, len(seen), split))
    p = torch.zeros(len(truth), classes, dtype=torch.float64)
    p[:, torch.from_numpy(seen)] = torch.from_numpy(predict(x[test]).astype(np.float64))
    return _scores_of_classes(p / p.sum(1, keepdim=True), truth)


def _numbers(frame: pl.DataFrame, training: Array) -> tuple[Array, tuple[int, ...]]:
    """The columns as numbers (n, columns), and which of them hold codes of categories, counted in the training rows."""
    columns, categories = [], []
    for k, column in enumerate(frame):
        if column.dtype == pl.String:
            categories.append(k)
            words = column.filter(training).drop_nulls().unique(maintain_order=True).to_list()
            column = column.replace_strict({word: code for code, word in enumerate(words)}, default=None)
        columns.append(column.cast(pl.Float64).fill_null(float("nan")).to_numpy())
    return np.stack(columns, 1), tuple(categories)


def _scores_of_classes(p: torch.Tensor, truth: torch.Tensor) -> dict[str, Any]:
    chance = p.gather(1, truth.unsqueeze(1)).clamp_min(metrics.SMALLEST)
    return {"value": float(-chance.log().mean()), "calibration_error": metrics.calibration_error(p, truth)}


def _score_of_numbers(predicted: torch.Tensor, truth: torch.Tensor) -> dict[str, Any]:
    return {"value": float((predicted - truth).square().mean().sqrt())}


# ---- on the disk -----------------------------------------------------------------------------------------------------
def to_json(scores: Iterable[Score], machines: Sequence[str]) -> str:
    """Scores, and a description of each machine that measured some of them, as JSON: a line per score."""
    lines = ",\n".join(json.dumps(asdict(score)) for score in scores)
    return f'{{"machines": {json.dumps(machines)}, "scores": [\n{lines}\n]}}\n'


def from_json(text: str) -> tuple[list[Score], list[str]]:
    """Scores and machines, read from JSON."""
    saved = json.loads(text)
    return [Score(**score) for score in saved["scores"]], saved["machines"]
