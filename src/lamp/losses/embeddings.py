"""Losses that bring the vectors of similar things together and push others apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.losses.checks import Limits
from lamp.losses.margins import ANY, of_samples
from lamp.losses.several import SampleLoss
from lamp.module import Module

SMALLEST = 1e-12  # added to squared lengths, as in torch
POSITIVE = Limits(math.ulp(0.0), math.inf, "more than 0", "increase it")


class CosineEmbeddingLoss(SampleLoss):
    """The angle between two vectors: none for similar pairs (target 1), a wide one for others (target -1).

    value = 1 - cos where t = 1,   max(0, cos - margin) where t = -1;   cos = x1 x2 / sqrt((|x1|^2 + e) (|x2|^2 + e))

    Shapes    x1 and x2 (B, D) or (D)   target (B) or ()
    Backward  dcos = -dvalue where t = 1,   dvalue where t = -1 and cos > margin
              dx1 = dcos (x2 / (n1 n2) - cos x1 / n1^2),   n^2 = |x|^2 + e;   dx2 likewise
    Source    torch.nn.CosineEmbeddingLoss, with e = 1e-12
    """

    outputs = 2
    limits: ClassVar = {"margin": ANY}

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any = None) -> Tensor:  # type: ignore[override]
        return self.measure(input1, input2, target)

    def target_axes(self, output: Tensor) -> int:
        return output.dim() - 1

    def check(self, outputs: Any, target: Any) -> None:
        self.check_target(target, tuple(outputs[0].shape[:-1]), outputs[0])

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        first, second = outputs
        squares = [(x * x).sum(-1) + SMALLEST for x in outputs]
        inverse = (squares[0] * squares[1]).rsqrt()
        cosine = (first * second).sum(-1) * inverse
        similar, different = target == 1, target == -1
        far = (cosine - self.margin).clamp(min=0.0)
        value = torch.where(similar, 1.0 - cosine, 0.0) + torch.where(different, far, 0.0)
        dcosine = (different & (cosine >= self.margin)).to(first.dtype) - similar.to(first.dtype)
        return value, (first, second, cosine, inverse, squares, dcosine)

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        first, second, cosine, inverse, squares, dcosine = kept
        d = dcosine * dvalue
        toward = (d * inverse).unsqueeze(-1)
        own = [(d * cosine / square).unsqueeze(-1) for square in squares]
        return second * toward - first * own[0], first * toward - second * own[1]


class TripletMarginLoss(SampleLoss):
    """Three vectors: the anchor nearer to the positive than to the negative, by a margin.

    value = max(0, |a - p + eps|_p - |a - n + eps|_p + margin)

    swap      uses the distance of positive and negative, |p - n + eps|_p, where that is less than the anchor's
    p         of the norm
    Shapes    anchor, positive and negative (B, D) or (D); no target. `lamp.fit` passes None for it
    Backward  through each distance r = |d|_p: dd = sign(d) |d|^(p-1) / r^(p-1) dr, where the value is not clamped
    Source    torch.nn.TripletMarginLoss; Balntas et al. 2016 for swap
    """

    outputs = 3
    has_target = False
    limits: ClassVar = {"margin": POSITIVE, "p": ANY, "eps": ANY}

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Any, positive: Any = None, negative: Any = None) -> Tensor:
        return self.measure(anchor, positive, negative)

    def argument_names(self) -> list[str]:
        return ["anchor", "positive", "negative"]

    def check(self, outputs: Any, target: Any) -> None:
        pass  # the outputs have been checked

    def distance(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The distance (B...), and its derivative in x (B..., D); that in y is the negative."""
        difference = x - y + self.eps
        length = torch.linalg.vector_norm(difference, self.p, -1)
        return length, norm_slope(difference, length, self.p)

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        anchor, positive, negative = outputs
        (near, of_near), (far, of_far) = self.distance(anchor, positive), self.distance(anchor, negative)
        swapped = None
        if self.swap:
            other, of_other = self.distance(positive, negative)
            swapped = (other < far, 0.5 * (other == far).to(far.dtype), of_other)
            far = torch.minimum(far, other)
        short = near - far + self.margin
        return short.clamp(min=0.0), (short >= 0.0, of_near, of_far, swapped)

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        inside, of_near, of_far, swapped = kept
        d = (inside * dvalue).unsqueeze(-1)
        near = of_near * d
        if swapped is None:
            far = of_far * d
            return near - far, -near, far
        less, half, of_other = swapped  # of two equal distances, each gets half, as in torch
        share = (less.to(d.dtype) + half).unsqueeze(-1)
        far, other = of_far * d * (1.0 - share), of_other * d * share
        return near - far, -near - other, far + other


class TripletMarginWithDistanceLoss(SampleLoss):
    """TripletMarginLoss with any distance.

    value = max(0, distance(a, p) - distance(a, n) + margin)

    distance_function  a lamp module with two inputs (B, D) and the output (B), whose backward returns both gradients;
                       None for the Euclidean distance
    swap               uses distance(p, n) where that is less than distance(a, n)
    Shapes             anchor, positive and negative as the distance takes them; no target
    Backward           by the backward of the distance
    Source             torch.nn.TripletMarginWithDistanceLoss

    Raises ArgumentError for a distance without a backward, and the errors of Loss.
    """

    outputs = 3
    has_target = False
    features = 0
    limits: ClassVar = {"margin": POSITIVE}
    distance_function: Module | None = None
    in_float32 = False  # the distance may have weights

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin, self.swap = margin, swap
        self.distance_function = distance_function  # type: ignore[assignment]  # checked by `_checked`

    def _checked(self, name: str, value: Any) -> Any:
        if name == "distance_function" and value is not None and not isinstance(value, Module):
            raise ArgumentError(
                "TripletMarginWithDistanceLoss: the distance needs a backward",
                expected="a lamp module with two inputs, such as lamp.PairwiseDistance()",
                got=getattr(value, "__name__", type(value).__name__),
                fix="write a lamp.Module whose backward returns the gradients of both inputs",
            )
        return super()._checked(name, value)

    def forward(self, anchor: Any, positive: Any = None, negative: Any = None) -> Tensor:
        return self.measure(anchor, positive, negative)

    def argument_names(self) -> list[str]:
        return ["anchor", "positive", "negative"]

    def check(self, outputs: Any, target: Any) -> None:
        pass  # the outputs have been checked

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        distance: Tensor = self.distance_function(x, y)  # type: ignore[misc]
        return distance

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        anchor, positive, negative = outputs
        pairs = [(anchor, positive), (anchor, negative), *([(positive, negative)] if self.swap else [])]
        if self.distance_function is None:
            plain = TripletMarginLoss()
            measured = [plain.distance(*pair) for pair in pairs]
            near, far, *other = [length for length, _ in measured]
            slopes: Any = [slope for _, slope in measured]
        else:
            near, far, *other = [self._distance(*pair) for pair in pairs]
            slopes = None
        share = torch.zeros_like(far)
        if other:
            share = (other[0] < far).to(far.dtype) + 0.5 * (other[0] == far).to(far.dtype)
            far = torch.minimum(far, other[0])
        short = near - far + self.margin
        return short.clamp(min=0.0), (short >= 0.0, share, slopes)

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        inside, share, slopes = kept
        d = inside * dvalue
        of_distances = [d, -d * (1.0 - share), -d * share][: 3 if self.swap else 2]
        if slopes is not None:
            found = [(slope * of_samples(each, slope),) * 2 for slope, each in zip(slopes, of_distances, strict=True)]
            gradients = [(one, -other) for one, other in found]
        else:  # the last call of the distance goes back first
            assert self.distance_function is not None
            gradients = [self.distance_function.backward(each) for each in reversed(of_distances)][::-1]
        (a1, p), (a2, n), *others = gradients
        p, n = (p + others[0][0], n + others[0][1]) if others else (p, n)
        return a1 + a2, p, n


def norm_slope(x: Tensor, length: Tensor, p: float) -> Tensor:
    """The derivative of the p-norm along the last axis: sign(x) |x|^(p-1) / length^(p-1), and 0 where the length is 0.

    x (B..., D), length (B...)
    """
    length = length.unsqueeze(-1)
    if p == 1.0:
        return x.sign()
    if p == math.inf:
        largest = x.abs() == length
        return x.sign() * largest / largest.sum(-1, keepdim=True)
    slope = x / length if p == 2.0 else x.sign() * (x.abs() / length).pow(p - 1.0)
    return slope.masked_fill_(length == 0.0, 0.0)
