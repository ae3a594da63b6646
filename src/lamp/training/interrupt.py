"""Interruptible: Ctrl-C and SIGTERM stop a training only after the current step is finished."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from lamp.workers import not_cut_off, stand_still_if_ending

TERMINATED = 128 + signal.SIGTERM  # the exit status of a program that was ended by SIGTERM


class Interruptible:
    """A context in which the first Ctrl-C sets `asked`, so that the loop stops at its next safe point. A second one
    raises KeyboardInterrupt.

    terminate  whether SIGTERM is handled in the same way. When the context ends, SIGTERM is passed on to its previous
               handler; without one, the program exits with status 143 after its `finally` blocks. If False, SIGTERM is
               not touched

    Python delivers signals to the main thread only. In a daemon thread, reading `asked` while the program exits blocks
    for ever, so that the thread does nothing more.
    """

    def __init__(self, terminate: bool = False) -> None:
        self._asked, self._daemon = False, threading.current_thread().daemon
        self._guard = not_cut_off()
        self._signals = [signal.SIGINT, signal.SIGTERM] if terminate else [signal.SIGINT]
        self._before: dict[int, Any] = {}
        self._came: int | None = None  # the first signal

    @property
    def asked(self) -> bool:
        """Whether the loop should stop."""
        if self._daemon:
            stand_still_if_ending()
        return self._asked

    def __enter__(self) -> Self:
        self._guard.__enter__()
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                before = signal.getsignal(number)
                if callable(before) or (number == signal.SIGTERM and before is signal.SIG_DFL):
                    self._before[number] = before
                    signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(TERMINATED)
        self._asked, self._came = True, number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stand_still_if_ending()
        self._guard.__exit__(None, None, None)
        for number, before in self._before.items():
            signal.signal(number, before)
        outer = getattr(self._before.get(signal.SIGINT), "__self__", None)
        if self._came == signal.SIGINT and isinstance(outer, Interruptible):
            outer._asked, outer._came = True, signal.SIGINT  # it may have come too late for the inner loop
        if self._came == signal.SIGTERM and error is None:
            before = self._before[signal.SIGTERM]
            if callable(before):
                before(signal.SIGTERM, None)
            else:
                raise SystemExit(TERMINATED)
