"""Worker threads, and what happens to threads when the program ends or forks.

Python stops daemon threads when it ends. If one is inside torch at that moment, the whole program aborts. So the end of
the program waits until the workers have done all tasks submitted to them, and a training in a daemon thread stops for
good before its next step.
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

LONGEST_WAIT = 10.0  # seconds that the end of the program waits for working threads

# What the end of the program waits for: the idents of daemon threads that must not be stopped now, and the futures of
# tasks that are not done. A task counts from its submission: else nothing would count between two tasks of a worker.
_working: set[int | Future[Any]] = set()


class Workers:
    """A pool of threads that run submitted tasks in order. They end with the program, or when `close` is called."""

    def __init__(self, count: int, name: str) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run the task in a worker thread; the future gets its result or its exception."""
        future: Future[Any] = Future()
        _working.add(future)
        self._tasks.put((future, task, arguments))
        return future

    def close(self) -> None:
        """End the threads after all submitted tasks are done."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        torch.set_flush_denormal(True)  # the setting is per thread, and `fit` makes it in its own
        while (given := self._tasks.get()) is not None:
            future, task, arguments = given
            try:
                future.set_result(task(*arguments))
            except BaseException as error:
                future.set_exception(error)
            del given, task, arguments  # else they would live until the next task
            _working.discard(future)
            del future


def is_ending() -> bool:
    """Whether the main thread has ended, so that the program is about to end."""
    return not threading.main_thread().is_alive()


@contextmanager
def not_cut_off() -> Iterator[None]:
    """A context in which the end of the program waits for this thread, even if it is a daemon."""
    mine = threading.get_ident()
    counts = threading.current_thread().daemon and mine not in _working
    if counts:
        _working.add(mine)
    try:
        yield
    finally:
        if counts:
            _working.discard(mine)


def stand_still_if_ending() -> None:
    """Wait forever if this is a daemon thread and the program is about to end."""
    if threading.current_thread().daemon and is_ending():
        _working.discard(threading.get_ident())
        threading.Event().wait()


@atexit.register
def _wait() -> None:
    until = time.monotonic() + LONGEST_WAIT
    while _working and time.monotonic() < until:
        time.sleep(0.002)


def when_forked(forget: Callable[[], None]) -> None:
    """Register a function to be called in the child after a fork, which has none of the parent's threads."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


when_forked(_working.clear)
