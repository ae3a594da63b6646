"""Row 1: one tiny network. A framework's step is nearly all overhead, a compiled one nearly all arithmetic."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.disk_work import BY_HAND, TORCH_COMPILE, work
from benchmarks.harness import Contender, Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import ADAM, SGD, Rule, Task
from benchmarks.single_work import COMPILED, FIT_COMPILED, JAX, NN, compiled, fit_compiled, fits_step


def engines(task: Callable[[], Task]) -> tuple[Contender, ...]:
    """lamp's engines."""
    return compiled(task), fit_compiled(task), fits_step(task)


def with_compiled(rule: Rule, ratio: float) -> Work:
    """Training with this optimizer. The goals are lamp's ratios to torch.nn and to the peers that compile."""
    goals = [Goal(COMPILED, peer, aim) for peer, aim in ((NN, ratio), (JAX, 5.0), (TORCH_COMPILE, 1.0), (BY_HAND, 1.0))]
    return work(rule, engines, (*goals, Goal(FIT_COMPILED, NN, ratio)), steps=1000)


ROW = Row(1, "one tiny network", (with_compiled(SGD, 30.0), with_compiled(ADAM, 58.0)))
