"""What a loss of classes makes of log-probabilities and a target: each sample's loss, and the gradient from it.

`FormulaTerms` is the definition: q for every class, with `value` and `derivative` as the loss writes them. The others
compute the same in fewer tensor operations. Of labels without smoothing, q is 0 but at the label, so `LabelTerms` picks
one number per sample. With smoothing every class has a share of q, which `SmoothedTerms` takes together.
`ProbabilityTerms` leaves out the care for 0 times infinity.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from lamp.formulas import Number
from lamp.losses.base import Loss

PerMass = Callable[[Tensor, int], Tensor]  # r(log p), the part of the derivative that multiplies the sum of q


class ClassTerms:
    """Each sample's loss against its target, and the gradient from it.

    log_p    (N, C, ...), with the classes on this axis
    value    (N, 1, ...): sign * value is the sample's loss
    divisor  what "mean" divides by: the number of samples, or the weight of each one, (N, 1, ...)
    """

    sign = 1.0

    def __init__(self, log_p: Tensor, axis: int, value: Tensor, divisor: Tensor | int) -> None:
        self.log_p, self.axis, self.value, self.divisor = log_p, axis, value, divisor

    @abstractmethod
    def doutput(self, dvalue: Tensor) -> Tensor:
        """d loss / d output, where dvalue is d loss / d (sign * value); it may overwrite log_p."""


class FormulaTerms(ClassTerms):
    """By the loss's own formulas, class by class.

    value = sum of value(log p, q)          doutput = derivative(log p, q, sum of q) * dvalue
    """

    def __init__(self, loss: Loss, log_p: Tensor, axis: int, q: Tensor, divisor: Tensor | int) -> None:
        super().__init__(log_p, axis, loss.value(log_p, q).sum(axis, keepdim=True), divisor)
        self.loss, self.q = loss, q

    def doutput(self, dvalue: Tensor) -> Tensor:
        mass = self.q.sum(self.axis, keepdim=True)
        return self.loss.derivative(self.log_p, self.q, mass) * dvalue  # type: ignore[no-any-return]


class ProbabilityTerms(ClassTerms):
    """Of probabilities, all of whose log p are finite.

    value = - sum of log p q                doutput = (r(log p) sum of q - q) * dvalue
    """

    sign = -1.0

    def __init__(self, log_p: Tensor, axis: int, q: Tensor, per_mass: PerMass) -> None:
        value = (log_p * q).sum(axis, keepdim=True)
        super().__init__(log_p, axis, value, value.numel())
        self.q, self.per_mass = q, per_mass

    def doutput(self, dvalue: Tensor) -> Tensor:
        mass = self.q.sum(self.axis, keepdim=True)
        return self.per_mass(self.log_p, self.axis).mul_(mass).sub_(self.q).mul_(dvalue)


class LabelTerms(ClassTerms):
    """Of labels: q is the weight at the label, and 0 elsewhere.

    value = - weight log p[label]           doutput = weight (r(log p) - 1 at the label) * dvalue

    picked  log p[label], (N, 1, ...); weight  of each sample, None where it is 1 for all
    """

    sign = -1.0

    def __init__(
        self, log_p: Tensor, axis: int, picked: Tensor, labels: Tensor, weight: Tensor | None, per_mass: PerMass
    ) -> None:
        if weight is None:
            super().__init__(log_p, axis, picked, picked.numel())
        else:
            super().__init__(log_p, axis, picked.mul_(weight), weight)
        self.labels, self.weight, self.per_mass = labels, weight, per_mass

    def doutput(self, dvalue: Tensor) -> Tensor:
        labels, log_p = self.labels, self.log_p
        minus_ones = _filled(labels.shape, -1.0, log_p.dtype, log_p.device)
        doutput = self.per_mass(log_p, self.axis).scatter_add_(self.axis, labels, minus_ones)
        return doutput.mul_(dvalue if self.weight is None else self.weight * dvalue)


class SmoothedTerms(ClassTerms):
    """Of labels, with label smoothing s: q is weight (1 - s) at the label, and s w / C for every class of weight w.

    value = - weight (1 - s) log p[label] - s / C sum of w log p

    weight        of each sample: of its label's class; class_weight  w along the axis of classes, None where it is 1
    kept          which labels are not ignored; None for all
    """

    def __init__(
        self,
        log_p: Tensor,
        axis: int,
        picked: Tensor,
        labels: Tensor,
        weight: Tensor,
        class_weight: Tensor | None,
        kept: Tensor | None,
        smoothing: Number,
        per_mass: PerMass,
    ) -> None:
        share, minus_hit = smoothing / log_p.shape[axis], weight * (smoothing - 1.0)
        value, spread = picked.mul_(minus_hit), None
        if class_weight is None:
            value.sub_(log_p.sum(axis, keepdim=True).mul_(share))
        else:
            spread = class_weight * share
            value.sub_((log_p * spread).sum(axis, keepdim=True))
        if kept is not None:
            kept = kept.type_as(value)
            value.mul_(kept)
        super().__init__(log_p, axis, value, weight)
        self.labels, self.minus_hit, self.spread, self.share = labels, minus_hit, spread, share
        self.kept, self.per_mass = kept, per_mass

    def doutput(self, dvalue: Tensor) -> Tensor:
        doutput = self.per_mass(self.log_p, self.axis)
        if self.spread is None:  # then the sum of q is 1
            doutput.sub_(self.share)
        else:
            mass = self.spread.sum(self.axis - self.log_p.dim(), keepdim=True) - self.minus_hit
            doutput.mul_(mass).sub_(self.spread)
        doutput.scatter_add_(self.axis, self.labels, self.minus_hit)
        return doutput.mul_(dvalue if self.kept is None else self.kept * dvalue)


@lru_cache(maxsize=8)  # few: a batch of pixels is large
def _filled(shape: torch.Size, value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full(shape, value, dtype=dtype, device=device)
