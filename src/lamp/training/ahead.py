"""Epochs that machine code trains before anybody asks for them, in a thread of its own.

While one lot of epochs is measured and handed out the next one runs, and one more is laid out: what Python does between
epochs costs no time of the kernels'.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event

import torch
from torch import Tensor

from lamp.compiler.steps import Steps
from lamp.compiler.trainer import Trainer
from lamp.compiler.turns import Turns
from lamp.training.epochs import Data
from lamp.workers import Workers

MOST_WAITING = 2  # lots in the thread: one that runs, and one that is laid out


@dataclass
class Lot:
    """Some epochs that are trained in one go.

    order    the samples they take
    measure  the steps that measure them on held-out samples, and the order of those
    turns    the two of them, epoch by epoch; None where nothing is between epochs
    before   the networks' numbers that they begin with; None until they do
    finite   whether they are trained, and all of their losses finite
    seconds  the kernels took
    begun    whether they have taken over from Python, or never will
    """

    epochs: int
    order: Tensor
    steps: Steps
    measure: tuple[Steps, Tensor] | None = None
    turns: Turns | None = None
    before: list[Tensor] | None = None
    finite: bool = False
    seconds: float = 0.0
    begun: Event = field(default_factory=Event)
    done: Future[None] = field(default_factory=Future)


NOTHING = Lot(0, torch.empty(0), None)  # type: ignore[arg-type]


class Ahead:
    """Lots that were asked for, in turn. The trainer counts their steps, and the loaders their epochs, from then on.

    measurer      measures each epoch on `held_out`, if there is one
    keep_weights  whether those of each epoch are to be kept
    """

    def __init__(
        self, trainer: Trainer, data: Data, measurer: Trainer | None, held_out: Data | None, keep_weights: bool
    ) -> None:
        self.trainer, self.data = trainer, data
        self.measurer, self.held_out, self.keep_weights = measurer, held_out, keep_weights
        self._lots: deque[Lot] = deque()
        self._thread = Workers(1, "lamp-ahead")
        self._dropped = False

    def __bool__(self) -> bool:
        """Whether lots were asked for that are not collected."""
        return bool(self._lots)

    def fill(self, epochs: int, most: int) -> None:
        """Ask for the epochs that come next, as far as there is room, in lots of at most so many."""
        while len(self._lots) < MOST_WAITING:
            some = min(most, epochs - sum(lot.epochs for lot in self._lots))
            if some < 1:
                return
            self.add(some, at_once=some == epochs)

    def add(self, epochs: int, at_once: bool = False) -> None:
        """Train so many epochs when those before are done; or at once, in this thread, where nothing else is to do."""
        steps, order = self.data.lay_out(self.trainer, epochs)
        self.trainer.count(steps.count)
        lot = Lot(epochs, order, steps)
        if self.measurer is not None and self.held_out is not None:
            lot.measure = self.held_out.lay_out(self.measurer, epochs)
        if lot.measure is not None or self.keep_weights:
            lot.turns = Turns(steps, None if lot.measure is None else lot.measure[0], self.keep_weights)
        last = self._lots[-1] if self._lots else None
        if not at_once:
            lot.done = self._thread.submit(self._train, lot, last)
        self._lots.append(lot)
        if at_once:
            lot.done.set_result(None)
            self._train(lot, last)

    def _train(self, lot: Lot, last: Lot | None) -> None:
        """In the thread: train a lot, unless the one before went wrong."""
        try:
            if self._dropped or (last is not None and not last.finite):
                return
            lot.before = self.trainer.snapshot()
            since = time.perf_counter()
            if lot.turns is None:
                lot.steps.run(0, lot.steps.count, lot.begun.set)
            else:
                lot.turns.run(lot.begun.set)
            lot.seconds = time.perf_counter() - since
            lot.finite = bool(lot.steps.losses.isfinite().all())
        finally:
            lot.begun.set()

    def collect(self) -> Lot:
        """The first lot, once it is trained. Where a loss is not finite, nothing has happened since it began."""
        lot = self._lots[0]
        lot.done.result()
        if not lot.finite:
            self.cancel()
            return lot
        self._lots.popleft()
        if self._lots:
            self._lots[0].begun.wait()  # else both would ask for Python's lock, and wait for it 5 ms at a time
        return lot

    def cancel(self) -> None:
        """Undo what was not collected."""
        self._dropped = True
        for lot in self._lots:
            lot.done.exception()  # waits
        self._dropped = False
        if self._lots and self._lots[0].before is not None:
            self.trainer.restore(self._lots[0].before)
        while self._lots:
            self._undo(self._lots.pop())

    def take_back(self, lot: Lot, kept: int) -> None:
        """Undo the lot that was collected last, but for its first epochs, where none is waiting."""
        assert lot.before is not None
        self.trainer.restore(lot.before)
        if kept:
            lot.steps.run(0, kept * lot.steps.count // lot.epochs)
        self._undo(lot, kept)

    def _undo(self, lot: Lot, kept: int = 0) -> None:
        undone = lot.epochs - kept
        for data in (self.data, self.held_out):
            if data is not None:
                data.loader.epoch -= undone
        self.trainer.count(-undone * (lot.steps.count // lot.epochs))

    def close(self) -> None:
        """Let go of the thread."""
        self.cancel()
        self._thread.close()
