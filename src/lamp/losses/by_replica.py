"""Checks that a user's loss gives each replica of a population the loss that it would have alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Protocol

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.overrides import is_lamps
from lamp.paths import describe
from lamp.rounding import near

FORMULAS = ("prepare", "value", "derivative")
COMPARED = 3  # replicas, the first ones
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
