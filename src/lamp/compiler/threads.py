"""The calls of kernels, shared out among threads. ctypes lets go of Python's lock while they run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from functools import lru_cache

import torch

from lamp.compiler.arguments import LINE, KernelArguments
from lamp.compiler.kernel_state import KernelState
from lamp.workers import Workers, when_forked


def on_threads(work: Sequence[Sequence[Callable[[], None]]], threads: int, begun: Callable[[], None]) -> None:
    """The calls of each group, in their order, on so many threads.

    A thread that is free makes the next call of the group that has waited longest. `begun` is called when all threads
    are at work.
    """
    waiting = deque(iter(calls) for calls in work)

    def some() -> None:
        with suppress(IndexError):  # then no group waits: those that are not done are in other hands
            while True:
                calls = waiting.popleft()
                call = next(calls, None)
                if call is not None:
                    call()
                    waiting.append(calls)

    _together(min(threads, len(work)), some, begun)


def as_team(
    kernel_state: KernelState, calls: Sequence[KernelArguments], threads: int, begun: Callable[[], None]
) -> None:
    """One group's calls, each made by several threads, which share out its tasks."""
    gradients = kernel_state.gradient_memory()
    counters = torch.zeros(len(calls), 2 * LINE // 8, dtype=torch.int64)

    def share() -> None:
        for call, of_call in zip(calls, counters, strict=True):
            kernel_state.run_with(gradients, of_call, call)

    _together(min(threads, kernel_state.tiling.parts), share, begun)


def _together(threads: int, work: Callable[[], None], begun: Callable[[], None]) -> None:
    """Call it in so many threads, this one among them."""
    arriving = iter(range(threads))

    def begin() -> None:
        if next(arriving) == threads - 1:
            begun()
        work()

    others = [_pool(threads).submit(begin) for _ in range(1, threads)]
    try:
        begin()
    finally:
        wait(others)
    for each in others:
        each.result()


@lru_cache(maxsize=4)
def _pool(threads: int) -> Workers:
    return Workers(threads - 1, "lamp")


when_forked(_pool.cache_clear)
