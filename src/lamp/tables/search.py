"""The networks of a table: settings tried as populations, the best trained to the end as an ensemble."""

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
    Shape,
    epoch_seconds,
    guard,
    seconds_left,
    shown,
)
from lamp.tables.split import folds, some
from lamp.training import EarlyStopping, History, fit, predict
from lamp.training.arguments import EVALUATION_BATCH
from lamp.training.interrupt import Interruptible

BEST_SETTINGS = 4  # at most so many of them make the ensemble,
NOT_WORSE = 1.2  # all with a validation loss within 20 % of the best
SHAPE_BY = 3  # a shape is as good as so many of its best settings, on average: one alone may be luck
CHOOSING_ROWS = 20_000  # of validation, in a sweep
FOLDED_ROWS = 20_000  # of both, up to which the members of the ensemble hold out different rows,
HELD_BY = 2  # so many of them the same ones,
FEWEST_FOLDS = 4  # where that makes at least so many folds


@dataclass
class Found:
    """What a search leaves.

    networks  the members of the ensemble
    settings  of each member; history: of their training
    sweep     all settings tried, best first
    scores    (m, n', outputs): what members say of rows that they were not trained on: all K of them, or with folds
              those HELD_BY that held a row out
    targets   of these rows
    """

    networks: Population
    shape: Shape
    settings: list[Setting]
    history: History
    sweep: Sweep
    scores: Tensor
    targets: Tensor


Data = tuple[Tensor, Tensor]  # inputs (n, features), targets (n,) of classes or (n, 1) of numbers


def search(
    training: Data,
    validation: Data,
    effort: Effort,
    outputs: int,
    *,
    seed: int = 0,
    progress: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Found:
    """Try settings on some of the training rows, choose by validation rows, and train the best as an ensemble.

    In a small table the ensemble has all of these rows: they are dealt into folds, and each member holds out one of
    them to stop by, two members each. In a large one, and with few members, all hold out the validation rows.

    tell  is called with a line on each stage

    Raises KeyboardInterrupt after Ctrl-C, once the step in hand is done.
    """
    with Interruptible() as interrupt:
        return _search(training, validation, effort, outputs, seed, progress, tell, interrupt)


def _search(
    training: Data,
    validation: Data,
    effort: Effort,
    outputs: int,
    seed: int,
    progress: bool,
    tell: Callable[[str], None],
    interrupt: Interruptible,
) -> Found:
    begun = time.monotonic()
    inputs = training[0].shape[1]
    criterion: Loss = MSELoss() if training[1].is_floating_point() else CrossEntropyLoss()
    choosing = _some(validation, CHOOSING_ROWS, seed)
    swept = _some(training, effort.swept_rows, seed)
    torch.manual_seed(seed)
    tell(
        f"sweep: {effort.settings} settings on {len(swept[0]):,} rows, {effort.sweep_epochs} epochs; "
        f"the best {_ordinal(HALVING)} goes on each time"
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
        tell(f"the sweep is cut short by the clock, after {alarm.seconds:.0f} s: the same seed may find another result")
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
    dealt = _dealt(training, choosing, effort, seeds)
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
    return Found(networks, shape, settings, history, found, scores, targets)


def _cut(history: History, epochs: int, effort: Effort) -> str:
    """What kept a training from making all its epochs; nothing where it made them, or stopped by itself."""
    at = f"at epoch {history.epochs} of {effort.epochs}"
    if history.stopped == Deadline.REASON:
        return (
            f"stopped by the clock {at}, after {guard(effort.seconds):.0f} s for a budget of {effort.seconds:.0f}: the "
            "machine is slow or busy, and the same seed may end elsewhere"
        )
    return f"stopped by the budget {at}" if history.epochs == epochs < effort.epochs else ""


@dataclass(frozen=True)
class _Dealt:
    """What each member trains on, and what it holds out: rows of its own (K, m), or the same for all (None)."""

    training: DataLoader
    held_out: DataLoader
    rows: Tensor | None

    def unseen(self, networks: Population, failed: list[int]) -> Data:
        """Scores and targets of held-out rows."""
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


def _dealt(training: Data, choosing: Data, effort: Effort, seeds: range) -> _Dealt:
    inputs, targets = (torch.cat(pair) for pair in zip(training, choosing, strict=True))
    count = len(seeds) // HELD_BY
    if len(inputs) > FOLDED_ROWS or count < FEWEST_FOLDS:
        loader = DataLoader(training, effort.batch_size, True, seed=list(seeds))
        return _Dealt(loader, DataLoader(choosing, EVALUATION_BATCH), None)
    labels = None if targets.is_floating_point() else targets
    fold_of = [k % count for k in range(len(seeds))]
    others, held = (rows[fold_of] for rows in folds(len(inputs), labels, count, seed=seeds[0]))
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
    """The same number of settings of each shape, drawn at random."""
    drawn = samples(effort.settings, seed=seed, lr=log_uniform(5e-4, 2e-2), weight_decay=log_uniform(1e-4, 1.0))
    return [{**setting, "shape": k % len(effort.shapes)} for k, setting in enumerate(drawn)]


def _best(found: Sweep) -> list[Setting]:
    """The settings for the ensemble: those of the best shape that come close to its best one, the best first.

    They are ranked by their best epoch, not their last: the ensemble will stop early too.
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
