"""The compiled engine in a training: epochs in machine code, and everything around them as with the eager one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.compiler.plan import NotCompiled, Plan, plan_of
from lamp.compiler.samples import kind_of_targets, laid_out, numbers_of
from lamp.compiler.tables import options_of
from lamp.compiler.trainer import Steps, Trainer
from lamp.data import DataLoader
from lamp.losses import Loss
from lamp.training import eager
from lamp.training.callbacks import Callback, EarlyStopping
from lamp.training.crew import Crew
from lamp.training.history import Measured

if TYPE_CHECKING:
    from lamp.training.run import Training

STRETCH = 0.05  # seconds that the machine code runs at a time, so that progress moves and Ctrl-C is heard
MOST_AHEAD = 64  # epochs in one call
MOST_KEPT = 2**24  # numbers of such a call that are kept: samples' places, or what networks put out for them


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


class Compiled:
    """Trains the crew by machine code. Raises NotCompiled where it cannot.

    Weights and state lie in the kernels' layout while it does: `store` and `load` take them to the model and back.
    """

    def __init__(self, training: Training, crew: Crew) -> None:
        for callback in training.callbacks:
            if type(callback).on_batch is not Callback.on_batch:
                raise NotCompiled(f"{type(callback).__name__} looks at every batch")
        self.training, self.crew = training, crew
        self.may_change = any(type(callback) is not EarlyStopping for callback in training.callbacks)
        self._per_step: float | None = None  # seconds
        self.seconds = 0.0  # that compiling took
        self.threads = torch.get_num_threads()
        self.keeps_outputs = bool(training.metrics)
        self._last_good: dict[int, Tensor] = {}
        self._previous: list[Tensor] = []
        self._ready: list[Measurement] = []  # epochs that are trained and not handed out yet
        self._handed_out = 0  # of those that were trained together
        self._careful_until = 0  # the epoch up to which they are trained one by one: a loss in between is not finite
        self._build()

    def _build(self) -> None:
        """The trainers of the crew as it is now."""
        begun = time.perf_counter()
        crew, training = self.crew, self.training
        self.model, self.options = crew.model, options_of(crew.optimizer)
        plan = plan_of(crew.model)
        self.data = Data(crew.batches, crew.criterion, plan)
        limits = {"clip_norm": training.clip_norm, "clip_value": training.clip_value}
        self.trainer = Trainer(
            crew.model,
            crew.criterion,
            crew.optimizer,
            batches=self.data.batches,
            labels=self.data.labels,
            ignores=self.data.ignores,
            own_order=self.data.own_order,
            limits={name: crew.number(limit) for name, limit in limits.items() if limit is not None},
            keeps_outputs=self.keeps_outputs,
        )
        self.trainer.threads = self.threads
        self.measurer: Trainer | None = None
        if isinstance(crew.validation, DataLoader):
            held_out = self.held_out = Data(crew.validation, crew.criterion, plan)
            self.measurer = Trainer(
                crew.model,
                crew.criterion,
                None,
                batches=held_out.batches,
                labels=held_out.labels,
                ignores=held_out.ignores,
                own_order=held_out.own_order,
                keeps_outputs=self.keeps_outputs,
                like=self.trainer,
            )
            self._held_out_order = held_out.order(0).to(torch.int32)
        self._previous = []
        self.seconds += time.perf_counter() - begun

    # ---- epochs ----------------------------------------------------------------------------------------------------
    def epoch(self, pause: Callable[[float], bool]) -> Measurement | None:
        """Train an epoch, or hand out one that is trained already.

        pause  is told how far the epoch is, and says whether to stop; then there is nothing to return
        """
        training, crew = self.training, self.crew
        if not self._ready:
            if crew.model is not self.model or options_of(crew.optimizer) != self.options:
                if crew.model is self.model:
                    self.store()
                self._build()
            ahead = self._ahead()
            if ahead == 1 or not self._train_ahead(ahead):
                return self._train(pause)
            pause(0.0)
        found = self._ready.pop(0)
        self._handed_out += 1
        training.step += self.data.steps
        return found

    def rewind(self) -> None:
        """Undo the epochs that were trained ahead, where the training ended before they were handed out."""
        if self._ready:
            undone = self._handed_out + len(self._ready)
            self._ready = []
            self.trainer.restore(self._previous)
            self.trainer.count(-undone * self.data.steps)
            self.data.loader.epoch -= undone
            if self._handed_out:
                self._train_ahead(self._handed_out)
                self._ready = []

    def _ahead(self) -> int:
        """How many epochs to train in one call: as many as nobody looks at in between, and the time allows."""
        training, crew = self.training, self.crew
        if training.looked_at or training.scheduler or crew.validation is not None or self._per_step is None:
            return 1
        if training.epoch < self._careful_until:
            return 1
        fitting = int(STRETCH / max(self._per_step * self.data.steps, 1e-9))
        kept = self.data.samples * (self.trainer.plan.outputs if self.keeps_outputs else 1) * (crew.model.replicas or 1)
        return max(1, min(fitting, MOST_KEPT // kept, training.epochs - training.epoch, MOST_AHEAD))

    def _orders(self, epochs: int) -> Tensor:
        """The samples of the next epochs, (epochs m,) or (K, epochs m), int32."""
        loader = self.data.loader
        each = [self.data.order(loader.epoch + k) for k in range(epochs)]
        return torch.cat(each, -1).to(torch.int32)

    def _train_ahead(self, epochs: int) -> bool:
        """Train some epochs at once; False, and nothing has happened, where a loss is not finite."""
        trainer, data, loader = self.trainer, self.data, self.data.loader
        begun = time.perf_counter()
        order = self._orders(epochs)
        kept = trainer.snapshot()
        steps = trainer.prepare(data.inputs, data.targets, order, loader.batch_size, epochs)
        started = time.perf_counter()
        steps.run(0, steps.count)
        self._per_step = (time.perf_counter() - started) / steps.count
        if not bool(steps.losses.isfinite().all()):
            trainer.restore(kept)
            self._careful_until = self.training.epoch + epochs
            return False
        loader.epoch += epochs
        trainer.count(steps.count)
        self._previous, self._handed_out = kept, 0
        self._ready = self._measured(steps, order, epochs)
        seconds = (time.perf_counter() - begun) / epochs
        self._ready = [replace(each, seconds=seconds) for each in self._ready]
        return True

    def _train(self, pause: Callable[[float], bool]) -> Measurement | None:
        """Train one epoch, in stretches between which progress moves and Ctrl-C is heard."""
        training, trainer, data, loader = self.training, self.trainer, self.data, self.data.loader
        begun = time.perf_counter()
        order, kept = self._orders(1), trainer.snapshot()
        loader.epoch += 1
        advance = training.step_schedule if training.steps_schedule else None
        steps = trainer.prepare(data.inputs, data.targets, order, loader.batch_size, advance=advance)
        done = 0
        while done < steps.count:
            stop = done + 1
            if self._per_step is not None:
                stop = min(steps.count, done + max(1, int(STRETCH / max(self._per_step, 1e-9))))
            started = time.perf_counter()
            steps.run(done, stop)
            self._per_step = (time.perf_counter() - started) / (stop - done)
            self._look_for_failures(steps, order, done, stop, kept)
            trainer.count(stop - done)
            training.step += stop - done
            done = stop
            if pause(done / steps.count):
                return None
        self._previous = kept
        (found,) = self._measured(steps, order, 1)
        values = dict(found.values)
        if self.crew.validation is not None:
            values |= {f"validation_{name}": value for name, value in self._validate().items()}
        return Measurement(found.losses, values, time.perf_counter() - begun)

    def _measured(self, steps: Steps, order: Tensor, epochs: int) -> list[Measurement]:
        return _of_epochs(self.crew, self.training.metrics, steps, self.data, order, epochs)

    def _validate(self) -> dict[str, Measured]:
        crew, training = self.crew, self.training
        assert crew.validation is not None
        if self.measurer is None:
            self.trainer.store_weights()
            return eager.evaluate(crew.model, crew.criterion, crew.validation, training.metrics, crew.batch_for)
        data, order = self.held_out, self._held_out_order
        if data.loader.shuffle:
            order = data.order(data.loader.epoch).to(torch.int32)
        data.loader.epoch += 1
        steps = self.measurer.prepare(data.inputs, data.targets, order, data.loader.batch_size)
        steps.run(0, steps.count)
        (found,) = _of_epochs(crew, training.metrics, steps, data, order, 1)
        return found.values

    # ---- when a loss is not finite ---------------------------------------------------------------------------------
    def _look_for_failures(self, steps: Steps, order: Tensor, first: int, stop: int, kept: list[Tensor]) -> None:
        """After the steps from first to stop of an epoch that began with the weights `kept`."""
        losses = steps.losses[first:stop]
        if bool(losses.isfinite().all()):
            return
        bad = ~losses.isfinite()
        if self.crew.model.replicas is None:
            self._fail(steps, order, first, first + int(bad[:, 0].nonzero()[0]), kept)
            return
        for k in bad.any(0).nonzero().flatten().tolist():
            if (
                k not in self._last_good
            ):  # the epoch began with weights whose loss was finite, unless that was its first
                at_once = first == 0 and bool(bad[0, k]) and self._previous
                self._last_good[k] = self.trainer.weights_in(self._previous if at_once else kept)[k]

    def _fail(self, steps: Steps, order: Tensor, first: int, bad: int, kept: list[Tensor]) -> None:
        """Go to where the loss is not finite and let the eager engine make that step: it says what was wrong."""
        training, trainer = self.training, self.trainer
        good = trainer.weights_in(self._previous if bad == 0 and self._previous else kept)
        trainer.restore(kept)
        if bad > 0:
            steps.run(0, bad)
        trainer.count(bad - first)
        training.step += bad - first
        trainer.store()
        rows = order[bad * steps.batch : (bad + 1) * steps.batch]
        try:
            training.fail_with((self.data.loader.columns[0][rows], self.data.given[rows]), good[0])
        finally:
            trainer.load()  # the weights that were put back

    def restore(self, rows: Iterable[int]) -> None:
        """Put the last good weights of replicas whose loss was not finite into the model."""
        self.trainer.store()
        for k in rows:
            self.trainer.put(k, self._last_good.pop(k))
        self.trainer.load()

    # ---- the model -------------------------------------------------------------------------------------------------
    def store(self) -> None:
        """Bring the crew's model and optimizer up to date."""
        self.trainer.store()

    def load(self) -> None:
        """Take over what someone may have changed in the model."""
        if self.may_change:
            self.trainer.load()


def _of_epochs(
    crew: Crew, metrics: Mapping[str, Any], steps: Steps, data: Data, order: Tensor, epochs: int
) -> list[Measurement]:
    """The losses, and the loss and metrics of each epoch, as the eager engine has them."""
    replicas = crew.model.replicas
    losses = steps.losses if replicas is not None else steps.losses[:, 0]
    by_epoch = losses.unflatten(0, (epochs, -1))  # (epochs, steps, ...)
    sizes = [min(steps.batch, steps.samples - k * steps.batch) for k in range(by_epoch.shape[1])]
    outputs = steps.outputs.unflatten(1, (epochs, -1)) if metrics else None  # (K, epochs, samples, ...)
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
