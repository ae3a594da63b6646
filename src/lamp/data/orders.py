"""The order in which an epoch takes the samples, as a function of a seed and the epoch's number.

Nothing else enters: not what was drawn before, not which engine runs, not whether the run was interrupted. So epoch 17
of a resumed training, of a compiled one, or of one network among a thousand, takes its samples in the same order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lamp.values import integer, natural

LOW_32_BITS = 0xFFFFFFFF
LOW_64_BITS = 0xFFFFFFFFFFFFFFFF


def order(n: int, seed: int, epoch: int) -> Tensor:
    """A random permutation of 0 ... n - 1, given by (seed, epoch) alone: indices (n,), int64.

    It is what torch.randperm draws from a fresh CPU torch.Generator seeded with `start_of(seed, epoch)`.

    Raises ArgumentError for an n or an epoch below 0, and for a seed that is no integer.
    """
    return orders(natural(n, "n"), [integer(seed, "seed")], natural(epoch, "epoch"))[0]


def orders(n: int, seeds: Sequence[int], epoch: int) -> list[Tensor]:
    """The `order` of each of these seeds."""
    generator = torch.Generator()
    return [torch.randperm(n, generator=generator.manual_seed(start_of(seed, epoch))) for seed in seeds]


def start_of(seed: int, epoch: int) -> int:
    """Where the generator of this epoch starts: 32 bits, all that torch's CPU generator takes from its seed.

    With a, b the two halves of mix64(seed), it is mix32(mix32(epoch + a) ^ b). Both mixings are one to one, so that for
    one seed no two epochs (of the first 2^32) start alike.

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
