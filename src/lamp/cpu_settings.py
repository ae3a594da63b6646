"""Settings of the processor while a training runs: the number of torch's threads, and flushing of denormal numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
