"""The disk task: a network with three hidden layers of 25 learns which points of a square lie in a disk."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from benchmarks.single import Rule, Task, initial

WIDTHS = (2, 25, 25, 25, 2)  # ReLU between, cross-entropy after
POINTS = 1000
BATCH = 100
BATCHES = POINTS // BATCH
RADIUS = 1 / math.sqrt(2 * math.pi)  # the disk covers half of the square
SEED = 0


@lru_cache
def disk(rule: Rule) -> Task:
    """The task, with the same points, batches and weights at every call: inputs (10, 100, 2), labels (10, 100)."""
    random = np.random.default_rng(SEED)
    points = random.random((POINTS, 2), dtype=np.float32)
    labels = (np.square(points - 0.5).sum(1) < RADIUS**2).astype(np.int64)
    inputs, labels = points.reshape(BATCHES, BATCH, 2), labels.reshape(BATCHES, BATCH)
    return Task(WIDTHS, "ReLU", "CrossEntropyLoss", inputs, labels, *initial(random, WIDTHS), rule)
