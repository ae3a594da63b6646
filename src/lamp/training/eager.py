"""The eager engine: the modules themselves, a batch at a time. It is the reference, and the thing to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.calls import backward_from
from lamp.errors import DataError, LabelError
from lamp.losses import ClassLoss, Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.passes import evaluating
from lamp.training.history import Measured
from lamp.training.metrics import Metric, number_of, of_each_replica

Batch = tuple[Any, ...]  # the inputs of the network, then the target


class Averages:
    """The epoch's loss and metrics, gathered batch by batch without looking at a number before the end."""

    def __init__(self, criterion: Loss, metrics: Mapping[str, Metric], replicas: int | None = None) -> None:
        self.criterion, self.metrics, self.replicas = criterion, metrics, replicas
        self.losses: list[Tensor] = []
        self.divisors: list[Tensor | float] = []
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def add(self, loss: Tensor, output: Tensor, target: Tensor) -> None:
        """Take in a batch. A loss of a user's own that does not say its divisor counts by its rows."""
        divisor = getattr(loss, "divisor", None)
        if divisor is None:
            divisor = len(target) if self.replicas is None else output.shape[1]
        self.losses.append(loss)
        self.divisors.append(divisor)
        if self.metrics:
            per_replica_target = self.criterion.per_replica_target
            self.outputs.append(output)
            self.targets.append(target if self.replicas is None else per_replica_target(output, target, self.replicas))

    def state_dict(self) -> dict[str, Any]:
        """What is gathered so far."""
        axis = 0 if self.replicas is None else 1
        return {
            "losses": torch.stack(self.losses),
            "divisors": self._stacked_divisors(),
            "outputs": torch.cat(self.outputs, axis) if self.metrics else None,
            "targets": torch.cat(self.targets, axis) if self.metrics else None,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self.losses = list(state_dict["losses"].to(device).unbind())
        self.divisors = list(state_dict["divisors"].to(device).unbind())
        if self.metrics:
            self.outputs, self.targets = [state_dict["outputs"].to(device)], [state_dict["targets"].to(device)]

    def _stacked_divisors(self) -> Tensor:
        """(batches,), or (batches, K) in a population where replicas differ; float64."""
        if not any(isinstance(divisor, Tensor) for divisor in self.divisors):
            return torch.tensor(self.divisors, dtype=torch.float64, device=self.losses[0].device)
        like = self.losses[0].double()
        return torch.stack([torch.as_tensor(divisor).to(like).expand(like.shape) for divisor in self.divisors])

    def values(self) -> dict[str, Measured]:
        """The loss, as the criterion has it for all batches as one, and each metric of all outputs.

        Numbers; of a population tensors (K,).
        """
        if not self.losses:
            raise DataError("an epoch without batches", expected="at least one batch", got="none", fix="give some")
        loss = mean_loss(torch.stack(self.losses), self._stacked_divisors(), self.criterion)
        values: dict[str, Measured] = {"loss": float(loss) if self.replicas is None else loss.cpu()}
        if self.metrics:
            axis = 0 if self.replicas is None else 1
            output, target = torch.cat(self.outputs, axis), torch.cat(self.targets, axis)
            values |= measured(self.metrics, output, target, self.replicas)
        return values


def mean_loss(losses: Tensor, divisors: Tensor, criterion: Loss) -> Tensor:
    """The loss of an epoch from those of its batches, (batches,) or (batches, K): the mean of all, or the sum.

    divisors  what each batch's mean was divided by, (batches,) or (batches, K); where it is 0 a batch counts nothing

    Raises LabelError where it is 0 in all batches of one network.
    """
    losses = losses.double()
    if criterion.reduction == "sum":
        return losses.sum(0)
    if isinstance(criterion, ClassLoss) and losses.dim() == 1 and not divisors.any():
        raise criterion.explain_no_labels("none in all these data", "leave them out")
    if divisors.dim() < losses.dim():
        divisors = divisors.unsqueeze(1)
    return (losses * divisors).where(divisors != 0, 0.0).sum(0) / divisors.sum(0)


def measured(
    metrics: Mapping[str, Metric], output: Tensor, target: Tensor, replicas: int | None
) -> dict[str, Measured]:
    """Each metric of an epoch's outputs: numbers; of a population, from (K, n, ...), tensors (K,)."""
    if replicas is None:
        return {name: number_of(name, metric(output, target)) for name, metric in metrics.items()}
    return {name: of_each_replica(name, metric, output, target) for name, metric in metrics.items()}


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
    before_step: Callable[[Tensor], None],
) -> tuple[Tensor, Tensor]:
    """Forward, loss, backward, step; returns the output and the loss before the step."""
    output = model(*inputs)
    loss = criterion(output, target)
    optimizer.zero_grad()
    model.backward_parameters(backward_from(criterion, loss))  # whatever others have called since
    before_step(loss)
    optimizer.step()
    return output, loss


def evaluate(
    model: Module,
    criterion: Loss,
    batches: Iterable[Any],
    metrics: Mapping[str, Metric],
    batch_for: Callable[[Any, Iterable[Any]], Batch] | None = None,
) -> dict[str, Measured]:
    """The loss and the metrics over these batches, in eval mode; `batch_for` says what a batch is."""
    averages = Averages(criterion, metrics, model.replicas)
    with evaluating():
        for batch in batches:
            *inputs, target = parts(batch) if batch_for is None else batch_for(batch, batches)
            output = model(*inputs)
            try:
                loss = criterion(output, target)
            except LabelError:
                if not (isinstance(criterion, ClassLoss) and criterion.counts_none(target)):
                    raise
                loss = output.new_zeros(())  # which is no part of the mean
                loss.divisor = 0
            averages.add(loss, output, target)
    return averages.values()
