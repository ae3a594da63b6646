"""The states of random generators; trial runs of a user's code, what they may raise, and the default generators, which
they must leave as they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# What mistakes in such code raise, and a trial run therefore meets.
RAISED = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
States = tuple[Any, Any, torch.Tensor]


def generator_states() -> States:
    """The states of the default generators of Python, numpy and torch on the CPU."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def same_states(one: States, other: States) -> bool:
    """Whether nothing was drawn between two calls of `generator_states`."""
    return one[0] == other[0] and all(map(np.array_equal, one[1], other[1])) and torch.equal(one[2], other[2])


def put_back(states: States) -> None:
    """Restore what `generator_states` returned."""
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


# ---- for files -------------------------------------------------------------------------------------------------------
def state_of(generator: Any) -> Any:
    """The state of a generator of torch's, numpy's or Python's, in a form for files; `random` and `numpy.random`
    themselves are the default generators."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if hasattr(generator, "get_state"):  # numpy's older kind
        return generator.get_state(legacy=False)
    version, words, gauss = generator.getstate()
    return [version, torch.tensor(words), gauss]


def set_state(generator: Any, state: Any) -> None:
    """Restore what `state_of` returned. A state of another kind raises one of RAISED."""
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        version, words, gauss = state
        generator.setstate((version, tuple(words.tolist()), gauss))


@contextmanager
def generators_kept(device: torch.device | None = None) -> Iterator[None]:
    """A context that restores the states of torch's, numpy's and Python's default generators at its end.

    device  whose generator of torch's is kept besides the CPU's
    """
    states, devices = generator_states(), [] if device is None or device.type != "cuda" else [device]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            put_back(states)
