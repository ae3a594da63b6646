"""Functions that make a new optimizer or schedule for each training of a study."""

from __future__ import annotations

from typing import Any

from lamp.errors import ArgumentError
from lamp.optim import Optimizer, Schedule
from lamp.signatures import misfit


def optimizer_of(make: Any, parameters: Any, **numbers: Any) -> Optimizer:
    """The optimizer that a class, or a function, makes. Raises ArgumentError for anything else."""
    made = _made("optimizer", make, Optimizer, (parameters,), numbers)
    if isinstance(made, Optimizer):
        return made
    raise ArgumentError(
        "optimizer= does not make an optimizer",
        expected="a class such as lamp.Adam, or a function of the parameters that returns one",
        got=_shown(made),
        fix="optimizer=lambda parameters: lamp.Adam(parameters, lr=1e-3), called once per training",
    )


def schedule_of(make: Any, optimizer: Optimizer) -> Any:
    """The schedule, or other object with a `step`, that a function makes. Raises ArgumentError for anything else."""
    made = _made("scheduler", make, Schedule, (optimizer,), {})
    if callable(getattr(made, "step", None)) and not hasattr(made, "zero_grad"):
        return made
    raise ArgumentError(
        "scheduler= does not make a schedule",
        expected="a function of the optimizer that returns a lamp schedule",
        got=_shown(made),
        fix="scheduler=lambda optimizer: lamp.StepLR(optimizer, 30)",
    )


def _made(name: str, make: Any, kind: type, args: tuple[Any, ...], numbers: dict[str, Any]) -> Any:
    """What `make(*args, **numbers)` returns. For an argument that is no such function, a text that describes it.

    name  the argument's name
    make  the user's argument; kind: the class of what it should make
    """
    if not callable(make) or isinstance(make, kind):
        return f"{'the' if isinstance(make, kind) else 'a'} {type(make).__name__} itself"
    if isinstance(make, type) and not hasattr(make, "step"):
        return f"the class {make.__name__}"
    wrong = None if isinstance(make, type) else misfit(make, args, numbers)
    if wrong is not None:
        raise ArgumentError(
            f"the function {name}= cannot be called as lamp calls it",
            expected=", ".join([f"a function of the {'parameters' if kind is Optimizer else 'optimizer'}", *numbers]),
            got=wrong,
            fix="write it with these arguments",
        )
    return make(*args, **numbers)


def _shown(made: Any) -> str:
    return made if isinstance(made, str) else f"a function that returns an object of type {type(made).__name__}"
