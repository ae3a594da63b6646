"""The metrics of one epoch: accumulators take in each batch; outputs are kept only for plain functions."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.axes import marked
from lamp.errors import ArgumentError, CheckpointError
from lamp.training.history import Measured
from lamp.training.metrics import MetricLike, is_accumulator
from lamp.trees import joined, mapped


class EpochMetrics:
    """What an epoch's outputs and targets are measured by, in training or in validation.

    Outputs and targets come batch by batch, in a population (K, B, ...) both. The metrics themselves are not updated,
    but copies of them. A metric that does not say `of_replicas` has one copy per replica.
    """

    def __init__(self, metrics: Mapping[str, MetricLike], replicas: int | None) -> None:
        self.metrics, self.replicas = metrics, replicas
        self._accumulators = {
            name: [reset_copy(name, metric) for _ in range(self._copies(metric))]
            for name, metric in metrics.items()
            if is_accumulator(metric)
        }
        self._keeps_outputs = len(self._accumulators) < len(metrics)
        self._outputs: list[Any] = []  # of all batches, for functions; empty where there is none
        self._targets: list[Any] = []

    def _copies(self, metric: MetricLike) -> int:
        return self.replicas if self.replicas is not None and not takes_replicas(metric) else 1

    def update(self, output: Any, target: Any) -> None:
        """Take in a batch."""
        if self._keeps_outputs:
            self._outputs.append(output)
            self._targets.append(target)
        for name, copies in self._accumulators.items():
            if self.replicas is None:
                copies[0].update(output, target)
            elif takes_replicas(self.metrics[name]):
                copies[0].update(self._marked(output), self._marked(target))
            else:
                for k, own in enumerate(copies):
                    own.update(_row(output, k), _row(target, k))

    def _marked(self, tree: Any) -> Any:
        """What is (K, ...), marked so."""
        return tree if self.replicas is None else mapped(tree, functools.partial(marked, replicas=self.replicas))

    def values(self) -> dict[str, Measured]:
        """Each metric of all batches: a number; in a population a tensor (K,) float64.

        Of metrics that say they are not one number what they give, in a population for all replicas.
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
        """What is measured so far."""
        axis = 0 if self.replicas is None else 1
        return {
            "outputs": joined(self._outputs, axis) if self._keeps_outputs else None,
            "targets": joined(self._targets, axis) if self._keeps_outputs else None,
            "accumulators": {
                name: [_state_of(name, own) for own in copies] for name, copies in self._accumulators.items()
            },
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Go on from there."""
        if self._keeps_outputs:
            self._outputs, self._targets = ([_moved(state_dict[name], device)] for name in ("outputs", "targets"))
        for name, copies in self._accumulators.items():
            for own, state in zip(copies, state_dict["accumulators"][name], strict=True):
                moved = _moved(state, device)
                own.load_state_dict(moved) if hasattr(own, "load_state_dict") else vars(own).update(moved)


def measured(metrics: Mapping[str, MetricLike], output: Any, target: Any, replicas: int | None) -> dict[str, Measured]:
    """Each metric of an epoch's outputs that are there all at once; see `EpochMetrics.values`."""
    epoch = EpochMetrics(metrics, replicas)
    epoch.update(output, target)
    return epoch.values()


def takes_replicas(metric: MetricLike) -> bool:
    """Whether a metric takes (K, n, ...) and gives (K,): it says so by an attribute `of_replicas = True`."""
    return bool(getattr(metric, "of_replicas", False))


def reset_copy(name: str, metric: Any) -> Any:
    """A copy of an accumulator that has taken in nothing. Raises ArgumentError where it cannot be copied."""
    try:
        own = copy.deepcopy(metric)
    except TypeError as error:
        raise ArgumentError(
            f"the metric {name!r} cannot be copied, and each epoch works on a copy",
            expected="an object that copy.deepcopy copies",
            got=str(error),
            fix="leave out what cannot be copied, or write __deepcopy__",
        ) from None
    own.reset()
    return own


def number_of(name: str, value: Any) -> float:
    """What a metric gave for one network, as a number. Raises ArgumentError for anything else."""
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor | np.ndarray | np.generic):
        numbers = torch.as_tensor(value)
        if numbers.numel() == 1 and not numbers.is_complex():
            return float(numbers)
    raise _no_number(name, value, "one number, or a tensor of one element", "return a float, such as values.mean()")


def _one_each(name: str, value: Any, replicas: int) -> Tensor:
    """What a metric of replicas gave, (K,) float64."""
    if not isinstance(value, Tensor) or value.shape != (replicas,) or value.is_complex():
        raise _no_number(name, value, f"a tensor ({replicas},), since it says of_replicas", "one for each replica")
    return value.double().cpu()


def _no_number(name: str, value: Any, expected: str, fix: str) -> ArgumentError:
    shape = f" {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else f": {value!r}"
    return ArgumentError(
        f"the metric {name!r} gave no number", expected=expected, got=f"{type(value).__name__}{shape[:60]}", fix=fix
    )


def _state_of(name: str, accumulator: Any) -> dict[str, Any]:
    """What an accumulator goes on from: its state dict, or without one all its attributes."""
    if hasattr(accumulator, "state_dict"):
        return dict(accumulator.state_dict())
    if not hasattr(accumulator, "__dict__"):
        raise CheckpointError(
            f"the metric {name!r} cannot be saved within an epoch",
            expected="a metric with state_dict and load_state_dict, or with plain attributes",
            got=type(accumulator).__name__,
            fix="write the two methods, or save between epochs alone",
        )
    return dict(vars(accumulator))


def _row(tree: Any, k: int) -> Any:
    """Replica k's part of what is (K, ...)."""
    return mapped(tree, operator.itemgetter(k))


def _moved(tree: Any, device: torch.device) -> Any:
    """A tree of lists, tuples and dicts with its tensors on this device."""
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, list | tuple):
        return type(tree)(_moved(each, device) for each in tree)
    if isinstance(tree, dict):
        return {name: _moved(each, device) for name, each in tree.items()}
    return tree
