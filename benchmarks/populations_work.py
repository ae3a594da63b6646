"""The training of many networks as a piece of work: everyone who can do it, and whom lamp's eager engine must beat."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Contender, Work
from benchmarks.outcome import Goal
from benchmarks.populations import Task
from benchmarks.populations_jax import WithJax
from benchmarks.populations_lamp import WithFitsStep, WithLamp
from benchmarks.populations_torch import OneByOne, WithBmm, WithVmap

COMPILED_WITHIN = 60.0  # seconds, or a peer that compiles counts as absent
ALL_THREADS = len(os.sched_getaffinity(0))
STEP, LOOP, LOOP_ON_ALL = "lamp, fit's step", "lamp, 1 thread", "lamp, all threads"
VMAP, BMM, JAX = "torch.func.vmap", "torch.baddbmm", "JAX"


def contenders(task: Callable[[], Task], networks: int, sample: int) -> tuple[Contender, ...]:
    """Everyone who can train these networks; torch.nn, one after another, trains only the first `sample` of them."""
    some = None if sample >= networks else sample
    trained = "one network after another" + (f", timed on {sample} of them" if some else "")
    return (
        Contender(STEP, lambda threads: WithFitsStep(task()), ours=True, note="population.backward_parameters"),
        Contender(LOOP, lambda threads: WithLamp(task()), (1,), ours=True, note="the README's loop: backward"),
        Contender(LOOP_ON_ALL, lambda threads: WithLamp(task()), (ALL_THREADS,), ours=True),
        Contender(VMAP, lambda threads: WithVmap(task()), note="grad_and_value of one network, stacked parameters"),
        Contender(BMM, lambda threads: WithBmm(task()), note="batched by hand, gradients by autograd"),
        Contender(loop(sample, networks), lambda threads: OneByOne(task(), sample), sample=some, note=trained),
        Contender(
            loop(sample, networks, " fused"),
            lambda threads: OneByOne(task(), sample, fused=True),
            sample=some,
            note=f"{trained}; torch.optim's fused Adam",
        ),
        Contender(
            JAX,
            lambda threads: WithJax(task(), threads),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="compiled, a peer for the compiled engine: jit(vmap) of a whole training, its epochs lax.scan",
        ),
    )


def loop(sample: int, networks: int, adam: str = "") -> str:
    """The name of torch.nn's loop over networks: with which Adam, and how many of them it trains."""
    return f"torch.nn{adam}" + (f" ({sample} of {networks:,})" if sample < networks else "")


def work(title: str, task: Callable[[], Task], networks: int, sample: int, **options: Any) -> Work:
    """This training; lamp's goal is to be ahead of everyone who does not compile."""
    peers = loop(sample, networks), loop(sample, networks, " fused"), VMAP, BMM
    goals = tuple(Goal(STEP, peer, 1.0) for peer in peers)
    return Work(title, contenders(task, networks, sample), goals, networks=networks, **options)
