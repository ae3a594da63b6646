"""Runs the calls of kernels on several threads. They run in parallel because ctypes releases Python's lock.

Many groups are shared out among the threads, a call at a time. A single group in several parts is run by all threads
together, which share the parts.
"""

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
    """Make the calls of every group, those of one group in order, on so many threads.

    A free thread takes the next call of the group that has waited longest. `begun` is called once all threads have
    started.
    """
    waiting = deque(iter(calls) for calls in work)

    def some() -> None:
        with suppress(IndexError):  # the queue is empty; other threads run the rest
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
    """Make the calls of one group, each on several threads at once, which share its parts."""
    gradients, scratch = kernel_state.gradient_memory(), kernel_state.coupled_scratch()
    counters = torch.zeros(len(calls), 2 * LINE // 8, dtype=torch.int64)

    def share() -> None:
        for call, of_call in zip(calls, counters, strict=True):
            kernel_state.run_with(gradients, of_call, call, scratch)

    _together(min(threads, kernel_state.tiling.parts), share, begun)


def _together(threads: int, work: Callable[[], None], begun: Callable[[], None]) -> None:
    """Call `work` in so many threads, the calling one among them; `begun` is called once all have started."""
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
