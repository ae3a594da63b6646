"""Regression losses, which are functions of the difference between output and target."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import column
from lamp.formulas import Number, add_scaled, constant, is_zero
from lamp.losses.base import Loss
from lamp.losses.checks import Limits

SMALLEST = math.ulp(0.0)


class DifferenceLoss(Loss):
    """Base of the losses that depend only on the difference of output and target.

    value = rho(output - target)

    Backward  doutput = rho'(output - target) * dvalue

    A subclass defines rho and rho' as `value(difference, ...)` and `derivative(difference, ...)`, written over numbers.
    Its hyperparameters, if any, are further arguments.
    """

    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        difference = output - target
        return (difference, *[column(getattr(self, name), difference) for name in self.hyperparameters])

    @abstractmethod
    def value(self, difference: Number, *hyperparameters: Number) -> Number:
        """rho(difference)."""
        raise NotImplementedError

    @abstractmethod
    def derivative(self, difference: Number, *hyperparameters: Number) -> Number:
        """rho'(difference)."""
        raise NotImplementedError

    def doutput(self, dvalue: Tensor, difference: Tensor, *hyperparameters: Any) -> Tensor:
        return self.derivative(difference, *hyperparameters).mul_(dvalue)  # type: ignore[no-any-return]


class MSELoss(DifferenceLoss):
    """Squared error.

    value = d^2,  d = output - target

    Backward  doutput = 2 d * dvalue
    Source    torch.nn.MSELoss
    """

    def value(self, difference: Number) -> Number:
        return difference.square()

    def derivative(self, difference: Number) -> Number:
        return difference + difference  # 2 d; a sum of tensors takes half the time of a product with a float

    def doutput(self, dvalue: Tensor, difference: Tensor) -> Tensor:
        return difference.mul_(dvalue + dvalue)


class L1Loss(DifferenceLoss):
    """Absolute error.

    value = |d|,  d = output - target

    Backward  doutput = sign(d) * dvalue          (0 where d = 0)
    Source    torch.nn.L1Loss
    """

    def value(self, difference: Number) -> Number:
        return difference.abs()

    def derivative(self, difference: Number) -> Number:
        return difference.sign()


class HuberLoss(DifferenceLoss):
    """Squared error near the target, absolute error far from it.

    value = d^2 / 2                           where |d| < delta
            delta (|d| - delta / 2)           elsewhere;         d = output - target
          = c (d - c / 2),  c = d clamped to [-delta, delta]

    Backward  doutput = c * dvalue
    Source    torch.nn.HuberLoss; Huber 1964

    delta may be (K,) in a population.

    Raises ArgumentError for a delta that is not positive, and the errors of Loss.
    """

    hyperparameters: ClassVar[tuple[str, ...]] = ("delta",)
    limits: ClassVar = {"delta": Limits(SMALLEST, math.inf, "delta > 0", "increase it")}

    def __init__(self, reduction: str = "mean", delta: Number = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def value(self, difference: Number, delta: Number) -> Number:
        clamped = difference.clamp(min=-delta, max=delta)
        return clamped * add_scaled(difference, clamped, -0.5)

    def derivative(self, difference: Number, delta: Number) -> Number:
        return difference.clamp(min=-delta, max=delta)

    def value_of_tensors(self, difference: Tensor, delta: Any) -> Tensor:
        if isinstance(delta, Tensor):
            return self.value(difference, delta)  # type: ignore[no-any-return]
        zero = constant(0.0, difference)
        return torch.ops.aten.huber_loss.default(difference, zero, 0, delta)  # type: ignore[no-any-return]

    def doutput(self, dvalue: Tensor, difference: Tensor, delta: Any) -> Tensor:
        return difference.clamp_(min=-delta, max=delta).mul_(dvalue)


class SmoothL1Loss(DifferenceLoss):
    """Absolute error, smoothed near the target: HuberLoss with delta = beta, divided by beta.

    value = d^2 / (2 beta)                    where |d| < beta
            |d| - beta / 2                    elsewhere;         d = output - target

    Backward  doutput = c / beta * dvalue,  c = d clamped to [-beta, beta]
    Source    torch.nn.SmoothL1Loss; Girshick 2015, equation 3

    With beta = 0 this is L1Loss. In a population beta may be (K,), and must then be positive.

    Raises ArgumentError for a negative beta, and the errors of Loss.
    """

    hyperparameters: ClassVar[tuple[str, ...]] = ("beta",)
    limits: ClassVar = {"beta": Limits(0.0, math.inf, "beta >= 0 (beta > 0 for a tensor)", "increase it", SMALLEST)}

    def __init__(self, reduction: str = "mean", beta: Number = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def value(self, difference: Number, beta: Number) -> Number:
        if is_zero(beta):
            return difference.abs()
        clamped = difference.clamp(min=-beta, max=beta)
        return clamped * add_scaled(difference, clamped, -0.5) / beta

    def derivative(self, difference: Number, beta: Number) -> Number:
        return difference.sign() if is_zero(beta) else difference.clamp(min=-beta, max=beta) / beta

    def value_of_tensors(self, difference: Tensor, beta: Any) -> Tensor:
        if isinstance(beta, Tensor):
            return self.value(difference, beta)  # type: ignore[no-any-return]
        zero = constant(0.0, difference)
        return torch.ops.aten.smooth_l1_loss.default(difference, zero, 0, beta)  # type: ignore[no-any-return]

    def doutput(self, dvalue: Tensor, difference: Tensor, beta: Any) -> Tensor:
        if is_zero(beta):
            return difference.sign_().mul_(dvalue)
        slope = difference.clamp_(min=-beta, max=beta).mul_(dvalue)
        return slope if is_zero(beta - 1.0) else slope.div_(beta)
