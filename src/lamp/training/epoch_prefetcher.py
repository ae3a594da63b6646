"""EpochPrefetcher: trains blocks of epochs in a background thread before the loop requests them.

While one block of epochs is measured and reported, the next one runs and a third is prepared, so that the kernels
never wait for Python.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lamp.compiler.kernel_runner import KernelRunner
from lamp.compiler.steps import Steps
from lamp.training.epochs import Data
from lamp.workers import Workers

if TYPE_CHECKING:
    from lamp.compiler.call_table import CallTable

MOST_WAITING = 2  # blocks in the queue: one that runs, and one that is prepared


@dataclass
class EpochBlock:
    """Some epochs that are trained in one call.

    order    the order of their samples
    steps    their training steps
    measure  the steps that measure each epoch on validation data, and the order of those samples
    calls    both kinds of steps, alternating by epoch; None if nothing happens between epochs
    before   a snapshot of the networks taken when the block began; None until then
    finite   whether the block is trained and all its losses are finite
    seconds  the time that the kernels took
    begun    set once the kernels have released Python's lock, or if the block will not run
    done     set when the block is done
    """

    epochs: int
    order: Tensor
    steps: Steps
    measure: tuple[Steps, Tensor] | None = None
    calls: CallTable | None = None
    before: list[Tensor] | None = None
    finite: bool = False
    seconds: float = 0.0
    begun: Event = field(default_factory=Event)
    done: Future[None] = field(default_factory=Future)


NOTHING = EpochBlock(0, torch.empty(0), None)  # type: ignore[arg-type]


class EpochPrefetcher:
    """A queue of blocks of epochs. The runner and the loaders count a block's steps and epochs when it is added.

    measurer      the runner that measures each epoch on `held_out`, if there is validation
    keep_weights  whether to keep the weights after each epoch
    """

    def __init__(
        self, runner: KernelRunner, data: Data, measurer: KernelRunner | None, held_out: Data | None, keep_weights: bool
    ) -> None:
        self.runner, self.data = runner, data
        self.measurer, self.held_out, self.keep_weights = measurer, held_out, keep_weights
        self._blocks: deque[EpochBlock] = deque()
        self._thread: Workers | None = None  # started for the first block that does not run at once
        self._dropped = False

    def __bool__(self) -> bool:
        """Whether there are blocks that have not been collected."""
        return bool(self._blocks)

    def fill(self, epochs: int, most: int) -> None:
        """Add the next epochs to the queue while it has room, in blocks of at most `most`."""
        while len(self._blocks) < MOST_WAITING:
            some = min(most, epochs - sum(block.epochs for block in self._blocks))
            if some < 1:
                return
            self.add(some, at_once=some == epochs)

    def add(self, epochs: int, at_once: bool = False) -> None:
        """Add a block of so many epochs. It runs after those before it; with `at_once`, now and in this thread."""
        steps, order = self.data.lay_out(self.runner, epochs)
        self.runner.count(steps.count)
        block = EpochBlock(epochs, order, steps)
        if self.measurer is not None and self.held_out is not None:
            block.measure = self.held_out.lay_out(self.measurer, epochs)
        if block.measure is not None or self.keep_weights:
            from lamp.compiler.call_table import CallTable  # and what writes kernels, which no other block needs

            block.calls = CallTable(steps, None if block.measure is None else block.measure[0], self.keep_weights)
        last = self._blocks[-1] if self._blocks else None
        if not at_once:
            self._thread = self._thread or Workers(1, "lamp-ahead")
            block.done = self._thread.submit(self._train, block, last)
        self._blocks.append(block)
        if at_once:
            block.done.set_result(None)
            self._train(block, last)

    def _train(self, block: EpochBlock, last: EpochBlock | None) -> None:
        """Train a block, unless the one before it failed. Runs in the thread."""
        try:
            if self._dropped or (last is not None and not last.finite):
                return
            block.before = self.runner.snapshot()
            since = time.perf_counter()
            if block.calls is None:
                block.steps.run(0, block.steps.count, block.begun.set)
            else:
                block.calls.run(block.begun.set)
            block.seconds = time.perf_counter() - since
            block.finite = bool(block.steps.losses.isfinite().all())
        finally:
            block.begun.set()

    def collect(self) -> EpochBlock:
        """Wait for the first block and return it. If one of its losses is not finite, it and all later blocks are
        undone."""
        block = self._blocks[0]
        block.done.result()
        if not block.finite:
            self.cancel()
            return block
        self._blocks.popleft()
        if self._blocks:
            self._blocks[0].begun.wait()  # else both threads would compete for Python's lock, 5 ms at a time
        return block

    def cancel(self) -> None:
        """Undo all blocks that have not been collected."""
        self._dropped = True
        for block in self._blocks:
            block.done.exception()  # waits
        self._dropped = False
        if self._blocks and self._blocks[0].before is not None:
            self.runner.restore(self._blocks[0].before)
        while self._blocks:
            self._undo(self._blocks.pop())

    def take_back(self, block: EpochBlock, kept: int) -> None:
        """Undo the last collected block except its first `kept` epochs. The queue must be empty."""
        assert block.before is not None
        self.runner.restore(block.before)
        if kept:
            block.steps.run(0, kept * block.steps.count // block.epochs)
        self._undo(block, kept)

    def _undo(self, block: EpochBlock, kept: int = 0) -> None:
        undone = block.epochs - kept
        for data in (self.data, self.held_out):
            if data is not None:
                data.loader.epoch -= undone
        self.runner.count(-undone * (block.steps.count // block.epochs))

    def close(self) -> None:
        """Undo what was not collected, and end the thread."""
        self.cancel()
        if self._thread is not None:
            self._thread.close()
