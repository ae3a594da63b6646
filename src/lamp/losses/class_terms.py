"""The loss of each sample against its classes, and its gradient: one class for each form of target.

`FormulaTerms` is the definition: q for every class, with the loss's own `value` and `derivative`. The others compute
the same in fewer tensor operations. For labels without smoothing, q is 0 except at the label, so `LabelTerms` picks one
number per sample. With smoothing every class has a share of q; `SmoothedTerms` adds up these shares in one sum.
`ProbabilityTerms` does not guard against 0 times infinity.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from lamp.formulas import Number
from lamp.losses.base import Loss

PerMass = Callable[[Tensor, int], Tensor]  # r(log p, axis), the factor of sum of q in the derivative


class ClassTerms:
    """Base class: the loss of each sample, and the gradient with respect to the output.

    log_p    log-probabilities, (N, C, ...); `axis` is the axis of classes
    value    (N, 1, ...); sign * value is the loss of each sample
    divisor  the divisor of "mean": the number of samples, or the weight of each sample, (N, 1, ...)
    """

    sign = 1.0

    def __init__(self, log_p: Tensor, axis: int, value: Tensor, divisor: Tensor | int) -> None:
        self.log_p, self.axis, self.value, self.divisor = log_p, axis, value, divisor

    @abstractmethod
    def doutput(self, dvalue: Tensor) -> Tensor:
        """d loss / d output, given dvalue = d loss / d (sign * value). May overwrite log_p."""


class FormulaTerms(ClassTerms):
    """Any target, computed for every class with the loss's own formulas.

    value = sum of value(log p, q)          doutput = derivative(log p, q, sum of q) * dvalue
    """

    def __init__(self, loss: Loss, log_p: Tensor, axis: int, q: Tensor, divisor: Tensor | int) -> None:
        super().__init__(log_p, axis, loss.value(log_p, q).sum(axis, keepdim=True), divisor)
        self.loss, self.q = loss, q

    def doutput(self, dvalue: Tensor) -> Tensor:
        mass = self.q.sum(self.axis, keepdim=True)
        return self.loss.derivative(self.log_p, self.q, mass) * dvalue  # type: ignore[no-any-return]


class ProbabilityTerms(ClassTerms):
    """Probabilities as the target, where every log p is finite.

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
    """Labels as the target: q is the weight at the label, and 0 elsewhere.

    value = - weight log p[label]           doutput = weight (r(log p) - 1 at the label) * dvalue

    picked  log p[label], (N, 1, ...); it may be overwritten
    weight  the weight of each sample, (N, 1, ...); None if all are 1
    """

    sign = -1.0

    def __init__(
        self, log_p: Tensor, axis: int, picked: Tensor, labels: Tensor, weight: Tensor | None, per_mass: PerMass
    ) -> None:
        self.log_p, self.axis, self.labels, self.weight, self.per_mass = log_p, axis, labels, weight, per_mass
        self.value = picked if weight is None else picked.mul_(weight)
        self.divisor = picked.numel() if weight is None else weight

    def doutput(self, dvalue: Tensor) -> Tensor:
        labels, log_p = self.labels, self.log_p
        minus_ones = _filled(labels.shape, -1.0, log_p.dtype, log_p.device)
        doutput = self.per_mass(log_p, self.axis).scatter_add_(self.axis, labels, minus_ones)
        return doutput.mul_(dvalue if self.weight is None else self.weight * dvalue)


class SmoothedTerms(ClassTerms):
    """Labels with label smoothing s: q is s w / C for every class of weight w, plus weight (1 - s) at the label.

    value = - weight (1 - s) log p[label] - s / C sum of w log p

    picked        log p[label], (N, 1, ...); it is overwritten
    weight        the weight of each sample, which is that of its label's class, (N, 1, ...)
    class_weight  w, shaped to broadcast along the axis of classes; None if all are 1
    kept          which labels are not ignored, (N, 1, ...); None if none is
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


@lru_cache(maxsize=8)  # few, since one for a batch of images is large
def _filled(shape: torch.Size, value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full(shape, value, dtype=dtype, device=device)
