"""Mean, standard deviation and confidence interval of a few runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mean_std(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and count of the finite numbers in each row of (rows, K); each is (rows,).

    The standard deviation is NaN for fewer than two numbers.
    """
    there = values.masked_fill(~values.isfinite(), math.nan)
    count = (~there.isnan()).sum(1)
    mean = there.nanmean(1)
    squares = (there - mean.unsqueeze(1)).square().nansum(1)
    return mean, torch.where(count > 1, squares / (count - 1), math.nan).sqrt(), count


def margin_of_mean(values: Tensor, level: float = 0.95) -> Tensor:
    """Half the width of the confidence interval of each row's mean, (rows,): t std / sqrt(count).

    t is the quantile of Student's distribution with count - 1 degrees of freedom, which is exact for normally
    distributed numbers. Only finite numbers count.
    """
    _, std, count = mean_std(values)
    known = {n: student_t(level, n - 1) for n in set(count.tolist())}
    quantile = torch.tensor([known[n] for n in count.tolist()], dtype=torch.float64)
    return quantile * std / count.double().sqrt()


def student_t(level: float, degrees: int) -> float:
    """The t with P(|T| < t) = level for Student's distribution; NaN below one degree of freedom."""
    if degrees < 1:
        return math.nan
    low, high = 0.0, 1e9
    for _ in range(200):  # bisection: P grows with t
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, degrees: int) -> float:
    """P(|T| < t), as a finite sum, for integer degrees of freedom.  Source: Abramowitz & Stegun 1964, 26.7.3-4."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(degrees // 2):
        total += term
        term *= cosine**2 * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
