"""Loop: the training loop. An engine makes the steps; the loop does everything between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.not_compiled import NotCompiled
from lamp.cpu_settings import threads_for
from lamp.data import length_of
from lamp.errors import NonFiniteError
from lamp.optim import ReduceLROnPlateau
from lamp.saving.seal import restoring
from lamp.training import training_state
from lamp.training.active_replicas import ActiveReplicas
from lamp.training.callback import Training
from lamp.training.checkpointer import UNLIMITED, Checkpointer
from lamp.training.checkpoints import Saved
from lamp.training.choosing import ASKED, batch_size_of, choose, refused
from lamp.training.diagnosis import none_finite, not_finite, tell_of_failures, tell_of_validation
from lamp.training.eager import EagerEngine
from lamp.training.engine import Budget, Engine, Measurement
from lamp.training.interrupt import Interruptible
from lamp.training.measured import Measured
from lamp.training.progress import Reporter, reporter
from lamp.training.spec import FitSpec, StepSchedule
from lamp.training.watch import Watch


class Loop:
    """Runs a training from its beginning, or from a checkpoint, to its end.

    An engine makes the steps. The loop calls the callbacks, moves the schedule, saves checkpoints, ends replicas whose
    loss is not finite, and stops on request (a callback, Ctrl-C).
    """

    def __init__(
        self,
        training: Training,
        batches: Iterable[Any],
        validation: Iterable[Any] | None,
        checkpointer: Checkpointer | None = None,
    ) -> None:
        self.training, self.history, self.checkpointer = training, training.history, checkpointer
        self.active = ActiveReplicas(training.model, training.criterion, training.optimizer, batches, validation)
        self.engine: Engine
        self._interrupted: str | None = None
        names = ["loss", *training.metrics]
        training.measured = [*names, *(f"validation_{name}" for name in names if validation is not None)]

    def run(self, engine: str, progress: bool, saved: Saved | None = None) -> None:
        """Train all epochs by this engine ("auto" for the faster one), or those that remain after a checkpoint."""
        training, history = self.training, self.history
        training.model.train()
        training.criterion.train()
        if saved is not None:
            with restoring(saved.path, "the training"):
                self._load_state_dict(saved)
            engine = history.engine
        self._watch = Watch(training)
        self.active.check_replicas()
        self.engine, why = choose(engine, self._spec(), training.epochs)
        self.engine.steps = training.step
        if saved is None:
            history.engine, history.why = self.engine.name, why
        else:
            self.engine.load_state_dict(saved.state["by_engine"])
            self.engine.last_good.load_state_dict(saved.state["last_good"], training.model.parameters()[0].device)
        work = 0  # of torch's threads
        if self.engine.name == "eager":
            parameters = sum(parameter.numel() for parameter in training.model.parameters())
            work = parameters * batch_size_of(self.active.batches)
        with (
            threads_for(work),
            Interruptible(terminate=self.checkpointer is not None) as interrupt,
            reporter(progress, training.epochs) as report,
        ):
            for callback in training.callbacks:
                callback.on_start(training)
            self.active.check_whole(training)
            if saved is not None:
                training_state.set_callback_states(training.callbacks, saved.state["callbacks"], saved.path)
                training_state.set_random_state(saved.state["random"])
                self.active.restore_own(training, saved.state)
            if self.checkpointer is not None:
                self.checkpointer.begin(history)
            self._take_over_changes(shown=True)
            try:
                while self._goes_on:
                    if interrupt.asked and not self.engine.resumes:
                        self._interrupted = f"interrupted after {training.epoch} epochs"
                    else:
                        self._run_epoch(interrupt, report)
                if self.checkpointer is not None:
                    self._save(self.checkpointer)
            except NonFiniteError as error:
                history.stopped = f"epoch {training.epoch + 1}: {error.what}"
                error.history = history
                raise
            finally:
                self._bring_up_to_date()
                self.engine.close()
                for callback in training.callbacks:
                    callback.on_end(training)
        history.stopped = self._interrupted or training.ending or "all epochs done"
        if self.engine.name == "compiled":
            history.compile_seconds = self.engine.compile_seconds
        tell_of_failures(history.failed, f"{training.model.replicas} replicas", "history.endings says")
        if "validation_loss" in history:
            tell_of_validation(history["loss"], history["validation_loss"])

    @property
    def _goes_on(self) -> bool:
        if self._interrupted is not None:
            return False
        training = self.training
        return self.engine.resumes or (training.epoch < training.epochs and training.ending is None)

    def _spec(self) -> FitSpec:
        """What the engine should train now."""
        training, active = self.training, self.active
        return FitSpec(
            model=active.model,
            criterion=active.criterion,
            optimizer=active.optimizer,
            batches=active.batches,
            validation=active.validation,
            reader=active.reader,
            metrics=training.metrics,
            clip_norm=active.number(training.clip_norm),
            clip_value=active.number(training.clip_value),
            in_backward=training.step_in_backward,
            schedule=StepSchedule(self._step_schedule, self._schedule_state) if training.steps_schedule else None,
            watch=self._watch,
            looked_at=training.looked_at,
            checkpointed=self.checkpointer is not None,
        )

    def _budget(self) -> Budget:
        """How far the engine may go before callbacks, the schedule or a checkpoint must run."""
        training, steps = self.training, UNLIMITED
        epochs = training.epochs - training.epoch
        if training.scheduler is not None or self._watch.loads:
            epochs = 0
        if self.checkpointer is not None:
            per_epoch = length_of(self.active.batches) or UNLIMITED
            steps = self.checkpointer.steps_left(training.step)
            most = self.checkpointer.epochs_left(training.epoch, training.step, per_epoch)
            epochs = 0 if steps < per_epoch else min(epochs, most)
        return Budget(steps, epochs)

    # ---- an epoch --------------------------------------------------------------------------------------------------
    def _run_epoch(self, interrupt: Interruptible, report: Reporter) -> None:
        """Train an epoch, or the rest of one that is resumed; return early on Ctrl-C."""
        training, active = self.training, self.active
        while (found := self._go_on(report)) is None:
            if interrupt.asked:
                self._interrupted = f"interrupted in epoch {training.epoch + 1}, after {training.step} steps"
                return
            self._save_if_due(between=False)
        values = active.spread(found.values)
        if active.replicas is not None:
            self._end_failed(found.losses, values)
        elif not math.isfinite(values["loss"]):  # on a GPU, losses are checked once per epoch
            self.engine.restore(None)
            raise not_finite(found.losses, training.epoch, training.step)
        self.history.record(values, found.seconds)
        if self._only_records:
            training.epoch += 1
            report.at(training.epoch, values)
            self._record_ready(report)
            return
        if training.looked_at:
            self.engine.sync()
        self._after_epoch(values)
        for callback in training.callbacks:
            callback.on_epoch(training)
        active.check_whole(training)
        self._watch.tell_of_untrained(training)
        self._take_over_changes(shown=self._shows_all)
        if active.replicas is not None:
            self._keep_active()
        training.epoch += 1
        report.at(training.epoch, values)
        if self.checkpointer is not None:
            self.checkpointer.record(self.history)
        self._save_if_due(between=True)

    @property
    def _only_records(self) -> bool:
        """Whether nothing happens between epochs but that their values are recorded and shown."""
        training = self.training
        asks = training.callbacks or training.scheduler is not None or self.checkpointer is not None
        return not (asks or self._watch.strangers or self.active.replicas is not None)

    def _record_ready(self, report: Reporter) -> None:
        """Record the epochs that are trained already. They can be many, in less time than all else takes."""
        training, history, engine, epoch = self.training, self.history, self.engine, self.training.epoch
        try:
            for values, seconds in engine.ready():
                history.record(values, seconds)
                epoch += 1
                report.at(epoch, values)
        finally:
            training.epoch, training.step = epoch, engine.steps

    def _go_on(self, report: Reporter) -> Measurement | None:
        """Let the engine continue the epoch. Returns its results once it is over, else None."""
        training = self.training
        try:
            progress = self.engine.run(self._budget())
        except NotCompiled as reason:
            self._go_on_eagerly(reason)
            progress = self.engine.run(self._budget())
        finally:
            training.step = self.engine.steps
        if progress.loss is not None:
            if self._watch.every_step is not None:
                self._show()
            for callback in training.callbacks:
                callback.on_batch(training, progress.loss)
            if self._watch.every_step is not None:
                self._read_whole(shown=self._shows_all)
                self.engine.spec = self._spec()
        if progress.epoch is None:
            report.at(training.epoch + progress.done, self.history.last)
        return progress.epoch

    def _go_on_eagerly(self, reason: NotCompiled) -> None:
        """Continue with the eager engine, because of a change that cannot be compiled."""
        history, compiled = self.history, self.engine
        compiled.close()
        history.compile_seconds = compiled.compile_seconds
        if history.why == ASKED:
            raise refused(reason, compiled.spec) from None
        history.engine, history.why = "eager", f"since epoch {self.training.epoch + 1}: {reason}"
        self.engine = EagerEngine(compiled.spec)
        self.engine.steps = compiled.steps

    def _take_over_changes(self, shown: bool) -> None:
        """Pass changes by user code to the engine; `shown` as in `_read_whole`."""
        if not self._watch.strangers:
            return
        self._read_whole(shown)
        self.engine.spec = self._spec()
        self.engine.refresh()

    def _read_whole(self, shown: bool) -> None:
        """Take over what user code has changed in the whole population, for the active replicas.

        shown  whether the whole population had all their numbers when user code ran
        """
        active = self.active
        if active.rows is None or not self._watch.strangers:
            return
        if not shown and (written := "the modules" if active.has_other_modules else active.written) is not None:
            raise self._watch.explain_changed(written)
        if active.is_outdated:
            if not shown:
                self._bring_up_to_date()
            active.select()
            return
        active.follow_hyperparameters()
        if shown:
            active.take_over()

    @property
    def _shows_all(self) -> bool:
        """Whether callbacks see all numbers of the active replicas in the whole population, and may change them there.

        The eager engine trains the model itself, so there any user code may.
        """
        return self._watch.loads or (self._watch.strangers and self.engine.name == "eager")

    def _show(self) -> None:
        """Update the whole population if user code reads it. Metrics and schedules must not have written to it."""
        if self._watch.strangers and (written := self.active.written) is not None:
            raise self._watch.explain_changed(written, "a metric or a schedule")
        if self._shows_all:
            self.active.hand_over()
        elif self.training.looked_at:
            self.active.write_back()

    def _after_epoch(self, values: Mapping[str, Measured]) -> None:
        """Make the schedule's step, and update the whole population if a callback reads it."""
        training = self.training
        if isinstance(training.scheduler, ReduceLROnPlateau):
            training.scheduler.step(values.get("validation_loss", values["loss"]))
        elif training.scheduler is not None and training.schedule_per == "epoch":
            training.scheduler.step()
        self.active.follow_hyperparameters()
        self._show()

    def _step_schedule(self) -> None:
        """Make the schedule's step after a batch."""
        assert self.training.scheduler is not None
        self.training.scheduler.step()
        self.active.follow_hyperparameters()

    def _schedule_state(self) -> Mapping[str, Any]:
        return training_state.schedule_state(self.training)

    def _bring_up_to_date(self) -> None:
        """Bring the whole model and optimizer to the state after the last step that the loop has requested."""
        self.engine.rewind()
        self.engine.sync()
        self.active.hand_over()

    # ---- replicas that end -----------------------------------------------------------------------------------------
    def _end_failed(self, losses: Tensor, values: Mapping[str, Measured]) -> None:
        """End the replicas whose loss was not finite in this epoch, with their last good weights.

        Their `values` become NaN. Raises NonFiniteError if no replica is left.
        """
        bad = ~losses.isfinite().cpu()  # (batches, k)
        if not bad.any():
            return
        training, history = self.training, self.history
        failed = bad.any(0).nonzero().flatten().tolist()
        self.engine.restore(failed)
        rows = torch.arange(len(bad[0])) if self.active.rows is None else self.active.rows
        for column in failed:
            k, first = int(rows[column]), int(bad[:, column].nonzero()[0])
            history.failed.append(k)
            for value in values.values():
                value[k] = math.nan  # type: ignore[index]
            step = training.step - len(losses) + first + 1
            training.stop(
                f"the loss was {losses[first][column].item()} in epoch {training.epoch + 1}, step {step}", [k]
            )
        if len(history.failed) == training.model.replicas:
            raise none_finite(training.model.replicas, f"replica {k}: {history.endings[k]}")

    def _keep_active(self) -> None:
        """Continue without the replicas that have ended."""
        if not self.history.endings:
            return
        training, active = self.training, self.active
        rows = torch.arange(len(training.going)) if active.rows is None else active.rows
        staying = training.going[rows]
        if not staying.any():
            training.stop("all replicas have ended")
        elif not staying.all():
            self._bring_up_to_date()
            active.keep(rows[staying])
            self.engine.keep(staying)
            self.engine.spec = self._spec()

    # ---- a checkpoint ----------------------------------------------------------------------------------------------
    def _save_if_due(self, between: bool) -> None:
        """Write a checkpoint if one is due; `between` says if no epoch is under way."""
        if self.checkpointer is None or self.engine.is_ahead:
            return
        if self.checkpointer.is_due(self.training.epoch, self.training.step, between):
            self._save(self.checkpointer)

    def _save(self, checkpointer: Checkpointer) -> None:
        if not checkpointer.has(self.training):
            self._bring_up_to_date()
            checkpointer.save(self.training, self._state_dict())

    def _state_dict(self) -> dict[str, Any]:
        """Everything that is needed to continue, except the model's parameters and buffers."""
        training, by_engine = self.training, self.engine.state_dict()
        return {
            "epoch": training.epoch,
            "step": training.step,
            "ending": training.ending,
            "history": self.history.state_dict(),
            "modules": training_state.extra_states(training.model),
            "optimizer": training_state.optimizer_state(training.optimizer),
            "schedule": training_state.schedule_state(training),
            "clipping": training_state.clipping_state(training),
            "crew": self.active.state_dict(by_engine["under_way"] is not None),
            "last_good": self.engine.last_good.state_dict(),
            "by_engine": by_engine,
            "callbacks": training_state.callback_states(training.callbacks),
            "random": training_state.random_state(),
            "generators": self.active.generators(training),
        }

    def _load_state_dict(self, saved: Saved) -> None:
        """Restore a checkpoint, except the states of the engine, the callbacks and the generators."""
        state, training = saved.state, self.training
        training.epoch, training.step, training.ending = state["epoch"], state["step"], state["ending"]
        training_state.set_clipping_state(training, state.get("clipping"))
        self.history.load_state_dict(state["history"])
        training.model.load_state_dict(saved.weights)
        training_state.set_extra_states(training.model, state["modules"])
        training_state.set_optimizer_state(training.optimizer, state["optimizer"])
        under_way = state["by_engine"]["under_way"]
        training_state.set_schedule_state(training, (under_way or {}).get("schedule") or state["schedule"])
        self.active.load_state_dict(state["crew"])
