"""Synthetic data sets with two inputs, two classes and any number of samples."""

from __future__ import annotations

import math

import torch

from lamp.data.dataset import Dataset
from lamp.errors import ArgumentError
from lamp.signatures import called
from lamp.values import a_generator, a_seed, natural

DISK_CENTRE = 0.5
DISK_RADIUS = 1.0 / math.sqrt(2.0 * math.pi)  # so that the disk covers half of the square


@called()
def disk(n: int = 1000, seed: int | None = None, generator: torch.Generator | None = None) -> Dataset:
    """Points uniform on the unit square, of class 1 inside the disk of radius 1/sqrt(2 pi) around its centre, else 0.

    Inputs (n, 2) float32, targets (n,) int64. Points are drawn from `generator`, from a generator seeded with `seed`,
    or from torch's default generator. Raises ArgumentError for both a seed and a generator, and for an n below 1.
    """
    inputs = torch.rand(natural(n, "n", least=1), 2, generator=_source(seed, generator), dtype=torch.float32)
    distance_squared = (inputs - DISK_CENTRE).square().sum(1)  # (n,)
    targets = (distance_squared <= DISK_RADIUS**2).long()
    return Dataset(inputs, targets, "disk", classes=("outside", "inside"), features=("x", "y"))


@called()
def spirals(
    n: int = 1000,
    turns: float = 1.5,
    noise: float = 0.02,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Dataset:
    """Two spirals, one per class, each of which is the other rotated by half a turn.

    (x, y) = r (cos a, sin a) + noise N(0, 1),  a = 2 pi turns r + pi class,  r uniform on [0, 1]

    Inputs (n, 2) float32; targets (n,) int64, alternating 0, 1, 0, 1, ... The seed and the generator are as in `disk`.

    Source    Lang & Witbrock 1988, "Learning to tell two spirals apart" (the task)
    """
    for name, value in (("turns", turns), ("noise", noise)):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 <= value < math.inf:
            raise ArgumentError(
                f"{name} is out of range", expected="a number of at least 0", got=value, fix=f"set {name}"
            )
    source = _source(seed, generator)
    targets = torch.arange(natural(n, "n", least=1)) % 2
    radius = torch.rand(n, generator=source, dtype=torch.float32)
    angle = 2.0 * math.pi * turns * radius + math.pi * targets.to(radius.dtype)
    on_the_line = radius.unsqueeze(1) * torch.stack((angle.cos(), angle.sin()), 1)  # (n, 2)
    inputs = on_the_line + float(noise) * torch.randn(n, 2, generator=source, dtype=torch.float32)
    return Dataset(inputs, targets, "spirals", classes=("first", "second"), features=("x", "y"))


def _source(seed: int | None, generator: torch.Generator | None) -> torch.Generator | None:
    """The generator to draw from; None for torch's default one."""
    if a_generator(generator) is None and seed is None:
        return None
    if seed is None:
        return generator
    if generator is not None:
        raise ArgumentError(
            "both a seed and a generator were given",
            expected="one of them",
            got="both",
            fix="seed the generator yourself",
        )
    return torch.Generator().manual_seed(a_seed(seed))
