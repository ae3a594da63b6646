"""Row 12, memory: the peak of a training whose memory is nearly all parameters, gradients and the optimizer's state."""

from __future__ import annotations

from itertools import pairwise

import torch

import lamp
from benchmarks.harness import Contender, Row, Work
from benchmarks.networks import Batches, Net, WithHooks, WithLamp, WithTorchNN
from benchmarks.outcome import Goal

WIDTHS = (784, 2048, 2048, 2048, 2048, 10)
BATCH, BATCHES = 64, 4
JOB = 5_000  # steps of a whole training
LAMP, IN_BACKWARD = "lamp", "lamp, step in backward"
NN, FUSED, HOOKS = "torch.nn", "torch.nn fused", "torch.nn fused, hooks"


def mlp() -> lamp.Module:
    """Four hidden layers of 2,048 units."""
    modules: list[lamp.Module] = []
    for before, after in pairwise(WIDTHS):
        modules += [lamp.Linear(before, after), lamp.ReLU()]
    return lamp.Sequential(*modules[:-1])


def images() -> Batches:
    """Batches of random pixels with labels."""
    return [(torch.rand(BATCH, WIDTHS[0]), torch.randint(WIDTHS[-1], (BATCH,))) for _ in range(BATCHES)]


# A large eps: a gradient that is 0 but for rounding would make a step of up to lr.
NET = Net(mlp, lamp.to_torch, "CrossEntropyLoss", images, "Adam", {"lr": 1e-3, "eps": 1e-4})
ROW = Row(
    12,
    "peak memory of a wide network",
    (
        Work(
            "784-2048-2048-2048-2048-10 ReLU, cross-entropy, Adam, batch 64",
            (
                Contender(
                    LAMP, lambda threads: WithLamp(NET), ours=True, note="the eager engine: the step of lamp.fit"
                ),
                Contender(
                    IN_BACKWARD,
                    lambda threads: WithLamp(NET, in_backward=True),
                    ours=True,
                    note="with step_in_backward=True",
                ),
                Contender(NN, lambda threads: WithTorchNN(NET)),
                Contender(FUSED, lambda threads: WithTorchNN(NET, fused=True)),
                Contender(
                    HOOKS,
                    lambda threads: WithHooks(NET, fused=True),
                    note="an optimizer per parameter, called by register_post_accumulate_grad_hook",
                ),
            ),
            (Goal(IN_BACKWARD, NN, 0.7, memory=True), Goal(IN_BACKWARD, HOOKS, 1.0, memory=True)),
            steps=4,
            check_steps=2,
            job_steps=JOB,
            module=__name__,
        ),
    ),
)
