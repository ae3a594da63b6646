"""`WeightedLoss`, a loss with a weight per sample."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.losses.base import Loss
from lamp.losses.checks import explain_pair


class WeightedLoss(Loss):
    """Another loss times a weight per sample, which is the last column of the target.

    value = weight * loss.value(output, target)

    loss      a loss whose target has the shape of the output, such as MSELoss
    Shapes    output (N, C), target (N, C + 1): C targets, then the weight; in a population, a first axis of replicas
    Backward  doutput = weight * loss.derivative(output, target) * dvalue

    "mean" divides by the same number as the loss, the number of elements, not by the sum of the weights. So weights
    whose mean over the data is 1 keep the scale, and a batch's gradient is an unbiased estimate of the gradient over
    all data.

    Raises ArgumentError for a loss with a hyperparameter (K,), and the errors of the loss for an output and a target
    that do not fit.
    """

    reductions: ClassVar[tuple[str, ...]] = (*Loss.reductions, "batchmean")  # the loss has checked its own

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.reduction)
        if any(True for _ in loss.numbers()):
            raise ArgumentError(
                "WeightedLoss: the loss has a hyperparameter with one value per replica",
                expected="hyperparameters that are plain numbers",
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
