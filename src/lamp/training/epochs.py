"""Epochs of the compiled engine: the data as kernels read them, and the measurements of finished epochs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.compiler.cache_key import frozen
from lamp.compiler.correct_counts import Answer, is_counted
from lamp.compiler.eager_checks import check_loss
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.override_checks import check_overrides
from lamp.compiler.samples import kind_of_targets, laid_out, numbers_of, shapes_of
from lamp.compiler.stages import Plan
from lamp.data import DataLoader
from lamp.losses import ClassLoss, Loss
from lamp.training import eager
from lamp.training.batch import parts
from lamp.training.epoch_metrics import measured
from lamp.training.measured import Measured
from lamp.training.metrics import MetricLike, answer_of, ignored_by
from lamp.training.spec import FitSpec
from lamp.trees import flat

if TYPE_CHECKING:
    from lamp.compiler.kernel_runner import KernelRunner
    from lamp.compiler.steps import Steps


def shapes_of_samples(loader: Any) -> tuple[Any, ...] | None:
    """The shapes of the inputs of a loader's samples (see `plan_of`); None if unknown. Raises NotCompiled for several
    targets."""
    if not isinstance(loader, DataLoader) or loader.tensors is None:
        return None
    inputs, _ = _columns(loader)
    return shapes_of(inputs, loader.per_replica)


def _columns(loader: DataLoader) -> tuple[tuple[Any, ...], Tensor]:
    """The columns of a loader: inputs, nested as the network takes them, and the targets."""
    if loader.tensors is None or len(loader.tensors) < 2:
        raise NotCompiled("the data are not tensors of inputs and one of targets")
    *inputs, targets = parts(loader.in_form(loader.columns))
    if not isinstance(targets, Tensor):
        raise NotCompiled("the data have several targets")
    return tuple(inputs), targets


class Data:
    """A loader's samples as a kernel reads them, and the order in which steps take them.

    watched  whether user code may change the data between epochs, so that changes must be detected
    copies   whether user code may change them during training, so that they must be copied
    answers  the kinds of predictions that the metrics count, if a kernel can count all of them; else None

    Raises NotCompiled for data that kernels cannot read.
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
        check_overrides(loader)
        inputs, self.given = _columns(loader)
        loader.check_memory()
        self.loader, self.plan = loader, plan
        self.per_replica = loader.per_replica
        self.rows = self.given.shape[1] if self.per_replica else self.given.shape[0]
        self.inputs = laid_out(plan, inputs, self.per_replica)
        self.labels, self.ignores = kind_of_targets(criterion, plan, self.given, self.per_replica)
        check_loss(criterion, plan, self.given, self.per_replica, replicas, loader.batch_size)
        self.targets = numbers_of(self.given, self.per_replica, self.inputs.dtype)
        if copies and self._in_place(inputs):
            self.inputs = self.inputs.clone()
        if copies and self.targets.data_ptr() == self.given.data_ptr():
            self.targets = self.targets.clone()
        self._then = self.given.clone() if watched else None
        self._seedless = loader.seed is None  # the first epoch will draw a seed
        if len(self.inputs) >= 2**31:
            raise NotCompiled("more than 2^31 samples")
        self.outputs = plan.outputs
        self.answers = self._answers(plan, metrics)

    def _in_place(self, inputs: tuple[Any, ...]) -> bool:
        """Whether kernels read the user's own tensor of inputs."""
        return any(self.inputs.data_ptr() == x.data_ptr() for x in flat(inputs))

    def _are_as_copied(self, inputs: tuple[Any, ...]) -> bool:
        """Whether inputs that kernels read a copy of are still those that were copied."""
        try:
            return torch.equal(laid_out(self.plan, inputs, self.per_replica), self.inputs)
        except NotCompiled:  # the next epoch says why
            return False

    @property
    def state(self) -> Hashable:
        """A key of the loader's settings, and of whether the samples are unchanged."""
        loader = self.loader
        loader.check_memory()
        settings = loader.batch_size, loader.drop_last, loader.shuffle, tuple(vars(loader))
        inputs, given = _columns(loader)
        same = self._then is None or (given.shape == self._then.shape and torch.equal(given, self._then))
        same &= self._in_place(inputs) or self._are_as_copied(inputs)
        return (*settings, None if self._seedless else frozen(loader.seed), frozen(loader.indices), same)

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that occur."""
        size, samples = self.loader.batch_size, self.samples
        return tuple({min(size, samples), samples % size} - {0})

    @property
    def samples(self) -> int:
        """The number of samples per epoch."""
        loader = self.loader
        return min(len(loader) * loader.batch_size, loader.samples)

    @property
    def steps(self) -> int:
        """The number of steps per epoch."""
        return len(self.loader)

    @property
    def kept(self) -> int:
        """How many numbers are stored per epoch and replica."""
        return self.samples * (1 if self.answers is not None else 1 + self.outputs)

    @property
    def per_replica_order(self) -> bool:
        """Whether each replica takes its own samples."""
        return self.loader.replicas is not None

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch's samples in order, (m,) or (K, m)."""
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
        """The rows of the samples of the loader's next epochs, int32 (epochs m,) or (K, epochs m)."""
        lead = () if self.loader.replicas is None else (self.loader.replicas,)
        orders = torch.empty(*lead, epochs, self.samples, dtype=torch.int32)
        if not self.loader.shuffle:
            orders[:] = self.order(self.loader.epoch).unsqueeze(-2)
        for k in range(epochs if self.loader.shuffle else 0):
            orders[..., k, :] = self.order(self.loader.epoch + k)
        return orders.flatten(-2)

    def lay_out(
        self, runner: KernelRunner, epochs: int = 1, advance: Callable[[], None] | None = None
    ) -> tuple[Steps, Tensor]:
        """Prepare the loader's next epochs: the runner's steps, and the order of their samples. The loader counts these
        epochs at once.

        advance  called after each step to advance a schedule that changes per batch
        """
        self.loader.check_memory()
        order = self.orders(epochs)
        self.loader.epoch += epochs
        return runner.prepare(self.inputs, self.targets, order, self.loader.batch_size, epochs, advance), order

    def _answers(self, plan: Plan, metrics: Mapping[str, MetricLike]) -> list[Answer] | None:
        weighted = not self.labels and math.prod(self.targets.shape[1:]) != plan.outputs
        answers = [answer_of(metric) for metric in metrics.values()]
        if self.labels and any(self._counts_ignored(ignored_by(metric)) for metric in metrics.values()):
            return None
        fitting = [each for each in answers if each is not None and is_counted(each, plan, self.labels, weighted)]
        return fitting if len(fitting) == len(answers) else None

    def _counts_ignored(self, label: int) -> bool:
        """Whether a label that a metric ignores occurs and is a class number, so that a kernel could count it."""
        return label >= 0 and bool((self.given == label).any())

    def asked(self, metrics: Mapping[str, MetricLike], orders: Tensor) -> Tensor:
        """The number of predictions that each accuracy counts, (accuracies, epochs, K). K is 1 if replicas agree.

        orders  the rows of the epochs' samples, (epochs, m) or (K, epochs, m)
        """
        counts = []
        for metric, answer in zip(metrics.values(), self.answers or (), strict=self.answers is not None):
            places = math.prod(self.plan.output_shape[1:]) if answer == "largest" else self.outputs
            count = torch.tensor([[self.samples * places]])
            ignored = ignored_by(metric)
            if self.labels and bool((self.given == ignored).any()):
                count = (self._labels(orders) != ignored).reshape(*orders.shape, -1).sum((-2, -1))
                count = count.unsqueeze(1) if count.dim() == 1 else count.t()
            counts.append(count.expand(orders.shape[-2], -1))
        widest = max((count.shape[1] for count in counts), default=1)
        return torch.stack([count.expand(-1, widest) for count in counts]) if counts else torch.ones(0, 1, 1)

    def _labels(self, orders: Tensor) -> Tensor:
        labels: Tensor = self.given.flatten(0, 1) if self.per_replica else self.given
        return labels[orders.long()]

    def divisors(self, criterion: Loss, orders: Tensor, batch: int) -> Tensor:
        """The divisor of each step's mean, up to a common factor: (epochs, steps), or (epochs, steps, K) if replicas
        differ.

        orders  the rows of the epochs' samples, (epochs, m) or (K, epochs, m)
        """
        epochs, samples = orders.shape[-2:]
        steps = -(-samples // batch)
        if not (self.labels and isinstance(criterion, ClassLoss) and (self.ignores or criterion.weight is not None)):
            return torch.tensor([min(batch, samples - k * batch) for k in range(steps)]).expand(epochs, -1)
        weights = criterion.weight_of_labels(self._labels(orders)).double().reshape(*orders.shape, -1).sum(-1)
        padded = weights.new_zeros(*weights.shape[:-1], steps * batch)
        padded[..., :samples] = weights
        sums: Tensor = padded.unflatten(-1, (steps, batch)).sum(-1)  # ([K,] epochs, steps)
        return sums if sums.dim() == 2 else sums.permute(1, 2, 0)

    def targets_of(self, order: Tensor, replicas: int | None) -> Tensor:
        """The targets in this order, as metrics take them: with an axis of replicas in a population."""
        taken = (self.given.flatten(0, 1) if self.per_replica else self.given)[order]
        return taken if replicas is None or self.per_replica_order else taken.expand(replicas, *taken.shape)


@dataclass
class Record:
    """The results of steps. K is 1 for a single network.

    losses   (steps, K)
    right    (steps, accuracies, K) the numbers of correct predictions
    outputs  (K, samples, outputs), if they are kept for other metrics; else None
    """

    losses: Tensor
    right: Tensor
    outputs: Tensor | None

    @classmethod
    def of(cls, steps: Steps) -> Record:
        return cls(steps.losses, steps.right, steps.outputs)

    def cut(self, steps: slice, samples: slice) -> Record:
        """The results of some of the steps, which took these samples."""
        outputs = None if self.outputs is None else self.outputs[:, samples]
        return Record(self.losses[steps], self.right[steps], outputs)

    def followed_by(self, more: Record) -> Record:
        outputs = None
        if self.outputs is not None and more.outputs is not None:
            outputs = torch.cat([self.outputs, more.outputs], 1)
        return Record(torch.cat([self.losses, more.losses]), torch.cat([self.right, more.right]), outputs)


@dataclass
class CompiledEpoch:
    """The current epoch.

    kept      a snapshot of the networks before step `first`
    first     the first step to make: 0, unless the epoch is resumed
    head      the `state_dict` of the steps before `first`, if the epoch is resumed
    schedule  the schedule's state when the epoch began, if it changes per step
    done      the number of steps made
    seconds   the time they took
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
        """The results of all the epoch's steps, those before it was resumed included."""
        record = Record.of(self.steps)
        if self.head is None:
            return record
        return Record(**self.head["record"]).followed_by(
            record.cut(slice(self.first, None), slice(self._to(self.first), None))
        )

    def _to(self, step: int) -> int:
        """The number of samples before a step."""
        return min(step * self.steps.batch, self.steps.samples)

    def weights(self, runner: KernelRunner) -> Tensor:
        """The weights (K, P) with which the epoch began."""
        return runner.weights_in(self.kept) if self.head is None else self.head["weights"]

    def state_dict(self, runner: KernelRunner) -> dict[str, Any]:
        """What is needed to continue the epoch after the steps that are made."""
        return {
            "record": vars(self.record.cut(slice(self.done), slice(self._to(self.done)))),
            "weights": self.weights(runner),
            "schedule": self.schedule,
            "seconds": self.seconds,
        }


def losses_of_epochs(spec: FitSpec, steps: Steps, record: Record) -> Tensor:
    """The loss of each step, (epochs, steps), in a population (epochs, steps, K)."""
    losses = record.losses if spec.replicas is not None else record.losses[:, 0]
    by_epoch: Tensor = losses.unflatten(0, (steps.epochs, -1))
    return by_epoch


def values_of_epochs(
    spec: FitSpec, steps: Steps, data: Data, order: Tensor, record: Record
) -> Iterator[dict[str, Measured]]:
    """Yields the loss and the metrics of each epoch, which are those that the eager engine would measure."""
    replicas, metrics, epochs = spec.replicas, spec.metrics, steps.epochs
    orders = order.unflatten(-1, (epochs, -1))
    divisors = data.divisors(spec.criterion, orders, steps.batch)
    outputs = None if record.outputs is None else record.outputs.unflatten(1, (epochs, -1))  # (K, epochs, samples, ...)
    shares: Iterable[Any] = itertools.repeat(())  # of correct predictions: per epoch, (accuracies,) or (accuracies, K)
    if metrics and outputs is None:
        right = record.right.unflatten(0, (epochs, -1)).sum(1)  # (epochs, accuracies, K)
        each = right.double() / data.asked(metrics, orders).transpose(0, 1)
        shares = _listed(each if replicas is not None else each[..., 0], replicas)
    means = eager.mean_loss(losses_of_epochs(spec, steps, record), divisors, spec.criterion, replicas)
    all_count = bool(divisors.all())
    for k, (loss, of_metrics) in enumerate(zip(_listed(means, replicas), shares, strict=False)):
        if not all_count:
            eager.check_counted(divisors[k], spec.criterion, replicas)
        values: dict[str, Measured] = {"loss": loss}
        if outputs is not None:
            output = outputs[:, k]
            output = output.reshape(*output.shape[:-1], *data.plan.output_shape)
            output = output if replicas is not None else output[0]
            target = data.targets_of(orders[..., k, :].long(), replicas)
            values |= measured(metrics, output, target, replicas)
        elif metrics:
            values.update(zip(metrics, of_metrics, strict=True))
        yield values


def _listed(values: Tensor, replicas: int | None) -> Sequence[Any]:
    """The values of each epoch: numbers of one network, tensors of a population."""
    return values.tolist() if replicas is None else values.unbind()
