"""Row 4: ten thousand networks that differ in width and activation, as one job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.harness import Contender, Row, Work
from benchmarks.mixed import Mixed, mixed
from benchmarks.mixed_jax import WithJax
from benchmarks.mixed_lamp import WithCompile
from benchmarks.mixed_torch import AsOneLayer, InBuckets, OneByOne
from benchmarks.outcome import Goal
from benchmarks.populations_work import ALL_THREADS, COMPILED, COMPILED_WITHIN, JAX, NN, loop

# Some of the 100 million inputs of activations with a kink lie so near the kink that rounding puts them on its other
# side. That changes one sample's part of a gradient: by up to LR / 32 times its input, observed as 1e-5 to 5e-5.
TOLERANCE = 1e-4
NETWORKS, SAMPLE, LAYER_OF = 10_000, 16, 2_000
JOB = 10_000  # steps of a whole training: 100 epochs of 3,200 samples
ONE_LAYER, BUCKETS = "as one layer", "torch.baddbmm in buckets"


def contenders(task: Callable[[], Mixed], networks: int, sample: int) -> tuple[Contender, ...]:
    """The contenders for these networks. torch.nn trains only the first `sample` of them, one after another."""
    some = min(networks, LAYER_OF)
    return (
        Contender(
            COMPILED,
            lambda threads: WithCompile(task()),
            ours=True,
            compiles=True,
            note="lamp.compile: a kernel for each activation, which serves all widths",
        ),
        Contender(
            loop(ONE_LAYER, some, networks),
            lambda threads: AsOneLayer(task(), some),
            (ALL_THREADS,),
            sample=some if some < networks else None,
            note="ParallelMLPs' idea in torch: all units one layer"
            + (f", timed on {some:,} networks, which suit caches better" if some < networks else ""),
        ),
        Contender(
            BUCKETS,
            lambda threads: InBuckets(task()),
            (ALL_THREADS,),
            note="five buckets of widths for each activation, gradients by autograd",
        ),
        Contender(
            loop(NN, sample, networks),
            lambda threads: OneByOne(task(), sample),
            sample=sample,
            note=f"one network after another, timed on {sample} of them",
        ),
        Contender(
            JAX,
            lambda threads: WithJax(task(), threads),
            (ALL_THREADS,),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="the same buckets, jit(vmap) of a whole training",
        ),
    )


def work(features: int, goal: float) -> Work:
    """The networks on this many features. `goal`: how many times as fast as the idea of ParallelMLPs the compiled
    engine should be."""
    task = partial(mixed, features)
    return Work(
        f"{NETWORKS:,} networks {features}-h-2, h from 1 to 100, ten activations, ten seeds, cross-entropy, SGD, batch "
        "32; a step of one network",
        contenders(task, NETWORKS, SAMPLE),
        (
            Goal(COMPILED, loop(ONE_LAYER, LAYER_OF, NETWORKS), goal),
            Goal(COMPILED, loop(NN, SAMPLE, NETWORKS), 183.0 / 1.5 if features == 10 else 238.0 / 4.0),
            Goal(COMPILED, BUCKETS, 1.0),
            Goal(COMPILED, JAX, 1.0),
        ),
        steps=100,
        tolerance=TOLERANCE,
        job_steps=JOB,
        networks=NETWORKS,
    )


ROW = Row(4, "different networks at once", (work(10, 54.0 / 1.5), work(100, 57.0 / 4.0)))
