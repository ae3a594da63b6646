"""Permutation importance: how much worse the predictions get when a column's values are shuffled among the rows."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.cpu_settings import threads_for
from lamp.nn import Linear, Sequential
from lamp.replicas import Population
from lamp.tables.model import TableModel
from lamp.tables.split import some
from lamp.training import predict

REPEATS, FEW_REPEATS, MANY_COLUMNS = 5, 2, 50
LEAST_ROWS, MOST_ROWS = 300, 4_000
SHUFFLE = 5e-4  # seconds of budget to shuffle a column once and to measure the loss
WORK, MOST_WORK = 5e9, 1e11  # multiplications in all, as a goal; and the limit, reached with LEAST_ROWS
MOST_NUMBERS = 2e7  # activations of the first layer held in memory: members x rows x units


@dataclass(frozen=True)
class Importance:
    """How much the loss rises when a column is shuffled: mean and standard deviation over several shuffles.

    The loss is the log loss for classes, and the mean squared error divided by the target's variance for numbers.
    """

    column: str
    mean: float
    std: float


def importances(
    model: TableModel,
    x: Tensor,
    truth: Tensor,
    *,
    seconds: float = math.inf,
    seed: int = 0,
    notes: list[str] | None = None,
) -> list[Importance]:
    """The importance of each column that is used, the most important first.

    x (n, features) are preprocessed rows, truth (n,) their class indices or numbers. All features of a column are
    shuffled together. The first layer's outputs W x + b are computed once; shuffling column c changes them only by
    W_c (x_c' - x_c), so the time is proportional to the number of columns. If there are too many columns for `seconds`
    of budget, only those with the largest weights are measured, and a remark is added to `notes`.

    Columns with the same information share their importance, because one makes up for the other when that is shuffled.

    Source    Breiman 2001, "Random forests", section 10
    """
    places = model.preprocessing.places()
    first, others = _part(model.networks, slice(1)), _part(model.networks, slice(1, None))
    weight = next(layer for layer in first.modules() if isinstance(layer, Linear)).weight.data  # (K, units, features)
    members, units, features = weight.shape
    repeats = FEW_REPEATS if len(places) > MANY_COLUMNS else REPEATS
    other_weights = model.shape.weights(features, model.target.outputs) - features * units
    of_a_row = members * repeats * (other_weights + units * features / len(places))  # multiplications, for a column
    count = max(LEAST_ROWS, min(MOST_ROWS, int(WORK / (of_a_row * len(places))), int(MOST_NUMBERS / (members * units))))
    rows = some(torch.arange(len(x)), count, seed)
    x, truth = x[rows], truth[rows]
    most = max(MANY_COLUMNS, int(min(MOST_WORK / (of_a_row * len(x)), seconds / (repeats * SHUFFLE))))
    if len(places) > most:
        if notes is not None:
            notes.append(
                f"importance is measured for the {most:,} columns with the largest weights, of {len(places):,}"
            )
        places = _heaviest(places, weight, most)
    by_input = weight.permute(2, 0, 1).reshape(features, members * units)  # each input's weights side by side
    generator = torch.Generator().manual_seed(seed)
    found = []
    with threads_for(members * other_weights * len(x)):
        hidden = predict(first, x)  # (K, n, units)
        whole = _loss(model, others, hidden, truth)
        for name, at in places.items():
            columns, rises = slice(at.start, at.stop), []
            for _ in range(repeats):
                order = torch.randperm(len(x), generator=generator)
                change = (x[order, columns] - x[:, columns]) @ by_input[columns]  # (n, K units)
                shuffled = hidden + change.view(len(x), members, units).transpose(0, 1)
                rises.append(_loss(model, others, shuffled, truth) - whole)
            of_all = torch.tensor(rises, dtype=torch.float64)
            found.append(Importance(name, float(of_all.mean()), float(of_all.std())))
    return sorted(found, key=lambda each: -each.mean)


def _part(networks: Population, which: slice) -> Population:
    """A copy of the networks with only some of their layers."""
    part = copy.deepcopy(networks)
    part.network = Sequential(*list(part.network.children())[which])
    return part


def _heaviest(places: dict[str, range], weight: Tensor, most: int) -> dict[str, range]:
    """The columns with the largest weights in the first layer, whose inputs all have about the same variance."""
    of_inputs = weight.square().sum((0, 1)).tolist()
    size = {name: sum(of_inputs[k] for k in at) for name, at in places.items()}
    return {name: places[name] for name in sorted(places, key=lambda name: -size[name])[:most]}


def _loss(model: TableModel, others: Population, hidden: Tensor, truth: Tensor) -> float:
    scores = predict(others, others.per_replica(hidden)) if any(True for _ in others.network.children()) else hidden
    mean = model.of_scores(scores).mean
    if model.target.is_classes:
        return float(-mean.gather(1, truth.unsqueeze(1)).clamp_min(1e-15).log().mean())
    return float((mean - truth).square().mean()) / model.target.std**2
