"""The optimizer and the schedule that a study makes anew for each of its trainings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamp.errors import ArgumentError
from lamp.optim import Optimizer, Schedule


def optimizer_of(make: Any, parameters: Any, **numbers: Any) -> Optimizer:
    """The optimizer that a class, or a function, makes. Raises ArgumentError for anything else."""
    made = _made(make, Optimizer, lambda: make(parameters, **numbers))
    if isinstance(made, Optimizer):
        return made
    raise ArgumentError(
        "optimizer= makes no optimizer",
        expected="a class such as lamp.Adam, or a function of the parameters that returns one",
        got=_shown(made),
        fix="optimizer=lambda parameters: lamp.Adam(parameters, lr=1e-3): each training gets one of its own",
    )


def schedule_of(make: Any, optimizer: Optimizer) -> Any:
    """The schedule, or what else has a `step`, that a function makes; raises ArgumentError for anything else."""
    made = _made(make, Schedule, lambda: make(optimizer))
    if callable(getattr(made, "step", None)):
        return made
    raise ArgumentError(
        "scheduler= is no function that makes one",
        expected="a function of the optimizer that returns a lamp schedule",
        got=_shown(made),
        fix="scheduler=lambda optimizer: lamp.StepLR(optimizer, 30)",
    )


def _made(make: Any, kind: type, call: Callable[[], Any]) -> Any:
    """What it makes; where it is itself what should be made, or a class of something else, its description."""
    if not callable(make) or isinstance(make, kind):
        return f"{'the' if isinstance(make, kind) else 'a'} {type(make).__name__} itself"
    if isinstance(make, type) and not hasattr(make, "step"):
        return f"the class {make.__name__}"
    return call()


def _shown(made: Any) -> str:
    return made if isinstance(made, str) else f"a function that returns a {type(made).__name__}"
