"""Gradients that do not say to which pass of a population they belong."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lamp.axes import replicas_of
from lamp.errors import BackwardError, ShapeError
from lamp.passes import Unmarked


def check_gradients_of(replicas: int, gradients: tuple[Any, ...], loss: Unmarked | None) -> None:
    """Raise where these cannot be gradients of the outputs of so many replicas.

    loss  one that was gone back through since, and whose input did not say what it came out of
    """
    for gradient in gradients:
        if not isinstance(gradient, Tensor):
            continue
        marked = replicas_of(gradient)
        if marked not in (None, replicas):
            raise ShapeError(
                f"a gradient for {marked} replicas in a population of {replicas}",
                expected=f"({replicas}, B, ...)",
                got=f"{tuple(gradient.shape)}, marked as {marked} replicas' own",
                fix="go back from the loss of this population's output",
                where="Population",
            )
        if loss is not None and loss.averages and (marked is None or loss.size == gradient.numel()):
            raise BackwardError(
                f"the loss took the outputs of {replicas} replicas for one network's: an operation on the "
                "outputs had dropped their mark, and the loss is one mean over all replicas",
                expected="a loss for each replica, and its gradient",
                got=f"{loss.name} of a tensor that is not marked, before population.backward",
                fix="criterion(lamp.per_replica(outputs), target), then "
                "population.backward(lamp.per_replica(gradient of what the population put out))",
                where="Population",
            )
