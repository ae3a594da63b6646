"""A data set as a kernel reads it: rows of features, and targets as floats.

Tensors in the shapes that modules and losses take come in. Data that do not fit the network or the loss raise
NotCompiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.stages import Plan
from lamp.graph import Value, sizes
from lamp.losses import Loss
from lamp.losses.classification import ClassLoss
from lamp.losses.probabilities import BinaryLoss
from lamp.losses.weighted import WeightedLoss
from lamp.trees import flat, mapped


def shapes_of(inputs: tuple[Any, ...], per_replica: bool) -> tuple[Any, ...]:
    """The shape of one sample of each input, or a Value for truth values, nested as the inputs are (see `plan_of`)."""

    def shape(x: Tensor) -> Any:
        of_sample = tuple(x.shape[1 + per_replica :])
        return Value(0, of_sample, torch.bool) if x.dtype is torch.bool else of_sample

    shapes: tuple[Any, ...] = mapped(inputs, shape)
    return shapes


def laid_out(plan: Plan, inputs: tuple[Any, ...], per_replica: bool) -> Tensor:
    """The inputs as rows of features: (n, ...) -> (n, features); with per_replica, (K, n, ...) -> (K n, features).
    Several inputs lie in a row one after another.

    Raises NotCompiled for other shapes, dtypes or devices than the network's.
    """
    values, given = plan.graph.inputs, flat(inputs)
    if len(given) != len(values):
        raise NotCompiled(f"there are {len(given)} inputs, and the network takes {len(values)}")
    rows = [_rows(plan, value, x, per_replica) for value, x in zip(values, given, strict=True)]
    # torch may negate a tensor by a bit that stands beside it, which kernels do not see
    return (rows[0] if len(rows) == 1 else torch.cat(rows, 1)).contiguous().resolve_neg()


def _rows(plan: Plan, value: Value, inputs: Tensor, per_replica: bool) -> Tensor:
    """One of the inputs as rows."""
    if inputs.shape[1 + per_replica :] != value.shape:
        raise NotCompiled(f"inputs of shape {tuple(inputs.shape)} are not samples of shape {sizes(value.shape)}")
    rows = inputs.flatten(0, 1) if per_replica else inputs
    rows = rows.reshape(len(rows), -1)
    if (most := plan.graph.index_limits.get(value)) is not None:
        rows = _indices(plan, most, inputs, rows, 1 + per_replica)
    if value.dtype is rows.dtype is torch.bool:
        rows = rows.to(plan.dtype)
    if rows.dtype != plan.dtype or rows.device.type != "cpu":
        raise NotCompiled(f"the inputs are {rows.dtype} on {rows.device.type}, unlike the parameters")
    return rows


def _indices(plan: Plan, most: int, inputs: Tensor, rows: Tensor, lead: int) -> Tensor:
    """Indices of rows of tables, the smallest of which has `most` rows, as floats, which hold them exactly."""
    if inputs.dtype not in (torch.int64, torch.int32):
        raise NotCompiled(f"the inputs are {inputs.dtype}, and not indices of rows of a table")
    wrong = (inputs < 0) | (inputs >= most)
    if wrong.any():
        raise NotCompiled(f"some indices are not from 0 to {most - 1}", _first(wrong, lead))
    return rows.to(plan.dtype)


def kind_of_targets(criterion: Loss, plan: Plan, targets: Tensor, per_replica: bool) -> tuple[bool, bool]:
    """Whether the targets are labels, and whether some of these are ignored.

    Raises NotCompiled for targets that do not fit the loss and the network.
    """
    for name in ("weight", "pos_weight"):
        weight = vars(criterion).get(name)  # asked for by getattr, a name that is not there costs half a millisecond
        if weight is not None and weight.data.dtype is not plan.dtype:
            raise NotCompiled(f"the {name} of the loss is {weight.data.dtype}, unlike the parameters")
    lead = 2 if per_replica else 1
    if isinstance(criterion, ClassLoss) and not targets.is_floating_point():
        classes, *places = plan.output_shape or (0,)
        if list(targets.shape[lead:]) != places or targets.dtype is not torch.int64:
            each = f"per sample, for outputs {plan.output_shape}" if places else "per sample"
            raise NotCompiled(f"labels {tuple(targets.shape)} of {targets.dtype} are not one int64 {each}")
        low, high = (int(each) for each in targets.aminmax()) if targets.numel() else (0, 0)
        if low >= 0 and high < classes and not low <= criterion.ignore_index <= high:
            return True, False
        ignored = targets == criterion.ignore_index
        wrong = ((targets < 0) | (targets >= classes)) & ~ignored
        if wrong.any():
            raise NotCompiled(f"some labels are not from 0 to {classes - 1}", _first(wrong, lead))
        return True, bool(ignored.any())
    wanted = plan.output_shape
    if isinstance(criterion, WeightedLoss) and len(wanted) == 1:
        wanted = (wanted[0] + 1,)
    if targets.shape[lead:] != wanted or not targets.is_floating_point():
        each = f"{wanted[0]} numbers per sample" if len(wanted) == 1 else f"numbers {wanted} per sample"
        raise NotCompiled(f"targets of shape {tuple(targets.shape)} are not {each}")
    if isinstance(criterion, ClassLoss) and not criterion.takes_probabilities:
        raise NotCompiled(f"the targets are not labels, which {type(criterion).__name__} takes")
    if isinstance(criterion, ClassLoss):
        if criterion.ignore_index >= 0:
            raise NotCompiled("the targets are probabilities, so no class can be ignored by ignore_index")
        if not (targets >= 0).all():
            raise NotCompiled("some targets are no probabilities", _first(~(targets >= 0), lead))
    if targets.dtype != plan.dtype or targets.device.type != "cpu":
        raise NotCompiled(f"the targets are {targets.dtype} on {targets.device.type}, unlike the parameters")
    if isinstance(criterion, WeightedLoss):
        criterion, targets = criterion.loss, targets[..., :-1]
    if isinstance(criterion, BinaryLoss):
        wrong = ~((targets >= 0) & (targets <= 1))
        if wrong.any():
            raise NotCompiled("some targets are no probabilities from 0 to 1", _first(wrong, lead))
    return False, False


def _first(wrong: Tensor, lead: int) -> int:
    """The first sample for which a condition (n, ...) holds, or (K, n, ...) with 2 leading axes."""
    return int(wrong.nonzero()[0, lead - 1])


def numbers_of(targets: Tensor, per_replica: bool, dtype: torch.dtype) -> Tensor:
    """The targets as the kernel reads them: contiguous floats, labels included."""
    return (targets.flatten(0, 1) if per_replica else targets).to(dtype).contiguous().resolve_neg()
