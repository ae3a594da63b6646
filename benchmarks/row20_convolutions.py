"""Row 20: 16 LeNet-5 as one; a larger network over coloured images; signals, by one network and by 256 as one.

Few steps must give equal parameters, and Adam divides by the size of gradients that are 0 but for rounding: a larger
eps limits that, as in row 18. There are up to a million ReLUs to a step, some of which change sides by rounding, so
few steps are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks import single_work as who
from benchmarks.harness import Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import Rule
from benchmarks.stacks import LARGER, LENET, SIGNALS, TOLERANCE, Sizes, StackInJax, stack

BATCH = 32
BATCHES = 2  # of a population
BATCHES_ALONE = 3
RULE = Rule("Adam", lr=1e-3, eps=1e-3)
CHECKED = 6  # steps that must give equal parameters
# Among 256 networks a few ReLUs change sides by rounding in any case: after six steps in float32 four of the networks
# are up to 2e-4 away from the same training in float64, with either engine; in float64 the engines agree within 1e-15.
# A larger eps, with a rate as much larger, moves the weights further than that in two steps.
OF_MANY = Rule("Adam", lr=1e-2, eps=1e-2)
JOB = 5_000  # steps of a whole training
OF_LENET = "LeNet-5, 28 x 28 pixels, Adam, batch 32"
OF_LARGER = "4 convolutions of 32 to 64 channels, 3 x 32 x 32 pixels, Adam, batch 32"
OF_SIGNALS = "signals of 128 steps, 3 channels and 3 convolutions, Adam, batch 32"


def alone(title: str, sizes: Sizes, aims: Mapping[str, float], steps: int) -> Work:
    """Training one network.

    aims  the goals: peer -> how many times as fast lamp.fit should be
    """
    task = partial(stack, sizes, BATCH, BATCHES_ALONE, rule=RULE)
    return Work(
        title,
        (
            who.compiled(task),
            who.fit_compiled(task),
            who.fits_step(task),
            *who.torch_nn(task),
            who.torch_compile(task),
            who.jax(task, StackInJax),
        ),
        tuple(Goal(who.FIT_COMPILED, peer, aim) for peer, aim in aims.items()),
        steps=steps,
        check_steps=CHECKED,
        job_steps=JOB,
        tolerance=TOLERANCE,
    )


def many(
    title: str,
    sizes: Sizes,
    networks: int,
    sample: int,
    aims: tuple[float, float],
    steps: int,
    rule: Rule = RULE,
    checked: int = CHECKED,
    tolerance: float = TOLERANCE,
) -> Work:
    """Training a population.

    sample  how many of the networks torch.nn trains
    aims    the goals: how many times as fast as torch.nn, and as JAX, it should be
    """
    task = partial(stack, sizes, BATCH, BATCHES, networks, rule)
    peer = who.first_of_many(task, networks, sample)
    return Work(
        f"{networks} networks: {title}",
        (who.compiled(task), peer, who.jax(task, StackInJax)),
        tuple(Goal(who.COMPILED, each, aim) for each, aim in zip((peer.name, who.JAX), aims, strict=True)),
        steps=steps,
        check_steps=checked,
        job_steps=JOB,
        tolerance=tolerance,
        networks=networks,
    )


PEERS = who.FUSED, who.TORCH_COMPILE, who.JAX
WORKS = (
    many(OF_LENET, LENET, 16, 16, (11.0, 20.0), 10),
    alone(OF_LARGER, LARGER, {who.FUSED: 1.8}, 72),
    alone(OF_SIGNALS, SIGNALS, dict.fromkeys(PEERS, 1.0), 120),
    many(OF_SIGNALS, SIGNALS, 256, 2, (1.0, 1.0), 10, OF_MANY, checked=2, tolerance=1e-4),
)
ROW = Row(20, "populations of LeNet-5, larger images, and signals", WORKS)
