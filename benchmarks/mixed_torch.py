"""Networks of many widths in torch: one after another, as one wide layer, and batched in buckets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.mixed import ACTIVATIONS, CLASSES, Mixed, buckets, out_of
from benchmarks.start import Array


def activation(number: int) -> torch.nn.Module:
    made: torch.nn.Module = getattr(torch.nn, ACTIVATIONS[number])()
    return made


class Batches:
    """The batches, in order, again and again."""

    def __init__(self, task: Mixed) -> None:
        self.inputs, self.labels = torch.tensor(task.inputs), torch.tensor(task.labels)
        self.batch = task.batch

    def of(self, step: int) -> tuple[Tensor, Tensor]:
        at = step * self.batch % len(self.inputs)
        return self.inputs[at : at + self.batch], self.labels[at : at + self.batch]


class OneByOne:
    """torch.nn and torch.optim in the loop of their documentation, for the first networks, one after another."""

    def __init__(self, task: Mixed, sample: int, **options: Any) -> None:
        self.task, self.batches, self.trainings = task, Batches(task), []
        for k in range(sample):
            h = int(task.hidden[k])
            model = torch.nn.Sequential(
                torch.nn.Linear(task.features, h), activation(task.activations[k]), torch.nn.Linear(h, CLASSES)
            )
            values = map(torch.tensor, task.of(k))
            model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
            self.trainings.append((model, torch.optim.SGD(model.parameters(), task.lr, **options)))
        self.criterion = torch.nn.CrossEntropyLoss()

    def run(self, steps: int) -> None:
        for model, optimizer in self.trainings:
            for step in range(steps):
                inputs, labels = self.batches.of(step)
                loss = self.criterion(model(inputs), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def parameters(self) -> dict[str, Array]:
        found = self.task.weights[: len(self.trainings)].copy()
        for k, (model, _) in enumerate(self.trainings):
            for piece, value in zip(self.task.pieces(k), model.parameters(), strict=True):
                found[k, piece] = value.detach().flatten().numpy()
        return {"weights": found}


class AsOneLayer:
    """The hidden layers of the first networks as one layer. An output sums over the units of its own network.

    Source    the idea of Farias et al. 2022, "Embarrassingly Parallel Independent Training of Multi-Layer Perceptrons"
              (ParallelMLPs), written anew
    """

    def __init__(self, task: Mixed, sample: int) -> None:
        self.task, self.batches, self.sample = task, Batches(task), sample
        kinds = task.activations[:sample]
        self.rows = [k for number in range(len(ACTIVATIONS)) for k in (kinds == number).nonzero()[0].tolist()]
        each = [task.of(k) for k in self.rows]

        def joined(arrays: list[Array]) -> Tensor:
            return torch.cat([torch.tensor(array) for array in arrays]).requires_grad_()

        self.w1, self.b1 = joined([w1 for w1, _, _, _ in each]), joined([b1 for _, b1, _, _ in each])
        self.w2 = joined([w2.T for _, _, w2, _ in each])  # (all units, classes)
        self.b2 = torch.stack([torch.tensor(b2) for _, _, _, b2 in each]).requires_grad_()  # (K, classes)
        units = [int(task.hidden[k]) for k in self.rows]
        self.network_of = torch.repeat_interleave(torch.arange(len(units)), torch.tensor(units))  # (units,)
        of_activation = [sum(task.hidden[:sample][kinds == number]) for number in range(len(ACTIVATIONS))]
        self.sizes = [int(size) for size in of_activation]
        self.activations = [activation(number) for number in range(len(ACTIVATIONS))]
        self.optimizer = torch.optim.SGD([self.w1, self.b1, self.w2, self.b2], task.lr)

    def run(self, steps: int) -> None:
        networks = len(self.rows)
        for step in range(steps):
            inputs, labels = self.batches.of(step)
            self.optimizer.zero_grad()
            before = torch.addmm(self.b1.unsqueeze(1), self.w1, inputs.T).split(self.sizes)  # (units, B)
            hidden = torch.cat([sigma(x) for sigma, x in zip(self.activations, before, strict=True)])
            weighted = hidden.unsqueeze(1) * self.w2.unsqueeze(2)  # (units, classes, B)
            sums = weighted.new_zeros(networks, CLASSES, len(inputs)).index_add(0, self.network_of, weighted)
            outputs = sums + self.b2.unsqueeze(2)  # (K, classes, B)
            loss = cross_entropy(outputs, labels.expand(networks, -1), reduction="sum") / len(inputs)
            loss.backward()
            self.optimizer.step()

    def parameters(self) -> dict[str, Array]:
        found, at = self.task.weights[: self.sample].copy(), 0
        w1, b1, w2, b2 = (value.detach().numpy() for value in (self.w1, self.b1, self.w2, self.b2))
        for place, k in enumerate(self.rows):
            units = slice(at, at + int(self.task.hidden[k]))
            at = units.stop
            values = w1[units], b1[units], w2[units].T, b2[place]
            for piece, value in zip(self.task.pieces(k), values, strict=True):
                found[k, piece] = value.flatten()
        return {"weights": found}


class InBuckets:
    """Stacked parameters and torch.baddbmm for each bucket of similar widths, gradients by autograd.

    A network that is narrower than its bucket is padded with zeros, and a mask keeps them 0.
    """

    def __init__(self, task: Mixed) -> None:
        self.task, self.batches = task, Batches(task)
        self.buckets = [
            (
                bucket,
                activation(bucket.activation),
                [torch.tensor(value).requires_grad_() for value in bucket.values],
                torch.tensor(bucket.there),
            )
            for bucket in buckets(task)
        ]
        parameters = [value for _, _, values, _ in self.buckets for value in values]
        self.optimizer = torch.optim.SGD(parameters, task.lr, foreach=True)

    def run(self, steps: int) -> None:
        for step in range(steps):
            inputs, labels = self.batches.of(step)
            self.optimizer.zero_grad()
            for bucket, sigma, (w1, b1, w2, b2), there in self.buckets:
                networks = len(bucket.rows)
                hidden = sigma(torch.baddbmm(b1, w1, inputs.T.expand(networks, -1, -1))) * there  # (k, widest, B)
                outputs = torch.baddbmm(b2, w2, hidden)  # (k, classes, B)
                loss = cross_entropy(outputs, labels.expand(networks, -1), reduction="sum") / len(inputs)
                loss.backward()
            self.optimizer.step()

    def parameters(self) -> dict[str, Array]:
        each = [(bucket, [value.detach().numpy() for value in values]) for bucket, _, values, _ in self.buckets]
        return out_of(self.task, each)
