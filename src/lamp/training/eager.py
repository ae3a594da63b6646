"""The eager engine: the modules themselves, a batch at a time. It is the reference, and the thing to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.errors import DataError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.replicas import Population
from lamp.training.history import Measured
from lamp.training.metrics import Metric, of_each_replica

Batch = tuple[Any, ...]  # the inputs of the network, then the target


class Averages:
    """The epoch's loss and metrics, gathered batch by batch without looking at a number before the end."""

    def __init__(self, criterion: Loss, metrics: Mapping[str, Metric], replicas: int | None = None) -> None:
        self.summed, self.own_target = criterion.reduction == "sum", criterion.own_target
        self.metrics, self.replicas = metrics, replicas
        self.losses: list[Tensor] = []
        self.sizes: list[int] = []
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def add(self, loss: Tensor, output: Tensor, target: Tensor) -> None:
        self.losses.append(loss)
        self.sizes.append(len(target) if self.replicas is None else output.shape[1])
        if self.metrics:
            self.outputs.append(output)
            self.targets.append(target if self.replicas is None else self.own_target(output, target, self.replicas))

    def state_dict(self) -> dict[str, Any]:
        """What is gathered so far."""
        axis = 0 if self.replicas is None else 1
        return {
            "losses": torch.stack(self.losses),
            "sizes": self.sizes,
            "outputs": torch.cat(self.outputs, axis) if self.metrics else None,
            "targets": torch.cat(self.targets, axis) if self.metrics else None,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self.losses, self.sizes = list(state_dict["losses"].to(device).unbind()), list(state_dict["sizes"])
        if self.metrics:
            self.outputs, self.targets = [state_dict["outputs"].to(device)], [state_dict["targets"].to(device)]

    def values(self) -> dict[str, Measured]:
        """The loss (a mean over samples, or the sum where the criterion sums) and each metric of all outputs.

        Numbers; of a population tensors (K,).
        """
        if not self.losses:
            raise DataError("an epoch without batches", expected="at least one batch", got="none", fix="give some")
        losses = torch.stack(self.losses)
        loss = mean_loss(losses, torch.tensor(self.sizes, device=losses.device), self.summed)
        values: dict[str, Measured] = {"loss": float(loss) if self.replicas is None else loss.cpu()}
        if self.metrics:
            axis = 0 if self.replicas is None else 1
            output, target = torch.cat(self.outputs, axis), torch.cat(self.targets, axis)
            values |= measured(self.metrics, output, target, self.replicas)
        return values


def mean_loss(losses: Tensor, sizes: Tensor, summed: bool) -> Tensor:
    """The loss of an epoch from those of its batches, (batches,) or (batches, K): a mean over samples, or the sum."""
    losses = losses.double()
    if summed:
        return losses.sum(0)
    weighted = losses * (sizes if losses.dim() == 1 else sizes.unsqueeze(1))
    return weighted.sum(0) / sizes.sum()


def measured(
    metrics: Mapping[str, Metric], output: Tensor, target: Tensor, replicas: int | None
) -> dict[str, Measured]:
    """Each metric of an epoch's outputs: numbers; of a population, from (K, n, ...), tensors (K,)."""
    if replicas is None:
        return {name: float(metric(output, target)) for name, metric in metrics.items()}
    return {name: of_each_replica(metric, output, target) for name, metric in metrics.items()}


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


def taken(model: Module, batch: Any, source: Iterable[Any]) -> Batch:
    """A batch from this source as the model takes it: (inputs..., target).

    What a loader of lamp's gives to all replicas of a population says so, whatever axes it has.
    """
    *inputs, target = parts(batch)
    if isinstance(model, Population) and isinstance(source, DataLoader) and source.replicas is None:
        inputs = [model.shared(x) if isinstance(x, Tensor) else x for x in inputs]
    return (*inputs, target)


def train_step(
    model: Module,
    criterion: Loss,
    optimizer: Optimizer,
    inputs: Sequence[Any],
    target: Any,
    before_step: Callable[[Tensor], None],
) -> tuple[Tensor, Tensor]:
    """Forward, loss, backward, step; returns the output and the loss before the step."""
    output = model(*inputs)
    loss = criterion(output, target)
    optimizer.zero_grad()
    model.backward_parameters(criterion.backward())
    before_step(loss)
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


def evaluate(
    model: Module,
    criterion: Loss,
    batches: Iterable[Any],
    metrics: Mapping[str, Metric],
    batch_for: Callable[[Any, Iterable[Any]], Batch] | None = None,
) -> dict[str, Measured]:
    """The loss and the metrics over these batches, in eval mode; `batch_for` says what a batch is."""
    averages = Averages(criterion, metrics, model.replicas)
    with evaluating(model, criterion):
        for batch in batches:
            *inputs, target = taken(model, batch, batches) if batch_for is None else batch_for(batch, batches)
            output = model(*inputs)
            averages.add(criterion(output, target), output, target)
    return averages.values()
