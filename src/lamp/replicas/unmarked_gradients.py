"""A check of gradients that carry no mark of the pass that they belong to, in a population."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lamp.axes import replicas_of
from lamp.errors import BackwardError, ShapeError
from lamp.unmarked import Unmarked


def check_unmarked_gradients(replicas: int, gradients: tuple[Any, ...], loss: Unmarked | None) -> None:
    """Raise unless these can be gradients of the outputs of so many replicas.

    loss  the last loss of an unmarked output whose backward was called since the forward, or None

    Raises ShapeError for gradients marked with another number of replicas, and BackwardError for the gradient of a loss
    that averaged over all replicas.
    """
    for gradient in gradients:
        if not isinstance(gradient, Tensor):
            continue
        marked = replicas_of(gradient)
        if marked not in (None, replicas):
            raise ShapeError(
                f"a gradient for {marked} replicas in a population of {replicas}",
                expected=f"({replicas}, B, ...)",
                got=f"{tuple(gradient.shape)}, marked with {marked} replicas",
                fix="pass the gradient of a loss of this population's output",
                where="Population",
            )
        if loss is not None and loss.averages and (marked is None or loss.size == gradient.numel()):
            raise BackwardError(
                f"the loss took the outputs of {replicas} replicas for one network's: an operation on the "
                "outputs had dropped their mark, and the loss is one mean over all replicas",
                expected="a loss for each replica, and its gradient",
                got=f"{loss.name} of a tensor that is not marked, before population.backward",
                fix="criterion(lamp.per_replica(outputs), target), then "
                "population.backward(lamp.per_replica(gradient of the population's output))",
                where="Population",
            )
