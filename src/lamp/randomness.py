"""Random bits that depend on where they are used, and on nothing else.

A generator that is read in order gives other numbers as soon as something else reads from it, or a run is interrupted.
Here the bits of an element are a function of (seed, step, position): the same whoever asks, in any order, on any number
of threads. The mixing is written over whatever behaves like a 32-bit integer and wraps around as one, so that int32
tensors and SIMD lanes draw the same bits:

    + - * ^ &      >> (which repeats the sign bit)
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lamp.formulas import scalar

Integer = Any  # an int32 tensor, a SIMD lane: whatever offers the operations above

_64_BITS = 2**64 - 1
CACHED = 2**20  # positions of tensors up to this size are kept from call to call

# Odd multipliers with good avalanche.  Source: Wellons, "Prospecting for Hash Functions" (lowbias32)
FIRST, SECOND = 0x7FEB352D, 0x846CA68B - 2**32


def keys(seed: int, step: int) -> tuple[int, int]:
    """Two numbers of 32 bits, signed, from a seed and a step: `bits` takes them.  Source: Steele et al. 2014 (SplitMix64)."""
    mixed = _splitmix(_splitmix(seed & _64_BITS) + step)
    return _signed(mixed >> 32), _signed(mixed & 0xFFFFFFFF)


def _splitmix(n: int) -> int:
    n = (n + 0x9E3779B97F4A7C15) & _64_BITS
    n = ((n ^ (n >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    n = ((n ^ (n >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return n ^ (n >> 31)


def _signed(n: int) -> int:
    return n - 2**32 if n >= 2**31 else n


def scatter(position: Integer) -> Integer:
    """Each position's own 32 bits, every one of them depending on all of its."""
    h = position ^ ((position >> 16) & 0xFFFF)
    h *= FIRST
    h ^= (h >> 15) & 0x1FFFF
    h *= SECOND
    h ^= (h >> 16) & 0xFFFF
    return h


def bits(scattered: Integer, first_key: Integer, second_key: Integer) -> Integer:
    """32 random bits a position, the high ones the best, given `scatter(position)` and `keys(seed, step)`."""
    h = scattered ^ first_key
    h *= FIRST
    h ^= (h >> 15) & 0x1FFFF
    h += second_key
    h *= SECOND
    return h


def below(bits: Integer, threshold: Integer) -> Integer:
    """-1 where the bits, as a number from 0 to 1, lie below threshold / 2^31, else 0."""
    return ((bits >> 1) - (threshold - 2**30)) >> 31
