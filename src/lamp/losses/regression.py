"""Losses between numbers."""

from lamp.formulas import Number
from lamp.losses.base import Loss


class MSELoss(Loss):
    """value = (output - target)^2, derivative = 2 (output - target).  Source: torch.nn.MSELoss."""

    def value(self, output: Number, target: Number) -> Number:
        return (output - target).square()

    def derivative(self, output: Number, target: Number) -> Number:
        return 2.0 * (output - target)
