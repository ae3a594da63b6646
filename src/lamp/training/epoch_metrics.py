"""EpochMetrics: the metrics of one epoch. Accumulators are updated per batch; plain functions need all outputs kept."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.axes import marked
from lamp.errors import ArgumentError, CheckpointError
from lamp.in_place import versions_of
from lamp.training.measured import Measured
from lamp.training.metrics import MetricLike, is_accumulator
from lamp.trees import joined, mapped


@contextmanager
def _only_read(name: str, *trees: Any) -> Iterator[None]:
    """A context in which a metric is called. Raises ArgumentError if it has written to outputs or targets."""
    before = versions_of(trees)
    yield
    if versions_of(trees) != before:
        raise ArgumentError(
            f"the metric {name} changed its output or target in place; the target may be your data themselves",
            expected="a metric that only reads them",
            got="a tensor that was written to",
            fix="work on a copy: target = target.clone()",
        )


class EpochMetrics:
    """The metrics of one epoch, of training or of validation.

    Outputs and targets arrive batch by batch, (B, ...) or in a population (K, B, ...). Copies of the metrics are
    updated, not the metrics themselves. A metric without `of_replicas` has one copy per replica.
    """

    def __init__(self, metrics: Mapping[str, MetricLike], replicas: int | None) -> None:
        self.metrics, self.replicas = metrics, replicas
        self._accumulators = {
            name: [reset_copy(name, metric) for _ in range(self._copies(metric))]
            for name, metric in metrics.items()
            if is_accumulator(metric)
        }
        self._keeps_outputs = len(self._accumulators) < len(metrics)
        self._outputs: list[Any] = []  # of all batches; only kept if a metric is a plain function
        self._targets: list[Any] = []

    def _copies(self, metric: MetricLike) -> int:
        return self.replicas if self.replicas is not None and not takes_replicas(metric) else 1

    def update(self, output: Any, target: Any) -> None:
        """Add a batch."""
        if self._keeps_outputs:
            self._outputs.append(output)
            self._targets.append(target)
        for name, copies in self._accumulators.items():
            with _only_read(name, output, target):
                if self.replicas is None:
                    copies[0].update(output, target)
                elif takes_replicas(self.metrics[name]):
                    copies[0].update(self._marked(output), self._marked(target))
                else:
                    for k, own in enumerate(copies):
                        own.update(_row(output, k), _row(target, k))

    def _marked(self, tree: Any) -> Any:
        """The tensors (K, ...) of a tree, marked as per replica."""
        return tree if self.replicas is None else mapped(tree, functools.partial(marked, replicas=self.replicas))

    def values(self) -> dict[str, Measured]:
        """The value of each metric over all batches: a number, or in a population a float64 tensor (K,).

        A metric that is not one number (`one_number = False`) gives a tensor (...), in a population (K, ...).

        Raises ArgumentError for a metric that does not return one number.
        """
        axis = 0 if self.replicas is None else 1
        if self._keeps_outputs:
            self._outputs = [joined(self._outputs, axis)]
            self._targets = [joined(self._targets, axis)]
        return {name: self._value(name, metric) for name, metric in self.metrics.items()}

    def _value(self, name: str, metric: MetricLike) -> Measured:
        together = self.replicas is None or takes_replicas(metric)
        if name in self._accumulators:
            found = [own.value() for own in self._accumulators[name]]
        else:
            function: Callable[..., Any] = metric
            output, target = self._outputs[0], self._targets[0]
            with _only_read(name, output, target):
                if not together:
                    found = [function(_row(output, k), _row(target, k)) for k in range(self.replicas or 1)]
                else:
                    found = [function(self._marked(output), target)]
        if not getattr(metric, "one_number", True):
            return torch.as_tensor(found[0]).cpu() if together else torch.stack([torch.as_tensor(v) for v in found])
        if self.replicas is None:
            return number_of(name, found[0])
        if not together:
            return torch.tensor([number_of(name, value) for value in found], dtype=torch.float64)
        return _one_each(name, found[0], self.replicas)

    # ---- a checkpoint ----------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The state of all metrics, after the batches so far."""
        axis = 0 if self.replicas is None else 1
        return {
            "outputs": joined(self._outputs, axis) if self._keeps_outputs else None,
            "targets": joined(self._targets, axis) if self._keeps_outputs else None,
            "accumulators": {
                name: [_state_of(name, own) for own in copies] for name, copies in self._accumulators.items()
            },
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        if self._keeps_outputs:
            self._outputs, self._targets = ([_moved(state_dict[name], device)] for name in ("outputs", "targets"))
        for name, copies in self._accumulators.items():
            for own, state in zip(copies, state_dict["accumulators"][name], strict=True):
                moved = _moved(state, device)
                own.load_state_dict(moved) if hasattr(own, "load_state_dict") else vars(own).update(moved)


def measured(metrics: Mapping[str, MetricLike], output: Any, target: Any, replicas: int | None) -> dict[str, Measured]:
    """The value of each metric for all outputs of an epoch at once (see `EpochMetrics.values`)."""
    epoch = EpochMetrics(metrics, replicas)
    epoch.update(output, target)
    return epoch.values()


def takes_replicas(metric: MetricLike) -> bool:
    """Whether a metric takes (K, n, ...) and returns (K,), as its attribute `of_replicas = True` says."""
    return bool(getattr(metric, "of_replicas", False))


def reset_copy(name: str, metric: Any) -> Any:
    """A copy of an accumulator, reset. Raises ArgumentError if it cannot be copied."""
    try:
        own = copy.deepcopy(metric)
    except TypeError as error:
        raise ArgumentError(
            f"the metric {name!r} cannot be copied, but each epoch works on a copy",
            expected="an object that copy.deepcopy can copy",
            got=str(error),
            fix="remove the attribute that cannot be copied, or write __deepcopy__",
        ) from None
    own.reset()
    return own


def number_of(name: str, value: Any) -> float:
    """The value of a metric for one network, as a float. Raises ArgumentError if it is not one number."""
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor | np.ndarray | np.generic):
        numbers = torch.as_tensor(value)
        if numbers.numel() == 1 and not numbers.is_complex():
            return float(numbers)
    raise _no_number(name, value, "one number, or a tensor of one element", "return a float, such as values.mean()")


def _one_each(name: str, value: Any, replicas: int) -> Tensor:
    """The values of a metric with `of_replicas`, (K,) float64. Raises ArgumentError for anything else."""
    if not isinstance(value, Tensor) or value.shape != (replicas,) or value.is_complex():
        raise _no_number(name, value, f"a tensor ({replicas},), since it has of_replicas", "return one per replica")
    return value.double().cpu()


def _no_number(name: str, value: Any, expected: str, fix: str) -> ArgumentError:
    shape = f" {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else f": {value!r}"
    return ArgumentError(
        f"the metric {name!r} did not return a number",
        expected=expected,
        got=f"{type(value).__name__}{shape[:60]}",
        fix=fix,
    )


def _state_of(name: str, accumulator: Any) -> dict[str, Any]:
    """The state of an accumulator: its state dict, or all its attributes if it has no `state_dict`."""
    if hasattr(accumulator, "state_dict"):
        return dict(accumulator.state_dict())
    if not hasattr(accumulator, "__dict__"):
        raise CheckpointError(
            f"the metric {name!r} cannot be saved within an epoch",
            expected="a metric with state_dict and load_state_dict, or with plain attributes",
            got=type(accumulator).__name__,
            fix="write the two methods, or save only between epochs",
        )
    return dict(vars(accumulator))


def _row(tree: Any, k: int) -> Any:
    """Row k of every tensor (K, ...) of a tree."""
    return mapped(tree, operator.itemgetter(k))


def _moved(tree: Any, device: torch.device) -> Any:
    """A tree of lists, tuples and dicts, with its tensors moved to this device."""
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, list | tuple):
        return type(tree)(_moved(each, device) for each in tree)
    if isinstance(tree, dict):
        return {name: _moved(each, device) for name, each in tree.items()}
    return tree
