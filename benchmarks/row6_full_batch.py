"""Row 6: one small network on all samples at once: half a million tanh per step, and narrow matrix products."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch

from benchmarks import single_work as who
from benchmarks.harness import Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import Task, initial

WIDTHS = (4, 32, 16, 4)
SAMPLES = 10_000
JOB = 10_000  # steps of a whole training
SEED = 0


@lru_cache
def exponentials(samples: int, widths: tuple[int, ...] = WIDTHS) -> Task:
    """The task to learn exp(A) for random 2 x 2 matrices A, in one batch: inputs (1, n, 4), targets (1, n, 4)."""
    random = np.random.default_rng(SEED)
    matrices = random.standard_normal((samples, 2, 2))
    targets = torch.linalg.matrix_exp(torch.tensor(matrices)).numpy()
    inputs, targets = (each.reshape(1, samples, 4).astype(np.float32) for each in (matrices, targets))
    return Task(widths, "Tanh", "MSELoss", inputs, targets, *initial(random, widths))


def full_batch(samples: int, steps: int) -> Work:
    """Training on this many samples, all of them in every step."""
    task = partial(exponentials, samples)
    return Work(
        f"4-32-16-4 tanh, squared error, Adam, all of {samples:,} samples in each step",
        (who.compiled(task), who.fits_step(task), *who.torch_nn(task), who.jax(task)),
        tuple(Goal(who.COMPILED, peer, 6.0) for peer in (who.NN, who.FUSED, who.JAX)),
        steps=steps,
        job_steps=JOB,
    )


ROW = Row(6, "one small network, full batch", (full_batch(SAMPLES, steps=50),))
