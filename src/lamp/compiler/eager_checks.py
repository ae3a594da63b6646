"""Checks that the eager engine makes while it computes, made here before compiled code runs.

Machine code checks nothing, so bad input that the eager engine refuses must be refused before the first step.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lamp.axes import marked
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.stages import Plan
from lamp.errors import NonFiniteError
from lamp.losses import ClassLoss, Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.overrides import is_lamps
from lamp.passes import evaluating
from lamp.replicas import Population


def check_loss(criterion: Loss, plan: Plan, targets: Tensor, own: bool, replicas: int | None, batch: int) -> None:
    """Call the loss on one batch, so that it raises its own error for weights or targets that do not fit the network.

    own  whether targets have an axis of replicas
    """
    if not is_lamps(type(criterion)):
        return
    rows = targets.flatten(0, 1) if own else targets
    if isinstance(criterion, ClassLoss) and not targets.is_floating_point():
        rows = rows[(rows != criterion.ignore_index).reshape(len(rows), -1).any(1)]
    if not len(rows):
        return
    rows = rows[:batch]
    output = torch.zeros(len(rows), *plan.output_shape, dtype=plan.dtype)
    if replicas is not None:
        output = marked(output.expand(replicas, *output.shape), replicas)
    with suppress(NonFiniteError):  # training will show whether the loss is finite
        copy.copy(criterion).eval()(output, rows)


def check_training_mode(model: Module) -> None:
    """Raise NotCompiled if a module of the network is in eval mode, in which a forward keeps nothing for backward."""
    for module in model.modules():
        if not module.training and not isinstance(module, Sequential | Population):
            raise NotCompiled("is in eval mode, in which nothing is learned", module=module).within(model)


def check_batches(plan: Plan, batches: Sequence[int], learns: bool) -> None:
    """Raise NotCompiled for batches whose own mean and variance a BatchNorm would need, but cannot take."""
    for stage in plan.stages:
        if stage.attributes.get("by_batch"):
            if not learns:
                raise NotCompiled("a BatchNorm has no running statistics, so it normalises each batch of an evaluation")
            if stage.attributes["inner"] * min(batches) == 1:
                raise NotCompiled("a batch with one number per channel has no variance")


def run_eagerly(model: Module, criterion: Loss, inputs: Sequence[Any], target: Any) -> None:
    """Run the forward and the loss of a batch for the errors that they may raise; and the backward, on a copy, if a
    part of the network is in eval mode."""
    if all(module.training for root in (model, criterion) for module in root.modules()):
        with evaluating():
            criterion(model(*inputs), target)
        return
    model, criterion = copy.deepcopy((model, criterion))
    criterion(model(*inputs), target)
    model.backward_parameters(criterion.backward())
