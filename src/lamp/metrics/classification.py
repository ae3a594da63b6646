"""Metrics that count answers: accuracy, precision, recall, F1 and the confusion matrix."""

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

Average = Literal["binary", "micro", "macro", "weighted", "none"]


class LabelMetric(Metric):
    """Base of the metrics of labels, some of which may be ignored.

    ignore_index  the label that is no label; None: in `lamp.fit` and `lamp.evaluate` the criterion's, else -100
    """

    ignore_index: int | None = None

    def _set(self, **options: Any) -> None:
        """Set `threshold` and `ignore_index`. Raises ArgumentError for what is no number."""
        for name, value in options.items():
            kind = Real if name == "threshold" else int
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise ArgumentError(
                    f"{type(self).__name__}: {name} is no number",
                    expected="a number, or None",
                    got=repr(value),
                    fix=f"{type(self).__name__}({name}={'0.5' if name == 'threshold' else '-100'}), for instance",
                )
            setattr(self, name, value)

    @property
    def ignored(self) -> int:
        """The label that is no label."""
        return IGNORED if self.ignore_index is None else self.ignore_index

    def beside(self, criterion: Loss) -> Self:
        """This metric of the labels that the loss counts, unless the metric says which."""
        if self.ignore_index is not None or not isinstance(criterion, ClassLoss):
            return self
        if criterion.ignore_index == self.ignored:
            return self
        own = copy.copy(self)
        own.ignore_index = criterion.ignore_index
        return own


class AnswerMetric(LabelMetric, SumMetric):
    """Base of the metrics that compare answers with what was wanted: classes, or with a threshold yes and no."""

    threshold: float | None = None

    def classes(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sample the answer, the class that was wanted, and whether that counts; each ([K,] B, d1, ...)."""
        wanted, by_label = labels_of(output, target, self.name)
        answers = output.argmax(standing(1, replicas_of(output)))
        return answers, wanted, self._kept(wanted) if by_label else torch.ones_like(wanted, dtype=torch.bool)

    def yes(self, output: Tensor, target: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """Of each output whether it says yes, whether that was wanted, and whether it counts; all of its shape."""
        target = one_per_output(output, target)
        if target.is_floating_point():
            return output > threshold, target > threshold, torch.ones_like(target, dtype=torch.bool)
        return output > threshold, target > 0, self._kept(target)

    def _kept(self, labels: Tensor) -> Tensor:
        return labels != self.ignored


class Accuracy(AnswerMetric):
    """The share of right answers, between 0 and 1; NaN where no label counts.

    threshold     None: outputs (B, C) or (B, C, d1, ...) are scores of classes, which stand on axis 1 as for
                  CrossEntropyLoss, and the largest is the answer. Targets are class indices (B, d1, ...), or one-hot
                  rows or probabilities of the outputs' shape.
                  A number: each output is one answer, "yes" above it: 0.5 for probabilities, 0 for logits and for
                  targets of -1 and 1. Targets count as "yes" above the threshold too, or, where they are integers,
                  where they are positive
    top_k         an answer is right where the label is among so many classes with the largest scores. Of equal scores
                  the first ones count as larger
    ignore_index  the label that is no label: it counts neither as right nor as wrong. None: in `lamp.fit` and
                  `lamp.evaluate` the criterion's, else -100

    In a population outputs are (K, B, ...); targets that all replicas share come without the axis K.

    Raises ShapeError where outputs and targets do not fit.
    """

    name = "accuracy"

    def __init__(self, threshold: float | None = None, *, top_k: int = 1, ignore_index: int | None = None) -> None:
        self._set(threshold=threshold, ignore_index=ignore_index)
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1 or (top_k > 1 and threshold is not None):
            raise ArgumentError(
                "Accuracy: top_k is a number of classes",
                expected="a whole number from 1 on, without a threshold",
                got=f"top_k={top_k!r}" + ("" if threshold is None else f", threshold={threshold!r}"),
                fix="Accuracy(top_k=5), for instance",
            )
        self.top_k = top_k
        if top_k > 1:
            self.name = f"top_{top_k}_accuracy"

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        if self.threshold is not None:
            answers, wanted, kept = self.yes(output, target, self.threshold)
        elif self.top_k == 1:
            answers, wanted, kept = self.classes(output, target)
        else:
            return self._among_largest(output, target, replicas)
        return sums((answers == wanted) & kept, replicas), sums(kept, replicas)

    def _among_largest(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor, Tensor]:
        axis = standing(1, replicas)
        _, wanted, kept = self.classes(output, target)
        if self.top_k >= output.shape[axis]:
            raise ShapeError(
                f"the largest {self.top_k} scores are all that there are",
                expected=f"outputs with more than {self.top_k} classes on axis 1",
                got=tuple(output.shape),
                fix="take a smaller top_k",
            )
        largest = output.argsort(dim=axis, descending=True, stable=True).narrow(axis, 0, self.top_k)
        right = (largest == wanted.unsqueeze(axis)).any(axis)
        return sums(right & kept, replicas), sums(kept, replicas)

    def of(self, right: Tensor, counted: Tensor) -> Tensor:
        return share(right, counted)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of right answers, between 0 and 1: `lamp.Accuracy()` as a function.

    output  scores (B, C) or (B, C, d1, ...), classes on axis 1: the answer is the largest
    target  class indices (B, d1, ...), of which -100 (or what the criterion ignores) does not count; or one-hot rows or
            probabilities of the output's shape

    For one output a sample use `Accuracy(threshold)`. Raises ShapeError where the two do not fit.
    """
    value: Tensor = Accuracy()(output, target)
    return value


class Ratio(AnswerMetric):
    """Base of precision, recall and F1. `Precision` says what the arguments are."""

    average: Average

    def __init__(
        self, average: Average | None = None, *, threshold: float | None = None, ignore_index: int | None = None
    ) -> None:
        self._set(threshold=threshold, ignore_index=ignore_index)
        if average is not None and average not in get_args(Average):
            raise ArgumentError(
                f"{type(self).__name__}: unknown average",
                expected=", ".join(map(repr, get_args(Average))),
                got=repr(average),
                fix='average="macro"',
            )
        self.average = average or ("macro" if threshold is None else "binary")
        self.one_number = self.average != "none"

    @abstractmethod
    def parts(self, hits: Tensor, answered: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """What is divided by what, per class, from how often it was answered, wanted, and both."""

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        """Per class how often it was both answered and wanted, answered, wanted; and how many answers count."""
        if self.threshold is not None:
            yes, wanted, kept = self.yes(output, target, self.threshold)
            yes, wanted = yes & kept, wanted & kept
            return *(self._by_question(each, replicas) for each in (yes & wanted, yes, wanted)), sums(kept, replicas)
        classes = output.shape[standing(1, replicas)] if output.dim() > standing(1, replicas) else 0
        if self.average == "binary" and classes > 2:
            raise ShapeError(
                f'{type(self).__name__}(average="binary") is of two classes',
                expected="outputs (B, 2), or one per sample and a threshold",
                got=tuple(output.shape),
                fix='average="macro"',
            )
        answers, wanted, kept = self.classes(output, target)
        check_labels(wanted, kept, classes, self.ignored)
        answers, wanted, kept = _rows(answers, wanted, kept, replicas)
        hits = kept * (answers == wanted)
        counts = [_counts(answers, hits, classes), _counts(answers, kept, classes), _counts(wanted, kept, classes)]
        return *(of_each(each, replicas) for each in counts), of_each(kept.sum(1), replicas)

    def _by_question(self, yes: Tensor, replicas: int | None) -> Tensor:
        """How many there are, ([K,] L), at each place on axis 1; ([K,] 1) where all are one question."""
        axis = standing(1, replicas)
        if self.average in ("binary", "micro") or yes.dim() <= axis:
            return of_each(by_replica(yes, replicas).sum(1, keepdim=True), replicas)
        return yes.movedim(axis, -1).flatten(axis - 1, -2).sum(-2)

    def of(self, hits: Tensor, answered: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
        if self.average == "micro":
            hits, answered, wanted = (each.sum(-1, keepdim=True) for each in (hits, answered, wanted))
        part, whole = self.parts(hits, answered, wanted)
        scores = share(part, whole.clamp_min(1))  # 0 where there is nothing to divide by
        if self.average == "none":
            return scores.where(counted.unsqueeze(-1) > 0, torch.nan)
        weights = torch.ones_like(scores)
        if self.average == "binary" and self.threshold is None:
            scores, weights = scores[..., 1:], weights[..., 1:]
        elif self.average == "macro" and self.threshold is None:
            weights = (answered + wanted > 0).double()
        elif self.average == "weighted":
            weights = wanted.double()
        mean = share((scores * weights).sum(-1), weights.sum(-1).clamp_min(1))
        return mean.where(counted > 0, torch.nan)


class Precision(Ratio):
    """The share of the answers for a class that are right: between 0 and 1; 0 for a class that was never answered.

    hits / answered

    average  how the classes become one number:
             "macro"     the mean over the classes that occur, as labels or as answers
             "weighted"  the mean over the classes, each weighted by how many labels it has
             "micro"     of all classes counted together
             "binary"    of class 1 of two; with a threshold of all outputs together
             "none"      no mean: (C,), per class
             With a threshold each place on axis 1 is a question of its own and stands for a class; all of them count in
             the mean. None: "macro", with a threshold "binary"

    threshold, ignore_index, and the shapes of outputs and targets, as for Accuracy

    NaN where no label counts. Raises ShapeError where outputs and targets do not fit, LabelError for a label of no
    class, ArgumentError for another average.
    """

    name = "precision"

    def parts(self, hits: Tensor, answered: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        return hits, answered


class Recall(Ratio):
    """The share of a class's samples that are answered right: between 0 and 1; 0 for a class that never occurs.

    hits / wanted

    Arguments and errors as for Precision.
    """

    name = "recall"

    def parts(self, hits: Tensor, answered: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        return hits, wanted


class F1(Ratio):
    """The harmonic mean of precision and recall: between 0 and 1.

    2 hits / (answered + wanted)

    Arguments and errors as for Precision.
    """

    name = "f1"

    def parts(self, hits: Tensor, answered: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * hits, answered + wanted


class ConfusionMatrix(AnswerMetric):
    """How often each class was answered where each was wanted: (C, C) whole numbers, row by wanted class.

    With a threshold (2, 2): no and yes. In a population (K, C, C).

    Arguments and shapes as for Accuracy. Raises ShapeError where outputs and targets do not fit, and LabelError for a
    label of no class.
    """

    name = "confusion_matrix"
    one_number: ClassVar[bool] = False  # type: ignore[misc]

    def __init__(self, threshold: float | None = None, *, ignore_index: int | None = None) -> None:
        self._set(threshold=threshold, ignore_index=ignore_index)

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        if self.threshold is not None:
            answers, wanted, kept = self.yes(output, target, self.threshold)
            answers, wanted, classes = answers.long(), wanted.long(), 2
        else:
            answers, wanted, kept = self.classes(output, target)
            classes = output.shape[standing(1, replicas)]
            check_labels(wanted, kept, classes, self.ignored)
        answers, wanted, kept = _rows(answers, wanted, kept, replicas)
        pairs = _counts(wanted * classes + answers, kept, classes * classes)
        return (of_each(pairs.unflatten(1, (classes, classes)), replicas),)

    def of(self, matrix: Tensor) -> Tensor:
        return matrix


def _rows(answers: Tensor, wanted: Tensor, kept: Tensor, replicas: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Answers, wanted classes (0 for a label that is ignored), and 1 where a label counts, else 0; each (K, n)."""
    answers, wanted, kept = (by_replica(each, replicas) for each in (answers, wanted, kept.long()))
    return answers, wanted * kept, kept


def _counts(classes: Tensor, times: Tensor, number: int) -> Tensor:
    """How many times each of a number of classes stands in rows (K, n), one place counting `times`: (K, number)."""
    return classes.new_zeros(len(classes), number).scatter_add_(1, classes, times)
