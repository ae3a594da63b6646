"""The eager engine: the modules themselves, a batch at a time. It is the reference, and the thing to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lamp.errors import DataError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.training.metrics import Metric

Batch = tuple[Any, ...]  # the inputs of the network, then the target


class Averages:
    """The epoch's loss and metrics, gathered batch by batch without looking at a number before the end."""

    def __init__(self, criterion: Loss, metrics: Mapping[str, Metric]) -> None:
        self.summed = criterion.reduction == "sum"
        self.metrics = metrics
        self.losses: list[Tensor] = []
        self.sizes: list[int] = []
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def add(self, loss: Tensor, output: Tensor, target: Tensor) -> None:
        self.losses.append(loss)
        self.sizes.append(len(target))
        if self.metrics:
            self.outputs.append(output)
            self.targets.append(target)

    def values(self) -> dict[str, float]:
        """The loss (a mean over samples, or the sum where the criterion sums) and each metric of all outputs."""
        if not self.losses:
            raise DataError("an epoch without batches", expected="at least one batch", got="none", fix="give some")
        losses = torch.stack(self.losses).double()
        weights = torch.tensor(self.sizes, dtype=torch.float64, device=losses.device)
        values = {"loss": float(losses.sum() if self.summed else losses @ weights / weights.sum())}
        if self.metrics:
            output, target = torch.cat(self.outputs), torch.cat(self.targets)
            values |= {name: float(metric(output, target)) for name, metric in self.metrics.items()}
        return values


def parts(batch: Any) -> Batch:
    """A batch as (inputs..., target). Raises DataError for anything else."""
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        return tuple(batch)
    raise DataError(
        "a batch is inputs and a target",
        expected="a tuple (inputs, targets)",
        got=f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else ""),
        fix="give fit data=(inputs, targets), or an iterable of such pairs",
    )


def train_step(
    model: Module,
    criterion: Loss,
    optimizer: Optimizer,
    inputs: Sequence[Any],
    target: Any,
    before_step: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """Forward, loss, backward, step; returns the output and the loss before the step."""
    output = model(*inputs)
    loss = criterion(output, target)
    optimizer.zero_grad()
    model.backward_parameters(criterion.backward())
    before_step()
    optimizer.step()
    return output, loss


@contextmanager
def evaluating(*roots: Module) -> Iterator[None]:
    """Everything below these modules in eval mode; each module's own mode is put back after."""
    modules = [module for root in roots for module in root.modules()]
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def evaluate(model: Module, criterion: Loss, batches: Iterable[Any], metrics: Mapping[str, Metric]) -> dict[str, float]:
    """The loss and the metrics over these batches, in eval mode."""
    averages = Averages(criterion, metrics)
    with evaluating(model, criterion):
        for batch in batches:
            *inputs, target = parts(batch)
            output = model(*inputs)
            averages.add(criterion(output, target), output, target)
    return averages.values()
