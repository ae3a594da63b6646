"""Optimizers by scikit-learn's names, and learning rates as functions of the step.

The learning rate is computed in the optimizer's coefficients, and not set from outside after every epoch. So compiled
code can train many epochs in one call.
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
from lamp.signatures import check_takes

SOLVERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}
WARM_UP = 0.1  # the fraction of the steps in which the rate rises from 0
PLANS = ("cosine", "constant", "invscaling", "adaptive")

Plan = Callable[[Any], Any]  # from a step (1, 2, ...), or a tensor of steps, to the factor of the learning rate


def cosine(steps: int) -> Plan:
    """A linear rise over the first tenth of the steps, then a fall to 0 along half a cosine.

    Source    Loshchilov & Hutter 2016, equation 5; Goyal et al. 2017 (the warm-up)
    """
    warm = WARM_UP * steps

    def factor(step: Any) -> Any:
        if isinstance(step, Tensor):
            along = ((step - warm) / (steps - warm)).clamp(0.0, 1.0)
            return torch.minimum(step / warm, 0.5 + 0.5 * torch.cos(math.pi * along))
        along = min(max((step - warm) / (steps - warm), 0.0), 1.0)
        return min(step / warm, 0.5 + 0.5 * math.cos(math.pi * along))

    return factor


def inverse_scaling(
    power: float, samples: int, steps_per_epoch: int, seen: int = 0, step_count: int | None = None
) -> Plan:
    """1 / (samples seen before this epoch + 1)^power.  Source: scikit-learn's learning_rate="invscaling".

    samples     the number of samples per epoch
    seen        the number of samples seen in earlier calls, which counts too
    step_count  the steps that the optimizer has made in earlier calls. None for a new optimizer, whose first epoch has
                the full rate, as with scikit-learn's `fit`, even if it starts from trained weights
    """

    def factor(step: Any) -> Any:
        epoch = (step - 1 - (step_count or 0)) // steps_per_epoch
        before = epoch * samples + seen * ((epoch > 0) | (step_count is not None))
        return 1.0 / (before + 1.0) ** power

    return factor


def penalty_of_batches(scale: float, rows: int, size: int, step_count: int) -> Plan | None:
    """`scale`, and for the last batch of an epoch, which may be smaller, more by as much as its rows are fewer.

    So a penalty that was divided by the batch size is divided by the rows that there are. None if it is always 1.
    Source: scikit-learn

    rows        the number of rows per epoch
    step_count  the number of steps that the optimizer has made in earlier calls
    """
    steps = -(-rows // size)
    more = size / (rows - (steps - 1) * size) - 1.0
    if scale == 1.0 and not more:
        return None

    def factor(step: Any) -> Any:
        is_last = (step - step_count) % steps == 0
        return scale * (1.0 + more * (is_last.double() if isinstance(is_last, Tensor) else is_last))

    return factor


class Planned(Optimizer):
    """A mixin for optimizers that multiplies hyperparameters by functions of the step.

    plan           of the learning rate, or None
    penalty_plan   of the penalty, or None
    """

    plan: Plan | None = None
    penalty_plan: Plan | None = None

    def coefficients(self, group: Any, step: Any) -> Any:
        if self.plan is not None:
            group = {**group, "lr": group["lr"] * self.plan(step)}
        if self.penalty_plan is not None and "weight_decay" in group:
            group = {**group, "weight_decay": group["weight_decay"] * self.penalty_plan(step)}
        return super().coefficients(group, step)  # type: ignore[safe-super]


@lru_cache(maxsize=32)
def _planned(kind: type[Optimizer]) -> type[Planned]:
    """The class of optimizers with a plan. It has the module name of the class, so that lamp's kernels are cached."""
    body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (Planned, kind), body)


def planned(optimizer: Optimizer) -> Planned:
    """The same optimizer object, changed so that its `plan` can be set."""
    optimizer.__class__ = _planned(type(optimizer))
    assert isinstance(optimizer, Planned)
    return optimizer


def optimizer_for(solver: Any, groups: list[dict[str, Any]], numbers: dict[str, Any]) -> Optimizer:
    """The optimizer that `solver` names or makes, for these parameter groups.

    numbers  the estimator's lr, momentum, nesterov, betas and eps; an optimizer gets those that its class takes

    Raises ArgumentError for an unknown solver.
    """
    kind: Any = SOLVERS.get(solver, solver) if isinstance(solver, str) else solver
    if isinstance(kind, type) and issubclass(kind, Optimizer):
        options = {name: value for name, value in numbers.items() if name in _arguments(kind)}
        if not options.get("momentum", 1):
            options.pop("nesterov", None)
        kind = partial(kind, **options)
    if callable(kind) and not isinstance(kind, type):
        check_takes("solver", kind, "groups")
    made = kind(groups) if callable(kind) and not isinstance(kind, type) else None
    if isinstance(made, Optimizer):
        return made
    raise ArgumentError(
        "unknown solver",
        expected=f"{', '.join(SOLVERS)}, a lamp optimizer class, or a function from parameter groups to an optimizer",
        got=repr(solver),
        fix='solver="adam"' if isinstance(solver, str) and solver == "lbfgs" else "name one of these",
    )


def _arguments(kind: type[Optimizer]) -> tuple[str, ...]:
    """The names of the constructor's arguments."""
    code: Any = kind.__init__.__code__
    return tuple(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
