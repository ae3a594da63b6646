"""Epochs as a kernel makes them: the samples that its steps take, and what was measured in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.compiler.plan import NotCompiled, Plan
from lamp.compiler.samples import kind_of_targets, laid_out, numbers_of
from lamp.data import DataLoader
from lamp.losses import Loss
from lamp.training import eager
from lamp.training.crew import Crew
from lamp.training.history import Measured

if TYPE_CHECKING:
    from lamp.compiler.trainer import Steps, Trainer


@dataclass(frozen=True)
class Measurement:
    """An epoch: its losses (steps,), in a population (steps, k), what was measured, and the seconds it took."""

    losses: Tensor
    values: dict[str, Measured]
    seconds: float


class Data:
    """A loader's samples as a kernel reads them, and the rows that each step takes."""

    def __init__(self, loader: Any, criterion: Loss, plan: Plan) -> None:
        if not isinstance(loader, DataLoader):
            raise NotCompiled(f"the data come from a {type(loader).__name__}, not from tensors")
        if loader.tensors is None or len(loader.tensors) != 2:
            raise NotCompiled("the data are not one tensor of inputs and one of targets")
        self.loader = loader
        inputs, self.given = loader.columns
        self.own = loader.own
        self.rows = inputs.shape[1] if self.own else inputs.shape[0]
        self.inputs = laid_out(plan, inputs, self.own)
        self.labels, self.ignores = kind_of_targets(criterion, plan, self.given, self.own)
        self.targets = numbers_of(self.given, self.own, self.inputs.dtype)
        if len(self.inputs) >= 2**31:
            raise NotCompiled("more than 2^31 samples")

    @property
    def batches(self) -> tuple[int, ...]:
        """The numbers of samples that steps have."""
        size, samples = self.loader.batch_size, self.samples
        return tuple({min(size, samples), samples % size} - {0})

    @property
    def samples(self) -> int:
        """How many of them an epoch takes."""
        loader = self.loader
        return min(len(loader) * loader.batch_size, loader.samples)

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        return len(self.loader)

    @property
    def own_order(self) -> bool:
        """Whether each replica takes samples of its own."""
        return self.loader.replicas is not None

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch's samples, (m,) or (K, m)."""
        order = self.loader.order_of(epoch)
        if order is None:
            order = torch.arange(self.rows)
            if self.loader.replicas is not None:
                order = order.expand(self.loader.replicas, -1)
        order = order[..., : self.samples]
        if self.own:
            order = order + torch.arange(0, len(order) * self.rows, self.rows).unsqueeze(1)
        return order

    def targets_of(self, order: Tensor, replicas: int | None) -> Tensor:
        """The targets in this order, as metrics take them."""
        taken = (self.given.flatten(0, 1) if self.own else self.given)[order]
        return taken if replicas is None or self.own_order else taken.expand(replicas, *taken.shape)


@dataclass
class UnderWay:
    """An epoch that is being made.

    kept      the networks' numbers before step `first`, which was the epoch's first one unless it was resumed
    head      of a resumed one: what `state_dict` kept of the steps before that
    schedule  where the schedule stood when the epoch began, if it moves with every step
    done      how many steps are made; `seconds` they took
    """

    steps: Steps
    order: Tensor
    kept: list[Tensor]
    first: int
    head: Mapping[str, Any] | None
    schedule: Mapping[str, Any] | None
    keeps_outputs: bool

    def __post_init__(self) -> None:
        self.done = self.first
        self.seconds: float = 0.0 if self.head is None else self.head["seconds"]

    @property
    def losses(self) -> Tensor:
        """(steps, K)."""
        losses = self.steps.losses
        return losses if self.head is None else torch.cat([self.head["losses"], losses[self.first :]])

    @property
    def outputs(self) -> Tensor | None:
        """(K, samples, outputs), where they are kept."""
        if not self.keeps_outputs:
            return None
        outputs = self.steps.outputs
        return (
            outputs if self.head is None else torch.cat([self.head["outputs"], outputs[:, self._to(self.first) :]], 1)
        )

    def _to(self, step: int) -> int:
        """How many samples are taken up to a step."""
        return min(step * self.steps.batch, self.steps.samples)

    def weights(self, trainer: Trainer) -> Tensor:
        """What the epoch began with, (K, P)."""
        return trainer.weights_in(self.kept) if self.head is None else self.head["weights"]

    def state_dict(self, trainer: Trainer) -> dict[str, Any]:
        """What is needed to go on after the steps that are made."""
        outputs = self.outputs
        return {
            "losses": self.losses[: self.done],
            "outputs": None if outputs is None else outputs[:, : self._to(self.done)],
            "weights": self.weights(trainer),
            "schedule": self.schedule,
            "seconds": self.seconds,
        }


def of_epochs(
    crew: Crew,
    metrics: Mapping[str, Any],
    steps: Steps,
    data: Data,
    order: Tensor,
    epochs: int,
    losses: Tensor,
    outputs: Tensor | None,
) -> list[Measurement]:
    """The losses, and the loss and metrics of each epoch, as the eager engine has them.

    losses   of all steps, (steps, K)
    outputs  of all samples, (K, samples, outputs), where there are metrics
    """
    replicas = crew.model.replicas
    losses = losses if replicas is not None else losses[:, 0]
    by_epoch = losses.unflatten(0, (epochs, -1))  # (epochs, steps, ...)
    sizes = [min(steps.batch, steps.samples - k * steps.batch) for k in range(by_epoch.shape[1])]
    if outputs is not None:
        outputs = outputs.unflatten(1, (epochs, -1))  # (K, epochs, samples, ...)
    orders = order.unflatten(-1, (epochs, -1))
    found = []
    for k in range(epochs):
        averages = eager.Averages(crew.criterion, metrics, replicas)
        averages.losses, averages.sizes = [*by_epoch[k].unbind()], sizes
        if outputs is not None:
            averages.outputs = [outputs[:, k] if replicas is not None else outputs[0, k]]
            averages.targets = [data.targets_of(orders[..., k, :].long(), replicas)]
        found.append(Measurement(by_epoch[k], averages.values(), 0.0))
    return found
