"""What is measured beside the loss: functions `metric(output, target)` of a whole epoch's outputs.

A metric is written for one network. For a population it is asked once a replica, unless it says by an attribute
`of_replicas = True` that it takes outputs and targets (K, n, ...) and gives (K,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from lamp.axes import marked, replicas_of, sums
from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import on_same_side

Metric = Callable[[Tensor, Tensor], Tensor | float]


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of right answers, between 0 and 1.

    output  scores (B..., C): the answer is the largest
    target  class indices (B...), or one-hot rows or probabilities (B..., C)

    For one output a sample use `Accuracy(threshold)`. Raises ShapeError where the two do not fit.
    """
    if output.dim() < 2 or output.shape[-1] < 2:
        raise ShapeError(
            "accuracy compares the scores of classes",
            expected="outputs (B..., C) with C >= 2",
            got=tuple(output.shape),
            fix="for one output a sample use lamp.Accuracy(threshold)",
        )
    wanted = target.argmax(-1) if target.shape == output.shape else target
    answers = output.argmax(-1)
    if answers.shape != wanted.shape:
        raise ShapeError(
            "outputs and targets do not fit", expected=f"targets {tuple(answers.shape)}", got=tuple(target.shape)
        )
    return _share(answers == wanted, output)


accuracy.of_replicas = True  # type: ignore[attr-defined]


class Accuracy:
    """Accuracy of one output a sample: the answer is "yes" above the threshold.

    0.5 for probabilities, 0 for logits and for targets of -1 and 1. Targets count as "yes" above the threshold too, or,
    where they are integers, where they are positive.
    """

    of_replicas = True

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.__name__ = "accuracy"

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if output.numel() != target.numel():
            raise ShapeError("outputs and targets do not fit", expected=tuple(output.shape), got=tuple(target.shape))
        target = target.reshape(output.shape)
        if target.is_floating_point():
            return _share(on_same_side(output, target, self.threshold), output)
        return _share((output > self.threshold) == (target > 0), output)


def _share(right: Tensor, output: Tensor) -> Tensor:
    """The share of right answers; in a population, each replica's, (K,)."""
    replicas = replicas_of(output)
    return sums(right.to(output.dtype), replicas) / (right.numel() // (replicas or 1))


def answer_of(metric: Metric) -> float | Literal["largest"] | None:
    """How an accuracy reads outputs: the largest of them, or a yes above a number; None for another metric."""
    if metric is accuracy:
        return "largest"
    return metric.threshold if type(metric) is Accuracy else None


def of_each_replica(metric: Metric, output: Tensor, target: Tensor) -> Tensor:
    """The metric of each replica, (K,) float64, from outputs and targets (K, n, ...)."""
    if getattr(metric, "of_replicas", False):
        return torch.as_tensor(metric(marked(output, len(output)), target)).double().cpu()
    values = [float(metric(*pair)) for pair in zip(output, target, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def by_name(metrics: Mapping[str, Metric] | Iterable[Metric]) -> dict[str, Metric]:
    """Metrics under their names: the keys of a mapping, or each function's own name."""
    named = (
        dict(metrics)
        if isinstance(metrics, Mapping)
        else {getattr(metric, "__name__", type(metric).__name__): metric for metric in metrics}
    )
    for name, metric in named.items():
        if not callable(metric):
            raise ArgumentError(
                f"the metric {name!r} cannot be called",
                expected="a function (output, target) -> number",
                got=type(metric).__name__,
                fix="pass functions, such as lamp.accuracy",
            )
        if name == "loss":
            raise ArgumentError("a metric cannot be named 'loss'", got=name, fix="pass {'another name': metric}")
    return named
