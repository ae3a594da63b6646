"""Row 11: one residual network, whose values have several uses each.

The activation is tanh for the reason that row 7 gives.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from benchmarks import single_work as who
from benchmarks.harness import Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import Task, initial

FEATURES, WIDTH, CLASSES, BLOCKS = 32, 64, 10, 6
BATCH, BATCHES = 128, 10
JOB = 5_000  # steps of a whole training
SEED = 0

# As in row 7: with Adam, a gradient that is 0 but for rounding makes a step of up to lr
TOLERANCE = 1e-4


@lru_cache(maxsize=1)
def residual(width: int = WIDTH, blocks: int = BLOCKS, batch: int = BATCH, batches: int = BATCHES) -> Task:
    """The task to learn random labels of random inputs with a residual network."""
    random = np.random.default_rng(SEED)
    widths = (FEATURES, *[width] * (1 + 2 * blocks), CLASSES)
    inputs = random.standard_normal((batches, batch, FEATURES), dtype=np.float32)
    labels = random.integers(CLASSES, size=(batches, batch))
    return Task(widths, "Tanh", "CrossEntropyLoss", inputs, labels, *initial(random, widths), blocks=blocks)


def work(task: partial[Task], steps: int) -> Work:
    """Training that network with Adam."""
    return Work(
        "6 residual blocks of two layers of 64, tanh, cross-entropy, Adam, batch 128",
        (who.compiled(task), who.fit_compiled(task), who.fits_step(task), *who.torch_nn(task), who.jax(task)),
        (Goal(who.FIT_COMPILED, who.FUSED, 2.0), Goal(who.FIT_COMPILED, who.JAX, 1.0)),
        steps=steps,
        job_steps=JOB,
        tolerance=TOLERANCE,
    )


ROW = Row(11, "one residual network", (work(partial(residual), steps=300),))
