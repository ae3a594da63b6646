"""`ClassLoss`, the base class of losses on classes, with labels or probabilities as the target."""

import math
import operator
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import of_each_sample, replicas_of, sums
from lamp.devices import without_numbers
from lamp.errors import ArgumentError, LabelError, LampError, ShapeError
from lamp.formulas import Number, constant, is_zero, wide
from lamp.losses.base import Loss, buffer_of
from lamp.losses.checks import explain_distribution, explain_labels, explain_probabilities, explain_weight
from lamp.losses.class_terms import ClassTerms, FormulaTerms, LabelTerms, ProbabilityTerms, SmoothedTerms

FORMULAS = {"value", "derivative", "target_probability"}


class ClassLoss(Loss):
    """Base of the losses between the log-probabilities p of classes and a target.

    value = - q log p, summed over the classes

    q is computed from the target, labels or probabilities of the classes, by `target_probability`. For labels it is 0
    except at the label, so little more than that entry is computed.

    reduction  "mean" divides by the number of samples; for labels, by the sum of weight[label] over those not ignored
    Shapes     output (N, C, d1, ...), labels (N, d1, ...), probabilities (N, C, d1, ...); for a single sample, output
               (C); in a population, a first axis of replicas, which a shared target does not have
    Backward   doutput = derivative(log p, q, sum of q over the classes) * dvalue

    Raises LabelError for labels that are out of range, of the wrong form or all ignored, and for probabilities that are
    negative or used with an ignore_index; and the errors of Loss.
    """

    label_smoothing: Number = 0.0
    takes_probabilities: ClassVar[bool] = True
    by_label: ClassVar[bool] = False  # whether the shortcuts for labels compute what the formulas of this class say

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: str) -> None:
        super().__init__(reduction)
        self.weight = buffer_of("weight", weight)
        self.ignore_index = ignore_index
        self._expects_ignored = False  # whether the last labels included ignored ones; affects speed only

    def _checked(self, name: str, value: Any) -> Any:
        if name == "ignore_index":
            try:
                return operator.index(value)
            except TypeError:
                raise ArgumentError(
                    f"{type(self).__name__}: ignore_index must be a label",
                    expected="an integer",
                    got=repr(value),
                    fix="leave it at -100, which ignores no class",
                ) from None
        if name != "weight":
            return super()._checked(name, value)
        weight = buffer_of(name, value)
        if weight is not None and weight.data.dim() != 1:
            raise ShapeError(
                "the weight must be one number per class",
                expected="a tensor (C)",
                got=tuple(weight.data.shape),
                fix="weight.flatten()",
            )
        return weight

    # ---- the formulas, for one class -------------------------------------------------------------------------------
    def target_probability(self, probability: Number, weight: Number | None, smoothing: Number, classes: int) -> Number:
        """q of a class: its probability in the target (1 or 0 for labels), smoothed, times the weight of the class."""
        if not is_zero(smoothing):
            probability = probability * (1.0 - smoothing) + smoothing / classes
        return probability if weight is None else probability * weight

    def value(self, log_p: Number, q: Number) -> Number:
        """-q log p, and 0 where q is 0, even if log p is -infinity."""
        return (log_p * -q).where((q != 0) | (log_p != log_p), 0.0)  # keeps NaN, which is not equal to itself

    @abstractmethod
    def derivative(self, log_p: Number, q: Number, mass: Number) -> Number:
        """d loss / d output of the class: r(log p) mass - q, where mass is the sum of q over all classes."""
        raise NotImplementedError

    # ---- for tensors -----------------------------------------------------------------------------------------------
    @abstractmethod
    def log_probabilities(self, output: Tensor, axis: int) -> Tensor:
        """log p, computed along the axis of classes from the output of the network."""
        raise NotImplementedError

    @abstractmethod
    def derivative_per_mass(self, log_p: Tensor, axis: int) -> Tensor:
        """r(log p), the factor of mass in `derivative`. A new tensor, or log_p overwritten."""
        raise NotImplementedError

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.is_meta:
            raise without_numbers("the output")
        replicas = self.replicas or replicas_of(input)
        smoothing = self.label_smoothing
        if not isinstance(smoothing, float):  # torch takes five times as long to say that a float is no tensor
            self.check_hyperparameters(replicas)
        given, axis = (input, target), 1
        try:
            if replicas is not None:
                input, target = self._in_one_row(input, target, replicas)
            axis = 1 if input.dim() > 1 else 0
            log_p = self.log_probabilities(wide(input), axis)  # in half precision p would be off by digits of log p
            if replicas is not None:
                smoothing = of_each_sample(smoothing, log_p)
            terms = self.terms(log_p, target, axis, smoothing, self.reduction == "none", input.dtype)
        except LampError as error:  # in a population its shapes are those of the flattened batch
            raise (self._explain(*given, axis, replicas) if replicas is not None else None) or error from None
        except (RuntimeError, AttributeError, IndexError) as error:
            raise self._explain(*given, axis, replicas) or error from None
        loss, dvalue, divisor = self._reduced(terms, replicas, input.dtype)
        if dvalue is None:
            loss = loss.squeeze(axis)
        elif not math.isfinite(loss.sum().item() if replicas else loss.item()):  # perhaps 0 times infinity: try again
            terms = self.terms(log_p, target, axis, smoothing, True, input.dtype)
            loss, dvalue, divisor = self._reduced(terms, replicas, input.dtype)
            if replicas is None and not math.isfinite(loss.item()):
                loss.__dict__["divisor"] = divisor
                raise self._explain_value(loss, terms.sign * terms.value.squeeze(axis), input, target)
        if replicas is not None and dvalue is None and given[0].dim() > 2:
            loss = loss.unflatten(0, (replicas, -1))
        loss.__dict__["divisor"] = divisor  # takes half the time of setting an attribute
        self.remember((terms, dvalue, log_p.shape if replicas is None else given[0].shape, input.dtype, replicas))
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        terms, dvalue, shape, dtype, replicas = self.recall()
        if dloss or dvalue is None:
            of_class = terms.axis if replicas is None or len(shape) < 3 else terms.axis + 1
            of_samples = shape[:of_class] + shape[of_class + 1 :]
            given = self.times(dvalue, dloss, of_samples, dtype, replicas)
            dvalue = given if dvalue is not None else given.reshape(terms.value.shape)
        if replicas is not None:
            dvalue = of_each_sample(dvalue, terms.log_p)
        doutput: Tensor = terms.doutput(dvalue)
        doutput = doutput if doutput.dtype is dtype else doutput.to(dtype)
        return doutput if replicas is None else doutput.view(shape)

    def terms(
        self,
        log_p: Tensor,
        target: Tensor,
        axis: int,
        smoothing: Number,
        careful: bool,
        dtype: torch.dtype,
    ) -> ClassTerms:
        """The loss of each sample and its gradient, in the fewest operations that this loss and this target allow.

        careful  whether log p is left out where q is 0, even if it is infinite or NaN
        dtype    that of the output, target and weight, which log p has too unless it is one of half precision
        """
        by_formulas = not self.by_label or not self.__dict__.keys().isdisjoint(FORMULAS)
        if target.dtype is not torch.int64 and not self._is_labels(target):
            q = self._q_of_probabilities(target, log_p, axis, smoothing, dtype)
            if careful or by_formulas:
                return FormulaTerms(self, log_p, axis, q, q.numel() // q.shape[axis])
            return ProbabilityTerms(log_p, axis, q, self.derivative_per_mass)
        picked, labels, kept = self._pick(log_p, target, axis)
        plain = is_zero(smoothing) and not by_formulas
        if plain and kept is None and self.weight is None:
            return LabelTerms(log_p, axis, picked, labels, None, self.derivative_per_mass)
        class_weight = self._class_weight(log_p, axis, dtype)
        weight = self._weight_of(picked, labels, kept, class_weight)
        if plain:
            if careful:
                log_p = log_p.masked_fill(weight == 0, 0.0)
                picked = log_p.gather(axis, labels)
            return LabelTerms(log_p, axis, picked, labels, weight, self.derivative_per_mass)
        if class_weight is not None:
            class_weight = _along(class_weight, log_p, axis)
        if not careful and not by_formulas:
            per_mass = self.derivative_per_mass
            return SmoothedTerms(log_p, axis, picked, labels, weight, class_weight, kept, smoothing, per_mass)
        hits = torch.zeros_like(log_p).scatter_(axis, labels, 1.0)
        q = self.target_probability(hits, class_weight, smoothing, log_p.shape[axis])
        if kept is not None:
            q, log_p = q * kept, log_p.masked_fill(~kept, 0.0)
        return FormulaTerms(self, log_p, axis, q, weight)

    def _in_one_row(self, output: Tensor, target: Tensor, replicas: int) -> tuple[Tensor, Tensor]:
        """Output (K, N, C, ...) and its target, flattened into one batch: (K N, C, ...)."""
        target = self.per_replica_target(output, target, replicas)
        return (output.flatten(0, 1), target.flatten(0, 1)) if output.dim() > 2 else (output, target)

    def per_replica_target(self, output: Tensor, target: Tensor, replicas: int) -> Tensor:
        axes = output.dim() - (0 if self.takes_probabilities and target.is_floating_point() else 1)
        return self.with_replicas(target, axes, replicas)

    def _reduced(
        self, terms: ClassTerms, replicas: int | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None, Tensor | int]:
        """The results of `reduce`, and the divisor as a number, or (K,): weights per sample are summed."""
        divisor = terms.divisor
        if not isinstance(divisor, int):
            divisor = sums(divisor, replicas)
        elif replicas is not None:
            divisor //= replicas
        loss, dvalue = self.reduce(terms.value, divisor, terms.sign, replicas)
        return loss if loss.dtype is dtype else loss.to(dtype), dvalue, divisor

    def _explain(self, output: Any, target: Any, axis: int, replicas: int | None) -> LampError | None:
        """The error for an output and a target that do not fit; None if they fit."""
        if replicas is not None and isinstance(output, Tensor) and isinstance(target, Tensor):
            target = self.per_replica_target(output, target, replicas)
            axis = 2 if output.dim() > 2 else 1
            if self.takes_probabilities and target.is_floating_point():
                return None if target.shape == output.shape else explain_probabilities(output, target, axis)
        return explain_labels(output, target, axis, self.ignore_index)

    def _is_labels(self, target: Tensor) -> bool:
        return target.dtype is torch.int64 or not (self.takes_probabilities and target.is_floating_point())

    # ---- labels ----------------------------------------------------------------------------------------------------
    def _pick(self, log_p: Tensor, target: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """log p of each label, the labels, and which are not ignored (None if none is); all (N, 1, ...).

        Ignored labels are replaced by class 0. On a CPU, gather itself checks the range of the labels, at no cost.
        """
        labels, kept = target.unsqueeze(axis), None
        if self._expects_ignored or self.ignore_index >= 0:
            kept = labels != constant(self.ignore_index, labels)
            labels = labels * kept
        try:
            if labels.dtype is torch.int64 and (labels.is_cpu or _are_classes(labels, log_p.shape[axis])):
                picked = log_p.gather(axis, labels)
                n = picked.numel()
                if n and n * log_p.shape[axis] == log_p.numel():  # gather accepts too few labels
                    return picked, labels, kept
        except RuntimeError:
            pass  # explained below
        if kept is None and target.dtype is torch.int64:
            self._expects_ignored = True
            return self._pick(log_p, target, axis)
        self._expects_ignored = False
        wrong = explain_labels(log_p, target, axis, self.ignore_index)
        if wrong is not None:
            raise wrong
        assert target.dtype is not torch.int64, "gather failed, but the labels are valid"
        return self._pick(log_p, target.long(), axis)  # labels of another integer dtype

    def _weight_of(self, picked: Tensor, labels: Tensor, kept: Tensor | None, class_weight: Tensor | None) -> Tensor:
        """The weight of each sample: that of its label's class, and 0 for an ignored label."""
        if class_weight is None:
            return torch.ones_like(picked) if kept is None else kept.type_as(picked)
        weight = class_weight.take(labels)
        return weight if kept is None else weight.mul_(kept)

    def _class_weight(self, log_p: Tensor, axis: int, dtype: torch.dtype) -> Tensor | None:
        if self.weight is None:
            return None
        weight, expected = self.weight.data, log_p.shape[axis : axis + 1]
        if weight.shape != expected or weight.dtype is not dtype or weight.device != log_p.device:
            raise explain_weight("weight", weight, log_p.to(dtype), expected)
        return wide(weight)

    # ---- probabilities ---------------------------------------------------------------------------------------------
    def _q_of_probabilities(
        self, target: Tensor, log_p: Tensor, axis: int, smoothing: Number, dtype: torch.dtype
    ) -> Tensor:
        same_kind = target.dtype is dtype and target.device == log_p.device
        if target.shape != log_p.shape or not same_kind or not log_p.numel():
            raise explain_probabilities(log_p.to(dtype), target, axis)
        if self.ignore_index >= 0 or not target.amin().item() >= 0:
            raise explain_distribution(target, self.ignore_index)
        weight = self._class_weight(log_p, axis, dtype)
        if weight is not None:
            weight = _along(weight, log_p, axis)
        return self.target_probability(wide(target), weight, smoothing, log_p.shape[axis])  # type: ignore[no-any-return]

    # ---- which labels count ----------------------------------------------------------------------------------------
    def weight_of_labels(self, labels: Tensor) -> Tensor:
        """The weight of each label in a mean: that of its class, and 0 for an ignored label."""
        kept = labels != self.ignore_index
        return kept if self.weight is None else self.weight.data.take(labels * kept) * kept

    def counts_none(self, target: Tensor) -> bool:
        """Whether the target is labels that all have weight 0, because they are ignored or by their class."""
        if target.is_floating_point():
            return False
        labels = target[target != self.ignore_index]
        if self.weight is None or not labels.numel():
            return not labels.numel()
        known = (labels >= 0) & (labels < len(self.weight.data))
        return bool(known.all()) and not bool(self.weight.data[labels].any())

    def explain_no_labels(self, got: str, fix: str) -> LabelError:
        """The error for a mean over labels that all have weight 0."""
        return LabelError(
            "no label is left to take the mean over",
            expected=f"a label other than ignore_index = {self.ignore_index}, of a class whose weight is not 0",
            got=got,
            fix=fix,
        )

    def _explain_value(self, loss: Tensor, value: Tensor, output: Tensor, target: Tensor) -> LampError:
        divisor = loss.__dict__["divisor"]
        if self.reduction == "mean" and isinstance(divisor, Tensor) and divisor.item() == 0:
            got = f"{target.numel()} labels, all ignored or of weight 0"
            return self.explain_no_labels(got, 'skip this batch, or use reduction="sum"')
        return self._not_finite(loss, value, output, target)


def _are_classes(labels: Tensor, classes: int) -> bool:
    """Whether all labels are in range. On a GPU, gather with a wrong one would end the process, or go unnoticed."""
    low, high = labels.aminmax()
    return low.item() >= 0 and high.item() < classes


def _along(weight: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """A weight per class in a shape that broadcasts along the tensor's axis of classes: (C, 1, ...)."""
    return weight.view(-1, *[1] * (tensor.dim() - axis - 1))
