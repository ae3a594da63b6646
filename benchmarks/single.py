"""Tasks with one network: the batches, and the initial weights of every contender."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.start import Array, Start


@dataclass(frozen=True)
class Rule:
    """An optimizer and its constants."""

    name: str
    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0


SGD = Rule("SGD", lr=0.1)
ADAM = Rule("Adam", lr=1e-3)
ADAMW = Rule("AdamW", lr=1e-3, weight_decay=1e-2)


@dataclass(frozen=True)
class Task(Start):
    """Data and initial weights of a network. Copy the arrays; do not write to them.

    widths      of the layers
    activation  between the layers: "ReLU", "Tanh", "Sigmoid", "SiLU", "GELU"
    loss        after the last layer: "CrossEntropyLoss", "MSELoss"
    inputs      (batches, B, features), in order
    targets     labels (batches, B), or numbers (batches, B, outputs)
    weights     (out, in) per layer, and biases (out) per layer
    """

    widths: tuple[int, ...]
    activation: str
    loss: str
    inputs: Array
    targets: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    rule: Rule = ADAM

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return len(self.inputs)

    @property
    def batch(self) -> int:
        """B, samples in a batch."""
        return self.inputs.shape[1]  # type: ignore[no-any-return]


def initial(random: np.random.Generator, widths: tuple[int, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Weights (out, in) and biases (out) per layer, drawn from the distribution of torch.nn.Linear."""
    layers = list(pairwise(widths))
    weights = tuple(_uniform(random, fan_in, (fan_out, fan_in)) for fan_in, fan_out in layers)
    return weights, tuple(_uniform(random, fan_in, (fan_out,)) for fan_in, fan_out in layers)


def _uniform(random: np.random.Generator, fan_in: int, shape: tuple[int, ...]) -> Array:
    bound = 1 / math.sqrt(fan_in)
    return random.uniform(-bound, bound, shape).astype(np.float32)
