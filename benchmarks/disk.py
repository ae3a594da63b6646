"""The disk task as the benchmarks run it: points, order and initial weights that every contender begins with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WIDTHS = (2, 25, 25, 25, 2)  # ReLU between, cross-entropy after
POINTS = 1000
BATCH = 100
BATCHES = POINTS // BATCH
RADIUS = 1 / math.sqrt(2 * math.pi)  # the disk covers half of the square
SEED = 0


@dataclass(frozen=True)
class Rule:
    """An optimizer and its constants."""

    name: str
    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


SGD = Rule("SGD", lr=0.1)
ADAM = Rule("Adam", lr=1e-3)


@dataclass(frozen=True)
class Start:
    """What every training starts from; its arrays are to be copied, never written to.

    inputs (10, 100, 2) and labels (10, 100), in batches, in order; weights (out, in) and biases (out), a layer each
    """

    inputs: Array
    labels: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    def values(self) -> list[Array]:
        """Weight, bias, weight, bias, ... as `named` takes them."""
        return [each for pair in zip(self.weights, self.biases, strict=True) for each in pair]


@lru_cache(maxsize=1)
def start() -> Start:
    """The same start each time."""
    random = np.random.default_rng(SEED)
    points = random.random((POINTS, 2), dtype=np.float32)
    labels = (np.square(points - 0.5).sum(1) < RADIUS**2).astype(np.int64)
    weights = [_uniform(random, fan_in, (fan_out, fan_in)) for fan_in, fan_out in pairwise(WIDTHS)]
    biases = [_uniform(random, fan_in, (fan_out,)) for fan_in, fan_out in pairwise(WIDTHS)]
    return Start(points.reshape(BATCHES, BATCH, 2), labels.reshape(BATCHES, BATCH), tuple(weights), tuple(biases))


def _uniform(random: np.random.Generator, fan_in: int, shape: tuple[int, ...]) -> Array:
    bound = 1 / math.sqrt(fan_in)
    return random.uniform(-bound, bound, shape).astype(np.float32)


def named(values: Iterable[Any]) -> dict[str, Array]:
    """Copies of weight, bias, weight, bias, ... under the keys they have in torch.nn's Sequential, and so in lamp's."""
    keys = [f"{2 * layer}.{what}" for layer in range(len(WIDTHS) - 1) for what in ("weight", "bias")]
    return {key: np.asarray(value).copy() for key, value in zip(keys, values, strict=True)}


def epochs(steps: int) -> int:
    """How many times through the batches so many steps are."""
    if steps % BATCHES:
        raise ValueError(f"{steps} steps are no whole number of epochs of {BATCHES}")
    return steps // BATCHES
