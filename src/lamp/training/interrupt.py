"""Ctrl-C, and SIGTERM, that let the step in hand finish."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

TERMINATED = 128 + signal.SIGTERM  # the exit status of a program that SIGTERM has ended


class Interruptible:
    """Within it the first Ctrl-C sets `asked`, for the loop to stop at its next safe place; a second one raises.

    terminate  the same for SIGTERM, which is passed on when the block ends: to who listened for it before, else the
               program exits with status 143, its `finally` blocks done. Else SIGTERM is left alone

    Elsewhere than in the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self, terminate: bool = False) -> None:
        self.asked = False
        self._signals = [signal.SIGINT, signal.SIGTERM] if terminate else [signal.SIGINT]
        self._before: dict[int, Any] = {}
        self._came: int | None = None  # the first one

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                before = signal.getsignal(number)
                if callable(before) or (number == signal.SIGTERM and before is signal.SIG_DFL):
                    self._before[number] = before
                    signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(TERMINATED)
        self.asked, self._came = True, number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        outer = getattr(self._before.get(signal.SIGINT), "__self__", None)
        if self._came == signal.SIGINT and isinstance(outer, Interruptible):
            outer.asked, outer._came = True, signal.SIGINT  # it may have come too late for the loop within
        if self._came == signal.SIGTERM and error is None:
            before = self._before[signal.SIGTERM]
            if callable(before):
                before(signal.SIGTERM, None)
            else:
                raise SystemExit(TERMINATED)
