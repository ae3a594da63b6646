"""Many networks of one architecture, as the benchmarks train them: the data, order and weights that all begin with."""

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
LR, DECAY = (-3.5, -2.5), (-5.0, -3.0)  # powers of ten between which the networks of a sweep have theirs


@dataclass(frozen=True)
class Task(Start):
    """What the trainings of K networks start from; its arrays are to be copied, never written to.

    widths        of the layers; `activation` stands between them ("Tanh", "ReLU"), cross-entropy after the last
    inputs        (n, features), labels (n,)
    order         which samples the batches hold, in turn: (batches, B), shared by all networks, or (batches, K, B),
                  where each network gathers batches of its own
    weights       (K, out, in) and biases (K, out), a layer each
    rule          the constants of Adam
    lr, decay     (K,) each, in place of the rule's one learning rate and no weight decay; None: as the rule says
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
        """Whether each network has batches of its own."""
        return self.order.ndim == 3


@lru_cache(maxsize=1)
def spirals(networks: int, widths: tuple[int, ...], activation: str, batch: int = 128, batches: int = 4) -> Task:
    """Two spirals, the same batches for all networks and the same Adam."""
    data = lamp.data.spirals(batch * batches, seed=SEED)
    order = np.random.default_rng(SEED).permutation(batch * batches).reshape(batches, batch)
    inputs, labels = (column.numpy() for column in data.tensors)
    return Task(widths, activation, inputs, labels, order, *initial(networks, widths))


@lru_cache(maxsize=1)
def disk_sweep(networks: int, widths: tuple[int, ...], batch: int = BATCH, batches: int = BATCHES) -> Task:
    """The disk, ReLU, each network with a learning rate, a weight decay and an order of its own."""
    random = np.random.default_rng(SEED)
    data = lamp.data.disk(batch * batches, seed=SEED)
    inputs, labels = (column.numpy() for column in data.tensors)
    orders = [random.permutation(batch * batches).reshape(batches, batch) for _ in range(networks)]
    lr, decay = (10 ** random.uniform(low, high, networks) for low, high in (LR, DECAY))
    weights, biases = initial(networks, widths)
    lr, decay = lr.astype(np.float32), decay.astype(np.float32)
    return Task(widths, "ReLU", inputs, labels, np.stack(orders, 1), weights, biases, lr=lr, decay=decay)


def initial(networks: int, widths: tuple[int, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Weights (K, out, in) and biases (K, out) by the law of torch.nn.Linear."""
    random = np.random.default_rng(SEED + 1)

    def uniform(fan_in: int, *shape: int) -> Array:
        bound = 1 / math.sqrt(fan_in)
        return random.uniform(-bound, bound, (networks, *shape)).astype(np.float32)

    layers = list(pairwise(widths))
    weights = tuple(uniform(fan_in, fan_out, fan_in) for fan_in, fan_out in layers)
    return weights, tuple(uniform(fan_in, fan_out) for fan_in, fan_out in layers)
