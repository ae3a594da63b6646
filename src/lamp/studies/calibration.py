"""Calibration of an ensemble's probabilities: one temperature for all members, from rows that they have not seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = (math.sqrt(5) - 1) / 2
COLDEST, HOTTEST = 1 / 20, 20.0  # range of temperatures
PRECISE = 1e-4  # relative precision of the temperature
SMALLEST = 1e-300  # lower bound of a probability, so that its logarithm is finite


def weighted(values: Tensor, shares: Tensor) -> Tensor:
    """The weighted mean over the members: values (K, ...), shares (K,) that add up to 1."""
    mean: Tensor = torch.tensordot(shares.to(values.dtype), values, 1)
    return mean


def probabilities(scores: Tensor, temperature: float, shares: Tensor | None = None) -> Tensor:
    """Probabilities (n, C) float64 from scores (K, n, C): the members' mean of softmax(scores / temperature).

    shares  (K,) the members' shares in the mean, which add up to 1; None for equal ones
    """
    p = (scores.double() / temperature).softmax(-1)
    return p.mean(0) if shares is None else weighted(p, shares)


def temperature(scores: Tensor, labels: Tensor, shares: Tensor | None = None, weights: Tensor | None = None) -> float:
    """The temperature that minimises the ensemble's log loss on these rows, by golden-section search over log T.

    T = argmin over T of - sum over i, c of w_i q_ic log (sum over k of s_k softmax(scores_k / T)_ic) + (log T)^2

    scores (K, n, C), labels (n,), shares s (K,), by default 1/K, weights w (n,), by default 1: a row of weight 2 counts
    as two rows. The last term is a normal prior of variance 1/2 on log T, so that few rows do not move T far. The
    targets are smoothed: q is 1 - e for the label and e / (C - 1) for each other class, with e = 1 / (n + 2), because n
    correct rows do not prove certainty; n is the sum of the weights.

    Source    Guo et al. 2017, "On calibration of modern neural networks", section 4.2, applied to an ensemble's mean;
              q as in Platt 1999, "Probabilistic outputs for support vector machines", section 2.2
    """
    counts = torch.ones(len(labels), dtype=torch.float64) if weights is None else weights.double()
    classes, doubt = scores.shape[-1], 1 / (float(counts.sum()) + 2)

    def penalised(log_t: float) -> float:
        surprise = -probabilities(scores, math.exp(log_t), shares).clamp_min(SMALLEST).log()  # (n, C)
        of_label = surprise.gather(1, labels.unsqueeze(1)).squeeze(1)
        of_others = (surprise.sum(1) - of_label) / (classes - 1)
        return float((counts * ((1 - doubt) * of_label + doubt * of_others)).sum()) + log_t**2

    low, high = math.log(COLDEST), math.log(HOTTEST)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = penalised(left), penalised(right)
    while high - low > PRECISE:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = penalised(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = penalised(right)
    return math.exp((low + high) / 2)


def of_all_members(
    scores: Tensor, labels: Tensor, members: int, shares: Tensor | None = None, weights: Tensor | None = None
) -> float:
    """The temperature of an ensemble of K members, from the scores (m, n, C) of the m members that have not seen a row.

    shares   (m,) the shares of these m in the mean; None for equal ones
    weights  (n,) the weights of the rows; None for equal ones

    The mean of more members is less certain and needs a lower temperature. So log T(m) = a + b / m is fitted to the
    temperatures of one and of m members, and evaluated at K. For m = K and for m = 1 the result is `temperature`.

    Source    a rule of thumb of our own: on four tables with two seeds each, it gave ten members a lower test loss than
              the temperature of two members in seven of the eight cases
    """
    some = len(scores)
    together = math.log(temperature(scores, labels, shares, weights))
    if some in (1, members):
        return math.exp(together)
    each = None if weights is None else weights.repeat(some)
    alone = math.log(temperature(scores.flatten(0, 1).unsqueeze(0), labels.repeat(some), weights=each))
    slope = (alone - together) / (1 - 1 / some)  # b
    return min(max(math.exp(together - slope * (1 / some - 1 / members)), COLDEST), HOTTEST)
