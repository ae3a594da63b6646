"""Training the disk network as a `Work`: its contenders, and how long it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks import single_work as who
from benchmarks.disk import disk
from benchmarks.disk_by_hand import ByHand
from benchmarks.disk_torch_compile import WithTorchCompile
from benchmarks.harness import Contender, Work
from benchmarks.outcome import Goal
from benchmarks.single import Rule, Task

BY_HAND, TORCH_COMPILE = "torch by hand", "torch.compile"


def peers(task: Callable[[], Task]) -> tuple[Contender, ...]:
    """All contenders but lamp."""
    return (
        *who.torch_nn(task),
        Contender(BY_HAND, lambda threads: ByHand(task()), note="bare operations in place: the floor of eager torch"),
        Contender(
            TORCH_COMPILE,
            lambda threads: WithTorchCompile(task()),
            compiles=True,
            time_limit=who.COMPILED_WITHIN,
            note="compiled: an epoch by hand, wrapped in C++",
        ),
        who.jax(task),
    )


def work(
    rule: Rule, ours: Callable[[Callable[[], Task]], tuple[Contender, ...]], goals: tuple[Goal, ...], steps: int
) -> Work:
    """Training with this optimizer, by the contenders of lamp that `ours` makes and by all peers."""
    task = partial(disk, rule)
    return Work(
        f"{rule.name}: 2-25-25-25-2 ReLU, cross-entropy, batch 100 of 1,000 points",
        (*ours(task), *peers(task)),
        goals,
        steps=steps,
        job_steps=2000,  # 200 epochs, a usual length for this task
    )
