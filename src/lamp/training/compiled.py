"""CompiledEngine: the engine that trains by machine code, one epoch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.cache_key import frozen, key_of_step, staleness_key
from lamp.compiler.coefficients import options_of
from lamp.compiler.kernel_runner import KernelRunner
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.override_checks import check_overrides
from lamp.compiler.plan import plan_of
from lamp.compiler.stages import Plan
from lamp.cpu_settings import threads_for
from lamp.data import DataLoader
from lamp.state import ModelState
from lamp.training import eager
from lamp.training.engine import Budget, Measurement, Progress, Ready, beside
from lamp.training.epochs import CompiledEpoch, Data, Record, losses_of_epochs, shapes_of_samples, values_of_epochs
from lamp.training.last_good import LastGood
from lamp.training.measured import Measured
from lamp.training.metrics import answer_of
from lamp.training.spec import FitSpec, StepSchedule
from lamp.training.untouched import Untouched

STRETCH = 0.05  # the longest time in seconds that the machine code runs at once, for progress and Ctrl-C


class CompiledEngine:
    """Trains by machine code, one epoch at a time (see `lamp.training.engine`).

    During training, weights and optimizer state are in the kernels' buffers. `sync` copies them to the model, and
    `refresh` copies changes back.

    plan  the network's plan, if it is known already

    Raises NotCompiled for a training that the compiler does not support.
    """

    name = "compiled"

    def __init__(self, spec: FitSpec, plan: Plan | None = None) -> None:
        if spec.watch.every_step is not None:
            raise NotCompiled(spec.watch.every_step)
        if spec.watch.scheduler is not None:
            check_overrides(spec.watch.scheduler, only=("step",))
        self.spec, self.steps, self.last_good = spec, 0, LastGood()
        self.compile_seconds = 0.0
        self.threads = torch.get_num_threads()
        self._changed = False  # whether the model, the loss, the data, ... no longer fit the kernels
        self._per_step: float | None = None  # seconds per step, including its share of the validation
        self._good: dict[int, Tensor] = {}  # the last good weights (P,) of replicas whose loss is no longer finite
        self._previous: list[Tensor] = []  # snapshot taken before the last epoch, or before the last block of epochs
        self._together = 1  # the number of epochs in that block
        self._before: Tensor | None = None  # the weights before the last epoch, if the training is resumed
        self._epoch: CompiledEpoch | None = None  # the current epoch
        self._head: Mapping[str, Any] | None = None  # the `state_dict` of an epoch to be resumed
        self._begun = False  # whether it has trained, so that the model may lag behind the kernels' buffers
        with threads_for(0):  # torch's own threads would slow down the kernel's
            self._build(plan)

    def _build(self, plan: Plan | None = None) -> None:
        """Compile the kernels for the active replicas as they are now."""
        begun, spec = time.perf_counter(), self.spec
        self.model, self.options = spec.model, options_of(spec.optimizer)
        if not (spec.model.training and spec.criterion.training):
            raise NotCompiled("the network or the loss is in eval mode, in which nothing is trained")
        plan = plan or plan_of(spec.model, shapes=shapes_of_samples(spec.batches))
        of_data: dict[str, Any] = {
            "replicas": spec.replicas,
            "watched": spec.watch.strangers,
            "copies": spec.watch.copies,
        }
        self.data = Data(spec.batches, spec.criterion, plan, spec.metrics, **of_data)
        limits = {"clip_norm": spec.clip_norm, "clip_value": spec.clip_value}
        self.runner = KernelRunner(
            spec.model,
            spec.criterion,
            spec.optimizer,
            batches=self.data.batches,
            labels=self.data.labels,
            ignores=self.data.ignores,
            per_replica_order=self.data.per_replica_order,
            limits={name: limit for name, limit in limits.items() if limit is not None},
            keeps_outputs=self.data.answers is None,
            answers=self.data.answers or (),
            threads=self.threads,
            plan=plan,
        )
        self.measurer, self.held_out = None, None
        if isinstance(spec.validation, DataLoader):
            held_out = self.held_out = Data(spec.validation, spec.criterion, plan, spec.metrics, **of_data)
            self.measurer = KernelRunner(
                spec.model,
                spec.criterion,
                None,
                batches=held_out.batches,
                labels=held_out.labels,
                ignores=held_out.ignores,
                per_replica_order=held_out.per_replica_order,
                keeps_outputs=held_out.answers is None,
                answers=held_out.answers or (),
                like=self.runner,
                plan=plan,
            )
        self._previous, self._before = [], None
        self._made_from, self._changed = self._look(), False
        self._untouched = Untouched(spec.model, spec.optimizer, self._loaders) if spec.watch.notices else None
        self.compile_seconds += time.perf_counter() - begun

    def _look(self) -> Hashable:
        """A key of everything that the kernels depend on, as it is now; None if no user code can change it."""
        spec = self.spec
        if not spec.watch.strangers:
            return None
        return (
            staleness_key(spec.model, spec.criterion, spec.optimizer, spec.watch.numbers),
            frozen(spec.clip_norm),
            frozen(spec.clip_value),
            tuple((name, answer_of(metric)) for name, metric in spec.metrics.items()),
            tuple(each.state for each in (self.data, self.held_out) if each is not None),
        )

    @property
    def _loaders(self) -> list[DataLoader]:
        return [data.loader for data in (self.data, self.held_out) if data is not None]

    # ---- epochs ----------------------------------------------------------------------------------------------------
    @property
    def is_ahead(self) -> bool:
        return False

    @property
    def resumes(self) -> bool:
        return self._head is not None

    def run(self, budget: Budget) -> Progress:
        """Run the machine code for at most STRETCH seconds; or measure the epoch, once all its steps are made."""
        self._begun = True
        progress = self._advance(budget)
        if self._untouched is not None:
            measured = progress.epoch is not None and self.spec.watch.measures
            if measured and (written := self._untouched.written) is not None:
                raise self.spec.watch.explain_changed(written, "a metric")
            self._untouched.note_counts()
        return progress

    def ready(self) -> Iterator[Ready]:
        return iter(())

    def _advance(self, budget: Budget) -> Progress:
        """`run`, without a check of what user code has written to."""
        if self._epoch is None:
            self._renew()
        return self._run(budget)

    def _renew(self) -> None:
        """Compile again if the kernels no longer fit what is to be trained."""
        spec = self.spec
        if not self._changed and spec.model is self.model and options_of(spec.optimizer) == self.options:
            return
        self.rewind()
        if spec.model is self.model:
            self.sync()
        self._changed = True  # until it is built
        self._build()

    def _run(self, budget: Budget) -> Progress:
        begun = time.perf_counter()
        epoch = self._epoch = self._epoch or self._begin()
        steps = epoch.steps
        if epoch.done == steps.count:
            return Progress(1.0, epoch=self._finish(epoch, begun))
        done = epoch.done
        stop = done + 1
        if self._per_step is not None:
            stop = min(steps.count, done + max(1, int(STRETCH / max(self._per_step, 1e-9))))
        stop = min(stop, done + budget.steps)
        started = time.perf_counter()
        steps.run(done, stop)
        self._per_step = (time.perf_counter() - started) / (stop - done)
        self._look_for_failures(epoch, stop)
        self.runner.count(stop - done)
        self.steps += stop - done
        epoch.done = stop
        epoch.seconds += time.perf_counter() - begun
        return Progress(epoch.done / steps.count)

    def _begin(self) -> CompiledEpoch:
        """Prepare the next epoch, or the one to be resumed, from its first step on."""
        runner, schedule = self.runner, self.spec.schedule
        head, self._head = self._head, None
        first = 0 if head is None else len(head["record"]["losses"])
        before = None  # preparing an epoch advances the schedule by all its steps
        if self.spec.checkpointed and schedule is not None:
            before = schedule.state()
        runner.count(-first)
        steps, order = self.data.lay_out(runner, advance=None if schedule is None else self._advancing(schedule))
        runner.count(first)
        return CompiledEpoch(steps, order, runner.snapshot(), first, head, before)

    def _advancing(self, schedule: StepSchedule) -> Callable[[], None]:
        """What makes the schedule's step. It raises ArgumentError if a user's schedule changes what the kernels were
        compiled for, which the steps that remain of the epoch would not follow."""
        if not self.spec.watch.schedules:
            return schedule.advance
        of_spec = self.spec.model, self.spec.criterion, self.spec.optimizer
        before = key_of_step(*of_spec)

        def advance() -> None:
            schedule.advance()
            if key_of_step(*of_spec) != before:
                raise self.spec.watch.explain_changed_in_epoch()

        return advance

    def _finish(self, epoch: CompiledEpoch, begun: float) -> Measurement:
        """The results of the epoch, on the validation data too."""
        self._epoch = None
        self._previous, self._together = epoch.kept, 1
        if epoch.first:
            self._previous, self._before = [], epoch.weights(self.runner)
        record = epoch.record
        (values,) = values_of_epochs(self.spec, epoch.steps, self.data, epoch.order, record)
        found = Measurement(losses_of_epochs(self.spec, epoch.steps, record)[0], values, 0.0)
        if self.spec.validation is not None:
            started = time.perf_counter()
            found = found._replace(values=beside(values, self._validate()))
            self._per_step = (self._per_step or 0.0) + (time.perf_counter() - started) / epoch.steps.count
        return found._replace(seconds=epoch.seconds + time.perf_counter() - begun)

    def _validate(self) -> dict[str, Measured]:
        """The values of the validation data."""
        spec = self.spec
        assert spec.validation is not None
        if self.measurer is None or self.held_out is None:
            self.runner.store_weights()
            self._note()
            of_spec = spec.model, spec.criterion, spec.validation, spec.metrics, spec.reader.read
            return eager.evaluate(*of_spec, finite=False)
        steps, order = self.held_out.lay_out(self.measurer)
        steps.run(0, steps.count)
        (values,) = values_of_epochs(spec, steps, self.held_out, order, Record.of(steps))
        return values

    # ---- losses that are not finite --------------------------------------------------------------------------------
    def _look_for_failures(self, epoch: CompiledEpoch, stop: int) -> None:
        """Check the losses of the epoch's new steps, up to `stop`."""
        losses = epoch.steps.losses[epoch.done : stop]
        if bool(losses.isfinite().all()):
            return
        bad = ~losses.isfinite()
        if self.spec.replicas is None:
            self._fail(epoch, epoch.done + int(bad[:, 0].nonzero()[0]))
            return
        for k in bad.any(0).nonzero().flatten().tolist():
            if k not in self._good:
                self._good[k] = self._good_weights(epoch, epoch.done == 0 and bool(bad[0, k]))[k]

    def _good_weights(self, epoch: CompiledEpoch, failed_at_once: bool) -> Tensor:
        """The last good weights (K, P): those before the epoch, or before the previous one if its first loss failed."""
        before = self._weights_before() if failed_at_once else None
        return epoch.weights(self.runner) if before is None else before

    def _weights_before(self) -> Tensor | None:
        """The weights (K, P) before the previous epoch; None if these replicas had none."""
        runner, data, undone = self.runner, self.data, self._together
        if not self._previous or undone == 1:
            return runner.weights_in(self._previous) if self._previous else self._before
        now, epoch = runner.snapshot(), data.loader.epoch - (self._epoch is not None)
        runner.restore(self._previous)  # repeat all epochs of the last block except its last one
        runner.count(-undone * data.steps)
        order = torch.cat([data.order(epoch - k) for k in range(undone, 1, -1)], -1).to(torch.int32)
        steps = runner.prepare(data.inputs, data.targets, order, data.loader.batch_size, undone - 1)
        steps.run(0, steps.count)
        runner.count(undone * data.steps)
        self._previous, self._together = runner.snapshot(), 1
        runner.restore(now)
        return runner.weights_in(self._previous)

    def _fail(self, epoch: CompiledEpoch, bad: int) -> None:
        """Return to the step whose loss is not finite and let the eager engine make it, which raises the error."""
        runner, steps = self.runner, epoch.steps
        good = self._good_weights(epoch, bad == 0)
        runner.restore(epoch.kept)
        if bad > epoch.first:
            steps.run(epoch.first, bad)
        runner.count(bad - epoch.done)
        self.steps += bad - epoch.done
        runner.put(good[0])
        kept = ModelState.of(self.spec.model).clone()
        runner.store()
        rows = epoch.order[bad * steps.batch : (bad + 1) * steps.batch]
        by_step = eager.EagerEngine(self.spec)
        by_step.steps = self.steps
        try:
            loader = self.data.loader
            by_step.fail(loader.in_form([column[rows] for column in loader.columns]), kept)
        finally:
            runner.load()  # the weights that were restored

    def restore(self, columns: Sequence[int] | None) -> None:
        self.runner.store()
        for k in columns or ():
            self.runner.put(self._good.pop(k), k)
        self.runner.load()
        self._note()

    # ---- the model -------------------------------------------------------------------------------------------------
    def rewind(self) -> None:
        """Do nothing: this engine trains no epochs in advance."""

    def sync(self) -> None:
        if not self._changed:  # else the model is up to date already, and may no longer fit the kernels
            self._store()
            self._note()

    def _store(self) -> None:
        """Copy what is trained into the model and the optimizer."""
        self.runner.store()

    def _note(self) -> None:
        """Note the numbers of the model after they were written or read."""
        if self._untouched is not None:
            self._untouched.note()

    def refresh(self) -> None:
        watch = self.spec.watch
        if not watch.strangers or self._changed:
            return
        takes, current = watch.loads or not self._begun, self.runner.is_current
        if current and not takes and self._untouched is not None and (found := self._untouched.changed) is not None:
            raise watch.explain_changed(found)
        if current and self._look() == self._made_from:
            if takes:
                self.runner.load()
                self._note()
            return
        self.rewind()
        if not watch.loads:  # then the engine may have trained ahead, and the model and optimizer are not up to date
            self._refuse_other_parameters()
            self.sync()
        self._changed = True

    def _refuse_other_parameters(self) -> None:
        """Raise ArgumentError if parameters have changed although no callback says that it changes the model."""
        try:
            plan = self.runner.plan
            same = plan_of(self.spec.model, shapes=plan.shapes).parameters == plan.parameters
        except NotCompiled:  # which the next epoch says, of a model with the same parameters
            same = True
        if self.runner.is_current and same:
            return
        raise self.spec.watch.explain_changed("the parameters")

    def keep(self, staying: Tensor) -> None:
        """Do nothing: the kernels are compiled again once the loop has replaced `spec`."""

    # ---- a checkpoint ------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The state of the current epoch, and the weights to restore if a loss is not finite."""
        if self._epoch is not None:
            return {"under_way": self._epoch.state_dict(self.runner), "last_good": self._good}
        rebuilt = self.spec.model is not self.model or options_of(self.spec.optimizer) != self.options
        return {"under_way": None, "before": None if rebuilt else self._weights_before(), "last_good": {}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._head, self._before = state_dict["under_way"], state_dict.get("before")
        self._good = dict(state_dict["last_good"])

    def close(self) -> None:
        """Do nothing: there are no resources to release."""
