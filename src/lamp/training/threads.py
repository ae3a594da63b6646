"""How many threads a training should have: small steps are faster on one, since threads wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_STEP = 10_000_000  # parameters times batch size, below which one thread is the fastest


@contextmanager
def threads_for(work: int) -> Iterator[int]:
    """One of torch's threads for a small step, else as many as set; the number is put back after.

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
