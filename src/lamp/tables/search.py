"""Search for a table's networks: settings are tried as populations, and the best are trained as an ensemble."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.errors import NonFiniteError
from lamp.losses import CrossEntropyLoss, Loss, MSELoss
from lamp.optim import AdamW, CosineAnnealingLR
from lamp.replicas import Population, population
from lamp.studies import Sweep, log_uniform, samples, sweep
from lamp.studies.settings import Setting
from lamp.studies.trial import Trial
from lamp.tables.effort import (
    HALVING,
    LEAST_EPOCHS,
    SWEPT_ROWS,
    Deadline,
    Effort,
    epoch_seconds,
    guard,
    seconds_left,
    shown,
)
from lamp.tables.groups import Group
from lamp.tables.split import folds, some
from lamp.training import EarlyStopping, History, fit, predict
from lamp.training.arguments import EVALUATION_BATCH
from lamp.training.interrupt import Interruptible

BEST_SETTINGS = 4  # most settings in the ensemble
NOT_WORSE = 1.2  # their validation losses are within 20 % of the best
SHAPE_BY = 3  # a shape is ranked by the mean of so many of its best settings, because a single one may be luck
CHOOSING_ROWS = 20_000  # most validation rows in a sweep
FOLDED_ROWS = 20_000  # training and validation rows up to which the members of the ensemble hold out folds
HELD_BY = 2  # members that hold out the same fold
BY_BUDGET = "stopped by the"  # budget or clock: so begins what is said of a training that was cut short
FEWEST_FOLDS = 4  # with fewer folds, all members hold out the validation rows


@dataclass
class Found:
    """The result of a search.

    groups     the members of the ensemble, by encoding and shape
    settings   the setting of each member, group by group
    histories  the history of each group's training
    sweep      all settings tried, the best first
    scores     (m, n', outputs) the members' outputs on rows that they were not trained on: m = K, or, with folds, the
               m = HELD_BY members of each group that held a row out
    weights    (m,) float64, their weights in the mean, which add up to 1
    targets    the targets of these rows
    """

    groups: list[Group]
    settings: list[Setting]
    histories: list[History]
    sweep: Sweep
    scores: Tensor
    weights: Tensor
    targets: Tensor


Data = tuple[Tensor, Tensor]  # inputs (n, features); class indices (n,) or numbers (n, 1)


def search(
    training: Data,
    validation: Data,
    effort: Effort,
    outputs: int,
    *,
    seed: int = 0,
    groups: Tensor | None = None,
    folded: bool | None = None,
    progress: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Found:
    """Try settings on the training rows, choose by the validation rows, and train the best as an ensemble.

    In a small table the ensemble trains on all of these rows: they are split into folds, and each fold is held out for
    early stopping by two members. In a large table, and with few members, all members hold out the validation rows.

    groups  (n,) the group of each row, training rows first; a group is inside one fold
    folded  whether members hold out folds: in tables of any size, never, or by default (None) in small tables
    tell    a function that is called with a line of text at each stage

    Raises KeyboardInterrupt after Ctrl-C, once the current step is done, and NonFiniteError if no setting has a finite
    loss.
    """
    with Interruptible() as interrupt:
        return _search(training, validation, effort, outputs, seed, groups, folded, progress, tell, interrupt)


def _search(
    training: Data,
    validation: Data,
    effort: Effort,
    outputs: int,
    seed: int,
    groups: Tensor | None,
    folded: bool | None,
    progress: bool,
    tell: Callable[[str], None],
    interrupt: Interruptible,
) -> Found:
    begun = time.monotonic()
    rows, inputs = len(training[0]) + len(validation[0]), training[0].shape[1]
    criterion: Loss = MSELoss() if training[1].is_floating_point() else CrossEntropyLoss()
    choosing = _some(validation, CHOOSING_ROWS, seed)
    swept = _some(training, effort.swept_rows, seed)
    torch.manual_seed(seed)
    tell(
        f"sweep: {effort.settings} settings on {len(swept[0]):,} rows for {effort.sweep_epochs} epochs; "
        f"after each round the best {_ordinal(HALVING)} goes on"
    )
    alarm = Deadline(guard(effort.seconds) / 2)
    found = sweep(
        lambda shape: effort.shapes[shape].build(inputs, outputs),
        _settings(effort, seed),
        swept,
        criterion=criterion,
        optimizer=AdamW,
        epochs=effort.sweep_epochs,
        batch_size=effort.batch_size,
        validation=choosing,
        seeds=[seed],
        halving=HALVING,
        scheduler=lambda optimizer: CosineAnnealingLR(optimizer, effort.sweep_epochs),
        callbacks=[alarm],
        progress=progress,
    )
    _stop_if(interrupt)
    if alarm.passed:
        tell(f"the clock ended the sweep after {alarm.seconds:.0f} s, so the same seed may give another result")
    best = _best(found)
    shape = effort.shapes[best[0]["shape"]]
    settings = [best[k % len(best)] for k in range(effort.members)]
    seeds = range(seed, seed + effort.members)
    networks = population(shape.build(inputs, outputs), seeds)
    passes = seconds_left(effort, inputs, outputs) / (
        effort.members * epoch_seconds(shape, inputs, outputs, len(training[0]), effort.batch_size)
    )
    epochs = min(effort.epochs, max(LEAST_EPOCHS, int(passes)))
    if passes < LEAST_EPOCHS and len(training[0]) > SWEPT_ROWS:
        training = _some(training, max(SWEPT_ROWS, int(len(training[0]) * passes / LEAST_EPOCHS)), seed)
    if groups is not None and len(training[0]) + len(choosing[0]) < rows:
        groups, folded = None, False  # some rows were left out, and the groups are those of all
    dealt = _dealt(training, choosing, effort, seeds, groups=groups, folded=folded)
    if folded and dealt.rows is None:
        tell(
            "no network learns from the validation rows, which end the training: folds need "
            f"{HELD_BY * FEWEST_FOLDS} members or more, and groups of similar sizes"
        )
    tell(f"ensemble: {effort.members} networks of {shown(shape)}, on {dealt.training.samples:,} rows each")
    optimizer = AdamW(
        networks.parameters(),
        lr=torch.tensor([setting["lr"] for setting in settings]),
        weight_decay=torch.tensor([setting["weight_decay"] for setting in settings]),
    )
    history = fit(
        networks,
        criterion,
        optimizer,
        dealt.training,
        epochs=epochs,
        validation=dealt.held_out,
        scheduler=CosineAnnealingLR(optimizer, epochs),
        callbacks=[EarlyStopping(effort.patience), Deadline(begun + guard(effort.seconds) - time.monotonic())],
        progress=progress,
    )
    _stop_if(interrupt)
    if cut := _cut(history, epochs, effort):
        history.stopped = cut
        tell(cut)
    networks.eval()
    scores, targets = dealt.unseen(networks, history.failed)
    if history.failed:
        whole = [k for k in range(len(networks)) if k not in history.failed]
        networks, settings = networks.select(whole), [settings[k] for k in whole]
    weights = torch.full((len(scores),), 1 / len(scores), dtype=torch.float64)
    return Found([Group(networks, shape)], settings, [history], found, scores, weights, targets)


def _cut(history: History, epochs: int, effort: Effort) -> str:
    """Why the budget or the clock ended a training early; "" if they did not."""
    at = f"at epoch {history.epochs} of {effort.epochs}"
    if history.stopped == Deadline.REASON:
        return (
            f"{BY_BUDGET} clock {at}, after {guard(effort.seconds):.0f} s with a budget of {effort.seconds:.0f} s: "
            "the machine is slow or busy, so the same seed may give another result"
        )
    return f"{BY_BUDGET} budget {at}" if history.epochs == epochs < effort.epochs else ""


@dataclass(frozen=True)
class _Dealt:
    """The rows that members train on and hold out; `rows` (K, m) are each member's held-out rows, None if shared."""

    training: DataLoader
    held_out: DataLoader
    rows: Tensor | None

    def unseen(self, networks: Population, failed: list[int]) -> Data:
        """Scores and targets on held-out rows, without the members that failed."""
        inputs, targets = self.held_out.columns
        if self.rows is None:
            scores = predict(networks, inputs)
            return scores[[k for k in range(len(scores)) if k not in failed]], targets
        scores = predict(networks, networks.per_replica(inputs[self.rows]))  # (K, m, outputs)
        count = len(scores) // HELD_BY
        of_folds, targets_of_folds = [], []
        for fold in range(count):
            whole = [k for k in range(fold, HELD_BY * count, count) if k not in failed]
            if whole:
                of_folds.append(scores[(whole * HELD_BY)[:HELD_BY]])  # (HELD_BY, m, outputs)
                targets_of_folds.append(targets[self.rows[fold]])
        return torch.cat(of_folds, 1), torch.cat(targets_of_folds)


def _dealt(
    training: Data,
    choosing: Data,
    effort: Effort,
    seeds: range,
    *,
    groups: Tensor | None = None,
    folded: bool | None = None,
) -> _Dealt:
    inputs, targets = (torch.cat(pair) for pair in zip(training, choosing, strict=True))
    count = len(seeds) // HELD_BY
    labels = None if targets.is_floating_point() else targets
    may_fold = len(inputs) <= FOLDED_ROWS if folded is None else folded
    may_fold = may_fold and count >= FEWEST_FOLDS
    made = folds(len(inputs), labels, count, seed=seeds[0], groups=groups) if may_fold else None
    if made is None:
        loader = DataLoader(training, effort.batch_size, True, seed=list(seeds))
        return _Dealt(loader, DataLoader(choosing, EVALUATION_BATCH), None)
    fold_of = [k % count for k in range(len(seeds))]
    others, held = (rows[fold_of] for rows in made)
    columns = (inputs, targets)
    return _Dealt(
        DataLoader(columns, effort.batch_size, True, seed=list(seeds), indices=others),
        DataLoader(columns, EVALUATION_BATCH, indices=held),
        held,
    )


def _some(data: Data, most: int, seed: int) -> Data:
    rows = some(torch.arange(len(data[0])), most, seed)
    return data if len(rows) == len(data[0]) else (data[0][rows], data[1][rows])


def _ordinal(n: int) -> str:
    return {2: "half", 3: "third"}.get(n, f"1/{n}")


def _settings(effort: Effort, seed: int) -> list[Setting]:
    """Random settings, the same number for each shape."""
    drawn = samples(effort.settings, seed=seed, lr=log_uniform(5e-4, 2e-2), weight_decay=log_uniform(1e-4, 1.0))
    return [{**setting, "shape": k % len(effort.shapes)} for k, setting in enumerate(drawn)]


def _best(found: Sweep) -> list[Setting]:
    """The settings for the ensemble: those of the best shape that come close to its best one, the best first.

    They are ranked by their best epoch, not by their last one, because the ensemble will stop early too.
    """
    by_shape: dict[int, list[tuple[float, Setting]]] = {}
    for row in found.rows:
        if row.going and row.epochs:
            by_shape.setdefault(row.setting["shape"], []).append((_lowest(row), row.setting))
    ranked = [sorted(scored, key=lambda pair: pair[0]) for scored in by_shape.values()]
    best = min(ranked, key=lambda scored: sum(loss for loss, _ in scored[:SHAPE_BY]) / len(scored[:SHAPE_BY]))
    lowest = best[0][0]
    if not math.isfinite(lowest):
        raise NonFiniteError(
            "no setting of the sweep had a finite loss",
            expected="a finite loss on the validation rows",
            got=str(lowest),
            fix="look for huge numbers in the table",
        )
    return [setting for loss, setting in best if loss <= lowest * NOT_WORSE][:BEST_SETTINGS]


def _lowest(row: Trial) -> float:
    losses = row.history()["validation_loss"]
    return float(losses.nan_to_num(nan=math.inf).min())


def _stop_if(interrupt: Interruptible) -> None:
    if interrupt.asked:
        raise KeyboardInterrupt
