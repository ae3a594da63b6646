"""Networks of many widths and activations in lamp: one population per activation."""

from __future__ import annotations

from typing import Any

import torch

import lamp
from benchmarks.mixed import ACTIVATIONS, CLASSES, Mixed
from benchmarks.start import Array
from lamp.compiler.kernel import forget


class WithCompile:
    """lamp.compile: one call per activation makes all steps of a run. The first run compiles."""

    def __init__(self, task: Mixed) -> None:
        self.task, self.groups = task, []
        self.inputs, self.labels = torch.tensor(task.inputs), torch.tensor(task.labels)
        self.criterion = lamp.CrossEntropyLoss()
        self.compiled: list[Any] = []
        for number in range(len(ACTIVATIONS)):
            rows = (task.activations == number).nonzero()[0].tolist()
            population = lamp.stack([self._network(k) for k in rows])
            self.groups.append((rows, population, lamp.SGD(population.parameters(), task.lr)))

    def _network(self, k: int) -> lamp.Module:
        task = self.task
        activation = getattr(lamp, ACTIVATIONS[task.activations[k]])()
        h = int(task.hidden[k])
        network = lamp.Sequential(lamp.Linear(task.features, h), activation, lamp.Linear(h, CLASSES))
        values = map(torch.tensor, task.of(k))
        network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
        return network

    def run(self, steps: int) -> None:
        if not self.compiled:
            forget()
            self.compiled = [
                lamp.compile(population, self.criterion, optimizer, self.task.batch)
                for _, population, optimizer in self.groups
            ]
        order = torch.arange(steps * self.task.batch) % len(self.inputs)
        for each in self.compiled:
            each(self.inputs, self.labels, order)

    def parameters(self) -> dict[str, Array]:
        found = self.task.weights.copy()
        for rows, population, _ in self.groups:
            for k, row in enumerate(rows):
                values = population[k].parameters()
                for piece, value in zip(self.task.pieces(row), values, strict=True):
                    found[row, piece] = value.data.flatten().numpy()
        return {"weights": found}
