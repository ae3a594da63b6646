"""Metrics that count predictions: accuracy, precision, recall, F1 and the confusion matrix."""

from __future__ import annotations

import copy
from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from lamp.axes import replicas_of, standing, sums
from lamp.errors import ArgumentError, ShapeError
from lamp.losses import ClassLoss, Loss
from lamp.metrics.metric import Metric, SumMetric, share
from lamp.metrics.targets import IGNORED, by_replica, check_labels, labels_of, of_each, one_per_output
from lamp.signatures import called
from lamp.values import is_one_of

Average = Literal["binary", "micro", "macro", "weighted", "none"]


class LabelMetric(Metric):
    """Base of the metrics of labels, some of which may be ignored.

    ignore_index  the label to ignore; None for the criterion's in `lamp.fit` and `lamp.evaluate`, and -100 elsewhere
    """

    ignore_index: int | None = None

    def _set(self, **options: Any) -> None:
        """Set the options `threshold` and `ignore_index`. Raises ArgumentError for anything but a number or None."""
        for name, value in options.items():
            kind = Real if name == "threshold" else int
            wrong = not isinstance(value, kind) or isinstance(value, bool) or not -(2.0**63) <= float(value) < 2.0**63
            if value is not None and wrong:
                raise ArgumentError(
                    f"{type(self).__name__}: {name} is not a number",
                    expected="a finite number, or None",
                    got=repr(value),
                    fix=f"{type(self).__name__}({name}={'0.5' if name == 'threshold' else '-100'}), for example",
                )
            if name == "threshold" and isinstance(value, int) and value > 1:
                raise ArgumentError(
                    f"{type(self).__name__}: threshold is what each output is compared with",
                    expected="None for scores of classes, whose number the outputs tell; or 0.5 for probabilities",
                    got=repr(value),
                    fix=f"{type(self).__name__}(), or threshold={value}.0 if outputs are compared with that",
                )
            setattr(self, name, value)

    @property
    def ignored(self) -> int:
        """The label to ignore."""
        return IGNORED if self.ignore_index is None else self.ignore_index

    def beside(self, criterion: Loss) -> Self:
        """The metric with the loss's `ignore_index`, if it has none of its own."""
        if self.ignore_index is not None or not isinstance(criterion, ClassLoss):
            return self
        if criterion.ignore_index == self.ignored:
            return self
        own = copy.copy(self)
        own.ignore_index = criterion.ignore_index
        return own


class PredictionMetric(LabelMetric, SumMetric):
    """Base of the metrics that compare predictions with targets: classes, or with a threshold "yes" and "no"."""

    threshold: float | None = None

    def classes(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each sample the predicted class, the true class, and whether it counts; each ([K,] B, d1, ...)."""
        labels, by_label = labels_of(output, target, self.name)
        predicted = output.argmax(standing(1, replicas_of(output)))
        return predicted, labels, self._kept(labels) if by_label else torch.ones_like(labels, dtype=torch.bool)

    def yes(self, output: Tensor, target: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """For each output whether it means "yes", whether its target does, and whether it counts; all of its shape."""
        target = one_per_output(output, target)
        if target.is_floating_point():
            return output > threshold, target > threshold, torch.ones_like(target, dtype=torch.bool)
        return output > threshold, target > 0, self._kept(target)

    def _kept(self, labels: Tensor) -> Tensor:
        return labels != self.ignored


class Accuracy(PredictionMetric):
    """The share of correct predictions, between 0 and 1; NaN if no label counts.

    threshold     None: outputs (B, C) or (B, C, d1, ...) are scores of classes, on axis 1 as for CrossEntropyLoss, and
                  the class with the largest score is predicted. Targets are class indices (B, d1, ...), or one-hot
                  rows or probabilities in the outputs' shape.
                  A number: each output is a prediction, which is "yes" above the threshold. Use 0.5 for probabilities,
                  and 0 for logits or targets of -1 and 1. A target means "yes" above the threshold too, or, if targets
                  are integers, above 0
    top_k         a prediction is correct if the label is among the `top_k` classes with the largest scores. Of equal
                  scores the first ones count as larger
    ignore_index  the label to ignore, which counts neither as correct nor as wrong. None for the criterion's in
                  `lamp.fit` and `lamp.evaluate`, and -100 elsewhere

    In a population outputs are (K, B, ...); targets that all replicas share come without the axis K.

    Raises ShapeError for outputs and targets that do not fit together.
    """

    name = "accuracy"

    def __init__(self, threshold: float | None = None, *, top_k: int = 1, ignore_index: int | None = None) -> None:
        self._set(threshold=threshold, ignore_index=ignore_index)
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1 or (top_k > 1 and threshold is not None):
            raise ArgumentError(
                "Accuracy: top_k must be a number of classes",
                expected="an integer of at least 1, without a threshold",
                got=f"top_k={top_k!r}" + ("" if threshold is None else f", threshold={threshold!r}"),
                fix="Accuracy(top_k=5), for example",
            )
        self.top_k = top_k
        if top_k > 1:
            self.name = f"top_{top_k}_accuracy"

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        if self.threshold is not None:
            predicted, labels, kept = self.yes(output, target, self.threshold)
        elif self.top_k == 1:
            predicted, labels, kept = self.classes(output, target)
        else:
            return self._among_largest(output, target, replicas)
        return sums((predicted == labels) & kept, replicas), sums(kept, replicas)

    def _among_largest(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor, Tensor]:
        """How many labels are among the `top_k` classes, and how many count."""
        axis = standing(1, replicas)
        _, labels, kept = self.classes(output, target)
        if self.top_k >= output.shape[axis]:
            raise ShapeError(
                f"top_k={self.top_k} takes in all classes, so every prediction would be correct",
                expected=f"outputs with more than {self.top_k} classes on axis 1",
                got=tuple(output.shape),
                fix="use a smaller top_k",
            )
        largest = output.argsort(dim=axis, descending=True, stable=True).narrow(axis, 0, self.top_k)
        correct = (largest == labels.unsqueeze(axis)).any(axis)
        return sums(correct & kept, replicas), sums(kept, replicas)

    def of(self, correct: Tensor, counted: Tensor) -> Tensor:
        return share(correct, counted)


@called(instead=dict.fromkeys(("topk", "top_k", "k"), "lamp.Accuracy(top_k=5)(output, target)"))
def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of correct predictions, between 0 and 1: `lamp.Accuracy()` as a function.

    output  scores (B, C) or (B, C, d1, ...), with classes on axis 1; the class with the largest score is predicted
    target  class indices (B, d1, ...), where -100 (or the criterion's `ignore_index`) does not count; or one-hot rows
            or probabilities in the output's shape

    For one output per sample use `Accuracy(threshold)`. Raises ShapeError for tensors that do not fit together.
    """
    value: Tensor = Accuracy()(output, target)
    return value


class Ratio(PredictionMetric):
    """Base of precision, recall and F1. The arguments are described in `Precision`."""

    average: Average

    def __init__(
        self, average: Average | None = None, *, threshold: float | None = None, ignore_index: int | None = None
    ) -> None:
        self._set(threshold=threshold, ignore_index=ignore_index)
        if average is not None and not is_one_of(average, *get_args(Average)):
            raise ArgumentError(
                f"{type(self).__name__}: unknown average",
                expected=", ".join(map(repr, get_args(Average))),
                got=repr(average),
                fix='average="macro"',
            )
        self.average = average or ("macro" if threshold is None else "binary")
        self.one_number = self.average != "none"

    @abstractmethod
    def parts(self, hits: Tensor, predicted: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator per class, from three counts per class.

        hits       how often the class is both predicted and the label
        predicted  how often it is predicted
        labelled   how often it is the label
        """

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        """The three counts per class that `parts` takes, and how many predictions count."""
        if self.threshold is not None:
            yes, labels, kept = self.yes(output, target, self.threshold)
            yes, labels = yes & kept, labels & kept
            return *(self._per_output(each, replicas) for each in (yes & labels, yes, labels)), sums(kept, replicas)
        classes = output.shape[standing(1, replicas)] if output.dim() > standing(1, replicas) else 0
        if self.average == "binary" and classes > 2:
            raise ShapeError(
                f'{type(self).__name__}(average="binary") needs two classes',
                expected="outputs (B, 2), or one per sample and a threshold",
                got=tuple(output.shape),
                fix='average="macro"',
            )
        predicted, labels, kept = self.classes(output, target)
        check_labels(labels, kept, classes, self.ignored)
        predicted, labels, kept = _rows(predicted, labels, kept, replicas)
        hits = kept * (predicted == labels)
        counts = [_counts(predicted, hits, classes), _counts(predicted, kept, classes), _counts(labels, kept, classes)]
        return *(of_each(each, replicas) for each in counts), of_each(kept.sum(1), replicas)

    def _per_output(self, yes: Tensor, replicas: int | None) -> Tensor:
        """The number of True values per index on axis 1, ([K,] L); ([K,] 1) if all outputs are counted together."""
        axis = standing(1, replicas)
        if self.average in ("binary", "micro") or yes.dim() <= axis:
            return of_each(by_replica(yes, replicas).sum(1, keepdim=True), replicas)
        return yes.movedim(axis, -1).flatten(axis - 1, -2).sum(-2)

    def of(self, hits: Tensor, predicted: Tensor, labelled: Tensor, counted: Tensor) -> Tensor:
        if self.average == "micro":
            hits, predicted, labelled = (each.sum(-1, keepdim=True) for each in (hits, predicted, labelled))
        part, whole = self.parts(hits, predicted, labelled)
        scores = share(part, whole.clamp_min(1))  # 0 where there is nothing to divide by
        if self.average == "none":
            return scores.where(counted.unsqueeze(-1) > 0, torch.nan)
        weights = torch.ones_like(scores)
        if self.average == "binary" and self.threshold is None:
            scores, weights = scores[..., 1:], weights[..., 1:]
        elif self.average == "macro" and self.threshold is None:
            weights = (predicted + labelled > 0).double()
        elif self.average == "weighted":
            weights = labelled.double()
        mean = share((scores * weights).sum(-1), weights.sum(-1).clamp_min(1))
        return mean.where(counted > 0, torch.nan)


class Precision(Ratio):
    """The share of the predictions of a class that are correct, between 0 and 1; 0 for a class that is never predicted.

    hits / predicted, where hits is the number of correct predictions of the class

    average  how one number is made of those of the classes:
             "macro"     the mean over the classes that occur, as labels or as predictions
             "weighted"  the mean over the classes, weighted by their numbers of labels
             "micro"     the ratio of the sums over all classes
             "binary"    the ratio for class 1 of two classes; with a threshold, for all outputs together
             "none"      one number per class, (C,)
             With a threshold each index on axis 1 counts as a class, and the mean is over all of them.
             None means "macro", and "binary" with a threshold

    threshold, ignore_index, and the shapes of outputs and targets are those of Accuracy.

    NaN if no label counts. Raises ShapeError for outputs and targets that do not fit together, LabelError for a label
    that is out of range, and ArgumentError for another average.
    """

    name = "precision"

    def parts(self, hits: Tensor, predicted: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
        return hits, predicted


class Recall(Ratio):
    """The share of the samples of a class that are predicted correctly, between 0 and 1; 0 for a class without samples.

    hits / labelled, where labelled is the number of samples with this label

    Arguments and errors are those of Precision.
    """

    name = "recall"

    def parts(self, hits: Tensor, predicted: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
        return hits, labelled


class F1(Ratio):
    """The harmonic mean of precision and recall, between 0 and 1.

    2 hits / (predicted + labelled)

    Arguments and errors are those of Precision.
    """

    name = "f1"

    def parts(self, hits: Tensor, predicted: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * hits, predicted + labelled


class ConfusionMatrix(PredictionMetric):
    """How often each class is predicted for each label: (C, C) integers; rows are labels, columns are predictions.

    With a threshold it is (2, 2), for "no" and "yes"; in a population (K, C, C).

    Arguments and shapes are those of Accuracy. Raises ShapeError for outputs and targets that do not fit together, and
    LabelError for a label that is out of range.
    """

    name = "confusion_matrix"
    one_number: ClassVar[bool] = False  # type: ignore[misc]

    def __init__(self, threshold: float | None = None, *, ignore_index: int | None = None) -> None:
        self._set(threshold=threshold, ignore_index=ignore_index)

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        if self.threshold is not None:
            predicted, labels, kept = self.yes(output, target, self.threshold)
            predicted, labels, classes = predicted.long(), labels.long(), 2
        else:
            predicted, labels, kept = self.classes(output, target)
            classes = output.shape[standing(1, replicas)]
            check_labels(labels, kept, classes, self.ignored)
        predicted, labels, kept = _rows(predicted, labels, kept, replicas)
        pairs = _counts(labels * classes + predicted, kept, classes * classes)
        return (of_each(pairs.unflatten(1, (classes, classes)), replicas),)

    def of(self, matrix: Tensor) -> Tensor:
        return matrix


def _rows(predicted: Tensor, labels: Tensor, kept: Tensor, replicas: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, labels (0 for an ignored one), and 1 for labels that count, else 0; each (K, n)."""
    predicted, labels, kept = (by_replica(each, replicas) for each in (predicted, labels, kept.long()))
    return predicted, labels * kept, kept


def _counts(classes: Tensor, times: Tensor, number: int) -> Tensor:
    """For each of `number` classes the sum of `times` (K, n) where it stands in `classes` (K, n): (K, number)."""
    return classes.new_zeros(len(classes), number).scatter_add_(1, classes, times)
