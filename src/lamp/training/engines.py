"""Which engine trains: the one asked for, or the faster one for this job on this machine, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from lamp.compiler.plan import plan_of
from lamp.compiler.refusals import try_eagerly
from lamp.compiler.stages import Plan
from lamp.compiler.stand_ins import NotCompiled
from lamp.data import DataLoader, length_of
from lamp.errors import ArgumentError, LampError
from lamp.training.active_replicas import ActiveReplicas
from lamp.training.eager import parts
from lamp.training.epochs import shape_of_samples

if TYPE_CHECKING:
    from lamp.training.compiled import Compiled
    from lamp.training.run import Training

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


def choose(engine: str, training: Training, active: ActiveReplicas) -> tuple[Compiled | None, str]:
    """The compiled engine, or None for the eager one; and why.

    Raises ArgumentError where the compiled one is asked for and cannot run this.
    """
    if engine == "eager":
        return None, ASKED
    try:
        if engine == "auto":
            plan = plan_of(active.model, shape=shape_of_samples(active.batches))
            seconds = _eager_seconds(plan, training, active)
            if seconds < COMPILING:
                return None, f"it takes about {seconds:.1g} s, and compiling {COMPILING} s"
            from lamp.compiler.backends.cpu.target import host
            from lamp.compiler.tiling import along_features

            sizes = [layer.width[0] * layer.width[1] for layer in plan.layers]
            others = sizes[1:] if along_features(plan, host().lanes(plan.dtype)) else sizes
            shared_out = max(others, default=0)
            alone = active.model.replicas is None and torch.get_num_threads() > 1
            if max(sizes) > WIDE or (alone and shared_out in SHARED_OUT_BADLY):
                return None, "for layers this wide torch's matrix products are faster"
        begun = time.perf_counter()
        from lamp.training.compiled import Compiled  # and LLVM, a tenth of a second that eager trainings do not wait

        compiled = Compiled(training, active)
        compiled.seconds = time.perf_counter() - begun
    except NotCompiled as reason:
        if engine == "compiled":
            raise refused(reason, active) from None
        return None, str(reason)
    return compiled, ASKED if engine == "compiled" else f"faster here: eager would take about {seconds:.1g} s"


def refused(reason: NotCompiled, active: ActiveReplicas) -> LampError:
    """The error where the compiled engine is asked for and cannot go on: the eager engine's, if that cannot either."""
    batches = active.batches
    try:
        if isinstance(batches, DataLoader) and batches.tensors is not None:
            rows = slice(reason.row, reason.row + batches.batch_size)
            batch: Any = tuple(column[:, rows] if batches.per_replica else column[rows] for column in batches.columns)
        else:
            batch = next(iter(batches))
        *inputs, target = active.batch_for(batch, batches) if active.replicas else parts(batch)
        try_eagerly(active.model, active.criterion, inputs, target)
    except LampError as error:
        return error
    return ArgumentError(
        "the compiled engine cannot run this",
        expected="see lamp.compile for what it can",
        got=str(reason),
        fix='engine="auto" runs what cannot be compiled by the eager engine',
    )


def _eager_seconds(plan: Plan, training: Training, active: ActiveReplicas) -> float:
    """About how long the eager engine would take."""
    batches = active.batches
    steps = training.epochs * (length_of(batches) or 1)
    size = getattr(batches, "batch_size", None) or 1
    work = 6 * plan.multiplications * size * (active.model.replicas or 1)
    return steps * (EAGER_STEP * (len(plan.layers) + 1) + work / EAGER_RATE)


def batch_size_of(batches: Iterable[Any]) -> int:
    """Samples per batch, where the batches say so; many where they do not."""
    size = getattr(batches, "batch_size", None)
    return size if isinstance(size, int) else UNKNOWN_BATCH
