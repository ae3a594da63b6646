"""The compiled engine in a training: epochs in machine code, and everything around them as with the eager one."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.compiler.coefficients import options_of
from lamp.compiler.kernel_runner import KernelRunner
from lamp.compiler.plan import plan_of
from lamp.compiler.stand_ins import NotCompiled
from lamp.cpu_settings import threads_for
from lamp.data import DataLoader
from lamp.errors import ArgumentError
from lamp.training import eager
from lamp.training.active_replicas import ActiveReplicas
from lamp.training.epoch_prefetcher import NOTHING, EpochPrefetcher
from lamp.training.epochs import Data, Measurement, Record, UnderWay, of_epochs, shape_of_samples
from lamp.training.training_state import schedule_state
from lamp.training.watch import Watch

if TYPE_CHECKING:
    from lamp.training.run import Training

STRETCH = 0.05  # seconds that the machine code runs at a time, so that progress moves and Ctrl-C is heard
BLOCK_SECONDS = (0.005, 0.08)  # least and most for a block of epochs trained ahead; a fourth of the rest between them
MOST_AHEAD = 256  # epochs of a block
MOST_KEPT = 2**22  # numbers that are kept of a block: samples' places, or what networks put out for them


class Compiled:
    """Trains the active replicas by machine code. Raises NotCompiled where it cannot.

    Weights and state lie in the kernels' layout while it does: `store` and `load` take them to the model and back.
    """

    def __init__(self, training: Training, active: ActiveReplicas) -> None:
        self.training, self.active, self.watch = training, active, Watch(training)
        self._begun = False
        self._changed = False  # whether the kernels are not what the model, the loss, the data, ... ask for any more
        self._per_step: float | None = None  # seconds, with a step's share of what is measured after the epoch
        self.seconds = 0.0  # that compiling took
        self.threads = torch.get_num_threads()
        self._last_good: dict[int, Tensor] = {}
        self._previous: list[Tensor] = []  # the numbers that the last epoch, or the last together, began with
        self._together = 1  # how many those were
        self._before: Tensor | None = None  # the weights that the last epoch began with, where the training is resumed
        self._under_way: UnderWay | None = None  # the epoch that is not done
        self._head: Mapping[str, Any] | None = None  # of the epoch to be resumed: what `UnderWay.state_dict` kept
        self._block = NOTHING  # that epochs were handed out of last
        self._measured: Iterator[Measurement] = iter(())  # its epochs that are not handed out yet
        self._handed_out = 0  # how many are
        self._shown: list[Tensor] | None = None  # the weights after the last one of those, where somebody looks
        self._longest = MOST_AHEAD  # epochs of a block; where replicas leave much would be trained to be undone
        self._since = 0.0  # when the block before was measured
        self._careful_until = 0  # the epoch up to which they are trained one by one: a loss in between is not finite
        with threads_for(0):  # torch's own threads would be in the way of the kernel's
            self._build()

    def _build(self) -> None:
        """The runners of the active replicas as it is now."""
        begun = time.perf_counter()
        active, training = self.active, self.training
        self.model, self.options = active.model, options_of(active.optimizer)
        if not (active.model.training and active.criterion.training):
            raise NotCompiled("the network or the loss is in eval mode, in which nothing is learned")
        shape = shape_of_samples(active.batches)
        plan = plan_of(active.model, shape=shape)
        of_data: dict[str, Any] = {
            "replicas": active.model.replicas,
            "watched": self.watch.strangers,
            "copies": self.watch.copies,
        }
        self.data = Data(active.batches, active.criterion, plan, training.metrics, **of_data)
        limits = {"clip_norm": training.clip_norm, "clip_value": training.clip_value}
        self.runner = KernelRunner(
            active.model,
            active.criterion,
            active.optimizer,
            batches=self.data.batches,
            labels=self.data.labels,
            ignores=self.data.ignores,
            per_replica_order=self.data.per_replica_order,
            limits={name: active.number(limit) for name, limit in limits.items() if limit is not None},
            keeps_outputs=self.data.answers is None,
            answers=self.data.answers or (),
            threads=self.threads,
            shape=shape,
        )
        self.measurer, self.held_out = None, None
        if isinstance(active.validation, DataLoader):
            held_out = self.held_out = Data(active.validation, active.criterion, plan, training.metrics, **of_data)
            self.measurer = KernelRunner(
                active.model,
                active.criterion,
                None,
                batches=held_out.batches,
                labels=held_out.labels,
                ignores=held_out.ignores,
                per_replica_order=held_out.per_replica_order,
                keeps_outputs=held_out.answers is None,
                answers=held_out.answers or (),
                like=self.runner,
                shape=shape,
            )
        self._previous, self._before = [], None
        self._prefetcher = EpochPrefetcher(self.runner, self.data, self.measurer, self.held_out, training.looked_at)
        self._made_from, self._changed = self._look(), False
        self.seconds += time.perf_counter() - begun

    def _look(self) -> Hashable:
        """What the kernels are made from, as it is now; nothing, where no code of a user's could change it."""
        return self.watch.look(self.active, self.data, self.held_out) if self.watch.strangers else None

    # ---- epochs ----------------------------------------------------------------------------------------------------
    def epoch(self, pause: Callable[[float], bool]) -> Measurement | None:
        """Train an epoch, or hand out one that is trained already.

        pause  is told how far the epoch is, and says whether to stop; then there is nothing to return

        Raises NotCompiled where somebody has changed something so that there is no code for it any more: then the model
        and the optimizer are up to date.
        """
        training, active = self.training, self.active
        if not self._begun:
            self._begun = True
            self.load()  # what callbacks did when they started
        if not self.is_ahead:
            if self._changed or active.model is not self.model or options_of(active.optimizer) != self.options:
                self.rewind()
                self._prefetcher.close()
                if active.model is self.model:
                    self.store()
                self._changed = True  # until it is built
                self._build()
                self._longest = 1
            if not self._train_ahead():
                return self._train(pause)
            pause(0.0)
        k = self._handed_out
        self._handed_out = k + 1
        if self._prefetcher.keep_weights and self._block.calls is not None:
            self._shown = [kept[k] for kept in self._block.calls.weights]
        training.step += self.data.steps
        found = next(self._measured)  # metrics are asked here: an error of theirs leaves this epoch's weights
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        return replace(found, seconds=seconds)

    def _train_ahead(self) -> bool:
        """Have some epochs ready; False where the next one is to be trained by itself."""
        self._fill()
        if not self._prefetcher:
            return False
        block = self._prefetcher.collect()
        if not block.finite:
            self._careful_until = self.training.epoch + block.epochs
            return False
        self._per_step = block.seconds / block.steps.count
        self._block, self._previous, self._together, self._handed_out = block, block.before or [], block.epochs, 0
        self._longest = min(2 * self._longest, MOST_AHEAD)
        self._fill(block.epochs)  # which runs while this one is measured
        active, metrics = self.active, self.training.metrics
        found = of_epochs(active, metrics, block.steps, self.data, block.order, Record.of(block.steps))
        if block.measure is not None and self.held_out is not None:
            steps, order = block.measure
            validated = of_epochs(active, metrics, steps, self.held_out, order, Record.of(steps))
            found = (each.beside(other) for each, other in zip(found, validated, strict=True))
        self._measured = found
        return True

    def _goes_ahead(self) -> bool:
        """Whether blocks of epochs can be trained, and what is measured in between, before anybody asks for them."""
        training = self.training
        if self._head is not None or training.epoch < self._careful_until:
            return False
        if training.scheduler or self.watch.loads:
            return False
        validated = self.active.validation is not None
        if validated and self.measurer is None:
            return False
        runners = [self.runner, *([] if self.measurer is None else [self.measurer])]
        return not ((validated or training.looked_at) and any(each.in_parts for each in runners))

    def _fill(self, ready: int = 0) -> None:
        """Ask for the epochs that come next, `ready` ones being there already, in blocks that take a moment each."""
        if self._per_step is None or not self._goes_ahead():
            return
        training, prefetcher = self.training, self._prefetcher
        if not prefetcher and not ready:
            self._since = time.perf_counter()
        left = training.epochs - training.epoch
        if training.checkpointer is not None:
            if training.checkpointer.steps_left(training.step) < self.data.steps:
                return
            left = min(left, training.checkpointer.epochs_left(training.epoch, training.step, self.data.steps))
        seconds = self._per_step * self.data.steps
        kept = sum(data.kept for data in (self.data, self.held_out) if data is not None)
        kept += self.runner.plan.parameters if training.looked_at else 0
        fitting = MOST_KEPT // (kept * (self.model.replicas or 1))
        block = min(max(BLOCK_SECONDS[0], seconds * left / 4), BLOCK_SECONDS[1])
        most = 0 if seconds > STRETCH else max(1, min(int(block / max(seconds, 1e-9)), fitting, self._longest))
        prefetcher.fill(left - ready, most)

    def rewind(self) -> None:
        """Undo the epochs that were trained ahead, where the training ended before they were handed out."""
        self._prefetcher.cancel()
        self._shown = None
        if self.is_ahead:
            self._together, self._longest = self._handed_out, 1
            self._prefetcher.take_back(self._block, self._handed_out)
            self._block = NOTHING

    def close(self) -> None:
        """The training is over."""
        self._prefetcher.close()

    @property
    def resumes(self) -> bool:
        """Whether an epoch is to be gone on with."""
        return self._head is not None

    @property
    def is_ahead(self) -> bool:
        """Whether epochs are ready that are not handed out yet."""
        return self._handed_out < self._block.epochs

    def _train(self, pause: Callable[[float], bool]) -> Measurement | None:
        """Train one epoch, or the rest of it, in stretches between which progress moves and Ctrl-C is heard."""
        training, runner = self.training, self.runner
        begun = time.perf_counter()
        self._shown = None
        epoch = self._under_way = self._begin()
        steps = epoch.steps
        while epoch.done < steps.count:
            done = epoch.done
            stop = done + 1
            if self._per_step is not None:
                stop = min(steps.count, done + max(1, int(STRETCH / max(self._per_step, 1e-9))))
            if training.checkpointer is not None:
                stop = min(stop, done + training.checkpointer.steps_left(training.step))
            started = time.perf_counter()
            steps.run(done, stop)
            self._per_step = (time.perf_counter() - started) / (stop - done)
            self._look_for_failures(epoch, stop)
            runner.count(stop - done)
            training.step += stop - done
            epoch.done = stop
            epoch.seconds += time.perf_counter() - begun
            begun = time.perf_counter()
            if pause(epoch.done / steps.count):
                return None
        self._under_way = None
        self._previous, self._together = epoch.kept, 1
        if epoch.first:
            self._previous, self._before = [], epoch.weights(runner)
        (found,) = of_epochs(self.active, training.metrics, steps, self.data, epoch.order, epoch.record)
        if self.active.validation is not None:
            started = time.perf_counter()
            found = found.beside(self._validate())
            self._per_step = (self._per_step or 0.0) + (time.perf_counter() - started) / steps.count
        return replace(found, seconds=epoch.seconds + time.perf_counter() - begun)

    def _begin(self) -> UnderWay:
        """Lay out the next epoch, or the one to be resumed, from its first step on."""
        training, runner = self.training, self.runner
        head, self._head = self._head, None
        first = 0 if head is None else len(head["record"]["losses"])
        schedule = None
        if training.checkpointer is not None and training.steps_schedule:
            schedule = schedule_state(training)  # laying out takes all the epoch's steps of the schedule
        runner.count(-first)
        steps, order = self.data.lay_out(runner, advance=training.step_schedule if training.steps_schedule else None)
        runner.count(first)
        return UnderWay(steps, order, runner.snapshot(), first, head, schedule)

    def _validate(self) -> Measurement:
        active, training = self.active, self.training
        assert active.validation is not None
        if self.measurer is None or self.held_out is None:
            self.runner.store_weights()
            values = eager.evaluate(
                active.model, active.criterion, active.validation, training.metrics, active.batch_for
            )
            return Measurement(torch.empty(0), values, 0.0)
        steps, order = self.held_out.lay_out(self.measurer)
        steps.run(0, steps.count)
        (found,) = of_epochs(active, training.metrics, steps, self.held_out, order, Record.of(steps))
        return found

    # ---- when a loss is not finite ---------------------------------------------------------------------------------
    def _look_for_failures(self, epoch: UnderWay, stop: int) -> None:
        """After the epoch's steps up to `stop`."""
        losses = epoch.steps.losses[epoch.done : stop]
        if bool(losses.isfinite().all()):
            return
        bad = ~losses.isfinite()
        if self.active.model.replicas is None:
            self._fail(epoch, epoch.done + int(bad[:, 0].nonzero()[0]))
            return
        for k in bad.any(0).nonzero().flatten().tolist():
            if k not in self._last_good:
                self._last_good[k] = self._good_weights(epoch, epoch.done == 0 and bool(bad[0, k]))[k]

    def _good_weights(self, epoch: UnderWay, failed_at_once: bool) -> Tensor:
        """Weights (K, P) whose loss was finite: what the epoch began with, or the last one if its first loss is not."""
        before = self._weights_before() if failed_at_once else None
        return epoch.weights(self.runner) if before is None else before

    def _weights_before(self) -> Tensor | None:
        """What the last epoch before this one began with, (K, P); None where there was none with this crew."""
        runner, data, undone = self.runner, self.data, self._together
        if not self._previous or undone == 1:
            return runner.weights_in(self._previous) if self._previous else self._before
        now, epoch = runner.snapshot(), data.loader.epoch - (self._under_way is not None)
        runner.restore(self._previous)  # of several that were trained together: all but the last once more
        runner.count(-undone * data.steps)
        order = torch.cat([data.order(epoch - k) for k in range(undone, 1, -1)], -1).to(torch.int32)
        steps = runner.prepare(data.inputs, data.targets, order, data.loader.batch_size, undone - 1)
        steps.run(0, steps.count)
        runner.count(undone * data.steps)
        self._previous, self._together = runner.snapshot(), 1
        runner.restore(now)
        return runner.weights_in(self._previous)

    def _fail(self, epoch: UnderWay, bad: int) -> None:
        """Go to where the loss is not finite and let the eager engine make that step: it says what was wrong."""
        training, runner, steps = self.training, self.runner, epoch.steps
        good = self._good_weights(epoch, bad == 0)
        runner.restore(epoch.kept)
        if bad > epoch.first:
            steps.run(epoch.first, bad)
        runner.count(bad - epoch.done)
        training.step += bad - epoch.done
        runner.store()
        rows = epoch.order[bad * steps.batch : (bad + 1) * steps.batch]
        try:
            training.fail_with((self.data.loader.columns[0][rows], self.data.given[rows]), good[0])
        finally:
            runner.load()  # the weights that were put back

    def restore(self, rows: Iterable[int]) -> None:
        """Put the last good weights of replicas whose loss was not finite into the model."""
        self.runner.store()
        for k in rows:
            self.runner.put(k, self._last_good.pop(k))
        self.runner.load()

    # ---- a checkpoint ------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """What the model and the optimizer do not hold: of an epoch under way, and what is needed if a loss fails."""
        if self._under_way is not None:
            return {"under_way": self._under_way.state_dict(self.runner), "last_good": self._last_good}
        rebuilt = self.active.model is not self.model or options_of(self.active.optimizer) != self.options
        return {"under_way": None, "before": None if rebuilt else self._weights_before(), "last_good": {}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._head, self._before = state_dict["under_way"], state_dict.get("before")
        self._last_good = dict(state_dict["last_good"])

    # ---- the model -------------------------------------------------------------------------------------------------
    def store(self) -> None:
        """Bring the active replicas's model and optimizer up to date; while it is ahead, the weights as they were."""
        if self._changed:
            return  # they are, and what is there may not fit the kernels any more
        if self._shown is None:
            self.runner.store()
        else:
            self.runner.store_weights(self._shown)

    def load(self) -> None:
        """Take over what a user's code may have changed since the last epoch."""
        if not self.watch.strangers or self._changed:
            return
        if self.runner.is_current and self._look() == self._made_from:
            if self.watch.loads:
                self.runner.load()
            return
        self.rewind()
        if not self.training.looked_at:
            self._refuse_other_parameters()
            self.store()
        self._changed = True

    def _refuse_other_parameters(self) -> None:
        """Raise ArgumentError where the weights, which nobody was to look at, have no place any more."""
        if self.runner.is_current and plan_of(self.active.model).parameters == self.runner.plan.parameters:
            return
        raise ArgumentError(
            "a callback that says needs_model = False has changed the parameters",
            expected="a callback that leaves the model alone, or needs_model = True",
            got=", ".join(type(each).__name__ for each in self.training.callbacks if not each.needs_model),
            fix="leave needs_model = True, which is the default",
        )
