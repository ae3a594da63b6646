"""Settings of a training on a CPU: torch's threads, denormal numbers, and memory that is kept for the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

LARGEST_BLOCK = 31 * 2**20  # bytes; glibc adapts to freed blocks of up to 32 MB
SMALL_STEP = 10_000_000  # below this many multiplications per forward, one thread is the fastest


@contextmanager
def threads_for(work: int) -> Iterator[int]:
    """A context in which torch uses one thread for small steps, where several would mostly wait for each other.

    work  the multiplications of one forward: the number of parameters times the batch size

    It yields the number of threads, and restores the former number at its end.
    """
    allowed = torch.get_num_threads()
    threads = 1 if work < SMALL_STEP else allowed
    if threads == allowed:
        yield allowed
        return
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(allowed)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """A context in which denormal numbers (below 1e-38 in float32) count as 0.

    A network that is saturated by a large learning rate has many of them, and the processor takes a hundred times as
    long for each.
    """
    already = not bool(torch.tensor(1e-40) * 1.0)
    if already or not torch.set_flush_denormal(True):  # not every processor can
        yield
        return
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@lru_cache(maxsize=1)  # once in a process
def keep_freed_memory() -> None:
    """Let the C library keep the memory that a step frees, for the next step.

    glibc returns memory beyond twice the largest block that was freed so far, and gets it again in the next step: 1 us
    for each 4 kB. So a large block is freed here. It is never written to, so the system gives no memory for it.
    """
    torch.empty(LARGEST_BLOCK, dtype=torch.uint8, device="cpu")
