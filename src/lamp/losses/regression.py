"""Losses between numbers: each is a function of the difference between output and target."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import Number, add_scaled
from lamp.losses.base import Loss


class DifferenceLoss(Loss):
    """Base of the losses that see output and target only through their difference.

    value = rho(output - target)

    Backward  doutput = rho'(output - target) * dvalue

    A subclass writes both, over numbers: `value(difference)` and `derivative(difference)`.
    """

    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        return (output - target,)

    @abstractmethod
    def value(self, difference: Number) -> Number:
        """rho(difference)."""
        raise NotImplementedError

    @abstractmethod
    def derivative(self, difference: Number) -> Number:
        """rho'(difference)."""
        raise NotImplementedError

    def doutput(self, dvalue: Tensor, difference: Tensor) -> Tensor:
        return self.derivative(difference).mul_(dvalue)  # type: ignore[no-any-return]


class MSELoss(DifferenceLoss):
    """Squared error.

    value = d^2,  d = output - target

    Backward  doutput = 2 d * dvalue
    Source    torch.nn.MSELoss
    """

    def value(self, difference: Number) -> Number:
        return difference.square()

    def derivative(self, difference: Number) -> Number:
        return difference + difference  # 2 d: a sum of tensors costs half of a product with a float


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

    Raises ArgumentError for a delta that is not positive.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ArgumentError("HuberLoss: delta is out of range", expected="delta > 0", got=delta, fix="increase it")
        self.delta = delta

    def value(self, difference: Number) -> Number:
        clamped = difference.clamp(min=-self.delta, max=self.delta)
        return clamped * add_scaled(difference, clamped, -0.5)

    def derivative(self, difference: Number) -> Number:
        return difference.clamp(min=-self.delta, max=self.delta)

    def value_of_tensors(self, difference: Tensor) -> Tensor:
        clamped = difference.clamp(min=-self.delta, max=self.delta)
        return add_scaled(difference, clamped, -0.5).mul_(clamped)  # type: ignore[no-any-return]

    def doutput(self, dvalue: Tensor, difference: Tensor) -> Tensor:
        return difference.clamp_(min=-self.delta, max=self.delta).mul_(dvalue)


class SmoothL1Loss(DifferenceLoss):
    """Absolute error, rounded off near the target: Huber's loss over its delta.

    value = d^2 / (2 beta)                    where |d| < beta
            |d| - beta / 2                    elsewhere;         d = output - target

    Backward  doutput = c / beta * dvalue,  c = d clamped to [-beta, beta]
    Source    torch.nn.SmoothL1Loss; Girshick 2015, equation 3. beta = 0 is L1Loss

    Raises ArgumentError for a negative beta.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ArgumentError("SmoothL1Loss: beta is out of range", expected="beta >= 0", got=beta, fix="increase it")
        self.beta = beta

    def value(self, difference: Number) -> Number:
        if self.beta == 0:
            return difference.abs()
        clamped = difference.clamp(min=-self.beta, max=self.beta)
        return clamped * add_scaled(difference, clamped, -0.5) / self.beta

    def derivative(self, difference: Number) -> Number:
        return difference.sign() if self.beta == 0 else difference.clamp(min=-self.beta, max=self.beta) / self.beta

    def value_of_tensors(self, difference: Tensor) -> Tensor:
        if self.beta == 0:
            return difference.abs()
        clamped = difference.clamp(min=-self.beta, max=self.beta)
        value: Tensor = add_scaled(difference, clamped, -0.5).mul_(clamped)
        return value if self.beta == 1 else value.div_(self.beta)

    def doutput(self, dvalue: Tensor, difference: Tensor) -> Tensor:
        if self.beta == 0:
            return difference.sign_().mul_(dvalue)
        slope = difference.clamp_(min=-self.beta, max=self.beta).mul_(dvalue)
        return slope if self.beta == 1 else slope.div_(self.beta)
