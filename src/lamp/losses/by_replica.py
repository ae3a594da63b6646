"""Checks that a user's loss gives each replica of a population the loss that it would have alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.overrides import is_lamps
from lamp.paths import describe

FORMULAS = ("prepare", "value", "derivative")
COMPARED = 3  # replicas, the first ones
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}  # relative; rounding alone gives smaller differences
HALF_PRECISION_TOLERANCE = 5e-2
MIXES = "it computes something else in a population than alone: it mixes replicas, or replicas with samples"


class HasFormulas(Protocol):
    """The part of a loss that is compared."""

    takes_replicas: ClassVar[bool]

    @property
    def hyperparameters(self) -> Any: ...
    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]: ...
    def value(self, *prepared: Any) -> Any: ...
    def derivative(self, *prepared: Any) -> Any: ...


def needs_check(loss: HasFormulas) -> bool:
    """Whether the formulas of a loss are the user's, without `takes_replicas = True` in its class."""
    return not loss.takes_replicas and (not vars(loss).keys().isdisjoint(FORMULAS) or _is_users(type(loss)))


@lru_cache(maxsize=64)
def _is_users(kind: type) -> bool:
    """Whether a formula of the class is the user's; kept, because it is asked in each step of a population."""
    return not all(is_lamps(getattr(kind, name)) for name in FORMULAS)


def check_replicas(loss: HasFormulas, output: Tensor, target: Any, value: Any) -> None:
    """Raise ArgumentError if the loss of a few replicas, or its derivative, is another one than they have alone.

    value  the loss of each element, for all replicas. It is not compared where the formulas draw random numbers, or
           have hyperparameters of one number per replica
    """
    if loss.hyperparameters or not isinstance(value, Tensor) or not isinstance(target, Tensor | None):
        return
    derivative = loss.derivative(*loss.prepare(output, target))
    if not isinstance(derivative, Tensor) or not near(value, loss.value(*loss.prepare(output, target))):
        return
    for k in range(min(COMPARED, len(output))):
        prepared = loss.prepare(output[k], None if target is None else target[k])
        for name, alone, together in (
            ("value", loss.value(*prepared), value),
            ("derivative", loss.derivative(*prepared), derivative),
        ):
            if together.shape[:1] != output.shape[:1] or not near(alone, together[k]):
                raise ArgumentError(
                    MIXES,
                    expected="row k is what the formula gives for replica k alone; output and target are (K, B, ...)",
                    got=f"another {name} for replica {k}",
                    fix="count axes from the end, output.mean(-2) over the batch; `takes_replicas = True` in the "
                    "class skips this check",
                    where=describe(loss),
                )


def near(one: Any, other: Any) -> bool:
    """Whether two tensors are of one shape, and equal up to rounding."""
    if not isinstance(one, Tensor) or one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    finite = one[one.isfinite()].abs().double()
    largest = finite.max().item() if finite.numel() else 0.0
    tolerance = TOLERANCE.get(one.dtype, HALF_PRECISION_TOLERANCE)
    return torch.allclose(one.double(), other.double(), rtol=tolerance, atol=tolerance * largest, equal_nan=True)
