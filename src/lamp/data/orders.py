"""The order in which an epoch takes the samples, as a function of a seed and the epoch's number.

The order depends on nothing else: not on what was drawn before, the engine, or an interruption. So epoch 17 takes its
samples in the same order in a resumed training, a compiled one, and for one network among a thousand.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lamp.values import integer, natural

LOW_32_BITS = 0xFFFFFFFF
LOW_64_BITS = 0xFFFFFFFFFFFFFFFF


def order(n: int, seed: int, epoch: int) -> Tensor:
    """A random permutation of 0 ... n - 1 that depends only on (seed, epoch): indices (n,), int64.

    It is what torch.randperm draws from a fresh CPU torch.Generator seeded with `start_of(seed, epoch)`.

    Raises ArgumentError for an n or an epoch below 0, and for a seed that is not an integer.
    """
    return orders(natural(n, "n"), [integer(seed, "seed")], natural(epoch, "epoch"))[0]


def orders(n: int, seeds: Sequence[int], epoch: int) -> list[Tensor]:
    """The `order` for each of these seeds."""
    generator = torch.Generator()
    return [torch.randperm(n, generator=generator.manual_seed(start_of(seed, epoch))) for seed in seeds]


def start_of(seed: int, epoch: int) -> int:
    """The seed of the generator for an epoch: 32 bits, which is all that torch's CPU generator uses of its seed.

    With a, b the two halves of mix64(seed), it is mix32(mix32(epoch + a) ^ b). Both functions are bijections, so that
    for one seed the first 2^32 epochs all have different generators.

    Source    mix64: Steele, Lea & Flood 2014 (SplitMix64); mix32: Appleby's MurmurHash3
    """
    key = _mix64(seed)
    return _mix32(_mix32(epoch + (key >> 32)) ^ (key & LOW_32_BITS))


def _mix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & LOW_64_BITS
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & LOW_64_BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & LOW_64_BITS
    return x ^ (x >> 31)


def _mix32(x: int) -> int:
    x &= LOW_32_BITS
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & LOW_32_BITS
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & LOW_32_BITS
    return x ^ (x >> 16)
