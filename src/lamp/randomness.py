"""Random bits that depend on where they are used, and on nothing else.

A generator that is read in order gives other numbers once something else reads from it, or a run is interrupted. Here
the bits of an element are a function of (seed, step, position): the same whoever asks for them, in any order, on any
number of threads. `scatter`, `bits` and `below` are written over whatever behaves like a signed 32-bit integer and
wraps around as one, so that other things than int32 tensors draw the same bits:

    + - * ^ &      >> (which repeats the sign bit)
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.formulas import constant, scalar

Integer = Any  # an int32 tensor, a SIMD lane: whatever offers the operations above

CACHED = 2**20  # the scattered positions of tensors up to this size are kept from call to call


# ---- the bits --------------------------------------------------------------------------------------------------------
# Source: Wellons 2018, "Prospecting for Hash Functions" (lowbias32: shifts 16, 15, 16 and these two multipliers).
FIRST, SECOND = 0x7FEB352D, 0x846CA68B - 2**32


def scatter(position: Integer) -> Integer:
    """A position's own 32 bits, each of them depending on every bit of the position."""
    h = position ^ _shifted(position, 16)
    h = h * constant(FIRST, h)
    h = h ^ _shifted(h, 15)
    h = h * constant(SECOND, h)
    return h ^ _shifted(h, 16)


def bits(scattered: Integer, first_key: Integer, second_key: Integer) -> Integer:
    """32 random bits, the high ones the best, given `scatter(position)` and the `keys(seed, step)`."""
    h = scattered ^ first_key
    h ^= _shifted(h, 16)
    h *= constant(FIRST, h)
    h += second_key
    h ^= _shifted(h, 15)
    h *= constant(SECOND, h)
    return h


def below(bits: Integer, threshold: int) -> Integer:
    """-1 where the bits, read as a number from 0 up to 2^31, lie below the threshold, else 0."""
    h = bits >> constant(1, bits)
    h -= constant(threshold - 2**30, h)
    h >>= constant(31, h)
    return h


def _shifted(h: Integer, places: int) -> Integer:
    """h >> places, with zeros coming in."""
    moved = h >> constant(places, h)
    moved &= constant(2 ** (32 - places) - 1, h)
    return moved


# ---- the keys --------------------------------------------------------------------------------------------------------
def keys(seed: int, step: int) -> tuple[int, int]:
    """Two signed numbers of 32 bits, from a seed and a step.  Source: Steele et al. 2014 (SplitMix64)."""
    mixed = _splitmix(_stream(seed) + step)
    return _signed(mixed >> 32), _signed(mixed & 0xFFFFFFFF)


def table_of_keys(seeds: Sequence[int], steps: np.ndarray[Any, np.dtype[np.uint64]]) -> Tensor:
    """`keys` of many: int32 (..., seeds, 2) for steps (..., seeds)."""
    streams = np.array([_stream(seed) for seed in seeds], dtype=np.uint64)
    mixed = np.asarray(_splitmix(streams + steps))  # type: ignore[arg-type]
    halves = np.stack([mixed >> 32, mixed & 0xFFFFFFFF], -1)
    return torch.from_numpy(halves.astype(np.uint32).view(np.int32))


@lru_cache(maxsize=4096)
def _stream(seed: int) -> int:
    return _splitmix(seed)


def _splitmix(n: int) -> int:
    ones = 2**64 - 1
    n = (n + 0x9E3779B97F4A7C15) & ones
    n = ((n ^ (n >> 30)) * 0xBF58476D1CE4E5B9) & ones
    n = ((n ^ (n >> 27)) * 0x94D049BB133111EB) & ones
    return n ^ (n >> 31)


def _signed(n: int) -> int:
    return n - 2**32 if n >= 2**31 else n


def draw_seed(generator: torch.Generator | None = None) -> int:
    """A seed of 63 bits from the generator, or torch's default one."""
    return int(torch.randint(2**63 - 1, (), generator=generator))


# ---- tensors of them -------------------------------------------------------------------------------------------------
def bernoulli(
    pairs: Sequence[tuple[int, int]],
    shape: Sequence[int],
    probability: float,
    value: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    units: Tensor | None = None,
) -> Tensor:
    """`value` with this probability, else 0; shape (number of pairs, *shape), a slice for each pair of `keys`.

    Positions are counted through `shape` in row-major order; where `units` are given, the k-th slice (of every so many
    as there are) counts rows of units[k] instead of shape[-1]. Probabilities are multiples of 2^-31.
    """
    if units is None:
        scattered = _scattered(torch.Size(shape), device)
    else:
        of_slices = _scatter_rows(torch.Size(shape), device, units)
        scattered = of_slices.repeat(len(pairs) // len(units), *[1] * len(shape))
    both = torch.tensor(pairs, dtype=torch.int32, device=device).view(-1, 2, *[1] * len(shape))
    drawn = bits(scattered, both[:, 0], both[:, 1])  # (pairs, *shape)
    minus_one: Tensor = below(drawn, round(probability * 2**31))
    return minus_one.to(dtype).mul_(scalar(-value, dtype, device))


def _scattered(shape: torch.Size, device: torch.device | None) -> Tensor:
    return (_remembered if shape.numel() <= CACHED else _scatter_all)(shape, device)


def _scatter_all(shape: torch.Size, device: torch.device | None) -> Tensor:
    scattered: Tensor = scatter(torch.arange(shape.numel(), device=device).to(torch.int32))
    return scattered.view(shape)


_remembered = lru_cache(maxsize=16)(_scatter_all)


def _scatter_rows(shape: torch.Size, device: torch.device | None, units: Tensor) -> Tensor:
    """For each of these numbers of units, the positions in rows of so many: (len(units), *shape)."""
    rows = torch.arange(shape.numel() // shape[-1], device=device).view(1, -1, 1)
    places = rows * units.to(device).view(-1, 1, 1) + torch.arange(shape[-1], device=device)
    scattered: Tensor = scatter(places.to(torch.int32))
    return scattered.view(len(units), *shape)
