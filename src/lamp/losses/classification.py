"""Losses between the scores of classes and a target: labels, or probabilities of the classes."""

import math
import operator
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import of_each_sample, replicas_of, sums
from lamp.errors import ArgumentError, LabelError, LampError, ShapeError
from lamp.formulas import Number, constant, is_zero
from lamp.losses.base import Loss, buffer_of
from lamp.losses.checks import explain_distribution, explain_labels, explain_probabilities, explain_weight

# value (N, 1, ...), its sign in the loss, what "mean" divides by; a method for doutput, log p, and what else it takes
Terms = tuple[Tensor, float, Tensor | int, Callable[..., Tensor], Tensor, tuple[Any, ...]]

FORMULAS = {"value", "derivative", "target_probability"}


class ClassLoss(Loss):
    """Base of the losses between the log-probabilities of classes and a target.

    value = - q log p, summed over the classes

    q is what `target_probability` makes of the target: labels, or probabilities of the classes. For labels it is 0 but
    at the label, and little more than that entry is computed with.

    reduction  "mean" divides by the number of samples; for labels by the sum of weight[label], over those not ignored
    Shapes     output (N, C, d1, ...), labels (N, d1, ...), probabilities (N, C, d1, ...); or one sample: output (C);
               in a population one axis more, first, which a target that all share does not have
    Backward   doutput = derivative(log p, q, sum of q over the classes) * dvalue

    Raises LabelError for labels that name no class, come in the wrong form, or are all ignored, and for probabilities
    below 0 or beside an ignore_index; and what Loss raises.
    """

    label_smoothing: Number = 0.0
    takes_probabilities: ClassVar[bool] = True
    by_label: ClassVar[bool] = False  # whether what is computed of the label alone is what the formulas say

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: str) -> None:
        super().__init__(reduction)
        self.weight = buffer_of("weight", weight)
        self.ignore_index = ignore_index
        self._expects_ignored = False  # whether labels held ignored ones before: only a matter of speed

    def _checked(self, name: str, value: Any) -> Any:
        if name == "ignore_index":
            try:
                return operator.index(value)
            except TypeError:
                raise ArgumentError(
                    f"{type(self).__name__}: ignore_index is a label",
                    expected="an integer",
                    got=repr(value),
                    fix="-100 ignores no class",
                ) from None
        if name != "weight":
            return super()._checked(name, value)
        weight = buffer_of(name, value)
        if weight is not None and weight.data.dim() != 1:
            raise ShapeError(
                "class weights have one axis", expected="(C)", got=tuple(weight.data.shape), fix="flatten them"
            )
        return weight

    # ---- the formulas: of one class --------------------------------------------------------------------------------
    def target_probability(self, probability: Number, weight: Number | None, smoothing: Number, classes: int) -> Number:
        """q, from the class's probability in the target (for labels 1 or 0), its weight, and the number of classes."""
        if not is_zero(smoothing):
            probability = probability * (1.0 - smoothing) + smoothing / classes
        return probability if weight is None else probability * weight

    def value(self, log_p: Number, q: Number) -> Number:
        """-q log p, and 0 where q is 0, even if the class is impossible."""
        return (log_p * -q).where((q != 0) | (log_p != log_p), 0.0)  # NaN, which no number equals, stays

    @abstractmethod
    def derivative(self, log_p: Number, q: Number, mass: Number) -> Number:
        """d loss / d output of the class, where mass is the sum of q over all classes: r(log p) mass - q."""
        raise NotImplementedError

    # ---- for tensors -----------------------------------------------------------------------------------------------
    @abstractmethod
    def log_probabilities(self, output: Tensor, axis: int) -> Tensor:
        """log p, along the axis of classes, from what the network puts out."""
        raise NotImplementedError

    @abstractmethod
    def derivative_per_mass(self, log_p: Tensor, axis: int) -> Tensor:
        """r(log p), the part of `derivative` that multiplies mass, as a new tensor or in the place of log_p."""
        raise NotImplementedError

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        replicas = self.replicas or replicas_of(input)
        smoothing = self.label_smoothing
        if isinstance(smoothing, Tensor):
            self.check_hyperparameters(replicas)
        given, axis = (input, target), 1
        try:
            if replicas is not None:
                input, target = self._in_one_row(input, target, replicas)
            axis = 1 if input.dim() > 1 else 0
            log_p = self.log_probabilities(input, axis)
            if replicas is not None:
                smoothing = of_each_sample(smoothing, log_p)
            if not self.by_label or not self.__dict__.keys().isdisjoint(FORMULAS):
                against = self._by_formulas
            elif self._is_labels(target):
                against = self._against_labels if is_zero(smoothing) else self._against_smoothed_labels
            else:
                against = self._against_probabilities
            careful = self.reduction == "none"
            value, sign, divisor, doutput, log_p, others = against(log_p, target, axis, smoothing, careful)
        except (RuntimeError, AttributeError, IndexError) as error:
            raise self._explain(*given, axis, replicas) or error from None
        except LampError as error:  # in a population it tells of rows that nobody has seen
            raise (self._explain(*given, axis, replicas) if replicas is not None else None) or error from None
        loss, dvalue, divisor = self._reduced(value, divisor, sign, replicas)
        if dvalue is None:
            loss = loss.squeeze(axis)
        elif not math.isfinite(loss.sum().item() if replicas else loss.item()):  # where 0 met infinity, care helps
            value, sign, divisor, doutput, log_p, others = against(log_p, target, axis, smoothing, True)
            loss, dvalue, divisor = self._reduced(value, divisor, sign, replicas)
            if replicas is None and not math.isfinite(loss.item()):
                raise self._explain_value(sign * value.squeeze(axis), divisor, input, target)
        if replicas is not None and dvalue is None and given[0].dim() > 2:
            loss = loss.unflatten(0, (replicas, -1))
        loss.divisor = divisor  # type: ignore[attr-defined]
        self.remember((doutput, dvalue, axis, log_p, others, given[0].shape, replicas))
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        doutput, dvalue, axis, log_p, others, shape, replicas = self.recall()
        if dloss or dvalue is None:
            of_class = axis if replicas is None or len(shape) < 3 else axis + 1
            of_samples = shape[:of_class] + shape[of_class + 1 :]
            given = self.times(dvalue, dloss, of_samples, log_p.dtype, replicas)
            dvalue = given if dvalue is not None else given.reshape(log_p.narrow(axis, 0, 1).shape)
        if replicas is not None:
            dvalue = of_each_sample(dvalue, log_p)
        d: Tensor = doutput(dvalue, axis, log_p, *others)
        return d if replicas is None else d.view(shape)

    def _in_one_row(self, output: Tensor, target: Tensor, replicas: int) -> tuple[Tensor, Tensor]:
        """Output (K, N, C, ...) and its target, those of all replicas one after another: (K N, C, ...)."""
        target = self.per_replica_target(output, target, replicas)
        return (output.flatten(0, 1), target.flatten(0, 1)) if output.dim() > 2 else (output, target)

    def per_replica_target(self, output: Tensor, target: Tensor, replicas: int) -> Tensor:
        axes_of_its_own = output.dim() - (0 if self.takes_probabilities and target.is_floating_point() else 1)
        return self.with_replicas(target, axes_of_its_own, replicas)

    def _reduced(
        self, value: Tensor, divisor: Tensor | int, sign: float, replicas: int | None
    ) -> tuple[Tensor, Tensor | None, Tensor | int]:
        """As `reduce`, and the divisor: of each replica, and where it is a weight for each sample, their sum."""
        if isinstance(divisor, Tensor):
            divisor = sums(divisor.float() if divisor.dtype.itemsize < 4 else divisor, replicas)
        elif replicas is not None:
            divisor //= replicas
        return *self.reduce(value, divisor, sign, replicas), divisor

    def _explain(self, output: Any, target: Any, axis: int, replicas: int | None) -> LampError | None:
        """The error for an output and a target that do not fit; None where they do."""
        if replicas is not None and isinstance(output, Tensor) and isinstance(target, Tensor):
            target = self.per_replica_target(output, target, replicas)
            axis = 2 if output.dim() > 2 else 1
            if self.takes_probabilities and target.is_floating_point():
                return None if target.shape == output.shape else explain_probabilities(output, target, axis)
        return explain_labels(output, target, axis, self.ignore_index)

    def _is_labels(self, target: Tensor) -> bool:
        return target.dtype is torch.int64 or not (self.takes_probabilities and target.is_floating_point())

    def _by_formulas(self, log_p: Tensor, target: Tensor, axis: int, smoothing: Number, careful: bool) -> Terms:
        """Class by class, as the formulas say: where a subclass, or somebody on this loss, has written them anew."""
        against = self._against_smoothed_labels if self._is_labels(target) else self._against_probabilities
        value, sign, divisor, _, log_p, others = against(log_p, target, axis, smoothing, True)
        return value, sign, divisor, self._doutput_by_formula, log_p, others

    def _doutput_by_formula(self, dvalue: Tensor, axis: int, log_p: Tensor, q: Tensor) -> Tensor:
        return self.derivative(log_p, q, q.sum(axis, keepdim=True)) * dvalue  # type: ignore[no-any-return]

    # ---- labels ----------------------------------------------------------------------------------------------------
    def _against_labels(self, log_p: Tensor, target: Tensor, axis: int, smoothing: Number, careful: bool) -> Terms:
        """Careful: log p counts for nothing where q is 0, even if it is infinite or NaN."""
        picked, labels, kept = self._pick(log_p, target, axis)
        if self.weight is None and kept is None:
            return picked, -1.0, picked.numel(), self._doutput_of_labels, log_p, (labels, None)
        weight = self._weight_of(picked, labels, kept, self._class_weight(log_p, axis))
        if careful:
            log_p = log_p.masked_fill(weight == 0, 0.0)
            picked = log_p.gather(axis, labels)
        return picked.mul_(weight), -1.0, weight, self._doutput_of_labels, log_p, (labels, weight)

    def _doutput_of_labels(
        self, dvalue: Tensor, axis: int, log_p: Tensor, labels: Tensor, weight: Tensor | None
    ) -> Tensor:
        minus_ones = filled(labels.shape, -1.0, log_p.dtype, log_p.device)
        doutput = self.derivative_per_mass(log_p, axis).scatter_add_(axis, labels, minus_ones)
        return doutput.mul_(dvalue if weight is None else weight * dvalue)

    def _against_smoothed_labels(
        self, log_p: Tensor, target: Tensor, axis: int, smoothing: Number, careful: bool
    ) -> Terms:
        """As `_against_labels`: q is a hit at the label, and the same share of every class's weight."""
        picked, labels, kept = self._pick(log_p, target, axis)
        class_weight = self._class_weight(log_p, axis)
        weight = self._weight_of(picked, labels, kept, class_weight)
        if careful:
            q = self._distribution(torch.zeros_like(log_p).scatter_(axis, labels, 1.0), class_weight, smoothing, axis)
            if kept is not None:
                q, log_p = q * kept, log_p.masked_fill(~kept, 0.0)
            return self.value(log_p, q).sum(axis, keepdim=True), 1.0, weight, self._doutput_of_q, log_p, (q,)
        share, minus_hit = smoothing / log_p.shape[axis], weight * (smoothing - 1.0)
        value, spread = picked.mul_(minus_hit), None
        if class_weight is None:
            value.sub_(log_p.sum(axis, keepdim=True).mul_(share))
        else:
            spread = _along(class_weight, log_p, axis) * share
            value.sub_((log_p * spread).sum(axis, keepdim=True))
        if kept is not None:
            kept = kept.type_as(value)
            value.mul_(kept)
        return value, 1.0, weight, self._doutput_of_smoothed, log_p, (labels, minus_hit, spread, share, kept)

    def _doutput_of_smoothed(
        self,
        dvalue: Tensor,
        axis: int,
        log_p: Tensor,
        labels: Tensor,
        minus_hit: Tensor,
        spread: Tensor | None,
        share: Number,
        kept: Tensor | None,
    ) -> Tensor:
        doutput = self.derivative_per_mass(log_p, axis)
        if spread is None:  # then the mass is 1
            doutput.sub_(share)
        else:
            doutput.mul_(spread.sum(axis - log_p.dim(), keepdim=True) - minus_hit).sub_(spread)
        doutput.scatter_add_(axis, labels, minus_hit)
        return doutput.mul_(dvalue if kept is None else kept * dvalue)

    def _pick(self, log_p: Tensor, target: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """log p of each label, the labels, and which are kept, not ignored (None for all); all (N, 1, ...).

        In place of a label to ignore stands class 0. On a CPU the operation itself tells wrong labels, at no cost.
        """
        labels, kept = target.unsqueeze(axis), None
        if self._expects_ignored or self.ignore_index >= 0:
            kept = labels != constant(self.ignore_index, labels)
            labels = labels * kept
        try:
            if labels.dtype is torch.int64 and (labels.is_cpu or _are_classes(labels, log_p.shape[axis])):
                picked = log_p.gather(axis, labels)
                n = picked.numel()
                if n and n * log_p.shape[axis] == log_p.numel():  # gather does not mind too few labels
                    return picked, labels, kept
        except RuntimeError:
            pass  # told below
        if kept is None and target.dtype is torch.int64:
            self._expects_ignored = True
            return self._pick(log_p, target, axis)
        self._expects_ignored = False
        wrong = explain_labels(log_p, target, axis, self.ignore_index)
        if wrong is not None:
            raise wrong
        assert target.dtype is not torch.int64, "labels that could not be picked, and nothing wrong with them"
        return self._pick(log_p, target.long(), axis)  # integers of another size

    def _weight_of(self, picked: Tensor, labels: Tensor, kept: Tensor | None, class_weight: Tensor | None) -> Tensor:
        """The weight of each sample: of its label's class, and 0 where that is ignored."""
        if class_weight is None:
            return torch.ones_like(picked) if kept is None else kept.type_as(picked)
        weight = class_weight.take(labels)
        return weight if kept is None else weight.mul_(kept)

    def _class_weight(self, log_p: Tensor, axis: int) -> Tensor | None:
        if self.weight is None:
            return None
        weight, expected = self.weight.data, log_p.shape[axis : axis + 1]
        if weight.shape != expected or weight.dtype is not log_p.dtype or weight.device != log_p.device:
            raise explain_weight("weight", weight, log_p, expected)
        return weight

    # ---- probabilities ---------------------------------------------------------------------------------------------
    def _against_probabilities(
        self, log_p: Tensor, target: Tensor, axis: int, smoothing: Number, careful: bool
    ) -> Terms:
        same_kind = target.dtype is log_p.dtype and target.device == log_p.device
        if target.shape != log_p.shape or not same_kind or not log_p.numel():
            raise explain_probabilities(log_p, target, axis)
        if self.ignore_index >= 0 or not target.amin().item() >= 0:
            raise explain_distribution(target, self.ignore_index)
        q = self._distribution(target, self._class_weight(log_p, axis), smoothing, axis)
        value = (self.value(log_p, q) if careful else log_p * q).sum(axis, keepdim=True)
        return value, 1.0 if careful else -1.0, value.numel(), self._doutput_of_q, log_p, (q,)

    def _doutput_of_q(self, dvalue: Tensor, axis: int, log_p: Tensor, q: Tensor) -> Tensor:
        return self.derivative_per_mass(log_p, axis).mul_(q.sum(axis, keepdim=True)).sub_(q).mul_(dvalue)

    def _distribution(self, probability: Tensor, class_weight: Tensor | None, smoothing: Number, axis: int) -> Tensor:
        """`target_probability`, its weights along the axis of classes."""
        weight = None if class_weight is None else _along(class_weight, probability, axis)
        return self.target_probability(probability, weight, smoothing, probability.shape[axis])  # type: ignore[no-any-return]

    def weight_of_labels(self, labels: Tensor) -> Tensor:
        """What each label counts in a mean: the weight of its class, and nothing where it is ignored."""
        kept = labels != self.ignore_index
        return kept if self.weight is None else self.weight.data.take(labels * kept) * kept

    def counts_none(self, target: Tensor) -> bool:
        """Whether the target is labels of which none counts: all are ignored, or of classes without weight."""
        if target.is_floating_point():
            return False
        labels = target[target != self.ignore_index]
        if self.weight is None or not labels.numel():
            return not labels.numel()
        known = (labels >= 0) & (labels < len(self.weight.data))
        return bool(known.all()) and not bool(self.weight.data[labels].any())

    def explain_no_labels(self, got: str, fix: str) -> LabelError:
        """The error for a mean over labels of which none counts."""
        return LabelError(
            "no label is left to take the mean over",
            expected=f"a label other than ignore_index = {self.ignore_index}, of a class whose weight is not 0",
            got=got,
            fix=fix,
        )

    def _explain_value(self, value: Tensor, divisor: Tensor | int, output: Tensor, target: Tensor) -> LampError:
        if self.reduction == "mean" and isinstance(divisor, Tensor) and divisor.item() == 0:
            got = f"{target.numel()} labels, none of which counts"
            return self.explain_no_labels(got, 'skip this batch, or use reduction="sum"')
        return self.explain_non_finite(value, output, target)


def _are_classes(labels: Tensor, classes: int) -> bool:
    """Whether all labels name a class. (Beyond the CPU a wrong one ends the process, or goes unnoticed.)"""
    low, high = labels.aminmax()
    return low.item() >= 0 and high.item() < classes


def _along(weight: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """A weight for each class, shaped to meet the axis of classes of the tensor: (C, 1, ...)."""
    return weight.view(-1, *[1] * (tensor.dim() - axis - 1))


@lru_cache(maxsize=8)  # few: a batch of pixels is large
def filled(shape: torch.Size, value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full(shape, value, dtype=dtype, device=device)
