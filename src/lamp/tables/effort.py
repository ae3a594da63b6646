"""The effort of a training on a table: how many settings are tried and for how long, from a budget in seconds.

The budget is counted in work, not by the clock: a second is RATE multiplications and additions on any machine, and
epochs and kernels have their price. So the result does not depend on how busy the machine is. The clock only ends a
training that takes far longer than its budget.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from lamp.module import Module
from lamp.nn import Dropout, Linear, ReLU, Sequential
from lamp.tables.member_rows import FEWEST_FOLDS, HELD_BY
from lamp.training import Callback, Training
from lamp.training.cost_model import compiling_seconds

ENGINE = "compiled"  # whatever "auto" would take: that depends on the kernels that are on the disk already
HALVING = 3  # one in so many settings goes on after each round
PER_PAIR = 9  # settings tried per pair of an encoding and a shape

# (largest number of training rows, batch size)
BATCHES = ((300, 16), (1_000, 32), (10_000, 64), (50_000, 128), (200_000, 256))
LARGEST_BATCH = 512
SWEPT_ROWS = 20_000  # most training rows in a sweep
SWEEP = 0.4  # most of the budget that the sweep may take
STEPS = 1_500  # about so many steps per network in the sweep,
EPOCHS = range(9, 61)  # in so many epochs
ENSEMBLE_STEPS, ENSEMBLE_EPOCHS = 20_000, range(9, 151)  # the same for a network of the ensemble, at most,
ENOUGH_STEPS, ENOUGH_EPOCHS = 8_000, range(9, 61)  # what is enough where more members or another pair cost as much,
LEAST_STEPS, LEAST_EPOCHS = 2_000, range(4, 61)  # and at least; if the budget allows fewer, it trains on fewer rows
WIDE_EPOCHS = 9  # at least where there are more inputs than rows: then few epochs fit the rows, and more change nothing
LEAST_SWEPT = 2_000
GROUPS = 3  # most pairs of an encoding and a shape in the ensemble
FEWEST_MEMBERS = 4  # of a group in a large table; in others they suffice for folds
RATE = 3e10  # multiplications and additions per second of budget
STEP = 1e-6  # seconds per step of one network, in addition to its multiplications
EPOCH = 4e-3  # seconds per epoch of a population, in addition to the steps of its networks
INPUT = 1.3e-9  # seconds to move an input of a row through memory in an epoch
CACHED = 1_000_000  # weights of one network that stay in the processor's cache,
UPDATE = 3e-8  # and seconds to update each further one in a step
COLUMN, FREE_COLUMNS = 1.6e-3, 100  # seconds per column for all but training, and the first columns, which are free
CELL, FREE_CELLS = 1e-6, 1_000_000  # the same for cells
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
BINS = 16  # most bins per number in a piecewise-linear encoding
WIDEST, MOST_ENCODED = 10_000, 2**27  # most encoded inputs, for the time, and numbers in all rows, for the memory


@dataclass(frozen=True)
class Effort:
    """What a training tries, and for how long.

    shapes, settings          shapes of networks that the sweep tries; number of settings for all of them together
    swept_rows, sweep_epochs  training rows and epochs of the sweep
    epochs, patience          epochs of the ensemble, at most; the share of them without improvement that ends it
    members                   networks in the ensemble, at most
    seconds                   budget of the sweep and the ensemble together (see RATE)
    encoded                   shapes that the sweep tries with numbers in piecewise-linear encoding as well
    halving                   one in so many settings goes on after each round of the sweep; None for a single round
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
    encoded: tuple[Shape, ...] = ()
    halving: int | None = HALVING

    def to_dict(self) -> dict[str, Any]:
        """The effort as a dict for JSON."""
        return {
            **asdict(self),
            "shapes": [asdict(shape) for shape in self.shapes],
            "encoded": [asdict(shape) for shape in self.encoded],
        }


def training_seconds(columns: int, rows: int, seconds: float) -> float:
    """Seconds of a budget that are left for training, once a table of this size is read and preprocessed."""
    return max(seconds - seconds_before(columns, rows), LEAST_TRAINING * seconds)


def seconds_before(columns: int, rows: int) -> float:
    """Seconds of budget that reading and preprocessing a table of this size take, and writing what was learned."""
    return COLUMN * max(0, columns - FREE_COLUMNS) + CELL * max(0, columns * rows - FREE_CELLS)


def remark_on_columns(columns: int, rows: int, seconds: float) -> list[str]:
    """A remark where so many columns or rows leave little of the budget for training."""
    if training_seconds(columns, rows, seconds) > LEAST_TRAINING * seconds:
        return []
    before = seconds_before(columns, rows)
    those = f"{columns:,} columns of {rows:,} rows"
    if before > seconds:
        said = f"{those} take about {before:.0f} s to read and preprocess alone, which is more than the budget of"
        return [f"{said} {seconds:g} s; with a larger --time-budget the search is more thorough"]
    return [
        f"{those} take most of the budget of {seconds:g} s before the training begins; with a larger --time-budget the "
        "search is more thorough"
    ]


def effort_for(rows: int, inputs: int, outputs: int, members: int, seconds: float, numbers: int = 0) -> Effort:
    """The effort that `seconds` of budget allow for a table with this many training rows and inputs.

    members  networks in the ensemble, at most
    numbers  how many of the inputs are numbers, which a piecewise-linear encoding divides into bins
    """
    members = min(members, 2 * rows)
    shapes: tuple[Shape, ...] = SMALL if rows < LARGE_TABLE else LARGE
    batch = next((size for most, size in BATCHES if rows <= most), LARGEST_BATCH)
    encoded = inputs + BINS * numbers
    bends = numbers and encoded <= WIDEST and rows * encoded <= MOST_ENCODED
    widths = (inputs, encoded) if bends else (inputs,)
    pairs = [(shape, width) for width in widths for shape in shapes]
    # leave out pairs that would take more than half of the budget for the least of ensembles, but keep the first
    least = epochs_for(rows, batch, LEAST_STEPS, LEAST_EPOCHS) * min(members, fewest_members(rows))

    def least_seconds(pair: tuple[Shape, int]) -> float:
        return least * epoch_seconds(*pair, outputs, rows, batch)

    pairs = [pair for pair in pairs if least_seconds(pair) < seconds / 2] or pairs[:1]
    swept = min(rows, SWEPT_ROWS)
    epochs = epochs_for(swept, batch, STEPS, EPOCHS)
    most = SWEEP * seconds

    def swept_in(halving: int | None) -> float:
        return sweep_seconds(pairs, outputs, swept, batch, epochs, halving)

    if compiling_sweep(pairs, None) > most / 2:
        pairs = [pair for pair in pairs if pair[1] == inputs] or pairs[:1]
    # each round of a sweep has kernels of its own; a single one may take less, where these take longer than training
    while min(swept_in(HALVING), swept_in(None)) > most:
        if epochs > EPOCHS[0]:
            epochs -= 1
        elif len(pairs) > 2:
            pairs.remove(max(pairs, key=least_seconds))
        elif swept > LEAST_SWEPT:
            swept //= 2
        else:
            break
    rounds = HALVING if swept_in(HALVING) <= max(most, swept_in(None)) else None
    all_epochs = epochs_for(rows, batch, ENSEMBLE_STEPS, ENSEMBLE_EPOCHS)
    return Effort(
        tuple(shape for shape, width in pairs if width == inputs),
        PER_PAIR * len(pairs),
        swept,
        epochs,
        batch,
        all_epochs,
        max(4, all_epochs // 3),
        members,
        seconds,
        tuple(shape for shape, width in pairs if width != inputs),
        rounds,
    )


def epochs_for(rows: int, batch: int, steps: int, allowed: range) -> int:
    """The epochs of about so many steps, within the range that is allowed."""
    return min(max(round(steps * batch / rows), allowed[0]), allowed[-1])


def epoch_seconds(shape: Shape, inputs: int, outputs: int, rows: int, batch: int) -> float:
    """Seconds of budget per epoch of one network.

    Per row, each weight counts once forward and twice backward. With very many inputs, moving them through memory and
    updating the weights takes longer than that.
    """
    weights, steps = shape.weights(inputs, outputs), math.ceil(rows / batch)
    moving = INPUT * inputs * rows + UPDATE * max(0, weights - CACHED) * steps
    return max(6.0 * weights * rows / RATE, moving) + steps * STEP


def sweep_seconds(
    pairs: Sequence[tuple[Shape, int]], outputs: int, rows: int, batch: int, epochs: int, halving: int | None = HALVING
) -> float:
    """Seconds of budget that a sweep of pairs (shape, number of inputs) takes."""
    of_all = PER_PAIR * sum(epoch_seconds(shape, inputs, outputs, rows, batch) for shape, inputs in pairs)
    share = 1.0 if halving is None else share_trained(PER_PAIR * len(pairs))
    return (of_all * share + EPOCH * len(pairs)) * epochs + compiling_sweep(pairs, halving)


def compiling_sweep(pairs: Sequence[tuple[Shape, int]], halving: int | None = HALVING) -> float:
    """Seconds to compile the kernels of a sweep: one per pair and round."""
    rounds = 1 if halving is None else 1 + int(math.log(PER_PAIR * len(pairs), halving))
    return rounds * sum(compiling(shape) for shape, _ in pairs)


def compiling(shape: Shape) -> float:
    """Seconds to compile a kernel for networks of this shape."""
    return compiling_seconds(shape.depth + 1)


def share_trained(settings: int) -> float:
    """The share of all settings' epochs that successive halving trains."""
    rungs = int(math.log(settings, HALVING))
    share, begun = 0.0, 0.0
    for done in range(rungs + 1):
        end = HALVING ** (done - rungs)
        share += (end - begun) * HALVING**-done
        begun = end
    return float(share)


def seconds_left(effort: Effort, pairs: Sequence[tuple[Shape, int]], outputs: int) -> float:
    """Seconds of budget that the sweep of these pairs (shape, number of inputs) leaves for the ensemble."""
    rows, batch = effort.swept_rows, effort.batch_size
    swept = sweep_seconds(pairs, outputs, rows, batch, effort.sweep_epochs, effort.halving)
    return max(effort.seconds - swept, (1 - SWEEP) * effort.seconds / 2)


@dataclass(frozen=True)
class Allotment:
    """How the budget that is left is spent: so many members for each of the best pairs, for so many epochs.

    rows  the share of the training rows that they train on
    """

    pairs: int
    members: int
    epochs: int
    rows: float = 1.0


def fewest_members(rows: int) -> int:
    """The fewest members of a group for a table with so many training rows, if fewer are not asked for."""
    return FEWEST_FOLDS * HELD_BY if rows < LARGE_TABLE else FEWEST_MEMBERS


def allotment(
    effort: Effort,
    costs: Sequence[float],
    left: float,
    rows: int,
    kernels: Sequence[float] | None = None,
    wide: bool = False,
) -> Allotment:
    """The ensemble that `left` seconds of budget allow for a table with so many training rows.

    costs    seconds of an epoch of one network of each pair that is good enough, the best first
    kernels  seconds to compile the kernel of each of these pairs; by default none
    wide     whether there are more inputs than rows
    """
    fewest = fewest_members(rows)
    enough = min(epochs_for(rows, effort.batch_size, ENOUGH_STEPS, ENOUGH_EPOCHS), effort.epochs)
    least = min(epochs_for(rows, effort.batch_size, LEAST_STEPS, LEAST_EPOCHS), enough)
    least = min(least, WIDE_EPOCHS) if wide else least
    compiled = [0.0, *accumulate(kernels or [0.0] * len(costs))]  # of the first pairs

    def members_for(pairs: int) -> int:
        """How many members of each pair have enough epochs."""
        per_epoch = (left - compiled[pairs]) / enough - EPOCH * pairs
        return min(effort.members // pairs, int(per_epoch / sum(costs[:pairs])))

    def epochs_of(members: int, pairs: int) -> float:
        return (left - compiled[pairs]) / (members * sum(costs[:pairs]) + EPOCH * pairs)

    for pairs in range(min(GROUPS, len(costs)), 0, -1):
        members = members_for(pairs)
        if members >= fewest:
            return Allotment(pairs, members, min(effort.epochs, int(epochs_of(members, pairs))))
    members = min(effort.members, max(fewest, members_for(1)))
    epochs = max(epochs_of(members, 1), 0.0)
    return Allotment(1, members, min(effort.epochs, max(least, int(epochs))), min(1.0, epochs / least))


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
        if time.monotonic() >= self._ends:
            self.passed = True
            training.stop(self.REASON)


def shown(shape: Shape) -> str:
    """A shape in a few words, such as "64 x 64 units, dropout 0.1"."""
    if not shape.depth:
        return "no hidden layer"
    layers = " x ".join([str(shape.width)] * shape.depth)
    return f"{layers} units" + (f", dropout {shape.dropout:g}" if shape.dropout else "")
