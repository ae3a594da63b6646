"""Prediction intervals: how far a row's number may lie below and above its prediction, by the size of the prediction.

Errors often grow with the prediction: a price of 10,000 is missed by more than one of 500. One width for all rows would
hold 90 % of them together and far fewer of the expensive ones.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamp.printable import readable

COVERAGE = 0.9  # share of the numbers that should lie in their intervals
FEWEST = 60  # held-out rows; with fewer, all rows get one width
KNOTS, ROWS_PER_KNOT = 20, 25  # most knots; rows for each, at least
WINDOW = 50  # rows that a knot's quantiles are taken from, at least
FOLDS = 5  # of the held-out rows, which measure each other's quantiles
LEAST = 0.1  # of the mean |error|: the least distance of an end from the prediction, before it is stretched
LEAST_SCALE = 0.25  # of the mean |error|: the least scale of the errors
SIGN_ROWS = 50  # rows without a negative number that make 0 a limit
SHARED, SHARED_ROWS = 0.01, 5  # share and number of the rows that have the same extreme number, to make it a limit

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class PredictionIntervals:
    """The interval of a row, as a function of its prediction p: from p - below(p) to p + above(p), within the limits.

    at               (k,) predictions, ascending
    below, above     (k,) distances of the ends at these; linear between them, constant outside of them
    lowest, highest  limits of the ends and of predictions, None where there is none

    All are in the target's unit.
    """

    at: tuple[float, ...]
    below: tuple[float, ...]
    above: tuple[float, ...]
    lowest: float | None = None
    highest: float | None = None

    @classmethod
    def of_one_width(
        cls, margin: float, lowest: float | None = None, highest: float | None = None
    ) -> PredictionIntervals:
        """Intervals that reach from p - margin to p + margin, within the limits."""
        return cls((0.0,), (margin,), (margin,), lowest, highest)

    def around(self, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """The lower and the upper ends for predictions (n,), each (n,) float64."""
        p = predicted.double().numpy()
        low, high = p - np.interp(p, self.at, self.below), p + np.interp(p, self.at, self.above)
        return self.within(torch.from_numpy(low)), self.within(torch.from_numpy(high))

    def within(self, numbers: Tensor) -> Tensor:
        """The numbers, moved to the limits where they lie beyond them: the target cannot be there."""
        return within((self.lowest, self.highest), numbers)

    @property
    def are_of_one_width(self) -> bool:
        """Whether all rows have intervals of the same width, apart from the limits."""
        return len(self.at) == 1

    @property
    def remark(self) -> str:
        """What the user should know about how they were made; "" where there is nothing."""
        parts = []
        if self.are_of_one_width:
            parts.append(
                f"all intervals have one width, ±{readable(self.above[0])}: fewer than {FEWEST} rows were held out"
            )
        limits = {"below": self.lowest, "above": self.highest}
        parts += [
            f"no prediction or interval goes {where} {limit:g}, because no number in training does"
            for where, limit in limits.items()
            if limit is not None
        ]
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The intervals as a dict for JSON."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> PredictionIntervals:
        """The intervals that `to_dict` described. Raises ValueError for knots that do not fit together."""
        at, below, above = (tuple(map(float, saved[name])) for name in ("at", "below", "above"))
        if not len(at) == len(below) == len(above) > 0 or list(at) != sorted(at) or min(*below, *above) < 0:
            raise ValueError("the knots of the prediction intervals do not fit together")
        return cls(at, below, above, saved["lowest"], saved["highest"])


def within(limits: tuple[float | None, float | None], numbers: Tensor) -> Tensor:
    """The numbers, moved to the limits where they lie beyond them."""
    return numbers if limits == (None, None) else numbers.clamp(*limits)


def fitted(predicted: Tensor, numbers: Tensor, known: Tensor) -> PredictionIntervals:
    """Intervals from rows that the networks were not trained on, with their predictions and true numbers, (n,) each.

    known  all numbers in training, which show the target's limits

    Below and above are the 5 % and 95 % quantiles of the errors of rows with similar predictions, stretched by the
    factor with which 90 % of the rows lie in intervals that were made without them. With fewer than FEWEST rows, both
    are the one margin that holds 90 % of them.

    Source    Romano, Patterson, Candes 2019, "Conformalized quantile regression", with a factor for the term that is
              added there, and with folds in place of one split, as in Barber et al. 2021, "Predictive inference with
              the jackknife+". The rows have also decided when training stopped, so the coverage is approximate.
    """
    limits = limits_of(known)
    predicted = within(limits, predicted)
    order = predicted.argsort(stable=True)
    p, errors = (each[order].double().numpy() for each in (predicted, numbers - predicted))
    least = LEAST * float(np.abs(errors).mean())
    if len(p) < FEWEST or least == 0:
        margin = conformal(np.abs(errors))
        return PredictionIntervals.of_one_width(margin, *limits)
    excess = np.empty(len(p))  # of each row: the factor by which its interval must be stretched to hold it
    for fold in range(FOLDS):
        held = np.arange(len(p)) % FOLDS == fold
        at, below, above = _quantiles(p[~held], errors[~held], least)
        reach_below, reach_above = (np.interp(p[held], at, each) for each in (below, above))
        excess[held] = np.maximum(-errors[held] / reach_below, errors[held] / reach_above)
    stretch = conformal(excess)
    at, below, above = _quantiles(p, errors, least)
    below, above = stretch * below, stretch * above
    return PredictionIntervals(tuple(at.tolist()), tuple(below.tolist()), tuple(above.tolist()), *limits)


def conformal(scores: Vector, coverage: float = COVERAGE) -> float:
    """The number that a new row's score exceeds with probability 1 - coverage, from scores (n,) of held-out rows.

    It is the ceil((n + 1) coverage)-th smallest score; with too few rows for that, the largest.

    Source    Lei et al. 2018, "Distribution-free predictive inference for regression" (split conformal)
    """
    rank = min(math.ceil((len(scores) + 1) * coverage), len(scores))
    return float(np.sort(scores)[rank - 1])


def limits_of(numbers: Tensor) -> tuple[float | None, float | None]:
    """The lowest and the highest number that a target can have, as far as its numbers in training show; else None.

    An extreme number that many rows share is a limit, such as 0 and 100 of percentages. So is 0 where no number is
    negative, or none positive. If a new row is like the n rows in training, a limit costs at most 1 / (n + 1) of the
    coverage, because any of these n + 1 rows could be the extreme one.
    """
    lowest, highest = (_limit(numbers, float(extreme)) for extreme in (numbers.min(), numbers.max()))
    if len(numbers) >= SIGN_ROWS:
        lowest = 0.0 if lowest is None and numbers.min() >= 0 else lowest
        highest = 0.0 if highest is None and numbers.max() <= 0 else highest
    return lowest, highest


def _limit(numbers: Tensor, extreme: float) -> float | None:
    rows = int((numbers == extreme).sum())
    return extreme if rows >= max(SHARED_ROWS, SHARED * len(numbers)) else None


def _quantiles(p: Vector, errors: Vector, least: float) -> tuple[Vector, Vector, Vector]:
    """Knots, and how far errors reach below and above the predictions there, for rows in ascending order of p.

    The errors are divided by their scale, a straight line, so that it does not matter how much they grow within a
    window, nor beyond the last one. The outermost knots are the smallest and the largest prediction.
    """
    scale = _scale(p, errors)
    scaled = errors / scale
    knots = min(KNOTS, max(1, len(p) // ROWS_PER_KNOT))
    window = min(len(p), max(WINDOW, len(p) // knots))
    edges = np.linspace(0, len(p), knots + 1).astype(int)
    starts = ((edges[:-1] + edges[1:] - window) // 2).clip(0, len(p) - window)
    tails = [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]
    lower, upper = np.quantile([scaled[start : start + window] for start in starts], tails, axis=1)
    inner = [p[start:end].mean() for start, end in pairwise(edges)]
    at = np.array([p[0], *inner, p[-1]])
    scale_at = np.interp(at, p, scale)
    below, above = (np.pad(_smoothed(each), 1, mode="edge") * scale_at for each in (-lower, upper))
    return at, below.clip(least), above.clip(least)


def _scale(p: Vector, errors: Vector) -> Vector:
    """The mean |error| as a linear function of the prediction, by least squares, for each row; never near 0."""
    sizes, centred = np.abs(errors), p - p.mean()
    slope = (sizes * centred).sum() / (np.square(centred).sum() or 1.0)
    scale: Vector = np.maximum(sizes.mean() + slope * centred, LEAST_SCALE * sizes.mean())
    return scale


def _smoothed(values: Vector) -> Vector:
    """Each value's mean with its neighbours, which count half."""
    padded: Vector = np.pad(values, 1, mode="edge")
    return (padded[:-2] + 2 * values + padded[2:]) / 4
