"""One network in torch.nn, with each implementation of its optimizers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Absent
from benchmarks.single import Task
from benchmarks.start import Array

Batches = list[tuple[Tensor, Tensor]]


def values(task: Task) -> list[Tensor]:
    """The initial parameters: weight, bias, weight, bias, ..."""
    return [torch.tensor(each) for each in task.values()]


def batches(task: Task) -> Batches:
    """The batches as tensors: (B, features) with (B,) or (B, outputs) each."""
    return list(zip(torch.tensor(task.inputs).unbind(), torch.tensor(task.targets).unbind(), strict=True))


class Residual(torch.nn.Module):
    """x + body(x)"""

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class WithTorchNN:
    """torch.nn and torch.optim in the loop of their documentation. Options go to the optimizer."""

    def __init__(self, task: Task, **options: Any) -> None:
        self.task, rule = task, task.rule
        self.model = task.network(torch.nn, Residual)
        self.model.load_state_dict(dict(zip(self.model.state_dict(), values(task), strict=True)))
        self.criterion = getattr(torch.nn, task.loss)()
        if rule.name == "SGD":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(self.model.parameters(), lr=rule.lr, **options)
        else:
            kind = getattr(torch.optim, rule.name)
            betas = (rule.beta1, rule.beta2)
            self.optimizer = kind(self.model.parameters(), rule.lr, betas, rule.eps, rule.weight_decay, **options)
        self.batches = batches(task)

    def run(self, steps: int) -> None:
        model, criterion, optimizer = self.model, self.criterion, self.optimizer
        for _ in range(self.task.epochs(steps)):
            for inputs, targets in self.batches:
                loss = criterion(model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def parameters(self) -> dict[str, Array]:
        return self.task.named(self.model.state_dict().values())


class WithTorchCompile(WithTorchNN):
    """The same loop with the network compiled by torch.compile."""

    def __init__(self, task: Task, **options: Any) -> None:
        import torch._inductor.config as inductor

        super().__init__(task, **options)
        torch._dynamo.reset()
        warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")  # a warning of compiling without caches
        inductor.force_disable_caches = True  # so that compiling is measured
        self.model, self.ready = torch.compile(self.model), False

    def run(self, steps: int) -> None:
        try:
            super().run(steps)
        except Exception as error:
            if self.ready:
                raise
            raise Absent(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
        self.ready = True


class FirstOfMany:
    """The first of several networks, one after another. `task.of(k)` is the k-th alone. Options go to the optimizer."""

    def __init__(self, task: Any, count: int, **options: Any) -> None:
        self.trainings = [WithTorchNN(task.of(k), **options) for k in range(count)]

    def run(self, steps: int) -> None:
        for each in self.trainings:
            each.run(steps)

    def parameters(self) -> dict[str, Array]:
        found = [each.parameters() for each in self.trainings]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}
