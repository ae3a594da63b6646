"""A training in progress: epochs, steps, validation, callbacks, and what to do when a loss is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.compiler.stand_ins import NotCompiled
from lamp.cpu_settings import threads_for
from lamp.data import length_of
from lamp.errors import ArgumentError, NonFiniteError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer, ReduceLROnPlateau, clip_grad_norm_, clip_grad_value_
from lamp.saving.seal import restoring
from lamp.training import eager, training_state
from lamp.training.active_replicas import ActiveReplicas
from lamp.training.callbacks import Callback, Stepping
from lamp.training.checkpointer import Checkpointer
from lamp.training.checkpoints import Saved
from lamp.training.diagnosis import first_non_finite, none_finite, not_finite, tell_of_failures
from lamp.training.engines import ASKED, batch_size_of, choose, refused
from lamp.training.epochs import Measurement
from lamp.training.history import History, Measured
from lamp.training.interrupt import Interruptible
from lamp.training.last_good import LastGood
from lamp.training.metrics import Metric
from lamp.training.progress import Reporter, reporter

if TYPE_CHECKING:
    from lamp.training.compiled import Compiled


@dataclass
class Training:
    """A training in progress, as callbacks see it: what is trained, by what, and how far it is.

    Of a population, `model` and `optimizer` are the whole; replicas that have ended stay in them as they were.
    """

    model: Module
    criterion: Loss
    optimizer: Optimizer
    epochs: int
    history: History
    metrics: Mapping[str, Metric]
    callbacks: Sequence[Callback]
    scheduler: Stepping | None
    schedule_per: str
    clip_norm: Any
    clip_value: Any
    epoch: int = 0  # counted from 0
    step: int = 0  # batches trained on
    checkpointer: Checkpointer | None = None  # saves it to disk, if asked
    _active: ActiveReplicas = field(init=False)
    _compiled: Compiled | None = None
    _ending: str | None = None
    _last_good: LastGood = field(default_factory=LastGood)
    _interrupted: str | None = None
    _under_way: Callable[[], dict[str, Any]] | None = None  # what the eager engine has of an epoch that is not done
    _head: Mapping[str, Any] | None = None  # the same, of the epoch that is to be resumed

    def stop(self, why: str, replicas: Tensor | Sequence[int] | None = None) -> None:
        """End the training after this epoch; of a population, that of all replicas or of these (indices, or a mask)."""
        if replicas is None:
            self._ending = self._ending or why
            return
        if self.model.replicas is None:
            raise ArgumentError("one network has no replicas to stop", got=f"replicas={replicas}", fix="stop(why)")
        chosen = torch.as_tensor(replicas)
        for k in (chosen.nonzero().flatten() if chosen.dtype is torch.bool else chosen).tolist():
            self.history.endings.setdefault(k, why)

    @property
    def going(self) -> Tensor:
        """Which replicas of a population train still: a mask (K,)."""
        going = torch.ones(self.model.replicas or 1, dtype=torch.bool)
        going[list(self.history.endings)] = False
        return going

    # ---- the loop --------------------------------------------------------------------------------------------------
    def run(
        self,
        batches: Iterable[Any],
        validation: Iterable[Any] | None,
        progress: bool,
        engine: str,
        saved: Saved | None = None,
    ) -> None:
        """All epochs by this engine ("auto": the faster one), however they end; or those that a checkpoint leaves."""
        self.model.train()
        self.criterion.train()
        self._active = ActiveReplicas(self.model, self.criterion, self.optimizer, batches, validation)
        if saved is not None:
            with restoring(saved.path, "the training"):
                self.load_state_dict(saved)
            engine = self.history.engine
        self._compiled, why = choose(engine, self, self._active)
        if saved is None:
            self.history.engine, self.history.why = "eager" if self._compiled is None else "compiled", why
        elif self._compiled is not None:
            self._compiled.load_state_dict(saved.state["by_engine"])
        work = sum(parameter.numel() for parameter in self.model.parameters()) * batch_size_of(batches)
        with (
            threads_for(work if self._compiled is None else 0),
            Interruptible(terminate=self.checkpointer is not None) as interrupt,
            reporter(progress, self.epochs) as report,
        ):
            for callback in self.callbacks:
                callback.on_start(self)
            self._active.check_whole(self)
            if saved is not None:
                training_state.set_callback_states(self.callbacks, saved.state["callbacks"], saved.path)
                training_state.set_random_state(saved.state["random"])
            self._last_good.begin(self._active.model)
            if self.checkpointer is not None:
                self.checkpointer.begin(self.history)
            try:
                while self._goes_on:
                    if interrupt.asked and not self._resumes:
                        self._interrupted = f"interrupted after {self.epoch} epochs"
                    else:
                        self._run_epoch(interrupt, report)
                if self.checkpointer is not None:
                    self._save(self.checkpointer)
            except NonFiniteError as error:
                self.history.stopped = f"epoch {self.epoch + 1}: {error.what}"
                error.history = self.history  # type: ignore[attr-defined]
                raise
            finally:
                self._bring_up_to_date()
                if self._compiled is not None:
                    self._compiled.close()
                for callback in self.callbacks:
                    callback.on_end(self)
        self.history.stopped = self._interrupted or self._ending or "all epochs done"
        if self._compiled is not None:
            self.history.compile_seconds = self._compiled.seconds
        tell_of_failures(self.history.failed, f"{self.model.replicas} replicas", "history.endings says")

    @property
    def _resumes(self) -> bool:
        """Whether an epoch that a checkpoint broke off is to be gone on with."""
        return self._head is not None or (self._compiled is not None and self._compiled.resumes)

    @property
    def _goes_on(self) -> bool:
        if self._interrupted is not None:
            return False
        return self._resumes or (self.epoch < self.epochs and self._ending is None)

    def _bring_up_to_date(self) -> None:
        """The model and the optimizer, the whole of a population, as after the last step that counts."""
        if self._compiled is not None:
            self._compiled.rewind()
        self._store()
        self._active.hand_over()

    def _run_epoch(self, interrupt: Interruptible, report: Reporter) -> None:
        active = self._active

        def pause(done: float) -> bool:
            report.at(self.epoch + done, self.history.last)
            if not interrupt.asked:
                self._save_if_due(between=False)
                return False
            self._interrupted = f"interrupted in epoch {self.epoch + 1}, after {self.step} steps"
            return True

        found = self._epoch_by_engine(pause)
        if found is None:
            return
        values = active.spread(found.values)
        if active.replicas is not None:
            self._set_failures_aside(found.losses, values)
        elif not math.isfinite(values["loss"]):  # on a GPU no step waits for its own
            self._restore_weights()
            raise not_finite(found.losses, self.epoch, self.step)
        self.history.record(values, found.seconds)
        if self.looked_at:
            self._store()
        self._after_epoch(values)
        for callback in self.callbacks:
            callback.on_epoch(self)
        active.check_whole(self)
        if self._compiled is not None:
            self._compiled.load()
        if active.replicas is not None:
            self._let_go(active)
        self.epoch += 1
        report.at(self.epoch, values)
        if self.checkpointer is not None:
            self.checkpointer.record(self.history)
        self._save_if_due(between=True)

    def _epoch_by_engine(self, pause: Callable[[float], bool]) -> Measurement | None:
        """An epoch by the engine that was chosen, or by eager once something has come that is not compiled."""
        if self._compiled is None:
            return self._train_epoch(pause)
        try:
            return self._compiled.epoch(pause)
        except NotCompiled as reason:
            self._compiled.close()
            self.history.compile_seconds, self._compiled = self._compiled.seconds, None
            if self.history.why == ASKED:
                raise refused(reason, self._active) from None
            self.history.engine, self.history.why = "eager", f"since epoch {self.epoch + 1}: {reason}"
        return self._train_epoch(pause)

    def _train_epoch(self, pause: Callable[[float], bool]) -> Measurement | None:
        """An epoch by the eager engine, or what is left of it."""
        active, begun = self._active, time.perf_counter()
        averages = eager.Averages(active.criterion, self.metrics, active.model.replicas)
        per_epoch = max(length_of(active.batches) or 1, 1)
        head, self._head = self._head, None
        if head is None:
            first, spent = 0, 0.0
            begin = None if self.checkpointer is None else training_state.begin_of_epoch(active.batches)
            batches = iter(active.batches)
        else:
            averages.load_state_dict(head, self.model.parameters()[0].device)
            first, spent, begin = len(averages.losses), head["seconds"], head["begin"]
            batches = training_state.batches_from(active.batches, first, begin)
        seconds: Callable[[], float] = lambda: spent + time.perf_counter() - begun  # noqa: E731
        self._under_way = lambda: averages.state_dict() | {"begin": begin, "seconds": seconds()}
        for done, batch in enumerate(batches, first + 1):
            averages.add(*self._run_batch(batch))
            if pause(min(done / per_epoch, 1.0)):
                return None
        self._under_way = None
        values = averages.values()
        if active.validation is not None:
            held_out = eager.evaluate(active.model, active.criterion, active.validation, self.metrics, active.batch_for)
            values |= {f"validation_{name}": value for name, value in held_out.items()}
        return Measurement(torch.stack(averages.losses), values, seconds())

    def _store(self) -> None:
        """Bring the model and the optimizer up to date, where machine code has them elsewhere."""
        if self._compiled is not None:
            self._compiled.store()

    def _after_epoch(self, values: Mapping[str, Measured]) -> None:
        """The schedule's step, and the whole population as it is now for whoever looks at it."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(values.get("validation_loss", values["loss"]))
        elif self.scheduler is not None and self.schedule_per == "epoch":
            self.scheduler.step()
        self._active.follow_schedule()
        if self.looked_at:
            self._active.write_back()

    def _run_batch(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """One step; returns the batch's loss, output and target."""
        active = self._active
        *inputs, target = eager.parts(batch) if active.replicas is None else active.batch_for(batch, active.batches)
        try:
            output, loss = eager.train_step(
                active.model, active.criterion, active.optimizer, inputs, target, self._before_step
            )
        except NonFiniteError as error:
            error.where = first_non_finite(self.model, *inputs) or type(self.criterion).__name__
            self._restore_weights()
            raise
        active.note_target(output, target)
        self.step += 1
        if self.steps_schedule:
            self.step_schedule()
        for callback in self.callbacks:
            callback.on_batch(self, loss)
        return loss, output, target

    @property
    def looked_at(self) -> bool:
        """Whether a callback looks at the model or the optimizer after each epoch."""
        return any(callback.needs_model for callback in self.callbacks)

    @property
    def steps_schedule(self) -> bool:
        """Whether the schedule has a step after each batch."""
        return self.schedule_per == "batch" and not isinstance(self.scheduler, ReduceLROnPlateau | None)

    def step_schedule(self) -> None:
        """The schedule's step after a batch."""
        assert self.scheduler is not None
        self.scheduler.step()
        self._active.follow_schedule()

    def _before_step(self, loss: Tensor) -> None:
        """Once the loss is known (of one network, to be finite) and the gradients are there."""
        active = self._active
        self._last_good.note(active.model, loss, self.step)
        if self.clip_value is not None:
            clip_grad_value_(active.optimizer, active.number(self.clip_value))
        if self.clip_norm is not None:
            clip_grad_norm_(active.optimizer, active.number(self.clip_norm))

    # ---- a checkpoint ------------------------------------------------------------------------------------------------
    def _save_if_due(self, between: bool) -> None:
        """Write a checkpoint if it is time: `between` epochs, or within one."""
        if self.checkpointer is None or (self._compiled is not None and self._compiled.is_ahead):
            return
        if self.checkpointer.is_due(self.epoch, self.step, between):
            self._save(self.checkpointer)

    def _save(self, checkpointer: Checkpointer) -> None:
        self._bring_up_to_date()
        checkpointer.save(self)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the training goes on from, but for the model's parameters and buffers."""
        by_engine = {"under_way": None if self._under_way is None else self._under_way()}
        if self._compiled is not None:
            by_engine = self._compiled.state_dict()
        return {
            "epoch": self.epoch,
            "step": self.step,
            "ending": self._ending,
            "history": self.history.state_dict(),
            "modules": training_state.extra_states(self.model),
            "optimizer": training_state.optimizer_state(self.optimizer),
            "schedule": training_state.schedule_state(self),
            "crew": self._active.state_dict(by_engine["under_way"] is not None),
            "last_good": self._last_good.state_dict(),
            "by_engine": by_engine,
            "callbacks": training_state.callback_states(self.callbacks),
            "random": training_state.random_state(),
        }

    def load_state_dict(self, saved: Saved) -> None:
        """Go on from a checkpoint, but for what the engine, the callbacks and the generators take over themselves."""
        state = saved.state
        self.epoch, self.step, self._ending = state["epoch"], state["step"], state["ending"]
        self.history.load_state_dict(state["history"])
        self.model.load_state_dict(saved.weights)
        training_state.set_extra_states(self.model, state["modules"])
        training_state.set_optimizer_state(self.optimizer, state["optimizer"])
        under_way = state["by_engine"]["under_way"]
        training_state.set_schedule_state(self, (under_way or {}).get("schedule") or state["schedule"])
        self._active.load_state_dict(state["crew"])
        self._last_good.load_state_dict(state["last_good"], self.model.parameters()[0].device)
        if self.history.engine == "eager":
            self._head = under_way

    # ---- when a loss is not finite ---------------------------------------------------------------------------------
    def fail_with(self, batch: Any, good: Tensor) -> None:
        """Raise NonFiniteError, which says what made it, in a step of which the loss is known not to be finite.

        good  the last weights (P,) with one that is
        """
        self._last_good.take(self._active.model, good, self.step)
        self._run_batch(batch)
        raise not_finite(torch.tensor([math.nan]), self.epoch, self.step)

    def _restore_weights(self, rows: Any = ...) -> None:
        """Put the last good weights back."""
        if self._compiled is not None and rows is not ...:
            self._compiled.restore(rows.tolist())
        else:
            self._last_good.put_back(self._active.model, rows)

    def _set_failures_aside(self, losses: Tensor, values: Mapping[str, Measured]) -> None:
        """Find the replicas whose loss was not finite in this epoch, put their weights back, and end them.

        Nothing counts that was measured of them: `values` become NaN.
        """
        bad = ~losses.isfinite().cpu()  # (batches, k)
        if not bad.any():
            return
        failed = bad.any(0).nonzero().flatten()
        self._restore_weights(failed)
        rows = torch.arange(len(bad[0])) if self._active.rows is None else self._active.rows
        for column in failed.tolist():
            k, first = int(rows[column]), int(bad[:, column].nonzero()[0])
            self.history.failed.append(k)
            for value in values.values():
                value[k] = math.nan  # type: ignore[index]
            step = self.step - len(losses) + first + 1
            self.stop(f"the loss was {losses[first][column].item()} in epoch {self.epoch + 1}, step {step}", [k])
        if len(self.history.failed) == self.model.replicas:
            raise none_finite(self.model.replicas, f"replica {k}: {self.history.endings[k]}")

    def _let_go(self, active: ActiveReplicas) -> None:
        """Go on without the replicas that have ended."""
        if not self.history.endings:
            return
        rows = torch.arange(len(self.going)) if active.rows is None else active.rows
        staying = self.going[rows]
        if not staying.any():
            self.stop("all replicas have ended")
        elif not staying.all():
            self._last_good.of(staying)
            self._bring_up_to_date()
            active.keep(rows[staying])
