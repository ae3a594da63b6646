"""Training in one call: checks, engine, epochs, validation, callbacks, and a history of it all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from lamp.data import DataLoader, as_batches, check_finite, is_batched
from lamp.errors import ArgumentError, NonFiniteError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer, ReduceLROnPlateau, clip_grad_norm_, clip_grad_value_
from lamp.parameter import runs
from lamp.training import eager
from lamp.training.callbacks import Callback
from lamp.training.diagnosis import first_non_finite
from lamp.training.history import History
from lamp.training.interrupt import Interruptible
from lamp.training.metrics import Metric, by_name
from lamp.training.progress import Reporter, reporter
from lamp.training.threads import threads_for

ENGINES = ("auto", "eager")
EVALUATION_BATCH = 1024
SNAPSHOT_EVERY = 64  # steps between two copies of the weights, kept in case a loss is not finite


class Schedule(Protocol):
    """What `scheduler=` must do."""

    def step(self) -> Any: ...


@dataclass
class Training:
    """A training in progress, as callbacks see it: what is trained, by what, and how far it is."""

    model: Module
    criterion: Loss
    optimizer: Optimizer
    epochs: int
    history: History
    metrics: Mapping[str, Metric]
    callbacks: Sequence[Callback]
    scheduler: Schedule | None
    schedule_per: str
    clip_norm: float | None
    clip_value: float | None
    epoch: int = 0  # counted from 0
    step: int = 0  # batches trained on
    _ending: str | None = None
    _kept: list[Tensor] = field(default_factory=list)  # weights whose loss was finite
    _next_copy: int = 0  # the step at which to copy them again

    def stop(self, why: str) -> None:
        """End the training after this epoch."""
        self._ending = self._ending or why

    # ---- the loop --------------------------------------------------------------------------------------------------
    def run(self, batches: Iterable[Any], validation: Iterable[Any] | None, progress: bool) -> None:
        """All epochs, however they end."""
        self.model.train()
        self.criterion.train()
        with Interruptible() as interrupt, reporter(progress, self.epochs) as report:
            for callback in self.callbacks:
                callback.on_start(self)
            try:
                while self.epoch < self.epochs and self._ending is None:
                    self._run_epoch(batches, validation, interrupt, report)
            except NonFiniteError as error:
                self.history.stopped = f"epoch {self.epoch + 1}: {error.what}"
                error.history = self.history  # type: ignore[attr-defined]
                raise
            finally:
                for callback in self.callbacks:
                    callback.on_end(self)
        self.history.stopped = self._ending or "all epochs done"

    def _run_epoch(
        self, batches: Iterable[Any], validation: Iterable[Any] | None, interrupt: Interruptible, report: Reporter
    ) -> None:
        begun = time.perf_counter()
        averages = eager.Averages(self.criterion, self.metrics)
        per_epoch = max(len(batches), 1) if isinstance(batches, Sized) else 1
        for done, batch in enumerate(batches, 1):
            averages.add(*self._run_batch(batch))
            report.at(self.epoch + min(done / per_epoch, 1.0), self.history.last)
            if interrupt.asked:
                self.stop(f"interrupted in epoch {self.epoch + 1}, after {self.step} steps")
                return
        values = averages.values()
        if validation is not None:
            held_out = eager.evaluate(self.model, self.criterion, validation, self.metrics)
            values |= {f"validation_{name}": value for name, value in held_out.items()}
        self.history.record(values, time.perf_counter() - begun)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(values.get("validation_loss", values["loss"]))
        elif self.scheduler is not None and self.schedule_per == "epoch":
            self.scheduler.step()
        for callback in self.callbacks:
            callback.on_epoch(self)
        self.epoch += 1
        report.at(self.epoch, values)

    def _run_batch(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """One step; returns the batch's loss, output and target."""
        *inputs, target = eager.parts(batch)
        try:
            output, loss = eager.train_step(
                self.model, self.criterion, self.optimizer, inputs, target, self._before_step
            )
        except NonFiniteError as error:
            error.where = first_non_finite(self.model, *inputs) or type(self.criterion).__name__
            self._restore_weights()
            raise
        self.step += 1
        if self.schedule_per == "batch" and not isinstance(self.scheduler, ReduceLROnPlateau | None):
            self.scheduler.step()
        for callback in self.callbacks:
            callback.on_batch(self, loss)
        return loss, output, target

    def _before_step(self) -> None:
        """Once the loss is known to be finite and the gradients are there."""
        if self.step >= self._next_copy:
            self._next_copy = self.step + SNAPSHOT_EVERY
            self._kept = [run.data.clone() for run in runs(self.model.parameters())]
        if self.clip_value is not None:
            clip_grad_value_(self.optimizer, self.clip_value)
        if self.clip_norm is not None:
            clip_grad_norm_(self.optimizer, self.clip_norm)

    def _restore_weights(self) -> None:
        """Put the copy back: weights whose loss was finite. Without one the first loss failed and nothing has moved."""
        for run, kept in zip(runs(self.model.parameters()), self._kept, strict=False):
            run.data.copy_(kept)


def fit(
    model: Module,
    criterion: Loss | None,
    optimizer: Optimizer,
    data: Any,
    *,
    epochs: int,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    validation: Any = None,
    metrics: Mapping[str, Metric] | Iterable[Metric] = (),
    scheduler: Schedule | None = None,
    schedule_per: str = "epoch",
    clip_norm: float | None = None,
    clip_value: float | None = None,
    callbacks: Sequence[Callback] = (),
    seed: int | None = None,
    progress: bool = True,
    engine: str = "auto",
) -> History:
    """Train a network and return what was measured on the way.

    model         any module; or a Sequential that ends in its loss, with criterion=None
    data          (inputs, targets) as tensors or arrays, a data set, a DataLoader of lamp's or torch's, or any list of
                  batches (inputs, targets)
    batch_size, shuffle, seed    of data that are not in batches yet: 32, True, and a seed drawn, where None
    validation    the same, measured in eval mode after each epoch as "validation_loss" and so on
    metrics       functions (output, target) of a whole epoch, such as lamp.accuracy; or a dict of them. On training
                  data they see the outputs as they were when each batch was trained on
    scheduler     its step() is called after each epoch, or each batch with schedule_per="batch"; ReduceLROnPlateau's
                  with the validation loss (or else the loss)
    clip_norm     the largest norm of all gradients together; clip_value: the largest gradient of one element
    callbacks     see lamp.Callback, lamp.EarlyStopping
    progress      one live line on a terminal, plain lines elsewhere (on stderr), nothing with False
    engine        "eager", or "auto" for the fastest that can run this; the history says which one ran and why

    A network so small that threads would only wait for each other trains on one of torch's threads.

    Ctrl-C ends the training after the batch in hand; the history of the finished epochs is returned.

    Raises ArgumentError, DataError or ShapeError for what does not fit, before the first step where that can be seen;
    NonFiniteError for a loss that is NaN or infinite: the error names the module that made it and has the history so
    far as its attribute `history`, and the model holds the last finite weights that were kept.
    """
    if engine not in ENGINES:
        raise ArgumentError(f"unknown engine {engine!r}", expected=" or ".join(map(repr, ENGINES)), got=engine)
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise ArgumentError("epochs is a count", expected="an integer of at least 1", got=epochs)
    if schedule_per not in ("epoch", "batch"):
        raise ArgumentError("unknown schedule_per", expected="'epoch' or 'batch'", got=repr(schedule_per))
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None and not limit > 0:
            raise ArgumentError(f"{name} is a limit", expected="a positive number or None", got=limit)
    model, criterion = _network_and_loss(model, criterion)
    history = History("eager", "the only engine so far" if engine == "auto" else "asked for")
    training = Training(
        model=model,
        criterion=criterion,
        optimizer=optimizer,
        epochs=epochs,
        history=history,
        metrics=by_name(metrics),
        callbacks=callbacks,
        scheduler=scheduler,
        schedule_per=schedule_per,
        clip_norm=clip_norm,
        clip_value=clip_value,
    )
    batches = as_batches(data, batch_size, shuffle, seed=seed, epochs=epochs)
    held_out = None if validation is None else _in_order(validation, EVALUATION_BATCH, epochs)
    for kind, each in (("", batches), ("validation_", held_out)):
        if isinstance(each, DataLoader) and each.tensors is not None:
            for column in each.tensors[:-1]:
                check_finite(column, f"{kind}inputs")
            check_finite(each.tensors[-1], f"{kind}targets")
    work = sum(parameter.numel() for parameter in model.parameters()) * _batch_size(batches)
    with threads_for(work):
        training.run(batches, held_out, progress)
    return history


def _batch_size(batches: Iterable[Any]) -> int:
    """Samples a batch, where the batches say so; many where they do not."""
    size = getattr(batches, "batch_size", None)
    return size if isinstance(size, int) else EVALUATION_BATCH


def _network_and_loss(model: Module, criterion: Loss | None) -> tuple[Module, Loss]:
    """The part of the network before its loss, and the loss."""
    for given, kind, what in ((model, Module, "model"), (criterion or model, Module, "criterion")):
        if not isinstance(given, kind):
            raise ArgumentError(f"the {what} is no lamp module", expected="a lamp.Module", got=type(given).__name__)
    if criterion is None:
        if isinstance(model, Sequential) and model.loss is not None:
            return model.body, model.loss
        raise ArgumentError(
            "there is no loss to train with",
            expected="a criterion, or a Sequential that ends in its loss",
            got="criterion=None and a network without one",
            fix="pass a loss, such as lamp.CrossEntropyLoss()",
        )
    if not isinstance(criterion, Loss):
        raise ArgumentError("the criterion is no loss", expected="a lamp loss", got=type(criterion).__name__)
    if criterion.reduction == "none":
        raise ArgumentError(
            "training goes down one number",
            expected='reduction="mean" or "sum"',
            got='reduction="none"',
            fix="reduce the loss",
        )
    return model, criterion


def evaluate(
    model: Module,
    criterion: Loss | None,
    data: Any,
    *,
    metrics: Mapping[str, Metric] | Iterable[Metric] = (),
    batch_size: int = EVALUATION_BATCH,
) -> dict[str, float]:
    """The loss and the metrics of a network on data, in eval mode. Arguments and errors as for `fit`."""
    model, criterion = _network_and_loss(model, criterion)
    return eager.evaluate(model, criterion, _in_order(data, batch_size, 1), by_name(metrics))


def _in_order(data: Any, batch_size: int, epochs: int) -> Iterable[Any]:
    """The data in batches that are not shuffled; those that come in batches stay as they are."""
    return as_batches(data, None if is_batched(data) else batch_size, False, epochs=epochs)


def predict(model: Module, inputs: Tensor, *, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """The network's outputs for all inputs (n, ...), in eval mode, a batch at a time; the mode is put back after."""
    with eager.evaluating(model):
        return torch.cat([model(batch) for batch in inputs.split(batch_size)])
