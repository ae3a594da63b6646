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
from lamp.tables.groups import Group
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
    shuffled together. The outputs W x + b of a group's first layer are computed once, where x are encoded rows. An
    encoding works on each input alone, so shuffling column c changes these outputs only by W_c (x_c' - x_c), and the
    time is proportional to the number of columns. If there are too many columns for `seconds` of budget, only those
    with the largest weights are measured, and a remark is added to `notes`.

    Columns with the same information share their importance, because one makes up for the other when that is shuffled.

    Source    Breiman 2001, "Random forests", section 10
    """
    places = model.preprocessing.places()
    parts = [_CutGroup(group, x.shape[1]) for group in model.groups]
    repeats = FEW_REPEATS if len(places) > MANY_COLUMNS else REPEATS
    first_work, other_work = sum(part.weight.numel() for part in parts), sum(part.other_work for part in parts)
    of_a_row = repeats * (other_work + first_work / len(places))  # multiplications, for a column
    activations = sum(part.weight[..., 0].numel() for part in parts)  # of the first layers, per row
    count = max(LEAST_ROWS, min(MOST_ROWS, int(WORK / (of_a_row * len(places))), int(MOST_NUMBERS / activations)))
    rows = some(torch.arange(len(x)), count, seed)
    x, truth = x[rows], truth[rows]
    most = max(MANY_COLUMNS, int(min(MOST_WORK / (of_a_row * len(x)), seconds / (repeats * SHUFFLE))))
    if len(places) > most:
        if notes is not None:
            notes.append(
                f"importance is measured for the {most:,} columns with the largest weights, of {len(places):,}"
            )
        places = _heaviest(places, torch.stack([part.size_of_inputs for part in parts]).sum(0), most)
    generator = torch.Generator().manual_seed(seed)
    found = []
    with threads_for(other_work * len(x)):
        for part in parts:
            part.look_at(x)
        whole = _loss(model, [part.scores() for part in parts], truth)
        for name, at in places.items():
            rises = []
            for _ in range(repeats):
                order = torch.randperm(len(x), generator=generator)
                rises.append(_loss(model, [part.scores(order, at) for part in parts], truth) - whole)
            of_all = torch.tensor(rises, dtype=torch.float64)
            found.append(Importance(name, float(of_all.mean()), float(of_all.std())))
    return sorted(found, key=lambda each: -each.mean)


class _CutGroup:
    """A group of networks, cut behind the first layer, whose outputs on some rows are kept.

    weight      (K, units, encoded features) of the first layer
    other_work  the number of multiplications per row in all layers behind it, of all members
    """

    def __init__(self, group: Group, inputs: int) -> None:
        self.group, self.inputs = group, inputs
        self.first, self.others = _part(group.networks, slice(1)), _part(group.networks, slice(1, None))
        self.weight = next(layer for layer in self.first.modules() if isinstance(layer, Linear)).weight.data
        members, units, features = self.weight.shape
        self.other_work = members * group.work - self.weight.numel()
        self.by_feature = self.weight.permute(2, 0, 1).reshape(features, members * units)
        sources = group.sources(inputs)
        self.ordered = sources.argsort(stable=True)  # encoded features, ordered by the input that each comes from
        self.bounds = torch.searchsorted(sources[self.ordered], torch.arange(inputs + 1)).tolist()

    @property
    def size_of_inputs(self) -> Tensor:
        """(inputs,): the sum of the squared weights behind each input."""
        of_features = self.weight.square().sum((0, 1))
        return torch.zeros(self.inputs).index_add_(0, self.group.sources(self.inputs), of_features)

    def look_at(self, x: Tensor) -> None:
        """Compute and keep the first layer's outputs for rows x (n, inputs)."""
        self.encoded = self.group.encoded(x)
        self.hidden: Tensor = predict(self.first, self.encoded)  # (K, n, units)

    def scores(self, order: Tensor | None = None, inputs: range = range(0)) -> Tensor:
        """The members' outputs (K, n, outputs), with these inputs in another order among the rows."""
        hidden = self.hidden
        if order is not None:
            places = self.ordered[self.bounds[inputs.start] : self.bounds[inputs.stop]]
            values = self.encoded[:, places]
            change = (values[order] - values) @ self.by_feature[places]  # (n, K units)
            hidden = hidden + change.view(len(order), len(hidden), -1).transpose(0, 1)
        if any(True for _ in self.others.network.children()):
            hidden = predict(self.others, self.others.per_replica(hidden))
        return hidden


def _part(networks: Population, which: slice) -> Population:
    """A copy of the networks with only some of their layers."""
    part = copy.deepcopy(networks)
    part.network = Sequential(*list(part.network.children())[which])
    return part


def _heaviest(places: dict[str, range], sizes: Tensor, most: int) -> dict[str, range]:
    """The columns with the largest weights in the first layers, whose inputs all have about the same variance."""
    of_inputs = sizes.tolist()
    size = {name: sum(of_inputs[k] for k in at) for name, at in places.items()}
    return {name: places[name] for name in sorted(places, key=lambda name: -size[name])[:most]}


def _loss(model: TableModel, scores: list[Tensor], truth: Tensor) -> float:
    mean = model.of_scores(torch.cat(scores)).mean
    if model.target.is_classes:
        return float(-mean.gather(1, truth.unsqueeze(1)).clamp_min(1e-15).log().mean())
    return float((mean - truth).square().mean()) / model.target.std**2
