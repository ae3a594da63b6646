"""Metrics of predictions, with confidence intervals.

Every metric takes a count per row. A bootstrap sample is then a vector of counts, and nothing needs to be sorted or
gathered again for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from lamp.cpu_settings import threads_for
from lamp.metrics.ranking import roc_area

SAMPLES, FEWEST_SAMPLES = 1000, 60  # bootstrap samples, at most and at least
DRAWN = 4_000_000  # rows in all samples together; a larger table gets fewer samples
ENOUGH = 500  # samples from which quantiles are used; with fewer, a normal distribution is fitted
LEVEL = 0.95
FEW = 20  # rows; with fewer, bootstrap samples that are all equal show too few rows, and no certainty
SMALLEST = 1e-15  # lower bound of a probability, so that its logarithm is finite

FIFTHS = tuple(f"coverage in fifth {k} by prediction" for k in range(1, 6))
ROWS_PER_PART = 10  # in which a share is measured, at least

Weighted = Callable[[Tensor], float]  # counts of the rows (n,) float64 -> the metric


@dataclass(frozen=True)
class Estimate:
    """A metric's value and the bounds of its 95 % confidence interval; None where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def margin(self) -> float | None:
        """Half the width of the interval; None where there is none."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def to_dict(self) -> dict[str, float | None]:
        """The estimate as a dict for JSON, with None for NaN."""
        return {name: _plain(number) for name, number in vars(self).items()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, float | None]) -> Estimate:
        """The estimate that `to_dict` described, with NaN for None."""
        value = saved["value"]
        return cls(math.nan if value is None else value, saved.get("low"), saved.get("high"))


Estimates = dict[str, Estimate]


def of_classes(p: Tensor, labels: Tensor, *, seed: int = 0) -> Estimates:
    """Metrics of probabilities (n, C) float64 for class indices (n,).

    Accuracy with Wilson's interval; balanced accuracy, log loss and, for two classes, ROC AUC with bootstrap intervals;
    and the expected calibration error.
    """
    n, classes = p.shape
    right = (p.argmax(1) == labels).double()
    surprise = log_losses(p, labels)
    weighted: dict[str, Weighted] = {
        "balanced accuracy": lambda w: _balanced(w, right, labels, classes),
        "log loss": lambda w: float((w * surprise).sum() / w.sum()),
    }
    if classes == 2:
        area = roc_area(p[:, 1], labels == 1)
        weighted["ROC AUC"] = lambda w: float(area(w))
    intervals = _bootstrap(weighted, n, seed)
    return {
        "accuracy": wilson(int(right.sum()), n),
        **intervals,
        "calibration error": Estimate(calibration_error(p, labels)),
    }


def losses_of(predicted: Tensor, truth: Tensor) -> Tensor:
    """The loss of each row, (n,): log losses of probabilities (n, C), or squared errors of numbers (n,)."""
    return log_losses(predicted, truth) if predicted.dim() == 2 else (predicted - truth).square()


def log_losses(p: Tensor, labels: Tensor) -> Tensor:
    """The log loss of each row, (n,), for probabilities (n, C) and class indices (n,)."""
    return -p.gather(1, labels.unsqueeze(1)).squeeze(1).clamp_min(SMALLEST).log()


def of_numbers(
    predicted: Tensor, numbers: Tensor, *, ends: tuple[Tensor, Tensor] | None = None, seed: int = 0
) -> Estimates:
    """Metrics of predicted numbers (n,) float64: R2, root mean squared and mean absolute error.

    ends  the lower and upper ends of prediction intervals, (n,) each, if there are any; adds their mean width, the
          share of numbers within them, and this share by fifths of the prediction

    The intervals of these metrics are bootstrap intervals, and Wilson's for shares.
    """
    error = predicted - numbers

    def r2(w: Tensor) -> float:
        mean = (w * numbers).sum() / w.sum()
        return 1.0 - float((w * error.square()).sum() / (w * (numbers - mean).square()).sum())

    weighted: dict[str, Weighted] = {
        "R2": r2,
        "RMSE": lambda w: math.sqrt((w * error.square()).sum() / w.sum()),
        "MAE": lambda w: float((w * error.abs()).sum() / w.sum()),
    }
    found = _bootstrap(weighted, len(numbers), seed)
    if ends is not None:
        low, high = ends
        inside = (low <= numbers) & (numbers <= high)
        many = len(numbers) >= ROWS_PER_PART * len(FIFTHS)
        found["coverage"] = wilson(int(inside.sum()), len(numbers))
        found |= dict(zip(FIFTHS, shares_by_size(predicted, inside), strict=True)) if many else {}
        found["interval width"] = Estimate(float((high - low).mean()))
    return found


def shares_by_size(predicted: Tensor, inside: Tensor, parts: int = len(FIFTHS)) -> list[Estimate]:
    """The share of rows that are inside, for parts of equal size of the rows (n,) in ascending order of prediction."""
    ordered = inside[predicted.argsort(stable=True)]
    return [wilson(int(part.sum()), len(part)) for part in ordered.tensor_split(parts)]


def advantages(ours: Tensor, others: Mapping[str, Tensor], *, root: bool = False, seed: int = 0) -> Estimates:
    """By how much a model's mean loss is below that of each other model on the same rows, with paired intervals.

    ours, others  the loss of each row, (n,)
    root          whether to compare the roots of the mean losses, such as the RMSE of squared errors

    All models are measured on the same bootstrap samples of rows, so what makes a row hard for all of them cancels.
    """

    def below(theirs: Tensor) -> Weighted:
        def advantage(w: Tensor) -> float:
            means = [float((w * losses).sum() / w.sum()) for losses in (theirs, ours)]
            return math.sqrt(means[0]) - math.sqrt(means[1]) if root else means[0] - means[1]

        return advantage

    return _bootstrap({name: below(losses) for name, losses in others.items()}, len(ours), seed)


def overconfidence(p: Tensor, labels: Tensor, *, seed: int = 0) -> Estimate:
    """The mean over the rows of (probability of the predicted class - whether it is right), with its interval."""
    confidence, predicted = p.max(1)
    excess = confidence - (predicted == labels).double()
    return _bootstrap({"mean": lambda w: float((w * excess).sum() / w.sum())}, len(p), seed)["mean"]


# ---- intervals -------------------------------------------------------------------------------------------------------
def wilson(right: int, n: int, level: float = LEVEL) -> Estimate:
    """The share right / n with Wilson's score interval, which is valid even for few rows and for shares of 0 and 1.

    centre = (p + z^2 / 2n) / (1 + z^2 / n)     margin = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n)

    Source    Wilson 1927, "Probable inference, the law of succession, and statistical inference"
    """
    p, z = right / n, NormalDist().inv_cdf((1 + level) / 2)
    stretch = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / stretch
    margin = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / stretch
    return Estimate(p, min(p, max(0.0, centre - margin)), max(p, min(1.0, centre + margin)))


def _bootstrap(weighted: dict[str, Weighted], n: int, seed: int) -> Estimates:
    """Each metric on all rows, with the interval that holds the middle 95 % of its bootstrap samples.

    A large table gets few samples, and the interval value -+ 1.96 std of these.

    Source    Efron 1979, "Bootstrap methods: another look at the jackknife"
    """
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, list[float]] = {name: [] for name in weighted}
    with threads_for(0):
        for _ in range(min(SAMPLES, max(FEWEST_SAMPLES, DRAWN // n))):
            counts = torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n).double()
            for name, metric in weighted.items():
                values[name].append(metric(counts))
    all_rows = torch.ones(n, dtype=torch.float64)
    return {name: _between(metric(all_rows), values[name], n) for name, metric in weighted.items()}


def _between(value: float, samples: list[float], rows: int) -> Estimate:
    """A value with its interval from bootstrap samples of `rows` rows; samples that are NaN are ignored."""
    finite = torch.tensor([sample for sample in samples if math.isfinite(sample)], dtype=torch.float64)
    tail = (1 - LEVEL) / 2
    if len(finite) < 2 or (rows < FEW and bool((finite == finite[0]).all())):
        return Estimate(value)
    if len(finite) >= ENOUGH:
        return Estimate(value, *finite.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist())
    margin = NormalDist().inv_cdf(1 - tail) * finite.std().item()
    return Estimate(value, value - margin, value + margin)


# ---- metrics for classes ---------------------------------------------------------------------------------------------
def _balanced(w: Tensor, right: Tensor, labels: Tensor, classes: int) -> float:
    """Balanced accuracy: the mean recall over the classes that occur."""
    rows = torch.bincount(labels, weights=w, minlength=classes)
    hits = torch.bincount(labels, weights=w * right, minlength=classes)
    there = rows > 0
    return float((hits[there] / rows[there]).mean())


def bins_of(p: Tensor, labels: Tensor, bins: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Rows binned by the probability of the predicted class: mean probability, share correct, row count, each (bins,).

    The bins are equally wide, from 0 to 1. The first two results are NaN where a bin is empty.
    """
    confidence, predicted = p.max(1)
    right = (predicted == labels).double()
    place = (confidence * bins).long().clamp_max(bins - 1)
    rows = torch.bincount(place, minlength=bins).double()
    sums = [torch.bincount(place, weights=each, minlength=bins) / rows for each in (confidence.double(), right)]
    return sums[0], sums[1], rows


def calibration_error(p: Tensor, labels: Tensor, bins: int = 10) -> float:
    """The expected calibration error: the mean over rows of |share correct - mean probability| in their bin.

    Source    Guo et al. 2017, "On calibration of modern neural networks", eq. 3
    """
    confidence, right, rows = bins_of(p, labels, bins)
    there = rows > 0
    return float(((confidence - right).abs() * rows)[there].sum() / rows.sum())


def _plain(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
