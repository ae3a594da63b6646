"""Row 10: the eager engine on one tiny network, where a step is nearly all overhead."""

from __future__ import annotations

from benchmarks.disk_work import work
from benchmarks.harness import Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import ADAM, SGD, Rule
from benchmarks.single_work import LOOP, NN, STEP, eager


def with_eager(rule: Rule, ratio: float) -> Work:
    """Training with this optimizer. `goal`: how many times as fast as torch.nn lamp should be."""
    return work(rule, eager, (Goal(STEP, NN, ratio), Goal(LOOP, NN, ratio)), steps=300)


ROW = Row(10, "the eager engine on one tiny network", (with_eager(SGD, 2.7), with_eager(ADAM, 5.0)))
