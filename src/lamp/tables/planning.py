"""The plan of `lamp train`: read a table, decide what its columns and its target are, and split its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lamp.errors import DataError
from lamp.tables import holdout, kinds, parsing, remarks, target_column, targets
from lamp.tables.conventions import Conventions
from lamp.tables.effort import Effort, effort_for, remark_on_columns, training_seconds
from lamp.tables.few_lines import by_reason
from lamp.tables.holdout import HoldOut
from lamp.tables.kinds import Decision
from lamp.tables.preprocessing import Preprocessing
from lamp.tables.reading import ReadOptions, read_with
from lamp.tables.reading.names import matching
from lamp.tables.split import Split
from lamp.tables.targets import Target

FEW_ROWS, FEW_OF_CLASS = 50, 10  # rows of a table, and of a class, below which a remark warns
SHARE_OF_PEERS = 0.1  # of the time for training, for each peer model on a large table
SHARE_OF_IMPORTANCE = 0.1  # the same, for the importance of the columns of a wide table


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    task     "classification", "regression", or None to decide by the target
    kinds    {column: kind}, where a kind is number, category, boolean, date or drop
    reading  the options for reading the table that were given
    missing, decimal, dates  how the table writes its values: "VALUE" for all columns, or "COLUMN=VALUE" for one
    members  networks in the ensemble, at most: fewer where the budget does not suffice for more
    leave_out_odd  whether to leave out the rows in which a numeric target is not a finite number
    held_out  which rows are for validation and test; by default random ones
    seconds  about how long everything may take
    """

    table: Path
    target: str
    task: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    reading: ReadOptions = field(default_factory=ReadOptions)
    missing: Sequence[str] = ()
    decimal: Sequence[str] = ()
    dates: Sequence[str] = ()
    leave_out_odd: bool = False
    seed: int = 0
    members: int = 24
    seconds: float = 120.0
    with_peers: bool = True
    held_out: HoldOut = field(default_factory=HoldOut)

    def with_names_of(self, columns: Sequence[str]) -> Request:
        """The request with the columns' names as in the table. Raises what `HoldOut.with_names_of` does."""

        def found(given: Sequence[str]) -> list[str]:
            parted = [each.rpartition("=") for each in given]
            return [f"{matching(name, columns) or name}{sign}{value}" for name, sign, value in parted]

        return replace(
            self,
            target=matching(self.target, columns) or self.target,
            kinds={matching(name, columns) or name: kind for name, kind in self.kinds.items()},
            missing=found(self.missing),
            decimal=found(self.decimal),
            dates=found(self.dates),
            held_out=self.held_out.with_names_of(columns, self.target),
        )


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What a training will do: which columns it learns from, on which rows, and with how much effort.

    frame   the rows that have a target, all columns included
    tests   the rows of a test file; None if the test rows are in the table
    rows    (n,) the numbers of all these rows in their file, counted from 0, those of the test file last
    truth   (n,) their targets: class indices int64, or numbers float64
    split   indices into `rows`
    groups  (n of the table,) the group of each row, if groups stand together
    folded  whether the members of the ensemble hold out folds; None leaves that to the size of the table
    notes   what the user should know
    """

    request: Request
    frame: pl.DataFrame
    rows: Tensor
    target: Target
    truth: Tensor
    decisions: list[Decision]
    split: Split
    preprocessing: Preprocessing
    effort: Effort
    notes: list[str]
    tests: pl.DataFrame | None = None
    groups: Tensor | None = None
    folded: bool | None = None

    def inputs(self, notes: list[str]) -> Tensor:
        """(n, features) all rows as numbers; remarks on a test file are added to `notes`.

        Raises DataError for values of a test file that do not fit the table's columns.
        """
        x = self.preprocessing.transform(self.frame.drop(self.target.name))
        if self.tests is None:
            return x
        try:
            tests = self.preprocessing.transform(self.tests.drop(self.target.name), notes)
        except DataError as error:
            raise DataError(
                f"{self.request.held_out.test}: {error.what}", expected=error.expected, got=error.got,
                fix="correct the values in the test file, or leave their cells empty",
            ) from None  # fmt: skip
        return torch.cat([x, tests])

    @property
    def known(self) -> Tensor:
        """The rows that the networks learn from: training, then validation."""
        return torch.cat([self.split.training, self.split.validation])

    @property
    def seconds(self) -> float:
        """The seconds of the budget that are for training."""
        return training_seconds(len(self.decisions), len(self.rows), self.request.seconds)

    def to_dict(self) -> dict[str, Any]:
        """The plan as a dict for JSON."""
        return {
            "table": str(self.request.table),
            "rows": len(self.rows),
            "target": self.target.to_dict(),
            "columns": [{"name": each.name, "kind": each.kind, "why": each.why} for each in self.decisions],
            "training": len(self.split.training),
            "validation": len(self.split.validation),
            "test": len(self.split.test),
            "held_out": self.request.held_out.to_dict(),
            "effort": self.effort.to_dict(),
            "notes": self.notes,
        }


def plan_training(request: Request, notes: list[str] | None = None) -> TrainingPlan:
    """Read the table and plan the training, without training anything.

    notes  a list to which remarks are added, also where an error ends the planning

    Raises DataError for a table or a target that cannot be used, and ArgumentError for an option that does not fit it.
    """
    notes = [] if notes is None else notes
    whole = read_with(request.table, request.reading, notes=notes, as_text=True)
    request = request.with_names_of(whole.columns)
    held_out = request.held_out
    column = target_column.find(whole, request.target)
    asked = Conventions.asked(whole.columns, request.missing, request.decimal, request.dates)
    there = targets.there(column, missing := targets.missing_words(column, asked))
    notes += remarks.of_unused_words(whole, asked.missing) + remarks.of_target_words(column, missing, asked)
    if not there.any():
        raise DataError(
            f"the target {request.target!r} is missing in every row", expected="values to learn from",
            got=f"{len(whole):,} rows without a value", fix="name another column",
        )  # fmt: skip
    if not there.all():
        notes.append(targets.remark_on_gaps(column, there))
    frame, rows = whole.filter(there), there.arg_true()
    alone = asked.settled(frame.select(request.target))
    by_others = targets.may_follow_others(frame[request.target], alone)
    written = asked.settled(frame) if by_others else alone
    odd = targets.odd_words(frame[request.target], request.task, written)
    if odd.any():
        if not request.leave_out_odd:
            targets.refuse_odd_words(column, rows.filter(odd))
        notes.append(targets.remark_on_odd_words(column, rows.filter(odd)))
        frame, rows = frame.filter(~odd), rows.filter(~odd)
    if odd.any() or not by_others:
        written = asked.settled(frame)
    target = targets.decide(frame[request.target], request.task, written)
    notes += [f"{target.name}: {target.why}"] if target.why else []
    truth = target.encode(frame[request.target])
    asked_kinds = {**({held_out.groups: kinds.DROP} if held_out.groups else {}), **request.kinds}
    decisions = kinds.decide(frame, request.target, asked_kinds, written)
    if len(frame) < len(whole):
        decisions = [each if each.name in asked_kinds else _counter(each, whole, written) for each in decisions]
    decisions = holdout.without_groups(decisions, held_out, list(request.kinds))
    used = {each.name: each.kind for each in decisions if each.kind != "left out"}
    notes += remarks.of_unused_forms(asked, used | {target.name: "category" if target.is_classes else "number"})
    labels = truth if target.is_classes else None
    made = holdout.parts(frame, labels, held_out, decisions, written, seed=request.seed, notes=notes)
    parts = made.split
    frame = kinds.typed(frame, decisions, written)
    notes += by_reason(each for each in decisions if each.reported and each.kind != "left out")
    if target.is_classes:
        notes += _on_classes(truth, target, parts, held_out)
    else:
        known = truth[parts.training]
        target.mean, target.std = float(known.mean()), float(known.std(correction=0)) or 1.0
    preprocessing = Preprocessing().fit(frame[parts.training.numpy()], decisions)
    left = training_seconds(len(decisions), len(frame), request.seconds)
    notes[:0] = remark_on_columns(len(decisions), len(frame), request.seconds)  # before those on single columns
    seconds = left * (1 - 3 * SHARE_OF_PEERS - SHARE_OF_IMPORTANCE)
    inputs, numbers = len(preprocessing.features), len(preprocessing.numbers)
    effort = effort_for(len(parts.training), inputs, target.outputs, request.members, seconds, numbers)
    in_file = torch.from_numpy(rows.cast(pl.Int64).to_numpy().copy())
    tests = None
    if held_out.test is not None:
        tests, theirs, values = holdout.test_rows(held_out.test, request.reading, target, whole.columns, notes)
        preprocessing.transform(tests.head(0).drop(target.name), notes)  # are all columns there?
        notes += holdout.on_test_rows(tests, whole, held_out)
        parts = replace(parts, test=torch.arange(len(frame), len(frame) + len(tests)))
        in_file, truth = torch.cat([in_file, theirs]), torch.cat([truth, values])
    notes += _on_few_rows(target, truth, parts)
    if held_out.no_test:
        notes.append(holdout.WITHOUT_TEST)
    return TrainingPlan(
        request, frame, in_file, target, truth, decisions, parts, preprocessing, effort, notes,
        tests, made.groups, made.folded,
    )  # fmt: skip


def _counter(decision: Decision, file: pl.DataFrame, conventions: Conventions) -> Decision:
    """The decision, unless the column counted the rows of the whole file, before some were left out."""
    summary = conventions.plain_in(decision.name)
    if decision.kind != "number" or summary is None or not summary.whole or summary.rows < kinds.ENOUGH_TO_TELL:
        return decision
    if summary.high - summary.low >= len(file) or decision.name not in file.columns:
        return decision
    x = parsing.numbers(file[decision.name]).to_numpy()
    if np.isnan(x).any() or len(np.unique(x)) < len(x) or x.max() - x.min() + 1 != len(x):
        return decision
    return Decision(decision.name, "left out", "row numbers: every whole number in its range occurs once in the file")


def _on_few_rows(target: Target, truth: Tensor, parts: Split) -> list[str]:
    """Remarks on so few rows, of the table or of a class, that scores say little."""
    notes, judged = [], parts.test if len(parts.test) else parts.validation
    if len(truth) < FEW_ROWS:
        notes.append(
            f"{len(truth):,} rows are very few to learn from, and {len(judged):,} to measure on: the scores may be "
            "good or bad luck; hundreds of rows are usual"
        )
    elif target.is_classes:
        counts, measured = (torch.bincount(each, minlength=len(target.classes)) for each in (truth, truth[judged]))
        rare = [k for k in range(len(target.classes)) if counts[k] < FEW_OF_CLASS]
        if rare:
            shown = [f"{target.classes[k]} ({int(counts[k])}, {int(measured[k])} of them measured on)" for k in rare]
            notes.append(f"rare classes, which will hardly be learned or measured: {kinds.listed(shown, 3)}")
    return notes


def _on_classes(truth: Tensor, target: Target, parts: Split, held_out: HoldOut) -> list[str]:
    """Remarks on classes that are not in every part. Raises DataError if a part has only one class."""
    counts = targets.shares(truth, target.classes)
    few = [name for name, count in counts.items() if count < 3]
    chosen = held_out.groups or held_out.time_column
    for part in ("training", "validation") + (("test",) if len(parts.test) else ()):
        if torch.bincount(truth[getattr(parts, part)]).count_nonzero() < 2:
            raise DataError(
                f"the {part} rows hold only one class of {target.name!r}"
                if chosen
                else f"all classes of {target.name!r} but one have too few rows",
                expected="at least two classes in each part" if chosen else "at least 3 rows of two classes",
                got=", ".join(f"{name}: {count}" for name, count in counts.items()),
                fix=f"split by another column than {chosen!r}" if chosen else "collect more rows",
            )
    unknown = [
        name for k, name in enumerate(target.classes) if name not in few and not (truth[parts.training] == k).any()
    ]
    return [
        f"{what}: {kinds.listed(names, 5)}"
        for what, names in (
            ("classes with fewer than 3 rows have no test rows", few),
            ("classes that have no training rows cannot be learned", unknown),
        )
        if names
    ]
