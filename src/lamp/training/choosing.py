"""Which engine trains: the one asked for, or the faster one for this job on this machine, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from lamp.compiler.eager_checks import run_eagerly
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.compiler.stages import Plan
from lamp.data import length_of
from lamp.errors import ArgumentError, LampError
from lamp.training.batch import first_batch
from lamp.training.eager import EagerEngine
from lamp.training.engine import Engine
from lamp.training.epochs import shape_of_samples
from lamp.training.spec import FitSpec

UNKNOWN_BATCH = 1024  # samples per batch, where the batches do not say
ASKED = "asked for"
ENGINES = ("auto", "eager", "compiled")

# What the choice goes by, measured on 2 cores with AVX-512. Only the orders of magnitude matter.
EAGER_STEP = 30e-6  # seconds that the eager engine takes for each layer of a step, however small
EAGER_RATE = 20e9  # multiplications a second that it makes beyond that
COMPILING = 0.5  # seconds
WIDE = 2**21  # multiplications of one layer beyond which torch's matrix products were not seen to be slower
# Those of the widest layer of one network between which torch, where it has several threads, is ahead: a batch is too
# little there to be shared out (784-128-10 with 128 samples: 0.57 ms eager, 0.69 compiled, before the first layer's
# products ran along the features: 0.55).
SHARED_OUT_BADLY = range(2**16 + 1, 2**18)


def choose(name: str, spec: FitSpec, epochs: int) -> tuple[Engine, str]:
    """The engine of this name ("auto": the faster one for so many epochs), and why it was chosen.

    Raises ArgumentError where the compiled one is asked for and cannot run this.
    """
    if name == "eager":
        return EagerEngine(spec), ASKED
    try:
        if name == "auto":
            plan = plan_of(spec.model, shape=shape_of_samples(spec.batches))
            seconds = _eager_seconds(plan, spec, epochs)
            if seconds < COMPILING:
                return EagerEngine(spec), f"it takes about {seconds:.1g} s, and compiling {COMPILING} s"
        begun = time.perf_counter()
        from lamp.training.prefetching import PrefetchingEngine  # and LLVM, 0.1 s that eager trainings do not wait for

        compiled = PrefetchingEngine(spec)
        compiled.compile_seconds = time.perf_counter() - begun
    except NotCompiled as reason:
        if name == "compiled":
            raise refused(reason, spec) from None
        return EagerEngine(spec), str(reason)
    return compiled, ASKED if name == "compiled" else f"faster here: eager would take about {seconds:.1g} s"


def refused(reason: NotCompiled, spec: FitSpec) -> LampError:
    """The error where the compiled engine is asked for and cannot go on: the eager engine's, if that cannot either."""
    batches = spec.batches
    try:
        *inputs, target = spec.reader.read(first_batch(batches, reason.row), batches)
        run_eagerly(spec.model, spec.criterion, inputs, target)
    except LampError as error:
        return error
    return ArgumentError(
        "the compiled engine cannot run this",
        expected="see lamp.compile for what it can",
        got=str(reason),
        fix='engine="auto" runs what cannot be compiled by the eager engine',
    )


def _eager_seconds(plan: Plan, spec: FitSpec, epochs: int) -> float:
    """About how long the eager engine would take."""
    batches = spec.batches
    steps = epochs * (length_of(batches) or 1)
    size = getattr(batches, "batch_size", None) or 1
    work = 6 * plan.multiplications * size * (spec.replicas or 1)
    return steps * (EAGER_STEP * (len(plan.layers) + 1) + work / EAGER_RATE)


def batch_size_of(batches: Iterable[Any]) -> int:
    """Samples per batch, where the batches say so; many where they do not."""
    size = getattr(batches, "batch_size", None)
    return size if isinstance(size, int) else UNKNOWN_BATCH
