"""Tasks with many networks of one architecture: data, order of the samples, and initial weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

import lamp
from benchmarks.disk import BATCH, BATCHES
from benchmarks.single import ADAM, Rule
from benchmarks.start import Array, Start

SEED = 0
LR, DECAY = (-3.5, -2.5), (-5.0, -3.0)  # exponents of ten: the ranges of a sweep


@dataclass(frozen=True)
class Task(Start):
    """Data and initial weights for K networks. Copy the arrays; do not write to them.

    widths        of the layers. `activation` ("Tanh", "ReLU") stands between them, cross-entropy after the last
    inputs        (n, features), and labels (n,)
    order         the samples of each batch: (batches, B) where all networks share the batches, or (batches, K, B) where
                  each network gathers its own
    weights       (K, out, in) per layer, and biases (K, out) per layer
    rule          the constants of Adam
    lr, decay     the learning rate and weight decay of each network, (K,). None: the rule's learning rate, no decay
    """

    widths: tuple[int, ...]
    activation: str
    inputs: Array
    labels: Array
    order: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    rule: Rule = ADAM
    lr: Array | None = None
    decay: Array | None = None

    @property
    def networks(self) -> int:
        """K."""
        return len(self.weights[0])

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return len(self.order)

    @property
    def batch(self) -> int:
        """B, samples in a batch."""
        return self.order.shape[-1]  # type: ignore[no-any-return]

    @property
    def own_batches(self) -> bool:
        """Whether each network has its own batches."""
        return self.order.ndim == 3


@lru_cache(maxsize=1)
def spirals(networks: int, widths: tuple[int, ...], activation: str, batch: int = 128, batches: int = 4) -> Task:
    """The two spirals: all networks share the batches and the constants of Adam."""
    data = lamp.data.spirals(batch * batches, seed=SEED)
    order = np.random.default_rng(SEED).permutation(batch * batches).reshape(batches, batch)
    inputs, labels = (column.numpy() for column in data.tensors)
    return Task(widths, activation, inputs, labels, order, *initial(networks, widths))


@lru_cache(maxsize=1)
def disk_sweep(networks: int, widths: tuple[int, ...], batch: int = BATCH, batches: int = BATCHES) -> Task:
    """The disk with ReLU: each network has its own learning rate, weight decay and order."""
    random = np.random.default_rng(SEED)
    data = lamp.data.disk(batch * batches, seed=SEED)
    inputs, labels = (column.numpy() for column in data.tensors)
    orders = [random.permutation(batch * batches).reshape(batches, batch) for _ in range(networks)]
    lr, decay = (10 ** random.uniform(low, high, networks) for low, high in (LR, DECAY))
    weights, biases = initial(networks, widths)
    lr, decay = lr.astype(np.float32), decay.astype(np.float32)
    return Task(widths, "ReLU", inputs, labels, np.stack(orders, 1), weights, biases, lr=lr, decay=decay)


def initial(networks: int, widths: tuple[int, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Weights (K, out, in) and biases (K, out), drawn from the distribution of torch.nn.Linear."""
    random = np.random.default_rng(SEED + 1)

    def uniform(fan_in: int, *shape: int) -> Array:
        bound = 1 / math.sqrt(fan_in)
        return random.uniform(-bound, bound, (networks, *shape)).astype(np.float32)

    layers = list(pairwise(widths))
    weights = tuple(uniform(fan_in, fan_out, fan_in) for fan_in, fan_out in layers)
    return weights, tuple(uniform(fan_in, fan_out) for fan_in, fan_out in layers)
