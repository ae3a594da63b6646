"""Row 3: a sweep, in which each network has its own learning rate, weight decay, initial weights and order."""

from __future__ import annotations

from functools import partial

from benchmarks.disk import WIDTHS
from benchmarks.harness import Row
from benchmarks.populations import disk_sweep
from benchmarks.populations_work import BMM, JAX, NN, VMAP, work

NETWORKS = 256
SAMPLE = 16  # networks that torch.nn trains one by one
JOB = 2000  # steps of a whole training: 200 epochs, a usual length for this task

ROW = Row(
    3,
    "a sweep over learning rates and weight decays",
    (
        work(
            f"{NETWORKS} networks 2-25-25-25-2 ReLU, cross-entropy, Adam, each with its own learning rate, weight "
            "decay and batches of 100 of 1,000 points; a step of one network",
            partial(disk_sweep, NETWORKS, WIDTHS),
            NETWORKS,
            SAMPLE,
            {NN: 130.0, BMM: 5.0, VMAP: 5.0, JAX: 9.0},
            steps=50,
            job_steps=JOB,
        ),
    ),
)
