"""Losses with a margin: a score must be on its side by that much, and costs nothing beyond."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.devices import without_numbers
from lamp.errors import ArgumentError, LabelError
from lamp.formulas import Number, constant, softplus
from lamp.losses.base import Loss, buffer_of
from lamp.losses.checks import Limits, explain_weight
from lamp.losses.several import SampleLoss

FAR = 40.0  # log(1 + exp(x)) is x to the last bit from here on
ANY = Limits(-math.inf, math.inf, "a finite number", "choose another")


class SoftMarginLoss(Loss):
    """The logistic loss of scores for labels 1 and -1.

    value = log(1 + exp(-t x));   x = output, t = target

    Shapes    output and target: any, the same
    Backward  doutput = -t sigmoid(-t x) * dvalue
    Source    torch.nn.SoftMarginLoss
    """

    def value(self, output: Number, target: Number) -> Number:
        return softplus(-(output * target))

    def derivative(self, output: Number, target: Number) -> Number:
        return -(target * (-(output * target)).sigmoid())

    def value_of_tensors(self, output: Tensor, target: Tensor) -> Tensor:
        return torch.ops.aten.softplus.default(self._wrong(output, target), 1.0, FAR)  # type: ignore[no-any-return]

    def doutput(self, dvalue: Tensor, output: Tensor, target: Tensor) -> Tensor:
        return self._wrong(output, target).sigmoid_().mul_(target).mul_(-dvalue)

    def _wrong(self, output: Tensor, target: Tensor) -> Tensor:
        """-t x."""
        return torch.addcmul(constant(0.0, output), output, target, value=-1.0)


class HingeEmbeddingLoss(Loss):
    """A distance x, small for similar pairs (target 1), at least the margin for others (target -1).

    value = x where t = 1,   max(0, margin - x) where t = -1;   x = output, t = target

    A target that is neither gives the sum of both.

    Shapes    output and target: any, the same
    Backward  doutput = dvalue where t = 1,   -dvalue where t = -1 and x <= margin,   else 0
    Source    torch.nn.HingeEmbeddingLoss
    """

    limits: ClassVar = {"margin": ANY}

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def value(self, output: Number, target: Number) -> Number:
        far = (constant(self.margin, output) - output).clamp(min=0.0)
        return output.where(target != -1.0, 0.0) + far.where(target != 1.0, 0.0)

    def derivative(self, output: Number, target: Number) -> Number:
        one = target * 0.0 + 1.0
        inside = one.where(output <= self.margin, 0.0)
        return one.where(target != -1.0, 0.0) - inside.where(target != 1.0, 0.0)


class MarginRankingLoss(SampleLoss):
    """Two scores in the right order: the first higher where the target is 1, the second where it is -1.

    value = max(0, -t (x1 - x2) + margin)

    Shapes    x1, x2 and target: any, the same
    Backward  dx1 = -t dvalue,  dx2 = t dvalue,  where the value is not clamped
    Source    torch.nn.MarginRankingLoss
    """

    outputs = 2
    features = 0
    limits: ClassVar = {"margin": ANY}

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any = None) -> Tensor:  # type: ignore[override]
        return self.measure(input1, input2, target)

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        first, second = outputs
        short = (second - first).mul_(target).add_(self.margin)
        return short.clamp(min=0.0), (short >= 0.0, target)

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        inside, target = kept
        d = target * inside * dvalue
        return -d, d


class MultiMarginLoss(SampleLoss):
    """The score of the right class above all others by a margin: the hinge loss of several classes.

    value = sum over the other classes j of max(0, margin - x_y + x_j)^p weight_y / C

    p         1 or 2
    weight    a number per class, (C)
    Shapes    output (B, C) or (C)   target (B) or ()
    Backward  dx_j = p max(0, ...)^(p - 1) weight_y / C dvalue,   dx_y = - the sum of all dx_j
    Source    torch.nn.MultiMarginLoss; Crammer & Singer 2001

    Raises LabelError for a label out of range, ArgumentError for another p, and the errors of Loss.
    """

    labels = True
    limits: ClassVar = {"margin": ANY}

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.p, self.margin, self.weight = p, margin, buffer_of("weight", weight)

    def _checked(self, name: str, value: Any) -> Any:
        if name == "weight":
            return buffer_of(name, value)
        if name == "p" and (type(value) not in (int, float) or value not in (1, 2)):
            raise ArgumentError(f"{type(self).__name__}: p is 1 or 2", expected="1 or 2", got=repr(value), fix="p=1")
        return super()._checked(name, value)

    def target_axes(self, output: Tensor) -> int:
        return output.dim() - 1

    def check(self, outputs: Any, target: Any) -> None:
        output = outputs[0]
        self.check_target(target, tuple(output.shape[:-1]), output)
        check_labels(target, output.shape[-1])
        if self.weight is not None and self.weight.data.shape != output.shape[-1:]:
            raise explain_weight("weight", self.weight.data, output, output.shape[-1:])

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        (x,) = outputs
        labels = target.unsqueeze(-1)
        short = x - x.gather(-1, labels) + self.margin
        scale = torch.full_like(short[..., :1], 1.0 / x.shape[-1])
        if self.weight is not None:
            scale = scale * self.weight.data.take(labels)
        costs = short.clamp(min=0.0).scatter(-1, labels, 0.0)
        value = (costs if self.p == 1 else costs.square()).sum(-1) * scale.squeeze(-1)
        slope = scale * (costs > 0.0) if self.p == 1 else scale * costs * 2.0
        return value, (slope, labels)

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        slope, labels = kept
        d = slope * of_samples(dvalue, slope)
        return (d.scatter_add(-1, labels, -d.sum(-1, keepdim=True)),)


class MultiLabelMarginLoss(SampleLoss):
    """The scores of all right classes above all others by 1.

    value = sum over right classes y and others j of max(0, 1 - x_y + x_j) / C

    A row of the target lists the right classes, and ends at its first -1.

    Shapes    output and target (B, C) or (C); the target holds integers
    Backward  dx_j = the number of pairs (y, j) with a positive cost / C dvalue,   dx_y = - that of pairs (y, j)
    Source    torch.nn.MultiLabelMarginLoss

    Raises LabelError for a label out of range, and the errors of Loss.
    """

    labels = True

    def check(self, outputs: Any, target: Any) -> None:
        output = outputs[0]
        self.check_target(target, tuple(output.shape), output)
        ended = not target.is_meta and bool((target == -1).any())
        check_labels(target.clamp(min=0) if ended else target, output.shape[-1])
        if bool((target < -1).any()):
            check_labels(target, output.shape[-1])

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        (x,) = outputs
        listed = (target >= 0).cumprod(-1).bool()  # up to the first -1
        labels = target.clamp(min=0)
        right = torch.zeros_like(x).scatter_add_(-1, labels, listed.to(x.dtype)) > 0.0  # (..., C)
        short = 1.0 - x.gather(-1, labels).unsqueeze(-1) + x.unsqueeze(-2)  # (..., right classes as listed, C)
        costs = short.clamp(min=0.0) * (listed.unsqueeze(-1) & ~right.unsqueeze(-2))
        return costs.sum((-2, -1)) / x.shape[-1], (costs > 0.0, labels, x)

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        pairs, labels, x = kept
        counts = pairs.to(x.dtype)
        d = counts.sum(-2).scatter_add_(-1, labels, -counts.sum(-1))
        return (d * (of_samples(dvalue, d) / x.shape[-1]),)


class MultiLabelSoftMarginLoss(SampleLoss):
    """Binary cross-entropy of each class, averaged over the classes of a sample.

    value = - 1/C sum over classes of weight (t log sigmoid(x) + (1 - t) log sigmoid(-x))

    weight    a number per class, (C)
    Shapes    output and target (B, C) or (C)
    Backward  dx = weight (sigmoid(x) - t) / C * dvalue
    Source    torch.nn.MultiLabelSoftMarginLoss
    """

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = buffer_of("weight", weight)

    def _checked(self, name: str, value: Any) -> Any:
        return buffer_of(name, value) if name == "weight" else super()._checked(name, value)

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        (x,) = outputs
        weight = None if self.weight is None else self.weight.data
        if weight is not None and weight.shape not in (x.shape[-1:], torch.Size(())):
            raise explain_weight("weight", weight, x, x.shape[-1:])
        value = target * softplus(-x) + (1.0 - target) * softplus(x)
        slope = x.sigmoid() - target
        if weight is not None:
            value, slope = value * weight, slope * weight
        return value.sum(-1) / x.shape[-1], slope

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        return (kept * (of_samples(dvalue, kept) / kept.shape[-1]),)


def of_samples(dvalue: Tensor, like: Tensor) -> Tensor:
    """The factor of each sample, (B...) or (), to broadcast to (B..., features)."""
    return dvalue.unsqueeze(-1) if dvalue.dim() else dvalue


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise LabelError for a label that names none of the classes, and DeviceError for labels without values."""
    if labels.is_meta:
        raise without_numbers("the target")
    wrong = (labels < 0) | (labels >= classes)
    if bool(wrong.any()):
        first = labels[wrong][0].item()
        raise LabelError(
            "a label names no class",
            expected=f"labels from 0 to {classes - 1}",
            got=str(first),
            fix="count the classes from 0, and let the network have an output for each of them",
        )
