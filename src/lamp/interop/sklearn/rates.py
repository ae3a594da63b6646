"""Optimizers by scikit-learn's names, and the learning rate over a training as a function of the step.

The rate is part of the optimizer's coefficients, not set from outside after every epoch: so compiled code trains many
epochs in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

SOLVERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}
WARM_UP = 0.1  # of the steps, in which the rate rises from 0
PLANS = ("cosine", "constant", "invscaling", "adaptive")

Plan = Callable[[Any], Any]  # the factor of the learning rate at step 1, 2, ...: a number, or a tensor of them


def cosine(steps: int) -> Plan:
    """Up in a line for a tenth of the steps, then down to 0 along half a cosine.

    Source    Loshchilov & Hutter 2016, equation 5; Goyal et al. 2017 for the beginning
    """
    warm = WARM_UP * steps

    def factor(step: Any) -> Any:
        if isinstance(step, Tensor):
            along = ((step - warm) / (steps - warm)).clamp(0.0, 1.0)
            return torch.minimum(step / warm, 0.5 + 0.5 * torch.cos(math.pi * along))
        along = min(max((step - warm) / (steps - warm), 0.0), 1.0)
        return min(step / warm, 0.5 + 0.5 * math.cos(math.pi * along))

    return factor


def inverse_scaling(power: float, samples: int, steps_per_epoch: int, seen: int = 0, taken: int | None = None) -> Plan:
    """1 / (samples seen before this epoch + 1)^power.  Source: scikit-learn's learning_rate="invscaling".

    seen   samples that earlier calls have taken: they count on
    taken  the steps that this optimizer has taken in them; None where it is a new one: then the first epoch is taken at
           the full rate, as scikit-learn's `fit` does even where it starts from the weights that there are
    """

    def factor(step: Any) -> Any:
        epoch = (step - 1 - (taken or 0)) // steps_per_epoch
        before = epoch * samples + seen * ((epoch > 0) | (taken is not None))
        return 1.0 / (before + 1.0) ** power

    return factor


class Planned(Optimizer):
    """Mixed into an optimizer: its learning rate is multiplied by `plan(step)`; None leaves it alone."""

    plan: Plan | None = None

    def coefficients(self, group: Any, step: Any) -> Any:
        if self.plan is not None:
            group = {**group, "lr": group["lr"] * self.plan(step)}
        return super().coefficients(group, step)  # type: ignore[safe-super]


@lru_cache(maxsize=32)
def _planned(kind: type[Optimizer]) -> type[Planned]:
    """This kind of optimizer with a plan. It keeps its module: by that, compiled code of lamp's own kinds is kept."""
    body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (Planned, kind), body)


def planned(optimizer: Optimizer) -> Planned:
    """The same optimizer, with a plan to be set."""
    optimizer.__class__ = _planned(type(optimizer))
    assert isinstance(optimizer, Planned)
    return optimizer


def optimizer_for(solver: Any, groups: list[dict[str, Any]], numbers: dict[str, Any]) -> Optimizer:
    """The optimizer that `solver` names or makes, over these parameter groups.

    numbers  the estimator's lr, momentum, nesterov, betas and eps, of which each takes those it has

    Raises ArgumentError for what is no optimizer.
    """
    kind: Any = SOLVERS.get(solver, solver) if isinstance(solver, str) else solver
    if isinstance(kind, type) and issubclass(kind, Optimizer):
        taken = {name: value for name, value in numbers.items() if name in _arguments(kind)}
        if not taken.get("momentum", 1):
            taken.pop("nesterov", None)
        kind = partial(kind, **taken)
    made = kind(groups) if callable(kind) and not isinstance(kind, type) else None
    if isinstance(made, Optimizer):
        return made
    raise ArgumentError(
        "unknown solver",
        expected=f"{', '.join(SOLVERS)}, a lamp optimizer class, or a function that makes one of parameter groups",
        got=repr(solver),
        fix='solver="adam"' if solver == "lbfgs" else "name one of these",
    )


def _arguments(kind: type[Optimizer]) -> tuple[str, ...]:
    """The names that the constructor takes."""
    code: Any = kind.__init__.__code__
    return tuple(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
