"""One network in torch.nn, with each implementation of its optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

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
