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

from lamp.axes import marked
from lamp.errors import ArgumentError
from lamp.losses import Loss
from lamp.metrics import Accuracy, accuracy
from lamp.metrics import Metric as Accumulator
from lamp.metrics.targets import IGNORED
from lamp.overrides import overridden
from lamp.signatures import check_takes

Metric = Callable[[Tensor, Tensor], Tensor | float]


def ignored_by(metric: Metric) -> int:
    """The label that an accuracy does not count."""
    return metric.ignored if isinstance(metric, Accuracy) else IGNORED


def answer_of(metric: Metric) -> float | Literal["largest"] | None:
    """How an accuracy reads outputs: the largest of them, or a yes above a number; None for another metric."""
    if metric is accuracy:
        return "largest"
    if type(metric) is not Accuracy or metric.top_k > 1 or overridden(metric) is not None:
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
    if isinstance(metric, Accumulator) and metric.name:
        return metric.name
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
    if criterion is None:
        return metric
    known = Accuracy() if metric is accuracy else metric
    return known.beside(criterion) if isinstance(known, Accumulator) else metric
