"""A loss of samples that count with weights of their own."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.losses.base import Loss
from lamp.losses.checks import explain_pair


class WeightedLoss(Loss):
    """Another loss, element by element, times the weight of the sample: the last column of the target.

    value = weight * loss.value(output, target)

    loss      one that takes a target of the output's shape, such as MSELoss
    Shapes    output (N, C), target (N, C + 1): C targets, then the weight; in a population one axis more, first
    Backward  doutput = weight * loss.derivative(output, target) * dvalue

    "mean" divides as the loss does, by the number of elements, whatever the weights are: weights of mean 1 over the
    data leave the scale as it is, and each batch's gradient is then an unbiased sample of the whole.

    Raises ArgumentError for a loss with hyperparameters of several numbers, and what the loss raises for an output and
    a target that do not fit.
    """

    reductions: ClassVar[tuple[str, ...]] = (*Loss.reductions, "batchmean")  # of those, the loss's own

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.reduction)
        if any(True for _ in loss.numbers()):
            raise ArgumentError(
                "WeightedLoss: the loss has a number for each replica",
                expected="one number for all",
                got=repr(loss),
                fix="build the loss with plain numbers",
            )
        self.loss = loss

    def check(self, output: Tensor, target: Tensor) -> None:
        if not isinstance(target, Tensor) or target.dim() == 0 or target.shape[-1] < 2:
            raise explain_pair(output, target)
        self.loss.check(output, target[..., :-1])

    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        return *self.loss.prepare(output, target[..., :-1]), target[..., -1:]

    def value(self, *prepared: Any) -> Number:
        *others, weight = prepared
        return self.loss.value(*others) * weight

    def derivative(self, *prepared: Any) -> Number:
        *others, weight = prepared
        return self.loss.derivative(*others) * weight

    def divisor(self, output: Tensor) -> int:
        return self.loss.divisor(output)
