"""EagerEngine: the engine that calls the modules themselves, batch by batch. It is the reference for the other one.

`train_step` is the training step, and `evaluate` measures a network in eval mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.calls import backward_from
from lamp.data import length_of
from lamp.errors import DataError, LabelError, NonFiniteError
from lamp.losses import ClassLoss, Loss
from lamp.module import Module
from lamp.optim import Optimizer, clip_grad_norm_, clip_grad_value_
from lamp.passes import evaluating
from lamp.state import ALL, ModelState
from lamp.training.batch import Batch, parts
from lamp.training.diagnosis import first_non_finite, not_finite
from lamp.training.engine import Budget, Measurement, Progress, Ready
from lamp.training.epoch_metrics import EpochMetrics
from lamp.training.last_good import LastGood
from lamp.training.measured import Measured
from lamp.training.metrics import MetricLike
from lamp.training.mismatches import warn_of_forgotten, warn_of_hidden, warn_of_own_pair
from lamp.training.own_loss import check_own_replicas
from lamp.training.spec import FitSpec
from lamp.training.training_state import batches_from, begin_of_epoch
from lamp.training.untouched import Untouched, writes_to
from lamp.trees import first_leaf


class Averages:
    """The loss and the metrics of an epoch, accumulated batch by batch."""

    def __init__(self, criterion: Loss, metrics: Mapping[str, MetricLike], replicas: int | None = None) -> None:
        self.criterion, self.metrics, self.replicas = criterion, EpochMetrics(metrics, replicas), replicas
        self.losses: list[Tensor] = []
        self.divisors: list[Tensor | float] = []

    def add(self, loss: Tensor, output: Any, target: Any) -> None:
        """Add a batch. A user's own loss without a `divisor` is weighted by the number of samples."""
        divisor = getattr(loss, "divisor", None)
        if divisor is None:
            divisor = len(first_leaf(target)) if self.replicas is None else first_leaf(output).shape[1]
        self.losses.append(loss)
        self.divisors.append(divisor)
        if self.metrics.metrics:
            if self.replicas is not None:
                target = self.criterion.per_replica_target(output, target, self.replicas)
            self.metrics.update(output, target)

    def state_dict(self) -> dict[str, Any]:
        """The losses and metrics so far."""
        return {
            "losses": torch.stack(self.losses),
            "divisors": self._stacked_divisors(),
            "metrics": self.metrics.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self.losses = list(state_dict["losses"].to(device).unbind())
        self.divisors = list(state_dict["divisors"].to(device).unbind())
        self.metrics.load_state_dict(state_dict["metrics"], device)

    def _stacked_divisors(self) -> Tensor:
        """The divisors, float64 (batches,); (batches, K) if they differ between replicas."""
        if not any(isinstance(divisor, Tensor) for divisor in self.divisors):
            return torch.tensor(self.divisors, dtype=torch.float64, device=self.losses[0].device)
        like = self.losses[0].double()
        return torch.stack([torch.as_tensor(divisor).to(like).expand(like.shape) for divisor in self.divisors])

    def values(self) -> dict[str, Measured]:
        """The loss and the metrics over all batches: numbers, in a population tensors (K,).

        The loss is what the criterion would return for all batches as one.

        Raises DataError if there were no batches.
        """
        if not self.losses:
            raise DataError(
                "an epoch without batches", expected="at least one batch", got="none", fix="pass data with samples"
            )
        divisors = self._stacked_divisors()
        check_counted(divisors, self.criterion, self.replicas)
        loss = mean_loss(torch.stack(self.losses), divisors, self.criterion, self.replicas)
        return {"loss": float(loss) if self.replicas is None else loss.cpu(), **self.metrics.values()}


def mean_loss(losses: Tensor, divisors: Tensor, criterion: Loss, replicas: int | None) -> Tensor:
    """The losses of epochs from the losses of their batches: (epochs..., batches) -> (epochs...,), in a population
    (epochs..., batches, K) -> (epochs..., K).

    divisors  the divisor of each batch's mean, (epochs..., batches) or (epochs..., batches, K); a batch with divisor 0
              does not count
    """
    losses, batches = losses.double(), -1 if replicas is None else -2
    if criterion.reduction == "sum":
        return losses.sum(batches)
    if divisors.dim() < losses.dim():
        divisors = divisors.unsqueeze(-1)
    return (losses * divisors).where(divisors != 0, 0.0).sum(batches) / divisors.sum(batches)


def check_counted(divisors: Tensor, criterion: Loss, replicas: int | None) -> None:
    """Raise LabelError if no batch of a single network's epoch counts, because all its labels are ignored.

    divisors  as `mean_loss` takes them, of one epoch
    """
    if criterion.reduction == "sum" or replicas is not None:
        return
    if isinstance(criterion, ClassLoss) and not divisors.any():
        raise criterion.explain_no_labels("none in all these data", "leave these data out")


def _with_gradients(
    model: Module,
    criterion: Loss,
    optimizer: Optimizer,
    inputs: Sequence[Any],
    target: Any,
    before_step: Callable[[Tensor], None],
) -> tuple[Any, Tensor]:
    """The output and the loss; their gradients are in the parameters."""
    output = model(*inputs)
    loss = criterion(output, target)
    optimizer.zero_grad()
    model.backward_parameters(backward_from(criterion, loss))  # of this loss, even if the criterion was called since
    before_step(loss)
    return output, loss


def train_step(
    model: Module,
    criterion: Loss,
    optimizer: Optimizer,
    inputs: Sequence[Any],
    target: Any,
    before_step: Callable[[Tensor], None],
    in_backward: bool = False,
) -> tuple[Any, Tensor]:
    """Make one training step: forward, loss, backward, optimizer step. Returns the output and the loss.

    before_step  called with the loss once the gradients are computed, to clip them
    in_backward  whether the optimizer's step is made within backward; then `before_step` is called before both
    """
    if in_backward:
        output = model(*inputs)
        loss = criterion(output, target)
        before_step(loss)
        optimizer.zero_grad()  # of what other backwards left behind
        with optimizer.step_in_backward():
            model.backward_parameters(backward_from(criterion, loss))
        return output, loss
    if optimizer.needs_closure:
        made: list[tuple[Any, Tensor]] = []

        def closure() -> Tensor:
            made.append(_with_gradients(model, criterion, optimizer, inputs, target, before_step))
            return made[-1][1]

        optimizer.step(closure)
        return made[0]
    output, loss = _with_gradients(model, criterion, optimizer, inputs, target, before_step)
    optimizer.step()
    return output, loss


def evaluate(
    model: Module,
    criterion: Loss,
    batches: Iterable[Any],
    metrics: Mapping[str, MetricLike],
    batch_for: Callable[[Any, Iterable[Any]], Batch] | None = None,
    *,
    finite: bool = True,
) -> dict[str, Measured]:
    """The loss and the metrics over these batches, in eval mode, by name: numbers, in a population tensors (K,).

    batch_for  turns what the data yield into (inputs..., target); `batch.parts` by default
    finite     whether the loss of a single network that is NaN or infinite is an error; in a population it is a value
    """
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
                loss = first_leaf(output).new_zeros(())  # with divisor 0 it does not count in the mean
                loss.divisor = 0  # type: ignore[attr-defined]
            except NonFiniteError as error:
                if finite or error.loss is None:
                    raise
                loss = error.loss
            averages.add(loss, output, target)
    return averages.values()


OVER = object()  # returned in place of a batch at the end of an epoch


@dataclass
class EagerEpoch:
    """The current epoch.

    batches  an iterator over the remaining batches
    steps    the number of steps of the whole epoch, 1 if unknown
    begin    the generators' states, to repeat the epoch's batches after resuming; None if their number is enough
    begun    when the epoch began or was resumed, by `time.perf_counter`
    spent    seconds spent in the epoch before it was resumed
    """

    averages: Averages
    batches: Iterator[Any]
    steps: int
    begin: Mapping[str, Any] | None
    begun: float
    spent: float

    @property
    def seconds(self) -> float:
        """The time spent in this epoch so far."""
        return self.spent + time.perf_counter() - self.begun

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue the epoch after the steps that are made."""
        return self.averages.state_dict() | {"begin": self.begin, "seconds": self.seconds}


class EagerEngine:
    """Calls the modules, the loss and the optimizer themselves, one step at a time (see `lamp.training.engine`)."""

    name = "eager"
    is_ahead = False
    compile_seconds = 0.0

    def __init__(self, spec: FitSpec) -> None:
        self.spec, self.steps, self.last_good = spec, 0, LastGood()
        self._epoch: EagerEpoch | None = None
        self._head: Mapping[str, Any] | None = None  # the `EagerEpoch.state_dict` of an epoch to be resumed

    @property
    def resumes(self) -> bool:
        return self._head is not None

    def run(self, budget: Budget) -> Progress:
        """Make one step; or measure the epoch, if there are no more batches."""
        epoch = self._epoch = self._epoch or self._begin()
        batch = next(epoch.batches, OVER)
        if batch is OVER:
            return Progress(1.0, epoch=self._finish(epoch))
        loss, output, target = self._step(batch)
        if not self.spec.watch.measures:
            epoch.averages.add(loss, output, target)
        else:
            tensors = ModelState.of(self.spec.model).tensors
            written = writes_to(tensors)
            epoch.averages.add(loss, output, target)
            if writes_to(tensors) != written:
                raise self.spec.watch.explain_changed("the weights", "a metric")
        return Progress(min(len(epoch.averages.losses) / epoch.steps, 1.0), loss)

    def ready(self) -> Iterator[Ready]:
        return iter(())

    def _begin(self) -> EagerEpoch:
        """The next epoch, or the rest of one that a checkpoint interrupted."""
        spec, now = self.spec, time.perf_counter()
        self.last_good.begin(spec.model)
        averages = Averages(spec.criterion, spec.metrics, spec.replicas)
        steps = max(length_of(spec.batches) or 1, 1)
        head, self._head = self._head, None
        if head is None:
            begin = begin_of_epoch(spec.batches) if spec.checkpointed else None
            return EagerEpoch(averages, iter(spec.batches), steps, begin, now, 0.0)
        averages.load_state_dict(head, spec.model.parameters()[0].device)
        batches = batches_from(spec.batches, len(averages.losses), head["begin"])
        return EagerEpoch(averages, batches, steps, head["begin"], now, head["seconds"])

    def _finish(self, epoch: EagerEpoch) -> Measurement:
        """The results of the epoch, on the validation data too."""
        spec, self._epoch = self.spec, None
        untouched = Untouched(spec.model, spec.optimizer, ()) if spec.watch.measures else None
        values = epoch.averages.values()
        if spec.validation is not None:
            held_out = evaluate(
                spec.model, spec.criterion, spec.validation, spec.metrics, spec.reader.read, finite=False
            )
            values |= {f"validation_{name}": value for name, value in held_out.items()}
        if untouched is not None and (written := untouched.written) is not None:
            raise spec.watch.explain_changed(written, "a metric")
        return Measurement(torch.stack(epoch.averages.losses), values, epoch.seconds)

    def _step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Train on a batch; returns its loss, output and target. Raises NonFiniteError, with the last good weights put
        back."""
        spec = self.spec
        *inputs, target = spec.reader.read(batch, spec.batches)
        try:
            output, loss = train_step(
                spec.model, spec.criterion, spec.optimizer, inputs, target, self._before_step, spec.in_backward
            )
        except NonFiniteError as error:
            error.where = first_non_finite(spec.model, *inputs) or type(spec.criterion).__name__
            self.last_good.put_back(spec.model)
            raise
        spec.reader.note_target(output, target)
        if not self.steps:
            check_own_replicas(spec.criterion, output, target, loss, spec.replicas)
            warn_of_forgotten(spec.model, output)
            warn_of_hidden(spec.model)
            warn_of_own_pair(spec.model, spec.criterion, output)
        self.steps += 1
        if spec.schedule is not None:
            spec.schedule.advance()
        return loss, output, target

    def _before_step(self, loss: Tensor) -> None:
        """Copy the state if a copy is due, and clip the gradients."""
        spec = self.spec
        self.last_good.note(spec.model, loss, self.steps)
        if spec.clip_value is not None:
            clip_grad_value_(spec.optimizer, spec.clip_value)
        if spec.clip_norm is not None:
            clip_grad_norm_(spec.optimizer, spec.clip_norm)

    def fail(self, batch: Any, good: ModelState) -> None:
        """Make a step whose loss is known not to be finite, so that NonFiniteError names the module that caused it.

        good  the last good state, which is restored
        """
        self.last_good.take(good, self.steps)
        self._step(batch)
        raise not_finite(torch.tensor([torch.nan]), None, self.steps)

    # ---- the model itself is trained, so there is little to synchronise -------------------------------------------
    def rewind(self) -> None:
        """Do nothing: this engine trains no epochs in advance."""

    def sync(self) -> None:
        """Do nothing: the model is up to date."""

    def refresh(self) -> None:
        """Follow the modules that the model has now. Each step reads the rest as it is."""
        if self.spec.watch.strangers:
            self.last_good.follow(self.spec.model)

    def restore(self, columns: Sequence[int] | None) -> None:
        self.last_good.put_back(self.spec.model, ALL if columns is None else torch.tensor(columns))

    def keep(self, staying: Tensor) -> None:
        self.last_good.of(staying)

    def state_dict(self) -> dict[str, Any]:
        return {"under_way": None if self._epoch is None else self._epoch.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._head = state_dict["under_way"]

    def close(self) -> None:
        """Do nothing: there are no resources to release."""
