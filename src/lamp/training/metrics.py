"""What is measured beside the loss: functions `metric(output, target)` of a whole epoch's outputs.

A metric is written for one network. For a population it is asked once a replica, unless it says by an attribute
`of_replicas = True` that it takes outputs and targets (K, n, ...) and gives (K,).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lamp.axes import marked, replicas_of, sums
from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import on_same_side
from lamp.losses import ClassLoss, Loss
from lamp.signatures import called, check_takes

Metric = Callable[[Tensor, Tensor], Tensor | float]

IGNORED = -100  # the label that stands for none, unless a loss or a metric names another: torch's convention


class Accuracy:
    """The share of right answers, between 0 and 1; NaN where no label counts.

    threshold     None: outputs (B, C) or (B, C, d1, ...) are scores of classes, which stand on axis 1 as for
                  CrossEntropyLoss, and the largest is the answer. Targets are class indices (B, d1, ...), or one-hot
                  rows or probabilities of the outputs' shape.
                  A number: each output is one answer, "yes" above it: 0.5 for probabilities, 0 for logits and for
                  targets of -1 and 1. Targets count as "yes" above the threshold too, or, where they are integers,
                  where they are positive
    ignore_index  the label that is no label: it counts neither as right nor as wrong. None: in `lamp.fit` and
                  `lamp.evaluate` the criterion's, else -100

    Raises ShapeError where outputs and targets do not fit.
    """

    of_replicas = True

    @called()
    def __init__(self, threshold: float | None = None, *, ignore_index: int | None = None) -> None:
        for name, value, kind in (("threshold", threshold, Real), ("ignore_index", ignore_index, int)):
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise ArgumentError(
                    f"Accuracy: {name} is no number",
                    expected="a number, or None",
                    got=repr(value),
                    fix=f"Accuracy({name}={'0.5' if name == 'threshold' else '-100'}), for instance",
                )
        self.threshold, self.ignore_index = threshold, ignore_index
        self.__name__ = "accuracy"

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if self.threshold is not None:
            return self._of_answers(output, target, self.threshold)
        axis = 1 if replicas_of(output) is None else 2
        if output.dim() <= axis or output.shape[axis] < 2:
            raise ShapeError(
                "accuracy compares the scores of classes",
                expected="outputs (B, C) or (B, C, d1, ...) with C >= 2",
                got=tuple(output.shape),
                fix="for one output a sample use lamp.Accuracy(threshold)",
            )
        wanted = target.argmax(axis) if target.shape == output.shape else target
        answers = output.argmax(axis)
        if answers.shape != wanted.shape:
            raise ShapeError(
                "outputs and targets do not fit",
                expected=f"targets {tuple(answers.shape)} for outputs {tuple(output.shape)}: classes stand on axis 1",
                got=tuple(target.shape),
                fix="output.movedim(-1, 1)" if target.shape == output.shape[:-1] else "give one label for each answer",
            )
        return self._share(answers == wanted, target if wanted is target else None, output)

    def _of_answers(self, output: Tensor, target: Tensor, threshold: float) -> Tensor:
        if output.numel() != target.numel():
            raise ShapeError(
                "outputs and targets do not fit",
                expected=tuple(output.shape),
                got=tuple(target.shape),
                fix="give one target for each output; for scores of classes use lamp.accuracy",
            )
        target = target.reshape(output.shape)
        if target.is_floating_point():
            return self._share(on_same_side(output, target, threshold), None, output)
        return self._share((output > threshold) == (target > 0), target, output)

    def _share(self, right: Tensor, labels: Tensor | None, output: Tensor) -> Tensor:
        """The share of right answers, of those whose label is not ignored; in a population each replica's, (K,)."""
        replicas = replicas_of(output)
        if labels is None:
            return sums(right.double(), replicas) / (right.numel() // (replicas or 1))
        kept = labels != self.ignored
        return sums((right & kept).double(), replicas) / sums(kept.double(), replicas)

    @property
    def ignored(self) -> int:
        """The label that is no label."""
        return IGNORED if self.ignore_index is None else self.ignore_index

    def beside(self, criterion: Loss) -> Accuracy:
        """This accuracy as it is measured beside a loss: of the labels that the loss counts, unless it says which."""
        if self.ignore_index is not None or not isinstance(criterion, ClassLoss):
            return self
        return Accuracy(self.threshold, ignore_index=criterion.ignore_index)

    def __repr__(self) -> str:
        given = {"threshold": self.threshold, "ignore_index": self.ignore_index}
        return f"Accuracy({', '.join(f'{name}={value}' for name, value in given.items() if value is not None)})"


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of right answers, between 0 and 1: `lamp.Accuracy()` as a function.

    output  scores (B, C) or (B, C, d1, ...), classes on axis 1: the answer is the largest
    target  class indices (B, d1, ...), of which -100 (or what the criterion ignores) does not count; or one-hot rows or
            probabilities of the output's shape

    For one output a sample use `Accuracy(threshold)`. Raises ShapeError where the two do not fit.
    """
    return _accuracy(output, target)


_accuracy = Accuracy()
accuracy.of_replicas = True  # type: ignore[attr-defined]


def ignored_by(metric: Metric) -> int:
    """The label that an accuracy does not count."""
    return metric.ignored if isinstance(metric, Accuracy) else IGNORED


def answer_of(metric: Metric) -> float | Literal["largest"] | None:
    """How an accuracy reads outputs: the largest of them, or a yes above a number; None for another metric."""
    if metric is accuracy:
        return "largest"
    if type(metric) is not Accuracy:
        return None
    return "largest" if metric.threshold is None else metric.threshold


def number_of(name: str, value: Any) -> float:
    """What a metric gave for one network, as a number. Raises ArgumentError for anything else."""
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor | np.ndarray | np.generic):
        numbers = torch.as_tensor(value)
        if numbers.numel() == 1 and not numbers.is_complex():
            return float(numbers)
    raise _no_number(name, value, "one number, or a tensor of one element", "return a float, such as values.mean()")


def of_each_replica(name: str, metric: Metric, output: Tensor, target: Tensor) -> Tensor:
    """The metric of each replica, (K,) float64, from outputs and targets (K, n, ...)."""
    if not getattr(metric, "of_replicas", False):
        values = [number_of(name, metric(*pair)) for pair in zip(output, target, strict=True)]
        return torch.tensor(values, dtype=torch.float64)
    value = metric(marked(output, len(output)), target)
    if not isinstance(value, Tensor) or value.shape != output.shape[:1] or value.is_complex():
        raise _no_number(name, value, f"a tensor ({len(output)},), since it says of_replicas", "one for each replica")
    return value.double().cpu()


def _no_number(name: str, value: Any, expected: str, fix: str) -> ArgumentError:
    shape = f" {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else f": {value!r}"
    return ArgumentError(
        f"the metric {name!r} gave no number", expected=expected, got=f"{type(value).__name__}{shape[:60]}", fix=fix
    )


# ---- what a user passes ----------------------------------------------------------------------------------------------
Metrics = Mapping[str, Metric | str] | Iterable[Metric | str] | Metric | str
NAMED: dict[str, Metric] = {"accuracy": accuracy, "acc": accuracy}
TAKEN = ("loss", "epoch", "seconds")  # names of what is in a history anyway


def by_name(metrics: Metrics, criterion: Loss | None = None) -> dict[str, Metric]:
    """Metrics under their names: the keys of a mapping, or each function's own name, as measured beside a criterion.

    Raises ArgumentError for what is no function (output, target), and for two of one name.
    """
    if isinstance(metrics, Mapping):
        named = {_checked_name(name): _as_metric(metric, f"the metric {name!r}") for name, metric in metrics.items()}
    else:
        named = {}
        listed = [metrics] if callable(metrics) or isinstance(metrics, str) else metrics
        if not isinstance(listed, Iterable):
            raise _no_metric("metrics", metrics)
        for k, given in enumerate(listed):
            metric = _as_metric(given, f"metrics[{k}]")
            name = _checked_name(_own_name(metric))
            if name == "lambda" and name in named:
                name = f"lambda_{k + 1}"
            if name in named:
                raise ArgumentError(
                    f"two metrics are named {name!r}",
                    expected="a name for each",
                    got=", ".join(_own_name(_as_metric(each, "metrics")) for each in listed),
                    fix=f'pass a dict: metrics={{"{name}": ..., "another name": ...}}',
                )
            named[name] = metric
    return {name: _beside(metric, criterion) for name, metric in named.items()}


def _as_metric(metric: Any, what: str) -> Metric:
    if metric is Accuracy:
        return accuracy
    if isinstance(metric, str) and metric in NAMED:
        return NAMED[metric]
    if not callable(metric) or isinstance(metric, type | Loss):
        raise _no_metric(what, metric)
    check_takes(what, metric, "output", "target")
    return metric  # type: ignore[no-any-return]


def _no_metric(what: str, metric: Any) -> ArgumentError:
    fix = "pass functions, such as lamp.accuracy"
    if isinstance(metric, type):
        fix = f"make one: {metric.__name__}(...)"
    elif isinstance(metric, str):
        fix = f'pass a function; by name there is "{next(iter(NAMED))}" alone'
    elif isinstance(metric, Loss):
        fix = "pass a function: lambda output, target: criterion(output, target)"
    return ArgumentError(
        f"{what} cannot be called as a metric",
        expected="a function (output, target) -> number, a list or a dict of such",
        got=repr(metric) if isinstance(metric, str | type) else type(metric).__name__,
        fix=fix,
    )


def _own_name(metric: Metric) -> str:
    """What a function is called, that inside a partial, or its class."""
    while isinstance(metric, functools.partial):
        metric = metric.func
    return getattr(metric, "__name__", type(metric).__name__).strip("<>")


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name or name in TAKEN or name.startswith("validation_"):
        raise ArgumentError(
            f"a metric cannot be named {name!r}",
            expected="a text that is not in a history already and does not begin with 'validation_'",
            got=repr(name),
            fix='metrics={"another name": metric}',
        )
    return name


def _beside(metric: Metric, criterion: Loss | None) -> Metric:
    if criterion is None or answer_of(metric) is None:
        return metric
    known = _accuracy if metric is accuracy else metric
    assert isinstance(known, Accuracy)
    beside = known.beside(criterion)
    return metric if beside.ignored == known.ignored else beside
