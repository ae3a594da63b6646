"""What the eager engine refuses must not be trained by machine code: its own checks, asked beforehand."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lamp.axes import marked
from lamp.compiler.stages import Plan
from lamp.compiler.stand_ins import NotCompiled
from lamp.errors import NonFiniteError
from lamp.losses import ClassLoss, Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.overrides import is_lamps
from lamp.passes import evaluating
from lamp.paths import describe
from lamp.replicas import Population


def check_loss(criterion: Loss, plan: Plan, targets: Tensor, own: bool, replicas: int | None, batch: int) -> None:
    """Let the loss look at a batch: raises its own error for weights or numbers that do not fit the network."""
    if not is_lamps(type(criterion)):
        return
    rows = targets.flatten(0, 1) if own else targets
    if isinstance(criterion, ClassLoss) and not targets.is_floating_point():
        rows = rows[rows != criterion.ignore_index]
    if not len(rows):
        return
    rows = rows[:batch]
    output = torch.zeros(len(rows), plan.outputs, dtype=plan.dtype)
    if replicas is not None:
        output = marked(output.expand(replicas, *output.shape), replicas)
    with suppress(NonFiniteError):  # whether it is finite, training will show
        copy.copy(criterion).eval()(output, rows)


def look_at_modes(model: Module) -> None:
    """Raise NotCompiled where a part of the network is in eval mode: there backward has nothing to go back through."""
    for module in model.modules():
        if not module.training and not isinstance(module, Sequential | Population):
            raise NotCompiled(f"{describe(module)} is in eval mode, in which nothing is learned")


def try_eagerly(model: Module, criterion: Loss, inputs: Sequence[Any], target: Any) -> None:
    """Forward, loss and, where a part is in eval mode, backward of a batch: for the error that they may raise."""
    if all(module.training for root in (model, criterion) for module in root.modules()):
        with evaluating():
            criterion(model(*inputs), target)
        return
    model, criterion = copy.deepcopy((model, criterion))
    criterion(model(*inputs), target)
    model.backward_parameters(criterion.backward())
