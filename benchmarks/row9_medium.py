"""Row 9: one network of the size that people train on MNIST, where most of a step is matrix products.

The activation is tanh for the reason that row 7 gives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from benchmarks import single_work as who
from benchmarks.harness import Contender, Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import Task, initial
from benchmarks.single_sklearn import WithSklearn

SMALL, LARGE = (784, 128, 10), (784, 512, 512, 10)
BATCH, BATCHES = 128, 4
JOB = 4690  # steps of a whole training: 10 epochs of 60,000 images
SEED = 0
SKLEARN = "scikit-learn"

# As in row 7: with Adam, a gradient that is 0 but for rounding makes a step of up to lr
TOLERANCE = 1e-4


@lru_cache(maxsize=1)
def images(widths: tuple[int, ...], batch: int = BATCH, batches: int = BATCHES) -> Task:
    """Random pixels and labels in the shapes of MNIST. A step takes as long as on the real ones."""
    random = np.random.default_rng(SEED)
    pixels = random.random((batches, batch, widths[0]), dtype=np.float32)
    labels = random.integers(widths[-1], size=(batches, batch))
    return Task(widths, "Tanh", "CrossEntropyLoss", pixels, labels, *initial(random, widths))


def contenders(task: Callable[[], Task]) -> tuple[Contender, ...]:
    """All contenders that can train this network."""
    return (
        who.compiled(task),
        who.fits_step(task),
        *who.torch_nn(task),
        who.jax(task),
        Contender(
            SKLEARN, lambda threads: WithSklearn(task(), threads), note="MLPClassifier.partial_fit, an epoch each"
        ),
    )


def medium(widths: tuple[int, ...], ratio: float, steps: int) -> Work:
    """A network of these widths. `goal`: how many times as fast as torch.nn with its fused Adam lamp should be."""
    return Work(
        f"{'-'.join(map(str, widths))} tanh, cross-entropy, Adam, batch 128",
        contenders(partial(images, widths)),
        (Goal(who.COMPILED, who.FUSED, ratio), Goal(who.COMPILED, who.JAX, 1.0), Goal(who.STEP, who.FUSED, 1.0)),
        steps=steps,
        job_steps=JOB,
        tolerance=TOLERANCE,
    )


ROW = Row(9, "one network of medium size", (medium(SMALL, 2.0, steps=100), medium(LARGE, 1.3, steps=40)))
