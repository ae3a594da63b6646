"""One network in lamp: in a loop that a user writes, by lamp.fit, and by lamp.compile."""

from __future__ import annotations

from typing import Any

import torch

import lamp
from benchmarks.single import Task
from benchmarks.single_torch import batches, values
from benchmarks.start import Array
from lamp.compiler.kernel import forget


class WithLamp:
    """lamp's eager engine."""

    def __init__(self, task: Task) -> None:
        self.task, rule = task, task.rule
        self.model = task.network(lamp, lamp.Residual)
        self.model.load_state_dict(dict(zip(self.model.state_dict(), values(task), strict=True)))
        self.criterion: lamp.Loss = getattr(lamp, task.loss)()
        if rule.name == "SGD":
            self.optimizer: lamp.Optimizer = lamp.SGD(self.model.parameters(), lr=rule.lr)
        else:
            kind = getattr(lamp, rule.name)
            betas = (rule.beta1, rule.beta2)
            self.optimizer = kind(self.model.parameters(), rule.lr, betas, rule.eps, rule.weight_decay)
        self.batches = batches(task)

    def run(self, steps: int) -> None:
        """Train in the loop that a user writes."""
        model, criterion, optimizer = self.model, self.criterion, self.optimizer
        for _ in range(self.task.epochs(steps)):
            for inputs, targets in self.batches:
                criterion(model(inputs), targets)
                optimizer.zero_grad()
                model.backward(criterion.backward())
                optimizer.step()

    def parameters(self) -> dict[str, Array]:
        return self.task.named(self.model.state_dict().values())


class WithFitsStep(WithLamp):
    """The loop with the step of lamp.fit, which leaves out the gradient of the input, as torch.nn does."""

    def run(self, steps: int) -> None:
        model, criterion, optimizer = self.model, self.criterion, self.optimizer
        for _ in range(self.task.epochs(steps)):
            for inputs, targets in self.batches:
                criterion(model(inputs), targets)
                optimizer.zero_grad()
                model.backward_parameters(criterion.backward())
                optimizer.step()


class WithFit(WithLamp):
    """lamp.fit: that step, with history, callbacks and kept weights around it."""

    def run(self, steps: int) -> None:
        epochs = self.task.epochs(steps)
        lamp.fit(
            self.model, self.criterion, self.optimizer, self.batches, epochs=epochs, progress=False, engine="eager"
        )


class _AllSamples(WithLamp):
    """The samples of all batches in one tensor, as the compiled engine takes them."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.inputs, self.targets = (torch.cat(column) for column in zip(*self.batches, strict=True))


class WithCompile(_AllSamples):
    """lamp.compile: one call makes all steps of a run. The first run compiles."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.compiled: Any = None
        self.orders: dict[int, torch.Tensor] = {}  # number of epochs -> order

    def run(self, steps: int) -> None:
        epochs = self.task.epochs(steps)
        if self.compiled is None:
            forget()
            self.compiled = lamp.compile(self.model, self.criterion, self.optimizer, self.task.batch)
        if epochs not in self.orders:
            self.orders[epochs] = torch.arange(len(self.inputs)).repeat(epochs)
        self.losses = self.compiled(self.inputs, self.targets, self.orders[epochs])


class WithFitCompiled(_AllSamples):
    """lamp.fit with engine="compiled", which compiles in each call."""

    compiling = 0.0

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        forget()

    def run(self, steps: int) -> None:
        history = lamp.fit(
            self.model,
            self.criterion,
            self.optimizer,
            (self.inputs, self.targets),
            epochs=self.task.epochs(steps),
            batch_size=self.task.batch,
            shuffle=False,
            progress=False,
            engine="compiled",
        )
        self.compiling = history.compile_seconds
