"""Row 5: LeNet-5 on images in MNIST's shape.

Few steps must give equal parameters: a gradient jumps by rounding where a ReLU or the largest number of a pool changes,
and Adam makes a step of up to lr of it.
"""

from __future__ import annotations

from functools import partial

from benchmarks import single_work as who
from benchmarks.harness import Row, Work
from benchmarks.outcome import Goal
from benchmarks.stacks import LENET, TOLERANCE, StackInJax, stack

BATCHES = 10
EPOCH = 60_000  # images


def work(batch: int, steps: int) -> Work:
    """Training with batches of this size."""
    task = partial(stack, LENET, batch, BATCHES)
    return Work(
        f"LeNet-5, 28 x 28 pixels, cross-entropy, Adam, batch {batch}",
        (
            who.compiled(task),
            who.fit_compiled(task),
            who.fits_step(task),
            *who.torch_nn(task),
            who.torch_compile(task),
            who.jax(task, StackInJax),
        ),
        (Goal(who.FIT_COMPILED, who.FUSED, 11.0), Goal(who.FIT_COMPILED, who.JAX, 20.0)),
        steps=steps,
        job_steps=10 * -(-EPOCH // batch),
        tolerance=TOLERANCE,
    )


ROW = Row(5, "LeNet-5", (work(32, steps=500), work(64, steps=300)))
