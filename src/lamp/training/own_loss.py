"""Checks of losses that users wrote: of the forward of a network that ends in its loss, which must return the loss of
its last module, and of a loss's own forward and backward in a population."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

import torch

from lamp.axes import replicas_of
from lamp.data import DataLoader
from lamp.errors import ArgumentError, LampError
from lamp.generators import generators_kept
from lamp.losses import Loss
from lamp.module import Module
from lamp.overrides import overridden
from lamp.passes import apart
from lamp.replicas import Population
from lamp.training.batch import first_batch, parts
from lamp.trees import first_leaf, leaves, mapped

COMPARED = 3  # replicas, the first ones


def check_loss(whole: Module, body: Module, criterion: Loss, batches: Iterable[Any]) -> None:
    """Raise ArgumentError if a network's own forward returns another loss than its last module does.

    `fit` trains the body (`whole` without its loss) with the loss, and never calls `whole` with a target. So anything
    that a user's forward adds to the loss would be ignored. Both are compared on the first batch, with copies of the
    modules, if reading a batch does not consume it.
    """
    if whole is body or not isinstance(batches, DataLoader | list):
        return
    network = whole.network if isinstance(whole, Population) else whole
    own = overridden(network, only=("__call__", "forward"))
    if own is None:
        return
    *inputs, target = parts(first_batch(batches))

    def loss_of_whole() -> Any:
        put_out = copy.deepcopy(whole)(*inputs, target)
        return put_out[1] if isinstance(put_out, tuple) and len(put_out) == 2 else put_out

    def loss_of_body() -> Any:
        return copy.deepcopy(criterion)(copy.deepcopy(body)(*inputs), target)

    found = []
    try:
        with apart():
            for compute in (loss_of_whole, loss_of_whole, loss_of_body):
                with generators_kept():
                    found.append(compute())
    except LampError:  # the training will raise it
        return
    first, again, without = found
    if _alike(first, again) and not _alike(first, without):
        raise ArgumentError(
            f"{type(network).__name__} has its own {own}, and gives another loss than its last module",
            expected="output, loss = model(input, target), where the loss is that of the last module",
            got=f"{_told(first)} instead of {_told(without)} on the first batch",
            fix="write what is added as a lamp.Loss and pass that as criterion, or write the loop yourself",
        )


def check_own_replicas(criterion: Loss, output: Any, target: Any, loss: Any, replicas: int | None) -> None:
    """Raise ArgumentError if a loss's own forward or backward gives replicas something else than they have alone.

    loss  what it has given for all replicas together

    Forward and backward are not compared where they draw random numbers; `takes_replicas = True` skips this too.
    """
    if replicas is None or (own := overridden(criterion, only=("__call__", "forward", "backward"))) is None:
        return
    who = f"{type(criterion).__name__} has its own {own}, and in a population"
    fix = "take means over the axes of a replica alone, such as .mean((-1, -2)) of outputs (K, B, outputs)"
    if not isinstance(loss, torch.Tensor) or loss.shape != (replicas,):
        raise ArgumentError(
            f"{who} it gives no loss for each replica", expected=f"losses ({replicas},)", got=_told(loss), fix=fix
        )
    if criterion.takes_replicas or criterion.hyperparameters:
        return

    def both(output: Any, target: Any) -> list[torch.Tensor]:
        twin = copy.deepcopy(criterion)
        with generators_kept():
            loss = twin(output, target)
            return [loss, *(gradient for _, gradient in leaves(twin.backward()))]

    shared = replicas_of(first_leaf(target)) is None
    with apart():
        first, again = both(output, target), both(output, target)
        if not all(map(_alike, first, again)):
            return
        for k in range(min(COMPARED, replicas)):
            row = itemgetter(k)
            alone = both(mapped(output, row), target if shared else mapped(target, row))
            if not all(map(_alike, alone, map(row, first))):
                raise ArgumentError(
                    f"{who} it mixes replicas",
                    expected="the losses and gradients that each replica has alone",
                    got=f"others for replica {k}",
                    fix=fix,
                )


def _alike(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor) or one.shape != other.shape:
        return False
    return torch.allclose(one, other, rtol=1e-4, equal_nan=True)


def _told(loss: Any) -> str:
    if isinstance(loss, torch.Tensor):
        return f"{loss.item():.6g}" if loss.numel() == 1 else f"losses {tuple(loss.shape)}"
    return type(loss).__name__
