"""How much is tried on a table, and how long is trained: a budget of seconds, counted in work.

A machine's clock would give another result each time it is busy. So a second is RATE multiplications and additions,
wherever it is spent, and the clock is a guard alone: it ends a training that takes far longer than its budget.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

from lamp.module import Module
from lamp.nn import Dropout, Linear, ReLU, Sequential
from lamp.training import Callback, Training

HALVING = 3  # of the settings a third goes on
OF_A_SHAPE = 9  # settings tried of each shape: two halvings to the last

# Rows of training, up to which so many make a batch
BATCHES = ((1_000, 32), (10_000, 64), (50_000, 128), (200_000, 256))
LARGEST_BATCH = 512
SWEPT_ROWS = 20_000  # of training, in a sweep
STEPS, ENSEMBLE_STEPS = 1_500, 8_000  # of a network in the sweep, and in the ensemble, about,
EPOCHS = range(9, 61)  # in which they are made
LEAST_EPOCHS = 4  # of the ensemble: for fewer it takes fewer rows
LEAST_SWEPT = 2_000
COMPILING = 0.5  # seconds, of each shape in each round of halving
RATE = 3e10  # multiplications and additions a second: a budget counts so many, on any machine, busy or not
STEP = 1e-6  # seconds that a step of one network takes beside its multiplications
GUARD, GRACE = 2.0, 30.0  # the clock ends a training after so many times the budget, or so many seconds more


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

    seconds  for the sweep and the ensemble together, counted in work: RATE multiplications and additions are a second
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
    """What can be tried on so many training rows in so many seconds, counted in work."""
    members = min(members, 2 * rows)
    shapes: tuple[Shape, ...] = SMALL if rows < LARGE_TABLE else LARGE
    batch = next((size for most, size in BATCHES if rows <= most), LARGEST_BATCH)
    # of shapes that the ensemble could not be trained with in half of the time, the first alone
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
    return Effort(shapes, OF_A_SHAPE * len(shapes), swept, epochs, batch, all_epochs, patience, members, seconds)


def epoch_seconds(shape: Shape, inputs: int, outputs: int, rows: int, batch: int) -> float:
    """Seconds of budget that an epoch of one network takes: the weights forward, and twice backward, for each row."""
    return 6.0 * shape.weights(inputs, outputs) * rows / RATE + math.ceil(rows / batch) * STEP


def sweep_seconds(shapes: tuple[Shape, ...], inputs: int, outputs: int, rows: int, batch: int, epochs: int) -> float:
    """Seconds of budget that a sweep takes, compiling aside."""
    of_all = OF_A_SHAPE * sum(epoch_seconds(shape, inputs, outputs, rows, batch) for shape in shapes)
    return of_all * epochs * share_trained(OF_A_SHAPE * len(shapes))


def share_trained(settings: int) -> float:
    """The share of all settings' epochs that halving leaves."""
    rungs = int(math.log(settings, HALVING))
    share, begun = 0.0, 0.0
    for done in range(rungs + 1):
        end = HALVING ** (done - rungs)
        share += (end - begun) * HALVING**-done
        begun = end
    return float(share)


def seconds_left(effort: Effort, inputs: int, outputs: int) -> float:
    """Seconds of budget that the sweep leaves to the ensemble."""
    batch, rounds = effort.batch_size, 1 + int(math.log(effort.settings, HALVING))
    swept = sweep_seconds(effort.shapes, inputs, outputs, effort.swept_rows, batch, effort.sweep_epochs)
    return max(effort.seconds - swept - COMPILING * len(effort.shapes) * rounds, effort.seconds / 4)


def guard(seconds: float) -> float:
    """Seconds by the clock after which a training ends whose budget is so many."""
    return max(GUARD * seconds, seconds + GRACE)


class Deadline(Callback):
    """Ends a training, or the stages of a sweep, with the epoch in which its seconds are over."""

    needs_model = False
    across_stages = True
    REASON = "the time is over"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._ends = math.inf

    def on_start(self, training: Training) -> None:
        """The seconds begin, with the first stage."""
        self._ends = min(self._ends, time.monotonic() + self.seconds)

    def on_epoch(self, training: Training) -> None:
        """Stops where they are over."""
        if time.monotonic() > self._ends:
            self.passed = True
            training.stop(self.REASON)


def shown(shape: Shape) -> str:
    """A shape in few words."""
    if not shape.depth:
        return "no hidden layer"
    layers = " x ".join([str(shape.width)] * shape.depth)
    return f"{layers} units" + (f", dropout {shape.dropout:g}" if shape.dropout else "")
