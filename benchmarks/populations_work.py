"""Training many networks as a `Work`: its contenders and its goals."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import Contender, Work
from benchmarks.outcome import Goal
from benchmarks.populations import Task
from benchmarks.populations_jax import WithJax
from benchmarks.populations_lamp import WithCompile, WithFitsStep, WithLamp
from benchmarks.populations_torch import OneByOne, WithBmm, WithVmap

COMPILED_WITHIN = 180.0  # seconds; a peer that compiles for longer counts as absent
ALL_THREADS = len(os.sched_getaffinity(0))
COMPILED, STEP = "lamp, compiled", "lamp, fit's step"
LOOP, LOOP_ON_ALL = "lamp, 1 thread", "lamp, all threads"
NN, FUSED, VMAP, BMM, JAX = "torch.nn", "torch.nn fused", "torch.func.vmap", "torch.baddbmm", "JAX"
PEERS = NN, FUSED, VMAP, BMM, JAX


def contenders(task: Callable[[], Task], networks: int, sample: int) -> tuple[Contender, ...]:
    """The contenders for these networks. torch.nn trains only the first `sample` of them, one after another."""
    some = None if sample >= networks else sample
    trained = "one network after another" + (f", timed on {sample} of them" if some else "")
    return (
        Contender(
            COMPILED,
            lambda threads: WithCompile(task()),
            ours=True,
            compiles=True,
            note="lamp.compile, all steps in one call",
        ),
        Contender(STEP, lambda threads: WithFitsStep(task()), ours=True, note="population.backward_parameters"),
        Contender(LOOP, lambda threads: WithLamp(task()), (1,), ours=True, note="the README's loop: backward"),
        Contender(LOOP_ON_ALL, lambda threads: WithLamp(task()), (ALL_THREADS,), ours=True),
        Contender(VMAP, lambda threads: WithVmap(task()), note="grad_and_value of one network, stacked parameters"),
        Contender(BMM, lambda threads: WithBmm(task()), note="batched by hand, gradients by autograd"),
        Contender(loop(NN, sample, networks), lambda threads: OneByOne(task(), sample), sample=some, note=trained),
        Contender(
            loop(FUSED, sample, networks),
            lambda threads: OneByOne(task(), sample, fused=True),
            sample=some,
            note=f"{trained}; torch.optim's fused Adam",
        ),
        Contender(
            JAX,
            lambda threads: WithJax(task(), threads),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="compiled: jit(vmap) of a whole training, its epochs lax.scan",
        ),
    )


def loop(name: str, sample: int, networks: int) -> str:
    """The name of a loop over networks in the table, with the number of networks that it trains."""
    return name + (f" ({sample} of {networks:,})" if sample < networks else "")


def work(
    title: str, task: Callable[[], Task], networks: int, sample: int, aims: Mapping[str, float], **options: Any
) -> Work:
    """The work of training these networks.

    aims  the goals of lamp's compiled engine: peer -> how many times as fast it should be. The eager engine should be
          ahead of all peers that do not compile
    """

    def called(peer: str) -> str:
        return loop(peer, sample, networks) if peer in (NN, FUSED) else peer

    goals = [Goal(COMPILED, called(peer), ratio) for peer, ratio in aims.items()]
    goals += [Goal(STEP, called(peer), 1.0) for peer in PEERS if peer != JAX]
    return Work(title, contenders(task, networks, sample), tuple(goals), networks=networks, **options)
