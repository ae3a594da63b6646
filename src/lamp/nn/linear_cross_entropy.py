"""`LinearCrossEntropyLoss`, a linear layer and the cross-entropy of its scores in one module."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import Number
from lamp.losses import CrossEntropyLoss
from lamp.nn.arguments import a_flag, a_size
from lamp.nn.linear import Linear


class LinearCrossEntropyLoss(CrossEntropyLoss):
    """The cross-entropy of scores that a linear layer computes: the last layer of a classifier, in its loss.

    L = CrossEntropyLoss(scores, target),   scores = input W^T + b

    out_features  sizes (d1, ...): then each sample has scores of num_classes classes at each of these places
    Shapes        input (B, in_features) or (in_features)   labels (B, d1, ...)   probabilities (B, C, d1, ...)
                  W (C d1 ..., in_features), its rows in the order (class, d1, ...)
    Backward      dscores as in CrossEntropyLoss, then as in Linear
    Source        torch.nn.LinearCrossEntropyLoss. Its `options` say how torch cuts the batch; they change nothing here

    The optimizer needs the parameters of this loss: `lamp.Adam([*model.parameters(), *criterion.parameters()])`.

    Raises the errors of CrossEntropyLoss and of Linear.
    """

    by_formulas = False
    linear: Linear | None = None
    num_classes: int = 0

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: Number = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__(weight, -100, reduction, label_smoothing)
        self.ignore_index = ignore_index  # type: ignore[assignment]
        self.num_classes = a_size(self, "num_classes", num_classes)
        places = out_features if isinstance(out_features, tuple | list) else (out_features,)
        self.out_features = tuple(a_size(self, "out_features", n) for n in places)
        self.options = options
        if self.weight is not None and tuple(self.weight.data.shape) != (self.num_classes,):
            raise ShapeError(
                "LinearCrossEntropyLoss: the weight must be one number per class",
                expected=(self.num_classes,),
                got=tuple(self.weight.data.shape),
                fix=f"a weight of {self.num_classes} numbers",
            )
        size = math.prod(self.out_features, start=self.num_classes)
        self.linear = Linear(in_features, size, a_flag(self, "bias", bias), device, dtype)

    def _checked(self, name: str, value: Any) -> Any:
        if name == "ignore_index" and value is None:
            return -100  # which ignores no class
        if name == "options" and value is not None and type(value).__name__ != "LinearCrossEntropyOptions":
            raise ArgumentError(
                "LinearCrossEntropyLoss: options are those of torch, which change nothing here",
                expected="None, or a torch.nn.LinearCrossEntropyOptions",
                got=type(value).__name__,
                fix="leave them out",
            )
        return value if name in ("linear", "num_classes", "options") else super()._checked(name, value)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        assert self.linear is not None
        scores = self.linear(input)
        lead = scores.shape[:-1]
        loss: Tensor = super().forward(scores.reshape(*lead, self.num_classes, *self.out_features), target)
        self.remember(scores.shape)
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        assert self.linear is not None
        shape = self.recall()
        dscores = super().backward(*dloss)
        dinput: Tensor = self.linear.backward(dscores.reshape(shape))
        return dinput
