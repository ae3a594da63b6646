"""The networks of a table: settings tried as populations, the best trained to the end as an ensemble."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.errors import NonFiniteError
from lamp.losses import CrossEntropyLoss, Loss, MSELoss
from lamp.module import Module
from lamp.nn import Dropout, Linear, ReLU, Sequential
from lamp.optim import AdamW, CosineAnnealingLR
from lamp.replicas import Population, population
from lamp.studies import Sweep, log_uniform, samples, sweep
from lamp.studies.settings import Setting
from lamp.studies.trial import Trial
from lamp.tables.split import folds, some
from lamp.training import Callback, EarlyStopping, History, Training, fit, predict
from lamp.training.fit import EVALUATION_BATCH
from lamp.training.interrupt import Interruptible

HALVING = 3  # of the settings a third goes on
OF_A_SHAPE = 9  # settings tried of each shape: two halvings to the last
BEST_SETTINGS = 4  # at most so many of them make the ensemble,
NOT_WORSE = 1.2  # all with a validation loss within 20 % of the best
SHAPE_BY = 3  # a shape is as good as so many of its best settings, on average: one alone may be luck

# Rows of training, up to which so many make a batch
BATCHES = ((1_000, 32), (10_000, 64), (50_000, 128), (200_000, 256))
LARGEST_BATCH = 512
SWEPT_ROWS, CHOOSING_ROWS = 20_000, 20_000  # of training and of validation, in a sweep
FOLDED_ROWS = 20_000  # of both, up to which the members of the ensemble hold out different rows,
HELD_BY = 2  # so many of them the same ones,
FEWEST_FOLDS = 4  # where that makes at least so many folds
STEPS, ENSEMBLE_STEPS = 1_500, 8_000  # of a network in the sweep, and in the ensemble, about,
EPOCHS = range(9, 61)  # in which they are made
LEAST_EPOCHS = 4  # of the ensemble: for fewer it takes fewer rows
LEAST_SWEPT = 2_000
COMPILING = 0.5  # seconds, of each shape in each round of halving
RATE = 3e10  # multiplications a second that a machine makes, to guess how long things take: 2 cores with AVX-512


@dataclass(frozen=True)
class Shape:
    """A network: `depth` hidden layers of `width` units, ReLU and dropout after each."""

    width: int
    depth: int
    dropout: float = 0.0

    def build(self, inputs: int, outputs: int) -> Sequential:
        """The network, with torch.nn's initial law."""
        layers: list[Module] = []
        for k in range(self.depth):
            layers += [Linear(inputs if k == 0 else self.width, self.width), ReLU()]
            layers += [Dropout(self.dropout)] if self.dropout else []
        return Sequential(*layers, Linear(self.width if self.depth else inputs, outputs))

    def weights(self, inputs: int, outputs: int) -> int:
        """How many multiplications a row takes."""
        if not self.depth:
            return inputs * outputs
        return inputs * self.width + (self.depth - 1) * self.width**2 + self.width * outputs


SMALL = (Shape(0, 0), Shape(64, 1), Shape(64, 2, 0.1), Shape(128, 2, 0.3))
LARGE = (Shape(64, 2), Shape(128, 2), Shape(128, 3, 0.1), Shape(256, 2, 0.2))
LARGE_TABLE = 10_000  # rows of training


@dataclass(frozen=True)
class Effort:
    """How much is tried, and how long is trained.

    seconds  for the sweep and the ensemble together; the training ends with the epoch in which they are over
    """

    shapes: tuple[Shape, ...]
    settings: int
    swept_rows: int
    sweep_epochs: int
    batch_size: int
    epochs: int
    patience: int
    members: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {**asdict(self), "shapes": [asdict(shape) for shape in self.shapes]}


def effort_for(rows: int, inputs: int, outputs: int, members: int, seconds: float) -> Effort:
    """What can be tried on so many training rows in about so many seconds."""
    members = min(members, 2 * rows)
    shapes: tuple[Shape, ...] = SMALL if rows < LARGE_TABLE else LARGE
    # of shapes that the ensemble could not be trained with in half of the time, the first alone
    quick = [s for s in shapes if LEAST_EPOCHS * _work(s, inputs, outputs) * rows * members < RATE * seconds / 2]
    shapes = tuple(quick) or shapes[:1]
    batch = next((size for most, size in BATCHES if rows <= most), LARGEST_BATCH)
    swept = min(rows, SWEPT_ROWS)
    epochs = min(max(round(STEPS * batch / swept), EPOCHS[0]), EPOCHS[-1])

    def sweep_seconds() -> float:
        work = sum(_work(shape, inputs, outputs) for shape in shapes) * OF_A_SHAPE
        return work * swept * epochs * _share_trained(OF_A_SHAPE * len(shapes)) / RATE

    while sweep_seconds() > seconds / 4:  # the ensemble gets the rest
        if epochs > EPOCHS[0]:
            epochs -= 1
        elif len(shapes) > 2:
            shapes = shapes[:-1]
        elif swept > LEAST_SWEPT:
            swept //= 2
        else:
            break
    all_epochs = min(max(round(ENSEMBLE_STEPS * batch / rows), EPOCHS[0]), EPOCHS[-1])
    patience = max(4, all_epochs // 3)
    return Effort(shapes, OF_A_SHAPE * len(shapes), swept, epochs, batch, all_epochs, patience, members, seconds)


def _work(shape: Shape, inputs: int, outputs: int) -> float:
    """Multiplications of a row in one epoch: forward, and twice as many backward, each with its addition."""
    return 6.0 * shape.weights(inputs, outputs)


def _share_trained(settings: int) -> float:
    """The share of all settings' epochs that halving leaves."""
    rungs = int(math.log(settings, HALVING))
    share, begun = 0.0, 0.0
    for done in range(rungs + 1):
        end = HALVING ** (done - rungs)
        share += (end - begun) * HALVING**-done
        begun = end
    return float(share)


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
        progress=progress,
    )
    _stop_if(interrupt)
    took = time.monotonic() - begun
    work = sum(_work(effort.shapes[row.setting["shape"]], inputs, outputs) * row.epochs for row in found.rows)
    compiling = COMPILING * len(effort.shapes) * (1 + int(math.log(effort.settings, HALVING)))
    rate = work * len(swept[0]) / max(took - compiling, took / 2)  # as this machine does it, now
    best = _best(found)
    shape = effort.shapes[best[0]["shape"]]
    settings = [best[k % len(best)] for k in range(effort.members)]
    seeds = range(seed, seed + effort.members)
    networks = population(shape.build(inputs, outputs), seeds)
    left = max(effort.seconds - took, effort.seconds / 4)
    passes = left * rate / (_work(shape, inputs, outputs) * effort.members * len(training[0]))  # in the time left
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
        callbacks=[EarlyStopping(effort.patience), Deadline(left)],
        progress=progress,
    )
    _stop_if(interrupt)
    networks.eval()
    scores, targets = dealt.unseen(networks, history.failed)
    if history.failed:
        whole = [k for k in range(len(networks)) if k not in history.failed]
        networks, settings = networks.select(whole), [settings[k] for k in whole]
    return Found(networks, shape, settings, history, found, scores, targets)


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
        scores = predict(networks, networks.own(inputs[self.rows]))  # (K, m, outputs)
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


class Deadline(Callback):
    """Ends a training with the epoch in which its seconds are over."""

    needs_model = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_start(self, training: Training) -> None:
        """The seconds begin."""
        self._ends = time.monotonic() + self.seconds

    def on_epoch(self, training: Training) -> None:
        """Stops where they are over."""
        if time.monotonic() > self._ends:
            training.stop("the time is over")


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
        raise NonFiniteError("no setting of the sweep had a finite loss", fix="look for huge numbers in the table")
    return [setting for loss, setting in best if loss <= lowest * NOT_WORSE][:BEST_SETTINGS]


def _lowest(row: Trial) -> float:
    losses = row.history()["validation_loss"]
    return float(losses.nan_to_num(nan=math.inf).min())


def _stop_if(interrupt: Interruptible) -> None:
    if interrupt.asked:
        raise KeyboardInterrupt


def shown(shape: Shape) -> str:
    """A shape in few words."""
    if not shape.depth:
        return "no hidden layer"
    layers = " x ".join([str(shape.width)] * shape.depth)
    return f"{layers} units" + (f", dropout {shape.dropout:g}" if shape.dropout else "")
