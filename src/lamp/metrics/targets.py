"""Matching of targets to outputs: labels, one-hot rows or values, shared by all replicas or one per replica."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamp.axes import replicas_of, standing
from lamp.devices import without_numbers
from lamp.errors import DeviceError, LabelError, ShapeError

IGNORED = -100  # the label that is ignored unless a loss or a metric names another, as in torch


def labels_of(output: Tensor, target: Tensor, name: str) -> tuple[Tensor, bool]:
    """The class index of each sample, ([K,] B, d1, ...), and whether the target consists of labels.

    output  scores ([K,] B, C, d1, ...), with C >= 2
    target  class indices ([K,] B, d1, ...), or one-hot rows or probabilities ([K,] B, C, d1, ...), whose maximum is the
            class; a target that all replicas share has no axis K
    name    the metric's name in errors

    Raises ShapeError for outputs and targets that do not fit together.
    """
    check_same_device(output, target)
    replicas = replicas_of(output)
    axis = standing(1, replicas)
    if output.dim() <= axis or output.shape[axis] < 2:
        raise ShapeError(
            f"{name} compares the scores of classes",
            expected="outputs (B, C) or (B, C, d1, ...) with C >= 2",
            got=tuple(output.shape),
            fix="for a single output per sample use lamp.Accuracy(threshold)",
        )
    samples = output.shape[:axis] + output.shape[axis + 1 :]
    forms = (output.shape, samples) if target.is_floating_point() else (samples, output.shape)
    given = per_replica(target, forms, replicas)
    if given is None:
        raise ShapeError(
            "outputs and targets do not fit together",
            expected=f"targets {tuple(samples)} for outputs {tuple(output.shape)}: classes are on axis 1",
            got=tuple(target.shape),
            fix="output.movedim(-1, 1)" if target.shape == output.shape[:-1] else "pass one label per sample",
        )
    if given.shape == output.shape:
        return given.argmax(axis), False
    return given if given.is_floating_point() else given.long(), True


def check_same_device(output: Tensor, target: Tensor) -> None:
    """Raise DeviceError unless outputs and targets are on one device."""
    if target.device != output.device:
        raise DeviceError(
            "outputs and targets are on different devices",
            expected=output.device,
            got=target.device,
            fix=f"target.to('{output.device}')",
        )


def per_replica(target: Tensor, forms: Sequence[torch.Size], replicas: int | None) -> Tensor | None:
    """The target, if it has one of these shapes; None if not.

    In a population, an unmarked target may lack the axis of replicas: it is shared by all, and expanded.
    """
    may_be_shared = replicas is not None and replicas_of(target) is None
    for form in forms:
        if target.shape == form:
            return target
        if may_be_shared and target.shape == form[1:]:
            return target.expand(form)
    return None


def one_per_output(output: Tensor, target: Tensor) -> Tensor:
    """The target in the shape of the output. Raises ShapeError for another number of elements.

    In a population, a target with as many elements as one replica's output is shared by all.
    """
    check_same_device(output, target)
    replicas = replicas_of(output)
    if replicas is not None and replicas_of(target) is None and target.numel() * replicas == output.numel():
        return target.reshape(output.shape[1:]).expand(output.shape)
    if output.numel() != target.numel():
        raise ShapeError(
            "outputs and targets do not fit together",
            expected=tuple(output.shape),
            got=tuple(target.shape),
            fix="pass one target per output; for scores of classes use lamp.accuracy",
        )
    return target.reshape(output.shape)


def check_labels(labels: Tensor, kept: Tensor, classes: int, ignored: int) -> None:
    """Raise LabelError for labels that are not integers or out of range, ignored ones (not `kept`) apart.

    Raises DeviceError for labels without values.
    """
    if labels.is_meta:
        raise without_numbers("the target")
    if labels.is_floating_point():
        raise LabelError(
            "labels must be integers",
            expected=f"class indices from 0 to {classes - 1}",
            got=f"targets of {labels.dtype}",
            fix="target.long()",
        )
    wrong = kept & ((labels < 0) | (labels >= classes))
    if bool(wrong.any()):
        raise LabelError(
            "a label is out of range",
            expected=f"labels from 0 to {classes - 1} for {classes} classes, or ignore_index = {ignored}",
            got=f"label {int(labels[wrong][0])}",
            fix="correct the labels, or set ignore_index to the one that means no label",
        )


def by_replica(tensor: Tensor, replicas: int | None) -> Tensor:
    """The elements in one row per replica, (K, n); for a single network (1, n)."""
    return tensor.reshape(1 if replicas is None else replicas, -1)


def of_each(values: Tensor, replicas: int | None) -> Tensor:
    """The rows (K, ...) of a population unchanged; for a single network, its only row."""
    return values[0] if replicas is None else values
