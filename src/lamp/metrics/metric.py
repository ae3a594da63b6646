"""`Metric`, the base class of metrics, which accumulate over batches, and `SumMetric` for those based on sums."""

from __future__ import annotations

import copy
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lamp.axes import replicas_of
from lamp.errors import DataError, DTypeError, ShapeError
from lamp.losses import Loss
from lamp.signatures import Constructed, called
from lamp.state_dict import check_state_of
from lamp.torch_habits import explains_attributes

HIGHER_IS_BETTER = re.compile(r"accuracy$|(^|[_ ])(precision|recall|f1|auc|r2)$")  # names of such metrics end so


INSTEAD = {  # in torchmetrics and Keras: here
    "compute": "metric.value()",
    "result": "metric.value()",
    "forward": "metric(output, target), the value of one batch",
    "update_state": "metric.update(output, target)",
    "reset_state": "metric.reset()",
    "reset_states": "metric.reset()",
}


@explains_attributes(INSTEAD)
class Metric(metaclass=Constructed):
    """Base of all metrics.

    A subclass defines three methods:

        update(output, target)   accumulate a batch
        value()                  the metric over all batches since the last reset
        reset()                  forget all batches

    `metric(output, target)` is the value of a single batch; it does not change what has been accumulated.

    name              its name in a history; if empty, the name of the class
    of_replicas       whether `update` accepts the outputs (K, B, ...) of a population, and `value` then returns (K,).
                      If not, `lamp.fit` keeps one copy of the metric per replica
    one_number        whether `value` is one number (per replica). Others can be evaluated, but not kept in a history
    higher_is_better  the direction for early stopping and sweeps; None: decided by the name, see `mode_of`

    `lamp.fit` uses copies that it resets, one for training and one for validation, so the metric passed to it does not
    change. A checkpoint within an epoch saves what `state_dict` returns, by default all attributes: numbers, strings,
    tensors, and lists, tuples and dicts of them.
    """

    name: str = ""
    of_replicas: ClassVar[bool] = False
    one_number: bool = True
    higher_is_better: ClassVar[bool | None] = None

    @abstractmethod
    @called()
    def update(self, output: Tensor, target: Tensor) -> None:
        """Accumulate a batch."""

    @abstractmethod
    def value(self) -> Any:
        """The metric over all batches since the last reset."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all batches."""

    def beside(self, criterion: Loss) -> Self:
        """This metric for use with a loss: options left open, such as the label to ignore, are those of the loss."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """What the metric has accumulated."""
        return dict(vars(self))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        vars(self).update(copy.deepcopy(dict(state_dict)))

    def __call__(self, output: Tensor, target: Tensor) -> Any:
        alone = copy.deepcopy(self)
        alone.reset()
        alone.update(output, target)
        return alone.value()

    def __repr__(self) -> str:
        """The call that makes this metric, with the arguments that are not the defaults."""
        own, parameters = vars(self), type(self).__signature__.parameters.values()
        given = [each.name for each in parameters if each.name in own and own[each.name] != each.default]
        return f"{type(self).__name__}({', '.join(f'{name}={own[name]!r}' for name in given)})"


class SumMetric(Metric):
    """Base of the metrics that are computed from a few sums over all samples.

    A subclass defines `terms(output, target, replicas)`, the sums of one batch, and `of(*sums)`, the metric from the
    sums of all batches. Each term is a number, or a tensor, with a first axis of replicas in a population.

    Raises DTypeError for outputs or targets that are not tensors, ShapeError for batches that differ in their classes,
    outputs or replicas, and DataError for `value()` before the first batch.
    """

    of_replicas: ClassVar[bool] = True
    _sums: tuple[Any, ...] | None = None

    @abstractmethod
    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        """The sums of one batch."""

    @abstractmethod
    def of(self, *sums: Any) -> Tensor:
        """The metric from the sums of all batches."""

    @called()
    def reset(self) -> None:
        self._sums = None

    @called()
    def update(self, output: Tensor, target: Tensor) -> None:
        check_tensors(output, target)
        terms = self.terms(output, target, replicas_of(output))
        if self._sums is None:
            self._sums = terms
            return
        shapes = [[getattr(each, "shape", ()) for each in sums] for sums in (self._sums, terms)]
        if shapes[0] != shapes[1]:
            raise another_form(self, output)
        self._sums = tuple(before + term for before, term in zip(self._sums, terms, strict=True))

    def value(self) -> Tensor:
        if self._sums is None:
            raise no_batch(self)
        return self.of(*self._sums)

    @called()
    def state_dict(self) -> dict[str, Any]:
        return {"sums": None if self._sums is None else [torch.as_tensor(each) for each in self._sums]}

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        check_state_of(self, state_dict, "sums")
        if state_dict["sums"] is None:
            self.reset()
            return
        sums = tuple(state_dict["sums"])
        for each in sums:
            check_tensors(each, each)
        self.of(*sums)  # fails if these are not sums of this metric
        self._sums = sums


def mode_of(name: str, metrics: Mapping[str, Any] | None = None) -> str:
    """Whether higher ("max") or lower ("min") is better for the measure of this name in a history.

    A metric's `higher_is_better` decides, if set; else its name, or the name in the history: "max" for names that end
    in that of one of lamp's scores, such as "accuracy".
    """
    metric = (metrics or {}).get(name.removeprefix("validation_"))
    higher = getattr(metric, "higher_is_better", None)
    if higher is None:
        higher = HIGHER_IS_BETTER.search((isinstance(metric, Metric) and metric.name) or name)
    return "max" if higher else "min"


def check_tensors(output: Any, target: Any) -> None:
    """Raise DTypeError unless both are tensors."""
    for name, value in (("output", output), ("target", target)):
        if not isinstance(value, Tensor):
            raise DTypeError(
                f"the {name} of a metric is not a tensor",
                expected="a torch.Tensor",
                got=type(value).__name__,
                fix="convert it with torch.as_tensor(...)"
                if not isinstance(value, tuple)
                else "for several outputs or targets write a function (output, target), which gets the tuples",
            )


def no_batch(metric: Metric) -> DataError:
    """The error for a value before the first batch."""
    return DataError(
        f"{metric!r} has no value before the first batch",
        expected="update(output, target) before value()",
        got="no update since the last reset",
        fix="call update with the outputs and targets of each batch",
    )


def another_form(metric: Metric, output: Tensor) -> ShapeError:
    """The error for a batch that differs in its classes, outputs or replicas from the batches before."""
    return ShapeError(
        f"{metric!r}: this batch has another form than the batches before",
        expected="the same number of replicas, and of classes or outputs per sample",
        got=f"outputs {tuple(output.shape)}" + ("" if replicas_of(output) is None else " of a population"),
        fix="call reset() first, or use a separate metric",
    )


def share(part: Any, whole: Any) -> Tensor:
    """part / whole in float64; NaN where both are 0."""
    ratio: Tensor = torch.as_tensor(part).double() / whole
    return ratio
