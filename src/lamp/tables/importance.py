"""How much each column matters: how much worse the predictions get when its values are shuffled among the rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.tables.model import TableModel
from lamp.tables.split import some

REPEATS, FEW_REPEATS, MANY_COLUMNS = 5, 2, 50
LEAST_ROWS, MOST_ROWS = 300, 4_000
WORK = 5e9  # multiplications that all of it may take


@dataclass(frozen=True)
class Importance:
    """Of a column: by how much the loss rises, on average over shuffles, and the deviation between them.

    The loss is the log loss of classes, and of numbers the mean squared error over the variance.
    """

    column: str
    mean: float
    std: float


def importances(model: TableModel, x: Tensor, truth: Tensor, *, seed: int = 0) -> list[Importance]:
    """Of each used column, all its features shuffled together, the most important first: of rows as the networks take
    them (n, features), with what is true of them (n,).

    Columns that say the same share their importance: the one left whole makes up for the other.

    Source    Breiman 2001, "Random forests", section 10
    """
    places = model.preprocessing.places()
    repeats = FEW_REPEATS if len(places) > MANY_COLUMNS else REPEATS
    of_a_row = len(model.networks) * model.shape.weights(x.shape[1], model.target.outputs) * len(places) * repeats
    rows = some(torch.arange(len(x)), max(LEAST_ROWS, min(MOST_ROWS, int(WORK / of_a_row))), seed)
    x, truth = x[rows], truth[rows]
    generator = torch.Generator().manual_seed(seed)
    whole = _loss(model, x, truth)
    found = []
    for name, at in places.items():
        rises = []
        for _ in range(repeats):
            shuffled = x.clone()
            order = torch.randperm(len(x), generator=generator)
            shuffled[:, at.start : at.stop] = x[order, at.start : at.stop]
            rises.append(_loss(model, shuffled, truth) - whole)
        of_all = torch.tensor(rises, dtype=torch.float64)
        found.append(Importance(name, float(of_all.mean()), float(of_all.std())))
    return sorted(found, key=lambda each: -each.mean)


def _loss(model: TableModel, x: Tensor, truth: Tensor) -> float:
    mean = model.of_inputs(x).mean
    if model.target.is_classes:
        return float(-mean.gather(1, truth.unsqueeze(1)).clamp_min(1e-15).log().mean())
    return float((mean - truth).square().mean()) / model.target.std**2
