"""Random bits as a function of seed, step and position (a counter-based generator).

The numbers of an ordinary generator change if something else reads from it, or if a run is interrupted. Here the bits
of an element are a function of (seed, step, position). So they are the same in any order of computation and on any
number of threads.

`scatter`, `bits` and `below` work on anything that behaves like a signed 32-bit integer and wraps around like one: an
int32 tensor, or a vector register of the compiler. It needs these operations:

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

CACHED = 2**20  # elements; for tensors up to this size the scattered positions are cached


# ---- the bits --------------------------------------------------------------------------------------------------------
# Source: Wellons 2018, "Prospecting for Hash Functions" (lowbias32: shifts 16, 15, 16 and these two multipliers).
FIRST, SECOND = 0x7FEB352D, 0x846CA68B - 2**32


def scatter(position: Integer) -> Integer:
    """A hash of a position: 32 bits that each depend on every bit of the position."""
    h = position ^ _shifted(position, 16)
    h = h * constant(FIRST, h)
    h = h ^ _shifted(h, 15)
    h = h * constant(SECOND, h)
    return h ^ _shifted(h, 16)


def bits(scattered: Integer, first_key: Integer, second_key: Integer) -> Integer:
    """32 random bits from `scatter(position)` and `keys(seed, step)`. The high bits are the best."""
    h = scattered ^ first_key
    h ^= _shifted(h, 16)
    h *= constant(FIRST, h)
    h += second_key
    h ^= _shifted(h, 15)
    h *= constant(SECOND, h)
    return h


def below(bits: Integer, threshold: int) -> Integer:
    """-1 where the upper 31 bits, as a number from 0 to 2^31 - 1, are below the threshold, else 0."""
    h = bits >> constant(1, bits)
    h -= constant(threshold - 2**30, h)
    h >>= constant(31, h)
    return h


def between(drawn: Any, low: float, high: float) -> Any:
    """Numbers in [low, high) from the upper 24 bits, as whole numbers from -2^23 to 2^23 - 1."""
    return drawn * ((high - low) * 2.0**-24) + (low + high) / 2


def _shifted(h: Integer, places: int) -> Integer:
    """h >> places as an unsigned shift, which fills up with zeros."""
    moved = h >> constant(places, h)
    moved &= constant(2 ** (32 - places) - 1, h)
    return moved


# ---- the keys --------------------------------------------------------------------------------------------------------
def keys(seed: int, step: int) -> tuple[int, int]:
    """Two signed 32-bit keys from a seed and a step.  Source: Steele et al. 2014 (SplitMix64)."""
    mixed = _splitmix(_stream(seed) + step)
    return _signed(mixed >> 32), _signed(mixed & 0xFFFFFFFF)


def table_of_keys(seeds: Sequence[int], steps: np.ndarray[Any, np.dtype[np.uint64]]) -> Tensor:
    """The `keys` of several seeds and steps: int32 (..., seeds, 2) for steps (..., seeds)."""
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
    """A 63-bit seed, drawn from the generator or from torch's default one."""
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
    """A tensor whose elements are `value` with this probability, else 0: (number of pairs, *shape).

    pairs  `keys(seed, step)` for each slice along the first axis
    units  None, or the lengths of rows, (K,): slice s numbers its positions as if rows were units[s % K] long, so that
           a replica with fewer units draws what it would draw alone

    Positions are numbered through `shape` in row-major order. The probability is rounded to a multiple of 2^-31.
    """
    minus_one: Tensor = below(_bits_of(pairs, shape, device, units), round(probability * 2**31))
    return minus_one.to(dtype).mul_(scalar(-value, dtype, device))


def uniform(
    pairs: Sequence[tuple[int, int]],
    shape: Sequence[int],
    low: float,
    high: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Tensor:
    """A tensor of numbers uniform in [low, high): (number of pairs, *shape), with 24 random bits each.

    pairs  `keys(seed, step)` for each slice along the first axis
    """
    wide = dtype if dtype.itemsize >= 4 else torch.float32
    found: Tensor = between((_bits_of(pairs, shape, device) >> 8).to(wide), low, high)
    return found.to(dtype)


def _bits_of(
    pairs: Sequence[tuple[int, int]], shape: Sequence[int], device: torch.device | None, units: Tensor | None = None
) -> Tensor:
    """32 random bits per element: (number of pairs, *shape)."""
    if units is None:
        scattered = _scattered(torch.Size(shape), device)
    else:
        of_slices = _scatter_rows(torch.Size(shape), device, units)
        scattered = of_slices.repeat(len(pairs) // len(units), *[1] * len(shape))
    both = torch.tensor(pairs, dtype=torch.int32, device=device).view(-1, 2, *[1] * len(shape))
    drawn: Tensor = bits(scattered, both[:, 0], both[:, 1])
    return drawn


def _scattered(shape: torch.Size, device: torch.device | None) -> Tensor:
    return (_remembered if shape.numel() <= CACHED else _scatter_all)(shape, device)


def _scatter_all(shape: torch.Size, device: torch.device | None) -> Tensor:
    scattered: Tensor = scatter(torch.arange(shape.numel(), device=device).to(torch.int32))
    return scattered.view(shape)


_remembered = lru_cache(maxsize=16)(_scatter_all)


def _scatter_rows(shape: torch.Size, device: torch.device | None, units: Tensor) -> Tensor:
    """`scatter` of the positions in rows of each of these lengths: (len(units), *shape)."""
    rows = torch.arange(shape.numel() // shape[-1], device=device).view(1, -1, 1)
    places = rows * units.to(device).view(-1, 1, 1) + torch.arange(shape[-1], device=device)
    scattered: Tensor = scatter(places.to(torch.int32))
    return scattered.view(len(units), *shape)
