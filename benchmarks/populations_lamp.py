"""Many networks in lamp: `lamp.population` in the loop of a single network, or `lamp.compile`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

import lamp
from benchmarks.populations import Task
from benchmarks.populations_torch import Samples
from benchmarks.start import Array
from lamp.compiler.kernel import forget


class WithLamp:
    """lamp's eager engine."""

    def __init__(self, task: Task) -> None:
        self.task, rule = task, task.rule
        activation = getattr(lamp, task.activation)
        layers = [(lamp.Linear(fan_in, fan_out), activation()) for fan_in, fan_out in pairwise(task.widths)]
        single = lamp.Sequential(*[module for pair in layers for module in pair][:-1])
        self.population = lamp.population(single, seeds=range(task.networks))
        values = map(torch.tensor, task.values())
        self.population.load_state_dict(dict(zip(self.population.state_dict(), values, strict=True)))
        self.criterion = lamp.CrossEntropyLoss()
        lr = rule.lr if task.lr is None else torch.tensor(task.lr)
        decay = 0.0 if task.decay is None else torch.tensor(task.decay)
        betas = (rule.beta1, rule.beta2)
        self.optimizer = lamp.Adam(self.population.parameters(), lr, betas, rule.eps, weight_decay=decay)
        self.samples = Samples(task)

    def _next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch, marked as per replica if each network has its own."""
        inputs, labels = self.samples.next()
        return (lamp.per_replica(inputs) if self.task.own_batches else inputs), labels

    def run(self, steps: int) -> None:
        """Train in the loop that a user writes, for a population as for one network."""
        population, criterion, optimizer = self.population, self.criterion, self.optimizer
        for _ in range(steps):
            inputs, labels = self._next()
            criterion(population(inputs), labels)
            optimizer.zero_grad()
            population.backward(criterion.backward())
            optimizer.step()

    def parameters(self) -> dict[str, Array]:
        return self.task.named(self.population.state_dict().values())


class WithFitsStep(WithLamp):
    """The loop with the step of lamp.fit, which leaves out the gradient of the input, as the peers do."""

    def run(self, steps: int) -> None:
        population, criterion, optimizer = self.population, self.criterion, self.optimizer
        for _ in range(steps):
            inputs, labels = self._next()
            criterion(population(inputs), labels)
            optimizer.zero_grad()
            population.backward_parameters(criterion.backward())
            optimizer.step()


class WithCompile(WithLamp):
    """lamp.compile: one call makes all steps of a run. The first run compiles."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.compiled: Any = None
        order = torch.tensor(task.order)  # (batches, B) or (batches, K, B)
        self.order = order.transpose(0, 1).flatten(1) if task.own_batches else order.flatten()  # (K, m) or (m,)
        self.orders: dict[int, torch.Tensor] = {}  # number of epochs -> order

    def run(self, steps: int) -> None:
        epochs = self.task.epochs(steps)
        if self.compiled is None:
            forget()
            self.compiled = lamp.compile(self.population, self.criterion, self.optimizer, self.task.batch)
        if epochs not in self.orders:
            self.orders[epochs] = torch.cat([self.order] * epochs, -1)
        self.losses = self.compiled(self.samples.inputs, self.samples.labels, self.orders[epochs])
