"""Row 7: populations of wide networks, where nearly all of a step is matrix products.

The activation is tanh so that the check means something: of the hundred million numbers that go into an activation
during the steps of the check, some are so near 0 that rounding decides their sign. A ReLU there changes its slope, and
then networks differ that compute the same.
"""

from __future__ import annotations

from functools import partial

from benchmarks.harness import Row, Work
from benchmarks.populations import spirals
from benchmarks.populations_work import JAX, PEERS, work

WIDTHS = (2, 256, 256, 2)
SAMPLE = 16  # networks that torch.nn trains one by one
JOB = 1000  # steps of a whole training

# Adam divides a gradient by its own size: of one that is 0 but for rounding, it makes a step of up to lr. Among the
# millions of parameters here there are such ones.
TOLERANCE = 1e-4


def wide(networks: int, steps: int) -> Work:
    """So many networks on the same batches."""
    return work(
        f"{networks} networks 2-256-256-2 tanh, cross-entropy, Adam, 128 points of two spirals; a step of one network",
        partial(spirals, networks, WIDTHS, "Tanh", batches=1),
        networks,
        SAMPLE,
        {**dict.fromkeys(PEERS, 1.0), JAX: 474 / 220},
        steps=steps,
        job_steps=JOB,
        tolerance=TOLERANCE,
    )


ROW = Row(7, "populations of wide networks", (wide(16, steps=40), wide(128, steps=8)))
