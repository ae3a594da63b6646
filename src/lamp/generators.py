"""The default generators of torch, numpy and Python, which a trial run of a user's code must leave as they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def generators_kept(device: torch.device | None = None) -> Iterator[None]:
    """A context that restores the states of torch's, numpy's and Python's default generators at its end.

    device  whose generator of torch's is kept besides the CPU's
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [] if device is None or device.type != "cuda" else [device]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
