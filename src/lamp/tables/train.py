"""Carry out the plan of `lamp train`: train, measure, and write a folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from os import strerror
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import Any

import polars as pl
import torch
from torch import Tensor

from lamp.errors import DataError
from lamp.plots import save as save_figure
from lamp.plots.fonts import fonts_for
from lamp.printable import all_as_utf8
from lamp.saving import Lock, save_json, save_tensors, saving, sealed_folder
from lamp.saving.weights import WEIGHTS
from lamp.tables import figures, folder, html_report, kinds
from lamp.tables.calibration import losses_of_shares
from lamp.tables.descriptions import of_column, of_target
from lamp.tables.importance import Importance, importances
from lamp.tables.metrics import Estimates, losses_of, overconfidence
from lamp.tables.model import Prediction, TableModel
from lamp.tables.peers import Peer, check_installed, peers
from lamp.tables.planning import SHARE_OF_IMPORTANCE, SHARE_OF_PEERS, TrainingPlan
from lamp.tables.revealing import revealing
from lamp.tables.search import BY_BUDGET, Found, search
from lamp.tables.usage import commands
from lamp.tables.verdict import GUESSING, Verdict, compared, verdict
from lamp.tables.writing import write_table

OURS = folder.OURS
MEASURED_ON = {True: "test", False: "validation"}  # the kind of rows, by whether there are test rows
ROOM = 32 * 2**20  # bytes that must be free on the disk

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a training on a table; all metrics are those of the rows that were kept for it.

    truth  (n,) the true targets of these rows: the test rows or, without any, the rows that the members of the ensemble
           held out of their training
    """

    plan: TrainingPlan
    model: TableModel
    found: Found
    prediction: Prediction
    truth: Tensor
    estimates: Estimates
    guessing: float
    peers: list[Peer]
    importances: list[Importance]
    verdict: Verdict
    seconds: float

    @property
    def falls_short(self) -> bool:
        """Whether the model predicts no better than a guess from the class frequencies, or than the mean."""
        if self.plan.target.is_classes:
            return self.estimates["log loss"].value >= self.guessing
        return self.estimates["R2"].value <= 0.0


def preprocessed(plan: TrainingPlan) -> tuple[Tensor, list[str]]:
    """The inputs (n, features) of all rows, and remarks on them, which are added to the plan's.

    Raises DataError for values of a test file that do not fit the table's columns.
    """
    notes: list[str] = []
    x = plan.inputs(notes)
    notes += revealing(plan.preprocessing.places(), x, plan.truth, plan.split, plan.target)
    plan.notes.extend(notes)
    return x, notes


def train(plan: TrainingPlan, *, progress: bool = True, tell: Tell = lambda _: None) -> Outcome:
    """Carry out the plan: preprocess, search, calibrate, measure, compare with the peers."""
    begun, request, target, parts = time.monotonic(), plan.request, plan.target, plan.split
    if request.with_peers:
        check_installed()  # before the training, not after it
    x, noted = preprocessed(plan)
    for note in noted:
        tell(note)
    y = plan.truth if target.is_classes else target.scaled(plan.truth)
    found = search(
        (x[parts.training], y[parts.training]),
        (x[parts.validation], y[parts.validation]),
        plan.effort,
        target.outputs,
        seed=request.seed,
        groups=None if plan.groups is None else plan.groups[plan.known],
        folded=plan.folded,
        progress=progress,
        tell=tell,
    )
    model = TableModel(plan.preprocessing, target, found.groups)
    known = plan.known
    model.calibrate(found, plan.truth[known])
    took = time.monotonic() - begun
    has_test = bool(len(parts.test))
    if has_test:
        prediction, truth = model.of_inputs(x[parts.test]), plan.truth[parts.test]
    else:
        prediction, truth = model.of_scores(found.scores, found.weights), target.unscaled(found.targets)
    others: list[Peer] = []
    if request.with_peers and has_test:
        rows, test = (x[known], plan.truth[known]), (x[parts.test], truth)
        others = peers(target, rows, test, seconds=SHARE_OF_PEERS * plan.seconds, seed=request.seed, tell=tell)
    elif request.with_peers:
        tell("scikit-learn's models are not trained, because no row is kept to compare on")
    tell("measuring the importance of the columns" + ("" if has_test else " on the validation rows"))
    notes: list[str] = []
    shuffled = parts.test if has_test else parts.validation
    seconds = SHARE_OF_IMPORTANCE * plan.seconds
    important = importances(model, x[shuffled], plan.truth[shuffled], seconds=seconds, seed=request.seed, notes=notes)
    for note in notes:
        tell(note)
    plan.notes.extend(notes)
    estimates = model.measured(prediction, truth, seed=request.seed)
    if target.is_classes:
        guessing = losses_of_shares(truth, plan.truth[known], len(target.classes))
    else:
        guessing = losses_of(plan.truth[known].mean().expand(len(truth)), truth)
    losses = {GUESSING: guessing, **{peer.name: peer.losses for peer in others}} if has_test else {}
    judged = verdict(
        target,
        compared(target, losses_of(prediction.mean, truth), losses, seed=request.seed),
        estimates,
        important,
        overconfidence=overconfidence(prediction.mean, truth, seed=request.seed) if target.is_classes else None,
        cut=next((each.stopped for each in found.histories if each.stopped.startswith(BY_BUDGET)), ""),
        seconds=request.seconds,
    )
    return Outcome(
        plan,
        model,
        found,
        prediction,
        truth,
        estimates,
        float(guessing.mean()) if target.is_classes else 0.0,
        others,
        important,
        judged,
        took,
    )


# ---- into a folder ---------------------------------------------------------------------------------------------------
def check_room(path: Path, force: bool) -> None:
    """Check that a folder can be written at this path, before anything is trained.

    Raises DataError if the path exists already (with `force`, only if it is not a folder of `lamp train`), and
    CheckpointError if the disk is full or cannot be written to.
    """
    with saving(path):
        if path.exists() and not (force or folder.is_empty(path)):
            raise DataError(
                f"{path} exists already",
                expected="a path that does not exist",
                got="a folder" if path.is_dir() else "a file",
                fix="choose another path with --out, or replace it with --force once the training is done",
            )
        if path.exists() and not folder.is_empty(path):
            folder.check_kind(path)
        above = next(each for each in path.absolute().parents if each.exists())
        if above.is_dir() and disk_usage(above).free < ROOM:
            raise OSError(ENOSPC, strerror(ENOSPC), str(above))
        with TemporaryFile(dir=above):
            pass


@contextmanager
def reserved(path: Path, force: bool) -> Iterator[None]:
    """A context that holds the lock on a folder to be written, so that no other process trains into it.

    Raises what `check_room` raises, and CheckpointError while another process is training into the folder.
    """
    check_room(path, force)
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock.of(path)
    with lock:
        yield


def write(
    outcome: Outcome, path: Path, how: Mapping[str, Any], tell: Tell = lambda _: None, *, replace: bool = True
) -> None:
    """Write the folder, either all of it or nothing.

    how      further entries of config.json
    replace  whether to replace an existing folder

    Raises CheckpointError if it cannot be written.
    """
    model = outcome.model
    with sealed_folder(path, {"kind": folder.KIND}, replace=replace) as into:
        save_json(into / folder.PREPROCESSING, model.preprocessing.to_dict())
        save_json(into / folder.ARCHITECTURE, model.architecture)
        save_tensors(into / WEIGHTS, model.state, {"format": "pt"})
        measured, config = report(outcome), all_as_utf8({**_config(outcome), **how})
        save_json(into / folder.METRICS, measured)
        save_json(into / folder.CONFIG, config)
        for place, history in enumerate(outcome.found.histories):
            history.to_json(into / folder.history_file(place))
        outcome.found.sweep.to_csv(into / folder.SWEEP)
        if len(outcome.plan.split.test):
            write_table(_test_table(outcome), into / folder.TEST)
        _draw(outcome, into, tell)
        page = html_report.page(
            of_target(model.target),
            measured,
            config,
            _columns(outcome),
            {each.name: each.read_bytes() for each in into.glob("*.png")},
            commands(path, outcome.plan.request.table),
        )
        (into / folder.REPORT).write_text(page, encoding="utf-8")


def _columns(outcome: Outcome) -> list[tuple[str, str, int, str]]:
    """Name, kind, number of inputs and a remark, for each column of the table in its order."""
    why = {each.name: each.why for each in outcome.plan.decisions}
    return [
        (
            each.name,
            each.kind,
            len(each.features),
            "; ".join(dict.fromkeys(filter(None, (of_column(each), why[each.name])))),
        )
        for each in outcome.model.preprocessing.columns
    ]


def _draw(outcome: Outcome, into: Path, tell: Tell) -> None:
    """Draw the figures into the folder."""
    plan, model = outcome.plan, outcome.model
    target, truth = plan.target, outcome.truth
    on = MEASURED_ON[bool(len(plan.split.test))]
    names = [target.name, *target.classes, *(each.column for each in outcome.importances)]
    with fonts_for(names) as missing:
        if missing:
            tell(
                f"figures: no installed font has the letters {kinds.listed(missing, 8)}, so the figures show escapes. "
                "Install a font that has them, such as Noto Sans CJK (on Debian: fonts-noto-cjk)"
            )
        save_figure(figures.training_curves(outcome.found.histories), into / folder.CURVES)
        if target.is_classes:
            save_figure(figures.reliability(outcome.prediction.mean, truth, on=on), into / folder.CALIBRATION)
            save_figure(
                figures.confusion(outcome.prediction.mean, truth, target.classes, on=on), into / folder.CONFUSION
            )
        else:
            assert model.intervals is not None
            drawn = figures.residuals(outcome.prediction.mean, truth, model.intervals, target.name, on)
            save_figure(drawn, into / folder.RESIDUALS)
        save_figure(figures.importance_bars(outcome.importances, target.is_classes), into / folder.IMPORTANCE)


def report(outcome: Outcome) -> dict[str, Any]:
    """The metrics on the test rows, or on validation rows if there are none, as a dict for JSON."""
    rows = {OURS: outcome.estimates, **{peer.name: peer.estimates for peer in outcome.peers}}
    return {
        "rows": len(outcome.truth),
        "measured_on": MEASURED_ON[bool(len(outcome.plan.split.test))],
        "models": {name: {k: each.to_dict() for k, each in of.items()} for name, of in rows.items()},
        "seconds": {OURS: outcome.seconds, **{peer.name: peer.seconds for peer in outcome.peers}},
        "notes": {peer.name: peer.note for peer in outcome.peers if peer.note},
        "guessing": {"log loss": outcome.guessing} if outcome.plan.target.is_classes else {"R2": 0.0},
        "importance": [
            {"column": each.column, "mean": each.mean, "std": each.std if each.std == each.std else None}
            for each in outcome.importances
        ],
        "verdict": outcome.verdict.to_dict(),
    }


def _config(outcome: Outcome) -> dict[str, Any]:
    plan, found = outcome.plan, outcome.found
    return {
        **plan.to_dict(),
        "reading": plan.request.reading.to_dict(),
        "seed": plan.request.seed,
        "time_budget": plan.request.seconds,
        "networks": [str(group) for group in found.groups],
        "member_settings": [{name: each[name] for name in ("lr", "weight_decay")} for each in found.settings],
        "sweep": {"settings": len(found.sweep.rows), "stopped": found.sweep.stopped},
        "epochs": max(history.epochs for history in found.histories),
        "stopped": "; ".join(dict.fromkeys(history.stopped for history in found.histories)),
        "engine": found.histories[0].engine,
        "seconds": outcome.seconds,
        "versions": {"python": sys.version.split()[0], "torch": str(torch.__version__), "polars": pl.__version__},
    }


def _test_table(outcome: Outcome) -> pl.DataFrame:
    """A table with one line per test row: its number in the file (counted from 1), the true value, the prediction."""
    plan = outcome.plan
    rows, truth = plan.rows[plan.split.test], plan.truth[plan.split.test]
    words = pl.Series(plan.target.classes, dtype=pl.String)
    true = words.gather(truth.numpy()) if plan.target.is_classes else pl.Series(truth.numpy())
    predicted = outcome.model.table_of(outcome.prediction)
    return pl.DataFrame({"row": (rows + 1).numpy(), "true": true}).hstack(predicted)
