"""How the processor is set while a training runs: its threads, and what it does with the smallest of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_STEP = 10_000_000  # parameters times batch size, below which one thread is the fastest


@contextmanager
def threads_for(work: int) -> Iterator[int]:
    """One of torch's threads for a small step, since threads wait for each other, else as many as set; put back after.

    work  the number of parameters times the batch size: the multiplications of one forward
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
    """Numbers too small for their exponent (below 1e-38 in float32) count as 0; put back after.

    A network that a large learning rate has saturated is full of them, and the processor takes a hundred times as long
    over each.
    """
    already = not bool(torch.tensor(1e-40) * 1.0)
    if already or not torch.set_flush_denormal(True):  # not every processor can
        yield
        return
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
