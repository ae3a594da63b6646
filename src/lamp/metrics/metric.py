"""What a metric is: an accumulator over batches, with one value per replica."""

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
from lamp.signatures import Constructed

HIGHER_IS_BETTER = re.compile(r"accuracy$|(^|[_ ])(precision|recall|f1|auc|r2)$")  # names of such metrics end so


class Metric(metaclass=Constructed):
    """Base of all metrics.

    A subclass writes three methods:

        update(output, target)   take in a batch
        value()                  the metric over all batches since the last reset
        reset()                  forget them

    `metric(output, target)` is the value of one batch alone; what the metric has taken in stays as it is.

    name         its name in a history; without one it is the class's
    of_replicas  whether `update` takes a population's outputs (K, B, ...), with targets (K, B, ...), and `value` gives
                 (K,). Where it does not, `lamp.fit` keeps one copy per replica
    one_number   whether `value` is one number (per replica); others can be evaluated, but no history holds them
    higher_is_better  which way early stopping and sweeps take; None: as the name says, see `mode_of`

    `lamp.fit` works on copies that it resets, one for training and one for validation: the metric that it is given
    stays as it is. A checkpoint within an epoch saves what `state_dict` returns: by default all attributes. It may hold
    numbers, texts, tensors, and lists, tuples and dicts of them.
    """

    name: str = ""
    of_replicas: ClassVar[bool] = False
    one_number: bool = True
    higher_is_better: ClassVar[bool | None] = None

    @abstractmethod
    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in a batch."""

    @abstractmethod
    def value(self) -> Any:
        """The metric over all batches since the last reset."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all batches."""

    def beside(self, criterion: Loss) -> Self:
        """This metric as it is measured beside a loss, which may say what the metric leaves open."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """What the metric has taken in."""
        return dict(vars(self))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(copy.deepcopy(dict(state_dict)))

    def __call__(self, output: Tensor, target: Tensor) -> Any:
        alone = copy.deepcopy(self)
        alone.reset()
        alone.update(output, target)
        return alone.value()

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in vars(self).items() if self._is_option(name, value)]
        return f"{type(self).__name__}({', '.join(given)})"

    def _is_option(self, name: str, value: Any) -> bool:
        """Whether an attribute is an argument of the constructor that is not the default."""
        parameter = type(self).__signature__.parameters.get(name)
        return parameter is not None and value != parameter.default


class SumMetric(Metric):
    """Base of the metrics that follow from a few sums over the rows.

    A subclass writes `terms(output, target, replicas)`, the sums of one batch, and `of(*sums)`, the metric from the
    sums of all batches. Each term is a number, or a tensor whose first axis is the replicas' in a population.
    """

    of_replicas: ClassVar[bool] = True
    _sums: tuple[Any, ...] | None = None

    @abstractmethod
    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        """The sums of one batch."""

    @abstractmethod
    def of(self, *sums: Any) -> Tensor:
        """The metric from the sums of all batches."""

    def reset(self) -> None:
        self._sums = None

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

    def state_dict(self) -> dict[str, Any]:
        return {"sums": None if self._sums is None else [torch.as_tensor(each) for each in self._sums]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if state_dict["sums"] is None:
            self.reset()
            return
        sums = tuple(state_dict["sums"])
        for each in sums:
            check_tensors(each, each)
        self.of(*sums)  # which fails on what are no sums of this metric
        self._sums = sums


def mode_of(name: str, metrics: Mapping[str, Any] | None = None) -> str:
    """Which way is better for what has this name in a history, "max" or "min".

    A metric under this name says so by `higher_is_better` or by its own name; else the name in the history does: "max"
    where it ends in that of one of lamp's scores.
    """
    metric = (metrics or {}).get(name.removeprefix("validation_"))
    higher = getattr(metric, "higher_is_better", None)
    if higher is None:
        higher = HIGHER_IS_BETTER.search((isinstance(metric, Metric) and metric.name) or name)
    return "max" if higher else "min"


def check_tensors(output: Any, target: Any) -> None:
    """Raise DTypeError for what is no tensor."""
    for name, value in (("output", output), ("target", target)):
        if not isinstance(value, Tensor):
            raise DTypeError(
                f"the {name} of a metric is no tensor",
                expected="a torch.Tensor",
                got=type(value).__name__,
                fix="torch.as_tensor(...) makes one"
                if not isinstance(value, tuple)
                else "several outputs or targets need a function (output, target) of your own, which gets the tuples",
            )


def no_batch(metric: Metric) -> DataError:
    """The error for a value before the first batch."""
    return DataError(
        f"{metric!r} has taken in no batch",
        expected="update(output, target) before value()",
        got="no update since the last reset",
        fix="update it with the outputs and targets of each batch",
    )


def another_form(metric: Metric, output: Tensor) -> ShapeError:
    """The error for a batch of other classes, outputs or replicas than those before."""
    return ShapeError(
        f"{metric!r} has taken in batches of another form",
        expected="as many replicas, and classes or outputs per sample, as in the batches before",
        got=f"outputs {tuple(output.shape)}" + ("" if replicas_of(output) is None else " of a population"),
        fix="reset() it first, or use a metric for each",
    )


def share(part: Any, whole: Any) -> Tensor:
    """part / whole in float64; NaN where the whole is 0."""
    ratio: Tensor = torch.as_tensor(part).double() / whole
    return ratio
