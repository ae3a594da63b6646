"""The effort of a training on a table: how many settings are tried and for how long, from a budget in seconds.

The budget is counted in work, not by the clock: a second is RATE multiplications and additions on any machine. So the
result does not depend on how busy the machine is. The clock only ends a training that takes far longer than its budget.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

from lamp.module import Module
from lamp.nn import Dropout, Linear, ReLU, Sequential
from lamp.training import Callback, Training
from lamp.training.cost_model import compiling_seconds

HALVING = 3  # one in so many settings goes on after each round
PER_SHAPE = 9  # settings tried per shape

# (largest number of training rows, batch size)
BATCHES = ((1_000, 32), (10_000, 64), (50_000, 128), (200_000, 256))
LARGEST_BATCH = 512
SWEPT_ROWS = 20_000  # most training rows in a sweep
STEPS, ENSEMBLE_STEPS = 1_500, 8_000  # about so many steps per network in the sweep and in the ensemble,
EPOCHS = range(9, 61)  # in so many epochs
LEAST_EPOCHS = 4  # of the ensemble; if the budget allows fewer, it trains on fewer rows
LEAST_SWEPT = 2_000
RATE = 3e10  # multiplications and additions per second of budget
STEP = 1e-6  # seconds per step of one network, in addition to its multiplications
INPUT = 1.3e-9  # seconds to move an input of a row through memory in an epoch
CACHED = 1_000_000  # weights of one network that stay in the processor's cache,
UPDATE = 3e-8  # and seconds to update each further one in a step
COLUMN, CELL, FREE_COLUMNS = 5e-4, 5e-7, 100  # seconds per column and cell for all but training; free first columns
LEAST_TRAINING = 0.15  # least share of the budget that is for training, however many columns there are
GUARD, GRACE = 2.0, 30.0  # the clock ends a training after GUARD times its budget, or GRACE seconds beyond it


@dataclass(frozen=True)
class Shape:
    """The shape of a network: `depth` hidden layers of `width` units, each followed by ReLU and dropout."""

    width: int
    depth: int
    dropout: float = 0.0

    def build(self, inputs: int, outputs: int) -> Sequential:
        """The network, initialised as in torch.nn."""
        layers: list[Module] = []
        for k in range(self.depth):
            layers += [Linear(inputs if k == 0 else self.width, self.width), ReLU()]
            layers += [Dropout(self.dropout)] if self.dropout else []
        return Sequential(*layers, Linear(self.width if self.depth else inputs, outputs))

    def weights(self, inputs: int, outputs: int) -> int:
        """The number of weights, which is the number of multiplications per row."""
        if not self.depth:
            return inputs * outputs
        return inputs * self.width + (self.depth - 1) * self.width**2 + self.width * outputs


SMALL = (Shape(0, 0), Shape(64, 1), Shape(64, 2, 0.1), Shape(128, 2, 0.3))
LARGE = (Shape(64, 2), Shape(128, 2), Shape(128, 3, 0.1), Shape(256, 2, 0.2))
LARGE_TABLE = 10_000  # rows of training


@dataclass(frozen=True)
class Effort:
    """What a training tries, and for how long.

    shapes, settings          shapes of networks that the sweep tries; number of settings for all of them together
    swept_rows, sweep_epochs  training rows and epochs of the sweep
    epochs, patience          epochs of the ensemble, at most; epochs without improvement after which it stops
    members                   networks in the ensemble
    seconds                   budget of the sweep and the ensemble together (see RATE)
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
        """The effort as a dict for JSON."""
        return {**asdict(self), "shapes": [asdict(shape) for shape in self.shapes]}


def training_seconds(columns: int, rows: int, seconds: float) -> float:
    """Seconds of a budget that are left for training, once a table of this size is read and preprocessed."""
    before = (COLUMN + CELL * rows) * max(0, columns - FREE_COLUMNS)
    return max(seconds - before, LEAST_TRAINING * seconds)


def remark_on_columns(columns: int, rows: int, seconds: float) -> list[str]:
    """A remark where so many columns leave little of the budget for training."""
    if training_seconds(columns, rows, seconds) > LEAST_TRAINING * seconds:
        return []
    return [
        f"{columns:,} columns take most of the budget of {seconds:g} s before the training begins; with a larger "
        "--time-budget the search is more thorough"
    ]


def effort_for(rows: int, inputs: int, outputs: int, members: int, seconds: float) -> Effort:
    """The effort that `seconds` of budget allow for a table with this many training rows and inputs."""
    members = min(members, 2 * rows)
    shapes: tuple[Shape, ...] = SMALL if rows < LARGE_TABLE else LARGE
    batch = next((size for most, size in BATCHES if rows <= most), LARGEST_BATCH)
    # leave out shapes whose ensemble would take more than half of the budget, but keep the first
    least = LEAST_EPOCHS * members
    quick = [s for s in shapes if least * epoch_seconds(s, inputs, outputs, rows, batch) < seconds / 2]
    shapes = tuple(quick) or shapes[:1]
    swept = min(rows, SWEPT_ROWS)
    epochs = min(max(round(STEPS * batch / swept), EPOCHS[0]), EPOCHS[-1])

    while sweep_seconds(shapes, inputs, outputs, swept, batch, epochs) > seconds / 4:  # the ensemble gets the rest
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
    return Effort(shapes, PER_SHAPE * len(shapes), swept, epochs, batch, all_epochs, patience, members, seconds)


def epoch_seconds(shape: Shape, inputs: int, outputs: int, rows: int, batch: int) -> float:
    """Seconds of budget per epoch of one network.

    Per row, each weight counts once forward and twice backward. With very many inputs, moving them through memory and
    updating the weights takes longer than that.
    """
    weights, steps = shape.weights(inputs, outputs), math.ceil(rows / batch)
    moving = INPUT * inputs * rows + UPDATE * max(0, weights - CACHED) * steps
    return max(6.0 * weights * rows / RATE, moving) + steps * STEP


def sweep_seconds(shapes: tuple[Shape, ...], inputs: int, outputs: int, rows: int, batch: int, epochs: int) -> float:
    """Seconds of budget that a sweep takes, without compiling."""
    of_all = PER_SHAPE * sum(epoch_seconds(shape, inputs, outputs, rows, batch) for shape in shapes)
    return of_all * epochs * share_trained(PER_SHAPE * len(shapes))


def share_trained(settings: int) -> float:
    """The share of all settings' epochs that successive halving trains."""
    rungs = int(math.log(settings, HALVING))
    share, begun = 0.0, 0.0
    for done in range(rungs + 1):
        end = HALVING ** (done - rungs)
        share += (end - begun) * HALVING**-done
        begun = end
    return float(share)


def seconds_left(effort: Effort, inputs: int, outputs: int) -> float:
    """Seconds of budget that the sweep leaves for the ensemble."""
    batch, rounds = effort.batch_size, 1 + int(math.log(effort.settings, HALVING))
    swept = sweep_seconds(effort.shapes, inputs, outputs, effort.swept_rows, batch, effort.sweep_epochs)
    compiling = rounds * sum(compiling_seconds(shape.depth + 1) for shape in effort.shapes)
    return max(effort.seconds - swept - compiling, effort.seconds / 4)


def guard(seconds: float) -> float:
    """Seconds by the clock after which a training with this budget is ended."""
    return max(GUARD * seconds, seconds + GRACE)


class Deadline(Callback):
    """A callback that ends a training, or the stages of a sweep, after a number of seconds by the clock."""

    needs_model = False
    across_stages = True
    REASON = "the time is up"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._ends = math.inf

    def on_start(self, training: Training) -> None:
        """Start the clock, with the first stage."""
        self._ends = min(self._ends, time.monotonic() + self.seconds)

    def on_epoch(self, training: Training) -> None:
        """Stop the training if the time is up."""
        if time.monotonic() > self._ends:
            self.passed = True
            training.stop(self.REASON)


def shown(shape: Shape) -> str:
    """A shape in a few words, such as "64 x 64 units, dropout 0.1"."""
    if not shape.depth:
        return "no hidden layer"
    layers = " x ".join([str(shape.width)] * shape.depth)
    return f"{layers} units" + (f", dropout {shape.dropout:g}" if shape.dropout else "")
