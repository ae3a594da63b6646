"""Which engine trains: the one asked for, or the faster one for this job on this machine, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from lamp.compiler.eager_checks import run_eagerly
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.data import length_of
from lamp.errors import ArgumentError, LampError
from lamp.passes import evaluating
from lamp.training.batch import first_batch
from lamp.training.cost_model import Costs, costs
from lamp.training.eager import EagerEngine
from lamp.training.engine import Engine
from lamp.training.epochs import shapes_of_samples
from lamp.training.spec import FitSpec

UNKNOWN_BATCH = 1024  # samples per batch, where the batches do not say
ASKED = "asked for"
ENGINES = ("auto", "eager", "compiled")


def choose(name: str, spec: FitSpec, epochs: int) -> tuple[Engine, str]:
    """The engine of this name ("auto": the faster one for so many epochs), and why it was chosen.

    Raises ArgumentError where the compiled one is asked for and cannot run this.
    """
    if name == "eager":
        return EagerEngine(spec), ASKED
    plan = None
    try:
        if name == "auto":
            plan = plan_of(spec.model, shapes=shapes_of_samples(spec.batches))
            expected = costs(
                plan,
                spec.optimizer,
                getattr(spec.batches, "batch_size", None) or 1,
                epochs * (length_of(spec.batches) or 1),
                spec.replicas,
            )
            if not expected.is_worth_compiling:
                return EagerEngine(spec), f"too short to compile: {_compared(expected)}"
        begun = time.perf_counter()
        from lamp.training.prefetching import PrefetchingEngine  # and LLVM, 0.1 s that eager trainings do not wait for

        compiled = PrefetchingEngine(spec, plan)
        compiled.compile_seconds = time.perf_counter() - begun
    except NotCompiled as reason:
        if name == "compiled":
            raise refused(reason, spec) from None
        return EagerEngine(spec), f"{reason}, so the eager engine trains the whole network"
    return compiled, ASKED if name == "compiled" else f"faster: {_compared(expected)}"


def refused(reason: NotCompiled, spec: FitSpec) -> LampError:
    """The error where the compiled engine is asked for and cannot go on: the eager engine's, if that cannot either."""
    batches = spec.batches
    try:
        *inputs, target = spec.reader.read(first_batch(batches, reason.row), batches)
        run_eagerly(spec.model, spec.criterion, inputs, target)
        if spec.validation is not None:
            *inputs, target = spec.reader.read(first_batch(spec.validation, reason.row), spec.validation)
            with evaluating():
                spec.criterion(spec.model(*inputs), target)
    except LampError as error:
        return error
    return ArgumentError(
        "the compiled engine cannot run this",
        expected="see lamp.compile for what it can",
        got=str(reason),
        fix='engine="auto" runs what cannot be compiled by the eager engine',
    )


def _compared(expected: Costs) -> str:
    """The estimates as a reason for the choice."""
    return (
        f"eager takes about {expected.eager:.1g} s, compiled {expected.compiled:.1g} s, "
        f"and compiling {expected.compiling:.1g} s the first time"
    )


def batch_size_of(batches: Iterable[Any]) -> int:
    """Samples per batch, where the batches say so; many where they do not."""
    size = getattr(batches, "batch_size", None)
    return size if isinstance(size, int) else UNKNOWN_BATCH
