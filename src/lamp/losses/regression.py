"""Losses between numbers: each is a function of the difference between output and target."""

from abc import abstractmethod

from lamp.errors import ArgumentError
from lamp.formulas import Number, add_scaled
from lamp.losses.base import Loss


class DifferenceLoss(Loss):
    """Base of the losses that see output and target only through their difference.

    value = rho(output - target)

    Backward  doutput = rho'(output - target) * dvalue

    A subclass writes both, over numbers: `value(difference)` and `derivative(difference)`.
    """

    def prepare(self, output: Number, target: Number) -> tuple[Number, ...]:
        return (output - target,)

    @abstractmethod
    def value(self, difference: Number) -> Number:
        """rho(difference)."""
        raise NotImplementedError

    @abstractmethod
    def derivative(self, difference: Number) -> Number:
        """rho'(difference)."""
        raise NotImplementedError


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
            raise ArgumentError(
                "HuberLoss: delta is out of range", expected="delta > 0", got=delta, fix="use a positive one"
            )
        self.delta = delta

    def value(self, difference: Number) -> Number:
        clamped = difference.clamp(min=-self.delta, max=self.delta)
        return clamped * add_scaled(difference, clamped, -0.5)

    def derivative(self, difference: Number) -> Number:
        return difference.clamp(min=-self.delta, max=self.delta)


class SmoothL1Loss(DifferenceLoss):
    """Huber's loss over its delta: absolute error, rounded off near the target.

    value = d^2 / (2 beta)                    where |d| < beta
            |d| - beta / 2                    elsewhere;         d = output - target
          = c (d - c / 2) / beta,  c = d clamped to [-beta, beta]

    Backward  doutput = c / beta * dvalue
    Source    torch.nn.SmoothL1Loss; Girshick 2015, equation 3. beta = 0 is L1Loss

    Raises ArgumentError for a negative beta.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ArgumentError(
                "SmoothL1Loss: beta is out of range", expected="beta >= 0", got=beta, fix="use a positive one"
            )
        self.beta = beta

    def value(self, difference: Number) -> Number:
        if self.beta == 0:
            return difference.abs()
        clamped = difference.clamp(min=-self.beta, max=self.beta)
        return self._over_beta(clamped * add_scaled(difference, clamped, -0.5))

    def derivative(self, difference: Number) -> Number:
        if self.beta == 0:
            return difference.sign()
        return self._over_beta(difference.clamp(min=-self.beta, max=self.beta))

    def _over_beta(self, number: Number) -> Number:
        return number if self.beta == 1 else number / self.beta
