"""The weights of an ensemble's groups, chosen on rows that their networks were not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lamp.studies.calibration import SMALLEST

PARTS = 10  # a weight is a multiple of 1 / PARTS
PRIOR = 10.0  # equal weights count as much as so many rows


def mixed(scores: Sequence[Tensor], targets: Tensor) -> Sequence[float]:
    """The weights of groups, multiples of 1 / PARTS that add up to 1, by their members' outputs on held-out rows.

    w = argmin over w of n L(w) + PRIOR sum over g of w_g log(G w_g)

    where L is the mean log loss of sum over g of w_g p_g, with p_g the mean probabilities of the group's members. For
    numbers it is half the logarithm of the mean squared error of sum over g of w_g y_g, the log loss of a normal
    distribution whose variance is the mean squared error. The second term draws the weights of few rows to equal ones.

    scores   of each group, (m, n, outputs)
    targets  class indices (n,), or numbers (n, 1)
    """
    of_classes = not targets.is_floating_point()
    if of_classes:
        found = [each.double().softmax(-1).mean(0).gather(1, targets.unsqueeze(1)) for each in scores]
    else:
        found = [each.double().mean(0) - targets for each in scores]
    values = torch.stack([each.squeeze(1) for each in found])  # (G, n): probabilities of the label, or errors
    groups, rows = values.shape

    def penalised(weights: Sequence[float]) -> float:
        mean = torch.tensor(weights, dtype=torch.float64) @ values
        loss = (
            -mean.clamp_min(SMALLEST).log().mean() if of_classes else mean.square().mean().clamp_min(SMALLEST).log() / 2
        )
        far = sum(w * math.log(groups * w) for w in weights if w)
        return rows * float(loss) + PRIOR * far

    return min(_on_the_simplex(groups), key=penalised)


def _on_the_simplex(groups: int) -> Iterator[Sequence[float]]:
    """All weights of so many groups, equal ones first."""
    yield (1 / groups,) * groups

    def parts(groups: int, left: int) -> Iterator[tuple[int, ...]]:
        if groups == 1:
            yield (left,)
            return
        for first in range(left + 1):
            for others in parts(groups - 1, left - first):
                yield (first, *others)

    for each in parts(groups, PARTS):
        yield tuple(part / PARTS for part in each)
