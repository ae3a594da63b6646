"""Row 7: populations of wide networks, where nearly all of a step is matrix products.

The activation is tanh, because with ReLU the check would fail. A hundred million numbers go into activations during the
check. Some are so near 0 that rounding decides their sign, and so the derivative of ReLU. Then contenders differ that
compute the same.
"""

from __future__ import annotations

from functools import partial

from benchmarks.harness import Row, Work
from benchmarks.populations import spirals
from benchmarks.populations_work import JAX, PEERS, work

WIDTHS = (2, 256, 256, 2)
SAMPLE = 16  # networks that torch.nn trains one by one
JOB = 1000  # steps of a whole training

# Adam divides a gradient by its own size, so a gradient that is 0 but for rounding makes a step of up to lr. Among
# millions of parameters there are some such gradients.
TOLERANCE = 1e-4


def wide(networks: int, steps: int) -> Work:
    """This many networks on the same batches."""
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
