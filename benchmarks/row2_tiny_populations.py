"""Row 2: populations of tiny networks. A step of one of them alone costs a thousand times its arithmetic."""

from __future__ import annotations

from functools import partial

from benchmarks.harness import Row, Work
from benchmarks.populations import spirals
from benchmarks.populations_work import BMM, JAX, NN, work

WIDTHS = (2, 16, 2)
SAMPLE = 16  # networks that torch.nn trains one by one
JOB = 1024  # steps of a whole training


def tiny(networks: int, steps: int, activation: str = "ReLU") -> Work:
    """This many networks on the same batches."""
    return work(
        f"{networks:,} networks 2-16-2 {activation}, cross-entropy, Adam, batch 128 of spirals; a step of one network",
        partial(spirals, networks, WIDTHS, activation),
        networks,
        SAMPLE,
        {NN: 1000.0, BMM: 30.0, JAX: 30.0},
        steps=steps,
        job_steps=JOB,
    )


ROW = Row(
    2,
    "populations of tiny networks",
    (tiny(128, steps=100), tiny(1024, steps=40), tiny(1024, steps=40, activation="Tanh")),
)
