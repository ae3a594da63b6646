"""The task of row 4: ten thousand MLPs that differ in width and activation, and the batches they are trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from benchmarks.start import Array

SEED = 0
CLASSES = 2
LR = 0.004
ACTIVATIONS = ("Identity", "Sigmoid", "Tanh", "ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Mish")


@dataclass(frozen=True)
class Mixed:
    """Data and initial weights of K networks features-h-classes. Copy the arrays; do not write to them.

    inputs         (n, features), and labels (n,). They come in batches of `batch` samples, in order, again and again
    hidden         (K,), the number of hidden units of each network
    activations    (K,), the index into ACTIVATIONS of each network
    weights        (K, P), a row per network: W1 (h, features), b1 (h), W2 (classes, h), b2 (classes), then zeros. P is
                   the number of parameters of the widest network
    """

    inputs: Array
    labels: Array
    batch: int
    hidden: Array
    activations: Array
    weights: Array
    lr: float

    @property
    def features(self) -> int:
        return self.inputs.shape[1]  # type: ignore[no-any-return]

    def pieces(self, k: int) -> tuple[slice, slice, slice, slice]:
        """The slices of W1, b1, W2 and b2 in the row of network k."""
        h = int(self.hidden[k])
        ends = np.cumsum([0, h * self.features, h, CLASSES * h, CLASSES])
        first, second, third, fourth = (slice(a, b) for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        return first, second, third, fourth

    def of(self, k: int) -> tuple[Array, Array, Array, Array]:
        """W1, b1, W2 and b2 of network k."""
        h = int(self.hidden[k])
        w1, b1, w2, b2 = (self.weights[k, piece] for piece in self.pieces(k))
        return w1.reshape(h, self.features), b1, w2.reshape(CLASSES, h), b2


@lru_cache(maxsize=1)
def mixed(features: int, widest: int = 100, seeds: int = 10, batch: int = 32, batches: int = 100) -> Mixed:
    """Networks of all widths from 1 to `widest`, activations and seeds, in random order."""
    random = np.random.default_rng(SEED)
    inputs = random.standard_normal((batch * batches, features), dtype=np.float32)
    labels = (inputs[:, 0] * inputs[:, 1] + 0.5 * inputs[:, 2] > 0).astype(np.int64)
    each = np.array(list(product(range(1, widest + 1), range(len(ACTIVATIONS)), range(seeds))))
    each = each[random.permutation(len(each))]
    hidden, activations = each[:, 0], each[:, 1]
    weights = np.zeros((len(each), (features + 1 + CLASSES) * widest + CLASSES), dtype=np.float32)
    made = Mixed(inputs, labels, batch, hidden, activations, weights, LR)
    for k, h in enumerate(hidden):
        w1, b1, w2, b2 = made.pieces(k)
        for piece, fan_in in ((w1, features), (b1, features), (w2, h), (b2, h)):
            bound = 1 / math.sqrt(fan_in)  # the distribution of torch.nn.Linear
            weights[k, piece] = random.uniform(-bound, bound, piece.stop - piece.start)
    return made


BUCKETS = 5  # per activation; more buckets waste less arithmetic, and need more calls


@dataclass(frozen=True)
class Bucket:
    """Networks with one activation and similar widths, padded with zeros to the widest of them.

    rows    the indices of its k networks
    there   (k, widest, 1), 1 for each unit that a network has, else 0
    values  w1 (k, widest, features), b1 (k, widest, 1), w2 (k, classes, widest), b2 (k, classes, 1)
    """

    activation: int
    rows: list[int]
    there: Array
    values: tuple[Array, Array, Array, Array]


def buckets(task: Mixed) -> list[Bucket]:
    """All networks of a task, sorted into buckets."""
    found = []
    for number in range(len(ACTIVATIONS)):
        rows = (task.activations == number).nonzero()[0]
        rows = rows[task.hidden[rows].argsort(kind="stable")]
        size = -(-len(rows) // BUCKETS)
        found += [_bucket(task, number, rows[first : first + size].tolist()) for first in range(0, len(rows), size)]
    return found


def _bucket(task: Mixed, number: int, rows: list[int]) -> Bucket:
    widest = int(task.hidden[rows].max())
    shapes = (widest, task.features), (widest, 1), (CLASSES, widest), (CLASSES, 1), (widest, 1)
    w1, b1, w2, b2, there = (np.zeros((len(rows), *shape), dtype=np.float32) for shape in shapes)
    for place, k in enumerate(rows):
        h = int(task.hidden[k])
        w1[place, :h], b1[place, :h, 0], w2[place, :, :h], b2[place, :, 0] = task.of(k)
        there[place, :h] = 1.0
    return Bucket(number, rows, there, (w1, b1, w2, b2))


def out_of(task: Mixed, each: Iterable[tuple[Bucket, Sequence[Array]]]) -> dict[str, Array]:
    """The parameters of all networks, collected from the present values of each bucket."""
    found = task.weights.copy()
    for bucket, (w1, b1, w2, b2) in each:
        for place, k in enumerate(bucket.rows):
            h = int(task.hidden[k])
            values = w1[place, :h], b1[place, :h], w2[place, :, :h], b2[place]
            for piece, value in zip(task.pieces(k), values, strict=True):
                found[k, piece] = value.flatten()
    return {"weights": found}
