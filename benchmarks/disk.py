"""The disk task as the benchmarks run it: points, order and initial weights that every contender begins with."""

from __future__ import annotations

import math
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
    """What every training starts from: batches (10, 100, 2) in order, labels (10, 100), and a weight and bias a layer."""

    inputs: Array
    labels: Array
    weights: tuple[Array, ...]  # (out, in)
    biases: tuple[Array, ...]  # (out)


@lru_cache(maxsize=1)
def start() -> Start:
    """The same start each time; its arrays are to be copied, never written to."""
    random = np.random.default_rng(SEED)
    points = random.random((POINTS, 2), dtype=np.float32)
    labels = (np.square(points - 0.5).sum(1) < RADIUS**2).astype(np.int64)
    weights = [_uniform(random, fan_in, (fan_out, fan_in)) for fan_in, fan_out in pairwise(WIDTHS)]
    biases = [_uniform(random, fan_in, (fan_out,)) for fan_in, fan_out in pairwise(WIDTHS)]
    return Start(points.reshape(BATCHES, BATCH, 2), labels.reshape(BATCHES, BATCH), tuple(weights), tuple(biases))


def _uniform(random: np.random.Generator, fan_in: int, shape: tuple[int, ...]) -> Array:
    bound = 1 / math.sqrt(fan_in)
    return random.uniform(-bound, bound, shape).astype(np.float32)


def named(weights: Any, biases: Any) -> dict[str, Array]:
    """Weights and biases, layer by layer, as the check compares them: copied."""
    found = {}
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        found[f"layer {k}: weight"] = np.asarray(weight).copy()
        found[f"layer {k}: bias"] = np.asarray(bias).copy()
    return found


def epochs(steps: int) -> int:
    """How many times through the batches so many steps are."""
    if steps % BATCHES:
        raise ValueError(f"{steps} steps are no whole number of epochs of {BATCHES}")
    return steps // BATCHES
