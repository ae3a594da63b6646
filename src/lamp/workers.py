"""Threads of lamp's own, and what becomes of threads when the program ends or is forked.

A thread that is a daemon is cut off when Python ends, in the middle of whatever torch does in it, and the program with
it: it aborts. So the end waits for what is at work here, and a training in such a thread stands still for good.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import torch

LONGEST_WAIT = 10.0  # seconds that the end of the program waits for threads at work

_at_work: set[int] = set()  # threads, by their numbers, that must not be cut off


class Workers:
    """Threads that do what they are given, one thing after another. They end with the program, or by `close`."""

    def __init__(self, count: int, name: str) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have something done; the future has what it returns or raises."""
        future: Future[Any] = Future()
        self._tasks.put((future, task, arguments))
        return future

    def close(self) -> None:
        """End the threads, once all is done."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        torch.set_flush_denormal(True)  # as `fit` has it
        while (given := self._tasks.get()) is not None:
            with not_cut_off():
                future, task, arguments = given
                try:
                    future.set_result(task(*arguments))
                except BaseException as error:
                    future.set_exception(error)
            del given, future, task, arguments  # or they live until the next one comes


def is_ending() -> bool:
    """Whether the program is about to end."""
    return not threading.main_thread().is_alive()


@contextmanager
def not_cut_off() -> Iterator[None]:
    """Within it the end of the program waits for this thread, if it is a daemon; others are waited for anyway."""
    mine = threading.get_ident()
    counts = threading.current_thread().daemon and mine not in _at_work
    if counts:
        _at_work.add(mine)
    try:
        yield
    finally:
        if counts:
            _at_work.discard(mine)


def stand_still_if_ending() -> None:
    """In a daemon thread whose program is about to end: do nothing any more."""
    if threading.current_thread().daemon and is_ending():
        _at_work.discard(threading.get_ident())
        threading.Event().wait()


@atexit.register
def _wait() -> None:
    until = time.monotonic() + LONGEST_WAIT
    while _at_work and time.monotonic() < until:
        time.sleep(0.002)


def when_forked(forget: Callable[[], None]) -> None:
    """Call this in the child after a fork: it has none of the parent's threads."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


when_forked(_at_work.clear)
