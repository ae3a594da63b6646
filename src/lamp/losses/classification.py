"""Losses between the scores of classes and a target: labels, or probabilities of the classes."""

import math
from abc import abstractmethod
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LabelError, LampError, ShapeError
from lamp.formulas import Number
from lamp.losses.base import Loss, buffer_of
from lamp.losses.checks import explain_labels, explain_pair, explain_probabilities, explain_weight

# log p, the labels or q, and for labels their weight (None: 1 each) and minus it
Remembered = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
# value of each sample, its sign in the loss, what "mean" divides by, and what backward needs
Terms = tuple[Tensor, float, Tensor | int, Remembered]


class ClassLoss(Loss):
    """Base of the losses between the log-probabilities of classes and a target.

    value = - q log p, summed over the classes

    q is what `target_probability` makes of the target. Where the target is labels, q is 0 but at the label: then only
    that entry is computed with (`derivative_of_labels`), unless labels are smoothed.

    reduction  "mean" divides by the number of samples; for labels by the sum of weight[label], over those not ignored
    Shapes     output (N, C, d1, ...), labels (N, d1, ...), probabilities (N, C, d1, ...); or one sample: output (C)
    Backward   doutput = derivative(log p, q, sum of q over the classes) * dvalue

    Raises LabelError for labels that name no class, come in the wrong form, or are all ignored; and what Loss raises.
    """

    label_smoothing: float = 0.0
    takes_probabilities: ClassVar[bool] = True

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: str) -> None:
        super().__init__(reduction)
        self.weight = buffer_of(weight)
        self.ignore_index = ignore_index
        self._expects_ignored = False  # whether labels held ignored ones before: only a matter of speed
        if weight is not None and weight.dim() != 1:
            raise ShapeError("class weights have one axis", expected="(C)", got=tuple(weight.shape), fix="flatten them")

    # ---- the formulas: of one class --------------------------------------------------------------------------------
    def target_probability(self, probability: Number, weight: Number | None, classes: int) -> Number:
        """q, from the class's probability in the target (for labels 1 or 0), its weight, and the number of classes."""
        if self.label_smoothing != 0:
            probability = probability * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        return probability if weight is None else probability * weight

    def value(self, log_p: Number, q: Number) -> Number:
        """-q log p, and 0 where q is 0, even if the class is impossible."""
        return (log_p * -q).where(q != 0, 0.0)

    @abstractmethod
    def derivative(self, log_p: Number, q: Number, mass: Number) -> Number:
        """d loss / d output of the class, where mass is the sum of q over all classes."""
        raise NotImplementedError

    # ---- for tensors -----------------------------------------------------------------------------------------------
    @abstractmethod
    def log_probabilities(self, output: Tensor, axis: int) -> Tensor:
        """log p, along the axis of classes, from what the network puts out."""
        raise NotImplementedError

    @abstractmethod
    def derivative_of_labels(
        self, log_p: Tensor, labels: Tensor, weight: Tensor | None, minus_weight: Tensor, axis: int
    ) -> Tensor:
        """`derivative` for a q that is the weight (None: 1) at the label, 0 elsewhere. Labels and weights (N, 1, ...).

        It may overwrite log_p.
        """
        raise NotImplementedError

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        axis = 1
        try:
            axis = 1 if output.dim() > 1 else 0
            log_p = self.log_probabilities(output, axis)
            has_labels = target.dtype is torch.int64 or not (self.takes_probabilities and target.is_floating_point())
            against = self._against_labels if has_labels else self._against_probabilities
            value, sign, divisor, remembered = against(log_p, target, axis)
        except (RuntimeError, AttributeError, IndexError) as error:
            raise explain_labels(output, target, axis, self.ignore_index) or error from error
        loss, dvalue = self.reduce(value, divisor, sign)
        if dvalue is None:
            loss = loss.squeeze(axis)
        elif not math.isfinite(loss.item()):
            value, sign, divisor, remembered = against(log_p, target, axis, careful=True)
            loss, dvalue = self.reduce(value, divisor, sign)
            if not math.isfinite(loss.item()):
                raise self._explain(sign * value.squeeze(axis), divisor, output, target)
        self.remember((remembered, dvalue, axis))
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        (log_p, target, weight, minus_weight), dvalue, axis = self.recall()
        if dloss or dvalue is None:
            per_sample = self.times(dvalue, dloss, log_p.shape[:axis] + log_p.shape[axis + 1 :])
            dvalue = per_sample.unsqueeze(axis) if dvalue is None else per_sample
        if minus_weight is None:
            doutput: Tensor = self.derivative(log_p, target, target.sum(axis, keepdim=True))
        else:
            doutput = self.derivative_of_labels(log_p, target, weight, minus_weight, axis)
        return doutput.mul_(dvalue)

    def _against_labels(self, log_p: Tensor, target: Tensor, axis: int, careful: bool = False) -> Terms:
        """Careful: log p counts for nothing where the weight is 0, even if it is infinite or NaN."""
        labels, ignored = target.unsqueeze(axis), None  # (N, 1, ...)
        picked = None if self._expects_ignored or self.ignore_index >= 0 else _pick(log_p, labels, axis)
        if picked is None:
            labels, ignored = self._without_ignored(log_p, target, axis)
            picked = _pick(log_p, labels, axis)
            if picked is None:
                raise explain_labels(log_p, target, axis, self.ignore_index) or RuntimeError("labels do not fit")
            self._expects_ignored = True
        class_weight = None if self.weight is None else self._class_weight(log_p, axis)
        if class_weight is None and ignored is None and self.label_smoothing == 0:
            minus_ones = _minus_ones(labels.shape, log_p.dtype, log_p.device)
            return picked, -1.0, picked.numel(), (log_p, labels, None, minus_ones)
        weight = torch.ones_like(picked) if class_weight is None else class_weight.take(labels)  # (N, 1, ...)
        if ignored is not None:
            weight.masked_fill_(ignored, 0.0)
        if self.label_smoothing != 0:
            q = self._distribution(torch.zeros_like(log_p).scatter_(axis, labels, 1.0), class_weight, axis)
            if ignored is not None:
                q, log_p = q.masked_fill(ignored, 0.0), log_p.masked_fill(ignored, 0.0)
            return self.value(log_p, q).sum(axis, keepdim=True), 1.0, weight, (log_p, q, None, None)
        if careful or self.reduction == "none":
            log_p = log_p.masked_fill(weight == 0, 0.0)
            picked = log_p.gather(axis, labels)
        minus_weight = -weight
        return picked.mul_(minus_weight), 1.0, weight, (log_p, labels, weight, minus_weight)

    def _against_probabilities(self, log_p: Tensor, target: Tensor, axis: int, careful: bool = False) -> Terms:
        same_kind = target.dtype is log_p.dtype and target.device == log_p.device
        if target.shape != log_p.shape or not same_kind or not log_p.numel():
            raise explain_probabilities(log_p, target, axis)
        q = self._distribution(target, self._class_weight(log_p, axis), axis)
        value = self.value(log_p, q).sum(axis, keepdim=True)
        return value, 1.0, value.numel(), (log_p, q, None, None)

    def _without_ignored(self, log_p: Tensor, target: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Labels (N, 1, ...) with class 0 in place of those to ignore, and which those are."""
        if target.dtype is not torch.int64:
            wrong = explain_labels(log_p, target, axis, self.ignore_index)
            if wrong is not None:
                raise wrong
        labels = target.long().unsqueeze(axis)
        ignored = labels == self.ignore_index
        return labels.masked_fill(ignored, 0), ignored

    def _class_weight(self, log_p: Tensor, axis: int) -> Tensor | None:
        if self.weight is None:
            return None
        weight, expected = self.weight.data, log_p.shape[axis : axis + 1]
        if weight.shape != expected or weight.dtype is not log_p.dtype or weight.device != log_p.device:
            raise explain_weight("class weight", weight, log_p, expected)
        return weight

    def _distribution(self, probability: Tensor, class_weight: Tensor | None, axis: int) -> Tensor:
        """`target_probability`, its weights shaped to meet the axis of classes."""
        if class_weight is not None:
            class_weight = class_weight.view(-1, *[1] * (probability.dim() - axis - 1))  # (C, 1, ...)
        return self.target_probability(probability, class_weight, probability.shape[axis])  # type: ignore[no-any-return]

    def _explain(self, value: Tensor, divisor: Tensor | int, output: Tensor, target: Tensor) -> LampError:
        if isinstance(divisor, Tensor) and divisor.item() == 0:
            return LabelError(
                "no label is left to take the mean over",
                expected=f"a label other than ignore_index = {self.ignore_index}, of a class whose weight is not 0",
                got=f"{target.numel()} labels, none of which counts",
                fix='skip this batch, or use reduction="sum"',
            )
        return self.explain_non_finite(value, output, target)


class CrossEntropyLoss(ClassLoss):
    """Cross-entropy between the softmax of scores and the target.

    value = - q log p, summed over the classes;   p = softmax(output)
    q = weight ((1 - label_smoothing) t + label_smoothing / C);   t the probability of the class in the target

    Backward  doutput = (p sum(q) - q) * dvalue,   which is (p - t) * dvalue without weights
    Source    torch.nn.CrossEntropyLoss; Szegedy et al. 2015, section 7, for label smoothing

    Raises ArgumentError for a label_smoothing outside [0, 1], and what ClassLoss raises.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(
                "CrossEntropyLoss: label_smoothing is out of range",
                expected="from 0 (no smoothing) to 1 (all classes alike)",
                got=label_smoothing,
                fix="0.1 is usual",
            )
        self.label_smoothing = label_smoothing

    def derivative(self, log_p: Number, q: Number, mass: Number) -> Number:
        return log_p.exp() * mass - q

    def log_probabilities(self, output: Tensor, axis: int) -> Tensor:
        return output.log_softmax(axis)

    def derivative_of_labels(
        self, log_p: Tensor, labels: Tensor, weight: Tensor | None, minus_weight: Tensor, axis: int
    ) -> Tensor:
        softmax = log_p.exp_()
        if weight is not None:
            softmax.mul_(weight)
        return softmax.scatter_add_(axis, labels, minus_weight)


class NLLLoss(ClassLoss):
    """Minus the log-probability of the label, where the output is log-probabilities already.

    value = - weight[label] output[label]

    Backward  doutput = -weight[label] * dvalue at the label, 0 elsewhere
    Source    torch.nn.NLLLoss

    Raises what ClassLoss raises.
    """

    takes_probabilities = False

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

    def derivative(self, log_p: Number, q: Number, mass: Number) -> Number:
        return -q

    def log_probabilities(self, output: Tensor, axis: int) -> Tensor:
        if not output.is_floating_point():
            raise explain_pair(output, output)
        return output

    def derivative_of_labels(
        self, log_p: Tensor, labels: Tensor, weight: Tensor | None, minus_weight: Tensor, axis: int
    ) -> Tensor:
        return torch.zeros_like(log_p).scatter_(axis, labels, minus_weight)


def _pick(log_p: Tensor, labels: Tensor, axis: int) -> Tensor | None:
    """log p of each label; None where labels do not fit. On a CPU the operation itself tells, at no cost."""
    if labels.dtype is not torch.int64:
        return None
    if not labels.is_cpu:  # elsewhere a wrong label ends the process, or goes unnoticed
        low, high = labels.aminmax()
        if low.item() < 0 or high.item() >= log_p.shape[axis]:
            return None
    try:
        picked = log_p.gather(axis, labels)
    except RuntimeError:
        return None
    n = picked.numel()
    return picked if n and n * log_p.shape[axis] == log_p.numel() else None  # gather does not mind too few labels


@lru_cache(maxsize=8)  # few: a batch of pixels is large
def _minus_ones(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full(shape, -1.0, dtype=dtype, device=device)
