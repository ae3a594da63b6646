"""Row 8: cross-validation on a table. Each fold trains a network of three wide layers, and all folds train at once.

Each fold leaves out other rows of the table, so each network gathers its own batches. The activation is tanh for the
reason that row 7 gives.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from benchmarks.harness import Row
from benchmarks.populations import Task, initial
from benchmarks.populations_work import BMM, PEERS, VMAP, work

FOLDS = 8
WIDTHS = (30, 256, 256, 256, 2)
BATCH = 256
TABLE = 2048  # rows; a fold trains on 1,792 of them, in 7 batches
JOB = 700  # steps of a whole training: 100 epochs
SEED = 0

# As in row 7: with Adam, a gradient that is 0 but for rounding makes a step of up to lr
TOLERANCE = 1e-4


@lru_cache(maxsize=1)
def folds(networks: int, widths: tuple[int, ...], batch: int, rows: int) -> Task:
    """A noisy table of two classes on either side of a random plane. Fold k leaves out the k-th part of its rows."""
    random = np.random.default_rng(SEED)
    table = random.standard_normal((rows, widths[0])).astype(np.float32)
    distance = table @ random.standard_normal(widths[0]) + random.standard_normal(rows)
    parts = random.permutation(rows).reshape(networks, -1)
    taken = [random.permutation(np.delete(parts, k, 0).ravel()).reshape(-1, batch) for k in range(networks)]
    labels = (distance > 0).astype(np.int64)
    return Task(widths, "Tanh", table, labels, np.stack(taken, 1), *initial(networks, widths))


ROW = Row(
    8,
    "folds of a table",
    (
        work(
            f"{FOLDS} folds of 30-256-256-256-2 tanh, cross-entropy, Adam, each with its own batches of 256 of "
            f"{TABLE:,} rows; a step of one network",
            partial(folds, FOLDS, WIDTHS, BATCH, TABLE),
            FOLDS,
            FOLDS,
            {**dict.fromkeys(PEERS, 1.0), VMAP: 1557 / 900, BMM: 1734 / 900},
            steps=35,
            check_steps=21,  # whole epochs
            job_steps=JOB,
            tolerance=TOLERANCE,
        ),
    ),
)
