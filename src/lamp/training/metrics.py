"""The `metrics=` argument: what a user may pass, and the names under which metrics appear.

A metric is one of `lamp.metrics`, a user's object with `update`, `value` and `reset`, or a plain function
`metric(output, target)`, which is called once with the outputs of a whole epoch. Functions and a user's own objects are
written for one network, so a population calls them per replica; with an attribute `of_replicas = True` they instead
take outputs and targets (K, n, ...) and return (K,).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.losses import Loss
from lamp.metrics import Accuracy, Metric, accuracy
from lamp.metrics.targets import IGNORED
from lamp.overrides import is_lamps, overridden
from lamp.signatures import check_takes

MetricLike = Metric | Callable[[Tensor, Tensor], Any]  # or an object with update, value and reset

ACCUMULATOR = ("update", "value", "reset")  # the methods of an accumulator


def is_accumulator(metric: Any) -> bool:
    """Whether a metric is updated batch by batch. A subclass with its own `__call__` is called with all outputs."""
    if isinstance(metric, Metric):
        return is_lamps(type(metric).__call__)
    return not isinstance(metric, type) and all(callable(getattr(metric, name, None)) for name in ACCUMULATOR)


def runs_own_code(metric: MetricLike) -> bool:
    """Whether measuring runs a user's code."""
    return not is_lamps(type(metric)) or overridden(metric) is not None


def ignored_by(metric: MetricLike) -> int:
    """The label that an accuracy does not count."""
    return metric.ignored if isinstance(metric, Accuracy) else IGNORED


def answer_of(metric: MetricLike) -> float | Literal["largest"] | None:
    """How an accuracy turns outputs into predictions: "largest", or a threshold; None for any other metric."""
    if type(metric) is not Accuracy or metric.top_k > 1 or overridden(metric) is not None:
        return None
    return "largest" if metric.threshold is None else metric.threshold


# ---- what a user passes ----------------------------------------------------------------------------------------------
Metrics = Mapping[str, MetricLike | str] | Iterable[MetricLike | str] | MetricLike | str
NAMED = ("accuracy", "acc")
TAKEN = ("loss", "epoch", "seconds")  # names that every history uses


def by_name(metrics: Metrics, criterion: Loss | None = None, *, numbers: bool = True) -> dict[str, MetricLike]:
    """The metrics by name: the keys of a mapping, or each metric's own name.

    criterion  the loss beside which they are measured; metrics ignore the label that it ignores
    numbers    whether each must be one number (per replica)

    Raises ArgumentError for what is not a metric, for one that is not one number, and for two of the same name.
    """
    if isinstance(metrics, Mapping):
        named = {_checked_name(name): _as_metric(metric, f"the metric {name!r}") for name, metric in metrics.items()}
    else:
        named = {}
        listed = [metrics] if callable(metrics) or isinstance(metrics, str) or is_accumulator(metrics) else metrics
        if not isinstance(listed, Iterable) or isinstance(listed, Tensor):
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
    for name, metric in named.items():
        if numbers and not getattr(metric, "one_number", True):
            raise ArgumentError(
                f"the metric {name!r} is not one number, which a history holds",
                expected="one number, or in a population one number per replica",
                got=repr(metric),
                fix="lamp.evaluate gives it; to follow a training, measure an average",
            )
    return {name: _beside(metric, criterion) for name, metric in named.items()}


def _as_metric(metric: Any, what: str) -> MetricLike:
    if metric is accuracy or metric is Accuracy or (isinstance(metric, str) and metric in NAMED):
        return Accuracy()
    if isinstance(metric, type | Loss):
        raise _no_metric(what, metric)
    if is_accumulator(metric):
        check_takes(f"{what}: update", metric.update, "output", "target")
    elif not callable(metric):
        raise _no_metric(what, metric)
    else:
        check_takes(what, metric, "output", "target")
    return metric  # type: ignore[no-any-return]


def _no_metric(what: str, metric: Any) -> ArgumentError:
    fix = "pass metrics, such as lamp.metrics.F1(), or functions"
    if isinstance(metric, type):
        fix = f"make one: {metric.__name__}(...)"
    elif isinstance(metric, str):
        fix = f'pass one of lamp.metrics, such as lamp.metrics.F1(); by name there is "{NAMED[0]}" alone'
    elif isinstance(metric, Loss):
        fix = "pass a function: lambda output, target: criterion(output, target)"
    return ArgumentError(
        f"{what} cannot be called as a metric",
        expected="a metric, with update, value and reset, or a function (output, target) -> number; a list or a dict",
        got=repr(metric) if isinstance(metric, str | type) else type(metric).__name__,
        fix=fix,
    )


def _own_name(metric: MetricLike) -> str:
    """A metric's own name: its `name`, or that of the function (also inside a partial), or that of its class."""
    while isinstance(metric, functools.partial):
        metric = metric.func
    name = getattr(metric, "name", None)
    if isinstance(name, str) and name:
        return name
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


def _beside(metric: MetricLike, criterion: Loss | None) -> MetricLike:
    return metric.beside(criterion) if criterion is not None and isinstance(metric, Metric) else metric
