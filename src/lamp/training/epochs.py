"""Epochs as a kernel makes them: the samples that its steps take, and what was measured in them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.compiler.cache_key import frozen
from lamp.compiler.correct_counts import Answer, is_counted
from lamp.compiler.refusals import check_loss
from lamp.compiler.samples import kind_of_targets, laid_out, numbers_of
from lamp.compiler.stages import Plan
from lamp.compiler.stand_ins import NotCompiled, look_for_overrides
from lamp.data import DataLoader
from lamp.losses import ClassLoss, Loss
from lamp.training import eager
from lamp.training.engine import Measurement
from lamp.training.epoch_metrics import measured
from lamp.training.history import Measured
from lamp.training.metrics import MetricLike, answer_of, ignored_by
from lamp.training.spec import FitSpec

if TYPE_CHECKING:
    from lamp.compiler.kernel_runner import KernelRunner
    from lamp.compiler.steps import Steps


def shape_of_samples(loader: Any) -> tuple[int, ...] | None:
    """The shape of a loader's samples, where that is known. Raises NotCompiled for several inputs or targets."""
    if not isinstance(loader, DataLoader) or loader.tensors is None:
        return None
    _check_columns(loader)
    return tuple(loader.columns[0].shape[1 + loader.per_replica :])


def _check_columns(loader: DataLoader) -> None:
    if loader.tensors is None or len(loader.tensors) != 2 or loader.is_nested:
        raise NotCompiled("the data are not one tensor of inputs and one of targets")


class Data:
    """A loader's samples as a kernel reads them, and the rows that each step takes.

    answers  how the metrics read outputs, where a kernel can count right answers for all of them; else None
    watched  whether somebody may change the data between epochs, so that it must be seen
    copies   whether that may be while they are trained on, so that the inputs must be copied
    """

    def __init__(
        self,
        loader: Any,
        criterion: Loss,
        plan: Plan,
        metrics: Mapping[str, MetricLike],
        *,
        replicas: int | None = None,
        watched: bool = False,
        copies: bool = False,
    ) -> None:
        if not isinstance(loader, DataLoader):
            raise NotCompiled(f"the data come from a {type(loader).__name__}, not from tensors")
        look_for_overrides(loader)
        _check_columns(loader)
        loader.check_memory()
        self.loader, self._plan = loader, plan
        inputs, self.given = loader.columns
        self.per_replica = loader.per_replica
        self.rows = inputs.shape[1] if self.per_replica else inputs.shape[0]
        self.inputs = laid_out(plan, inputs, self.per_replica)
        self.labels, self.ignores = kind_of_targets(criterion, plan, self.given, self.per_replica)
        check_loss(criterion, plan, self.given, self.per_replica, replicas, loader.batch_size)
        self.targets = numbers_of(self.given, self.per_replica, self.inputs.dtype)
        if copies and self._in_place(inputs):
            self.inputs = self.inputs.clone()
        if copies and self.targets.data_ptr() == self.given.data_ptr():
            self.targets = self.targets.clone()
        self._then = self.given.clone() if watched else None
        self._seedless = loader.seed is None  # until the first epoch draws one
        if len(self.inputs) >= 2**31:
            raise NotCompiled("more than 2^31 samples")
        self.outputs = plan.outputs
        self.answers = self._answers(plan, metrics)

    def _in_place(self, inputs: Tensor) -> bool:
        """Whether a kernel reads the inputs where the user has them."""
        return self.inputs.data_ptr() == inputs.data_ptr()

    @property
    def state(self) -> Hashable:
        """How the loader gives batches, and whether the samples are as they were."""
        loader = self.loader
        loader.check_memory()
        settings = loader.batch_size, loader.drop_last, loader.shuffle, tuple(vars(loader))
        inputs, given = loader.columns
        same = self._then is None or (given.shape == self._then.shape and torch.equal(given, self._then))
        same &= self._in_place(inputs) or torch.equal(laid_out(self._plan, inputs, self.per_replica), self.inputs)
        return (*settings, None if self._seedless else frozen(loader.seed), frozen(loader.indices), same)

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
    def kept(self) -> int:
        """How many numbers are kept of an epoch, for each replica."""
        return self.samples * (1 if self.answers is not None else 1 + self.outputs)

    @property
    def per_replica_order(self) -> bool:
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
        if self.per_replica:
            order = order + torch.arange(0, len(order) * self.rows, self.rows).unsqueeze(1)
        return order

    def orders(self, epochs: int) -> Tensor:
        """The samples of the loader's next epochs, (epochs m,) or (K, epochs m), int32."""
        lead = () if self.loader.replicas is None else (self.loader.replicas,)
        orders = torch.empty(*lead, epochs, self.samples, dtype=torch.int32)
        for k in range(epochs):
            orders[..., k, :] = self.order(self.loader.epoch + k)
        return orders.flatten(-2)

    def lay_out(
        self, runner: KernelRunner, epochs: int = 1, advance: Callable[[], None] | None = None
    ) -> tuple[Steps, Tensor]:
        """The runner's steps of the loader's next epochs, which it counts from now on; and the order of their samples.

        advance  the schedule's step, where it is called after each batch
        """
        self.loader.check_memory()
        order = self.orders(epochs)
        self.loader.epoch += epochs
        return runner.prepare(self.inputs, self.targets, order, self.loader.batch_size, epochs, advance), order

    def _answers(self, plan: Plan, metrics: Mapping[str, MetricLike]) -> list[Answer] | None:
        weighted = self.targets.dim() > 1 and self.targets.shape[1] != plan.outputs
        answers = [answer_of(metric) for metric in metrics.values()]
        if self.labels and any(self._counts_ignored(ignored_by(metric)) for metric in metrics.values()):
            return None
        fitting = [each for each in answers if each is not None and is_counted(each, plan, self.labels, weighted)]
        return fitting if len(fitting) == len(answers) else None

    def _counts_ignored(self, label: int) -> bool:
        """Whether a kernel could count an answer as right that a metric ignores, its label being a class."""
        return label >= 0 and bool((self.given == label).any())

    def asked(self, metrics: Mapping[str, MetricLike], orders: Tensor) -> Tensor:
        """How many answers count for each accuracy in epochs of these orders, (epochs, m) or (K, epochs, m).

        (accuracies, epochs, K), where what is the same for all epochs or replicas has the size 1.
        """
        counts = []
        for metric, answer in zip(metrics.values(), self.answers or (), strict=self.answers is not None):
            count = torch.tensor([[self.samples * (1 if answer == "largest" else self.outputs)]])
            ignored = ignored_by(metric)
            if self.labels and bool((self.given == ignored).any()):
                count = (self._labels(orders) != ignored).sum(-1)
                count = count.unsqueeze(1) if count.dim() == 1 else count.t()
            counts.append(count.expand(orders.shape[-2], -1))
        widest = max((count.shape[1] for count in counts), default=1)
        return torch.stack([count.expand(-1, widest) for count in counts]) if counts else torch.ones(0, 1, 1)

    def _labels(self, orders: Tensor) -> Tensor:
        labels: Tensor = self.given.flatten(0, 1) if self.per_replica else self.given
        return labels[orders.long()]

    def divisors(self, criterion: Loss, orders: Tensor, batch: int) -> Tensor:
        """What each step's mean was divided by in epochs of these orders, up to one factor for all steps.

        (epochs, steps), or (epochs, steps, K) where replicas differ
        """
        epochs, samples = orders.shape[-2:]
        steps = -(-samples // batch)
        if not (self.labels and isinstance(criterion, ClassLoss) and (self.ignores or criterion.weight is not None)):
            return torch.tensor([min(batch, samples - k * batch) for k in range(steps)]).expand(epochs, -1)
        weights = criterion.weight_of_labels(self._labels(orders)).double()
        padded = weights.new_zeros(*weights.shape[:-1], steps * batch)
        padded[..., :samples] = weights
        sums: Tensor = padded.unflatten(-1, (steps, batch)).sum(-1)  # ([K,] epochs, steps)
        return sums if sums.dim() == 2 else sums.permute(1, 2, 0)

    def targets_of(self, order: Tensor, replicas: int | None) -> Tensor:
        """The targets in this order, as metrics take them."""
        taken = (self.given.flatten(0, 1) if self.per_replica else self.given)[order]
        return taken if replicas is None or self.per_replica_order else taken.expand(replicas, *taken.shape)


@dataclass
class Record:
    """What steps left.

    losses   (steps, K); of one network K is 1
    right    how many answers were right, (steps, accuracies, K), where a kernel counts them
    outputs  (K, samples, outputs), where they are kept for other metrics
    """

    losses: Tensor
    right: Tensor
    outputs: Tensor | None

    @classmethod
    def of(cls, steps: Steps) -> Record:
        return cls(steps.losses, steps.right, steps.outputs)

    def cut(self, steps: slice, samples: slice) -> Record:
        """Some of the steps, which took these samples."""
        outputs = None if self.outputs is None else self.outputs[:, samples]
        return Record(self.losses[steps], self.right[steps], outputs)

    def followed_by(self, more: Record) -> Record:
        outputs = None
        if self.outputs is not None and more.outputs is not None:
            outputs = torch.cat([self.outputs, more.outputs], 1)
        return Record(torch.cat([self.losses, more.losses]), torch.cat([self.right, more.right]), outputs)


@dataclass
class CompiledEpoch:
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

    def __post_init__(self) -> None:
        self.done = self.first
        self.seconds: float = 0.0 if self.head is None else self.head["seconds"]

    @property
    def record(self) -> Record:
        """What the epoch's steps left, before it was resumed too."""
        record = Record.of(self.steps)
        if self.head is None:
            return record
        return Record(**self.head["record"]).followed_by(
            record.cut(slice(self.first, None), slice(self._to(self.first), None))
        )

    def _to(self, step: int) -> int:
        """How many samples are taken up to a step."""
        return min(step * self.steps.batch, self.steps.samples)

    def weights(self, runner: KernelRunner) -> Tensor:
        """What the epoch began with, (K, P)."""
        return runner.weights_in(self.kept) if self.head is None else self.head["weights"]

    def state_dict(self, runner: KernelRunner) -> dict[str, Any]:
        """What is needed to go on after the steps that are made."""
        return {
            "record": vars(self.record.cut(slice(self.done), slice(self._to(self.done)))),
            "weights": self.weights(runner),
            "schedule": self.schedule,
            "seconds": self.seconds,
        }


def of_epochs(spec: FitSpec, steps: Steps, data: Data, order: Tensor, record: Record) -> Iterator[Measurement]:
    """The losses, and the loss and metrics of each epoch, as the eager engine has them; each when it is asked for."""
    replicas, metrics, epochs = spec.replicas, spec.metrics, steps.epochs
    losses = record.losses if replicas is not None else record.losses[:, 0]
    losses = losses.unflatten(0, (epochs, -1))  # (epochs, steps, ...)
    orders = order.unflatten(-1, (epochs, -1))
    divisors = data.divisors(spec.criterion, orders, steps.batch)
    outputs = None if record.outputs is None else record.outputs.unflatten(1, (epochs, -1))  # (K, epochs, samples, ...)
    right = record.right.unflatten(0, (epochs, -1)).sum(1)  # (epochs, accuracies, K)
    shares = right.double() / data.asked(metrics, orders).transpose(0, 1)
    for k in range(epochs):
        loss = eager.mean_loss(losses[k], divisors[k], spec.criterion)
        values: dict[str, Measured] = {"loss": float(loss) if replicas is None else loss}
        if outputs is not None:
            output = outputs[:, k] if replicas is not None else outputs[0, k]
            target = data.targets_of(orders[..., k, :].long(), replicas)
            values |= measured(metrics, output, target, replicas)
        else:
            for name, share in zip(metrics, shares[k], strict=True):
                values[name] = float(share) if replicas is None else share
        yield Measurement(losses[k], values, 0.0)
