"""Which target belongs to which output: labels, one-hot rows and answers; shared by all replicas or each one's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamp.axes import replicas_of, standing
from lamp.errors import LabelError, ShapeError

IGNORED = -100  # the label that stands for none, unless a loss or a metric names another: torch's convention


def labels_of(output: Tensor, target: Tensor, name: str) -> tuple[Tensor, bool]:
    """The class index of each sample, and whether the target said it by labels.

    output  scores ([K,] B, C, d1, ...), with C >= 2
    target  class indices ([K,] B, d1, ...), or one-hot rows or probabilities ([K,] B, C, d1, ...), of which the largest
            counts; in a population without the axis of replicas where all share it

    The first is ([K,] B, d1, ...). `name` names the metric in an error.
    """
    replicas = replicas_of(output)
    axis = standing(1, replicas)
    if output.dim() <= axis or output.shape[axis] < 2:
        raise ShapeError(
            f"{name} compares the scores of classes",
            expected="outputs (B, C) or (B, C, d1, ...) with C >= 2",
            got=tuple(output.shape),
            fix="for one output a sample use lamp.Accuracy(threshold)",
        )
    samples = output.shape[:axis] + output.shape[axis + 1 :]
    forms = (output.shape, samples) if target.is_floating_point() else (samples, output.shape)
    given = per_replica(target, forms, replicas)
    if given is None:
        raise ShapeError(
            "outputs and targets do not fit",
            expected=f"targets {tuple(samples)} for outputs {tuple(output.shape)}: classes stand on axis 1",
            got=tuple(target.shape),
            fix="output.movedim(-1, 1)" if target.shape == output.shape[:-1] else "give one label for each answer",
        )
    if given.shape == output.shape:
        return given.argmax(axis), False
    return given if given.is_floating_point() else given.long(), True


def per_replica(target: Tensor, forms: Sequence[torch.Size], replicas: int | None) -> Tensor | None:
    """The target in the first of these forms that it has; None where it has none.

    In a population a target without a mark may lack the axis of replicas: all share it, and it is expanded.
    """
    may_be_shared = replicas is not None and replicas_of(target) is None
    for form in forms:
        if target.shape == form:
            return target
        if may_be_shared and target.shape == form[1:]:
            return target.expand(form)
    return None


def one_per_output(output: Tensor, target: Tensor) -> Tensor:
    """The target in the output's shape, of which it has as many numbers; in a population also as each replica has."""
    replicas = replicas_of(output)
    if replicas is not None and replicas_of(target) is None and target.numel() * replicas == output.numel():
        return target.reshape(output.shape[1:]).expand(output.shape)
    if output.numel() != target.numel():
        raise ShapeError(
            "outputs and targets do not fit",
            expected=tuple(output.shape),
            got=tuple(target.shape),
            fix="give one target for each output; for scores of classes use lamp.accuracy",
        )
    return target.reshape(output.shape)


def check_labels(labels: Tensor, kept: Tensor, classes: int, ignored: int) -> None:
    """Raise LabelError for labels of no class, other than those that are not kept."""
    if labels.is_floating_point():
        raise LabelError(
            "labels are whole numbers",
            expected=f"class indices from 0 to {classes - 1}",
            got=f"targets of {labels.dtype}",
            fix="target.long()",
        )
    wrong = kept & ((labels < 0) | (labels >= classes))
    if bool(wrong.any()):
        raise LabelError(
            "a label names no class",
            expected=f"labels from 0 to {classes - 1} for {classes} classes, or ignore_index = {ignored}",
            got=f"label {int(labels[wrong][0])}",
            fix="correct the labels, or name the one that stands for none: ignore_index=...",
        )


def by_replica(tensor: Tensor, replicas: int | None) -> Tensor:
    """All numbers of each replica in a row: (K, n); of one network (1, n)."""
    return tensor.reshape(1 if replicas is None else replicas, -1)


def of_each(values: Tensor, replicas: int | None) -> Tensor:
    """Rows (K, ...) of a population as they are; of one network its only row."""
    return values[0] if replicas is None else values
