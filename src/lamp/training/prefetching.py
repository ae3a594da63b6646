"""PrefetchingEngine: the compiled engine, with blocks of epochs trained before the loop requests them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from lamp.compiler.stages import Plan
from lamp.training.compiled import STRETCH, CompiledEngine
from lamp.training.cost_model import costs
from lamp.training.engine import Budget, Measurement, Progress, Ready, beside
from lamp.training.epoch_prefetcher import NOTHING, EpochPrefetcher
from lamp.training.epochs import Record, losses_of_epochs, values_of_epochs
from lamp.training.measured import Measured
from lamp.training.spec import FitSpec

# The shortest and longest time of a block; in between, a quarter of the remaining time. The first blocks are of the
# shortest time, as far as it can be estimated.
BLOCK_SECONDS = (0.005, 0.08)
MOST_EPOCHS = 2048  # per block
MOST_KEPT = 2**22  # numbers stored per block: indices of samples, and outputs if they are kept


class PrefetchingEngine(CompiledEngine):
    """Trains blocks of epochs in a background thread, and returns their measurements one by one.

    Epochs that turn out not to be wanted, because the training or a replica ends, are undone.
    """

    def __init__(self, spec: FitSpec, plan: Plan | None = None) -> None:
        self._prefetcher: EpochPrefetcher | None = None
        self._block = NOTHING  # the block whose epochs are being returned
        self._losses = torch.empty(0)  # those of its steps, (epochs, steps) or (epochs, steps, K)
        self._values: Iterator[dict[str, Measured]] = iter(())  # those of its epochs that have not been returned
        self._handed_out = 0  # the number of its epochs that have been returned
        self._shown: list[Tensor] | None = None  # the weights after the last returned epoch, if a callback reads them
        self._longest = MOST_EPOCHS  # per block; shorter when replicas end, because then more would be undone
        self._since = 0.0  # when the last epoch was returned
        self._careful = 0  # the number of epochs to train one by one, because one of their losses is not finite
        super().__init__(spec, plan)

    def _build(self, plan: Plan | None = None) -> None:
        rebuilt = self._prefetcher is not None
        if self._prefetcher is not None:
            self._prefetcher.close()
        super()._build(plan)
        self._prefetcher = EpochPrefetcher(self.runner, self.data, self.measurer, self.held_out, self.spec.looked_at)
        self._longest = 1 if rebuilt else MOST_EPOCHS

    @property
    def is_ahead(self) -> bool:
        return self._handed_out < self._block.epochs

    def _advance(self, budget: Budget) -> Progress:
        """Return an epoch that is trained already; if none can be trained ahead, run as without prefetching."""
        if self._epoch is None and not self.is_ahead:
            self._renew()
            self._train_ahead(budget)
        if self.is_ahead:
            return Progress(1.0, epoch=self._hand_out())
        self._shown = None
        progress = self._run(budget)
        if progress.epoch is not None:
            self._careful = max(self._careful - 1, 0)
        return progress

    def ready(self) -> Iterator[Ready]:
        while self.is_ahead:
            yield self._next()

    def _hand_out(self) -> Measurement:
        k, block = self._handed_out, self._block
        if block.calls is not None and self._queue.keep_weights:
            self._shown = [kept[k] for kept in block.calls.weights]
        return Measurement(self._losses[k], *self._next())

    def _next(self) -> Ready:
        """The next epoch of the block, which now counts as requested: if a metric raises, the model keeps its
        weights."""
        self._handed_out += 1
        self.steps += self._block.steps.count // self._block.epochs
        values, now = next(self._values), time.perf_counter()
        seconds, self._since = now - self._since, now
        return values, seconds

    @property
    def _queue(self) -> EpochPrefetcher:
        assert self._prefetcher is not None
        return self._prefetcher

    def _train_ahead(self, budget: Budget) -> None:
        """Train a block of epochs ahead, if that is possible, and request the next ones."""
        self._fill(budget.epochs)
        if not self._queue:
            return
        block = self._queue.collect()
        if not block.finite:
            self._careful = block.epochs
            return
        self._per_step = block.seconds / block.steps.count
        self._block, self._previous, self._together, self._handed_out = block, block.before or [], block.epochs, 0
        self._longest = min(2 * self._longest, MOST_EPOCHS)
        self._fill(budget.epochs, ready=block.epochs)  # the next block runs while this one is measured
        record = Record.of(block.steps)
        self._losses = losses_of_epochs(self.spec, block.steps, record)
        self._values = values_of_epochs(self.spec, block.steps, self.data, block.order, record)
        if block.measure is not None and self.held_out is not None:
            steps, order = block.measure
            validated = values_of_epochs(self.spec, steps, self.held_out, order, Record.of(steps))
            self._values = map(beside, self._values, validated)

    def _fill(self, epochs: int, ready: int = 0) -> None:
        """Request blocks of the next `epochs` epochs, of which `ready` are trained already."""
        if self._head is not None or self._careful or not self._can_be_ahead:
            return
        if not self._queue and not ready:
            self._since = time.perf_counter()
        spec, longest = self.spec, BLOCK_SECONDS[0]
        if self._per_step is None:
            seconds = self._expected_seconds
        else:
            seconds = self._per_step * self.data.steps
            longest = min(max(longest, seconds * epochs / 4), BLOCK_SECONDS[1])
        if seconds * (epochs - ready) < STRETCH:  # one block, without the thread, which takes milliseconds to wake
            longest = max(longest, STRETCH)
        kept = sum(data.kept for data in (self.data, self.held_out) if data is not None)
        kept += self.runner.plan.parameters if spec.looked_at else 0
        fitting = MOST_KEPT // (kept * (spec.replicas or 1))
        most = 0 if seconds > STRETCH else max(1, min(int(longest / max(seconds, 1e-9)), fitting, self._longest))
        self._queue.fill(epochs - ready, most)

    @property
    def _expected_seconds(self) -> float:
        """About how long an epoch takes, before any was measured. Measuring a sample counts as training on it."""
        spec, data = self.spec, self.data
        training = costs(data.plan, spec.optimizer, data.loader.batch_size, data.steps, spec.replicas).compiled
        return training * (1 + (0 if self.held_out is None else self.held_out.samples / data.samples))

    @property
    def _can_be_ahead(self) -> bool:
        """Whether everything that happens between epochs can be done in advance."""
        validated = self.spec.validation is not None
        if validated and self.measurer is None:
            return False
        runners = [self.runner, *([] if self.measurer is None else [self.measurer])]
        return not ((validated or self.spec.looked_at) and any(each.in_parts for each in runners))

    def rewind(self) -> None:
        self._queue.cancel()
        self._shown = None
        if self.is_ahead:
            self._together, self._longest = self._handed_out, 1
            self._queue.take_back(self._block, self._handed_out)
            self._block = NOTHING

    def _store(self) -> None:
        if self._shown is None:
            super()._store()
        else:
            self.runner.store_weights(self._shown)

    def close(self) -> None:
        self._queue.close()
