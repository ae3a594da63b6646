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
STEP, LOOP, LOOP_ON_ALL = "lamp, fit's step", "lamp, a loop, 1 thread", "lamp, a loop, all threads"
VMAP, BMM, NN, JAX = "torch.func.vmap", "torch.baddbmm", "torch.nn, one by one", "JAX"


def contenders(task: Callable[[], Task], networks: int, sample: int) -> tuple[Contender, ...]:
    """Everyone who can train these networks; one by one only the first `sample` of them are trained."""
    some = None if sample >= networks else sample
    trained = f"{sample} of the {networks} networks, times per network" if some else ""
    return (
        Contender(STEP, lambda threads: WithFitsStep(task()), ours=True, note="population.backward_parameters"),
        Contender(LOOP, lambda threads: WithLamp(task()), (1,), ours=True, note="as in the README: backward"),
        Contender(LOOP_ON_ALL, lambda threads: WithLamp(task()), (ALL_THREADS,), ours=True),
        Contender(VMAP, lambda threads: WithVmap(task()), note="grad_and_value of one network, stacked parameters"),
        Contender(BMM, lambda threads: WithBmm(task()), note="batched by hand, gradients by autograd"),
        Contender(one_by_one(sample, networks), lambda threads: OneByOne(task(), sample), sample=some, note=trained),
        Contender(
            one_by_one(sample, networks, "fused"),
            lambda threads: OneByOne(task(), sample, fused=True),
            sample=some,
            note=trained,
        ),
        Contender(
            JAX,
            lambda threads: WithJax(task(), threads),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="compiled, a peer for the compiled engine: jit(vmap) of a whole training, its epochs lax.scan",
        ),
    )


def one_by_one(sample: int, networks: int, adam: str = "") -> str:
    """The name of torch.nn's loop over networks: how many of them it trains, and with which Adam."""
    of_all = f" ({sample} of {networks:,})" if sample < networks else ""
    return f"{NN}{of_all}{adam and ' ' + adam}"


def work(title: str, task: Callable[[], Task], networks: int, sample: int, **options: Any) -> Work:
    """This training; lamp's goal is to be ahead of everyone who does not compile."""
    peers = one_by_one(sample, networks), one_by_one(sample, networks, "fused"), VMAP, BMM
    goals = tuple(Goal(STEP, peer, 1.0) for peer in peers)
    return Work(title, contenders(task, networks, sample), goals, networks=networks, **options)
