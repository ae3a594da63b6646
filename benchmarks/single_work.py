"""Contenders that can train any one network, for the rows to choose from: lamp's engines and its peers.

Those of tasks with several networks are lamp's `compiled`, `first_of_many` and `jax`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.harness import Contender
from benchmarks.populations_work import loop
from benchmarks.single import Task
from benchmarks.single_jax import WithJax
from benchmarks.single_lamp import WithCompile, WithFit, WithFitCompiled, WithFitsStep, WithLamp
from benchmarks.single_torch import FirstOfMany, WithTorchCompile, WithTorchNN

COMPILED_WITHIN = 180.0  # seconds; a peer that compiles for longer counts as absent
COMPILED, FIT_COMPILED = "lamp, compiled", "lamp.fit, compiled"
LOOP, STEP, FIT = "lamp, a loop", "lamp, fit's step", "lamp.fit"
NN, FOREACH, FUSED, JAX = "torch.nn", "torch.nn foreach", "torch.nn fused", "JAX"
TORCH_COMPILE = "torch.compile"


def compiled(task: Callable[[], Task]) -> Contender:
    """lamp's compiled engine in a loop that a user writes."""
    note = "lamp.compile, all steps in one call"
    return Contender(COMPILED, lambda threads: WithCompile(task()), ours=True, compiles=True, note=note)


def fit_compiled(task: Callable[[], Task]) -> Contender:
    """lamp's compiled engine, by lamp.fit."""
    note = "compiles in each call, which its step is given without; with history and kept weights"
    return Contender(FIT_COMPILED, lambda threads: WithFitCompiled(task()), ours=True, compiles=True, note=note)


def eager(task: Callable[[], Task]) -> tuple[Contender, ...]:
    """lamp's eager engine, used in three ways."""
    return (
        Contender(LOOP, lambda threads: WithLamp(task()), ours=True, note="as in the README: model.backward"),
        fits_step(task),
        Contender(FIT, lambda threads: WithFit(task()), ours=True, note="with history and kept weights"),
    )


def fits_step(task: Callable[[], Task]) -> Contender:
    """lamp's eager engine with the step of lamp.fit."""
    return Contender(STEP, lambda threads: WithFitsStep(task()), ours=True, note="model.backward_parameters")


def torch_nn(task: Callable[[], Task]) -> tuple[Contender, ...]:
    """torch.nn with each implementation of its optimizer."""
    return (
        Contender(NN, lambda threads: WithTorchNN(task())),
        Contender(FOREACH, lambda threads: WithTorchNN(task(), foreach=True)),
        Contender(FUSED, lambda threads: WithTorchNN(task(), fused=True)),
    )


def torch_compile(task: Callable[[], Task]) -> Contender:
    """torch.nn with a compiled network and its fused optimizer."""
    return Contender(
        TORCH_COMPILE,
        lambda threads: WithTorchCompile(task(), fused=True),
        compiles=True,
        time_limit=COMPILED_WITHIN,
        note="the network compiled, the fused optimizer",
    )


def first_of_many(task: Callable[[], Any], networks: int, sample: int) -> Contender:
    """torch.nn with its fused optimizer, one network after another: the first `sample` of so many.

    task  makes a task whose `of(k)` is that of the k-th network alone
    """
    some = sample < networks
    return Contender(
        loop(FUSED, sample, networks),
        lambda threads: FirstOfMany(task(), sample, fused=True),
        sample=sample if some else None,
        note="one network after another" + (f", timed on {sample} of them" if some else ""),
    )


def jax(task: Callable[[], Any], kind: Callable[[Any, int], WithJax] = WithJax) -> Contender:
    """JAX, which compiles any network.

    kind  makes the training of a task on so many threads
    """
    return Contender(
        JAX,
        lambda threads: kind(task(), threads),
        compiles=True,
        time_limit=COMPILED_WITHIN,
        note="compiled: jit over lax.scan, all steps in one call",
    )
