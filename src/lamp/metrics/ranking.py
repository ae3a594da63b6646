"""The area under the ROC curve: how well scores rank the samples of a class above the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from lamp.axes import replicas_of, standing
from lamp.errors import ArgumentError, LabelError, ShapeError
from lamp.metrics.classification import LabelMetric
from lamp.metrics.metric import another_form, check_tensors, no_batch, share
from lamp.metrics.targets import by_replica, check_labels, labels_of, of_each, one_per_output

AUCAverage = Literal["macro", "weighted", "none"]
UNROUNDED = 1e-2  # how far from 1 probabilities of half precision may add up to


def roc_area(score: Tensor, positive: Tensor) -> Callable[[Tensor], Tensor]:
    """The area under the ROC curve as a function of how often each row counts.

    It is how often a positive row scores higher than a negative one; a tie is half. NaN where all rows that count are
    positive, or none is, or a score is NaN.

    score, positive  numbers and a mask, (..., n); the function takes counts (..., n) float64 and returns (...). The
                     rows are sorted once, for all counts
    """
    ordered, order = score.double().sort(-1)
    lower, upper = (torch.searchsorted(ordered, ordered, right=right) for right in (False, True))
    positive = positive.gather(-1, order).double()
    unknown = ordered.isnan() if bool(ordered.isnan().any()) else None

    def area(counts: Tensor) -> Tensor:
        counts = counts.expand(order.shape).gather(-1, order)
        hits = counts * positive
        below = counts.new_zeros(*counts.shape[:-1], counts.shape[-1] + 1)  # negatives before each row, and all
        torch.cumsum(counts - hits, -1, out=below[..., 1:])
        twice = below.gather(-1, lower).add_(below.gather(-1, upper))  # negatives below each row, and those up to it
        pairs = hits.sum(-1) * below[..., -1]
        area: Tensor = torch.linalg.vecdot(hits, twice) / (2 * pairs)
        return area if unknown is None else area.where(~(unknown & (counts > 0)).any(-1), math.nan)

    return area


class AUC(LabelMetric):
    """The area under the ROC curve: how often a sample of a class scores higher than one of the others; a tie is half.

    It is exact, and keeps all scores and targets since the last reset.

    output  one score per sample, (B) or (B, 1) or (B, 1, d1, ...), of logits or probabilities of "yes". Or scores of
            classes (B, C) or (B, C, d1, ...): rows that are probabilities rank as they are, others by softmax
    target  for one score 0 and 1, or -1 and 1, of as many numbers. For classes indices (B, d1, ...), or one-hot rows or
            probabilities of the outputs' shape

    average       for classes, each against all others: "macro", the mean over the classes that have samples and others
                  beside them; "weighted", by their samples; "none", (C,), NaN for a class without
    ignore_index  the label that does not count; None: in `lamp.fit` and `lamp.evaluate` the criterion's, else -100

    NaN where a class has no other beside it. In a population outputs are (K, B, ...); targets that all replicas share
    come without the axis K. Raises ShapeError where outputs and targets do not fit, and LabelError for other targets.
    """

    name = "auc"
    of_replicas: ClassVar[bool] = True

    def __init__(self, average: AUCAverage = "macro", *, ignore_index: int | None = None) -> None:
        if average not in get_args(AUCAverage):
            raise ArgumentError(
                "AUC: unknown average",
                expected=", ".join(map(repr, get_args(AUCAverage))),
                got=repr(average),
                fix='average="macro"',
            )
        self._set(ignore_index=ignore_index)
        self.average = average
        self.one_number = average != "none"
        self.reset()

    def reset(self) -> None:
        self._replicas: int | None = None
        self._scores: list[Tensor] = []  # of each batch (K, C, n); K is 1 for one network, C for one score per sample
        self._targets: list[Tensor] = []  # (K, n)

    def update(self, output: Tensor, target: Tensor) -> None:
        check_tensors(output, target)
        replicas = replicas_of(output)
        axis = standing(1, replicas)
        if output.dim() == axis or output.shape[axis : axis + 1] == (1,):
            scores, given = by_replica(output, replicas).unsqueeze(1), one_per_output(output, target)
        else:
            given, _ = labels_of(output, target, self.name)
            scores = output.movedim(axis, axis - 1).reshape(replicas or 1, output.shape[axis], -1)
        if self._scores and (self._replicas, self._scores[0].shape[:2]) != (replicas, scores.shape[:2]):
            raise another_form(self, output)
        self._replicas = replicas
        self._scores.append(scores)
        self._targets.append(by_replica(given, replicas))

    def value(self) -> Tensor:
        if not self._scores:
            raise no_batch(self)
        self._join()
        (scores,), (targets,) = self._scores, self._targets
        classes, kept = scores.shape[1], targets != self.ignored
        if classes == 1:
            _check_yes_or_no(targets, kept)
            positive = [targets > 0]
            ranked = [scores[:, 0]]
        else:
            check_labels(targets, kept, classes, self.ignored)
            positive = [targets == c for c in range(classes)]
            ranked = _against_others(scores)
        counts = kept.double()
        areas = torch.stack([roc_area(*each)(counts) for each in zip(ranked, positive, strict=True)], -1)  # (K, C)
        if self.average == "none":
            return of_each(areas, self._replicas)
        support = torch.stack([(each & kept).sum(-1) for each in positive], -1).double()
        weights = (support if self.average == "weighted" else torch.ones_like(areas)).where(~areas.isnan(), 0.0)
        return of_each(share((areas.nan_to_num() * weights).sum(-1), weights.sum(-1)), self._replicas)

    def state_dict(self) -> dict[str, Any]:
        self._join()
        return {"replicas": self._replicas, "scores": list(self._scores), "targets": list(self._targets)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        replicas, scores, targets = (state_dict[name] for name in ("replicas", "scores", "targets"))
        for score, target in zip(scores, targets, strict=True):
            if score.dim() != 3 or target.shape != (replicas or 1, score.shape[-1]):
                raise ShapeError(
                    "no scores and targets of AUC",
                    expected="(K, C, n) and (K, n)",
                    got=score.shape,
                    fix="load what state_dict() returned",
                )
        self._replicas, self._scores, self._targets = replicas, list(scores), list(targets)

    def _join(self) -> None:
        """Make one batch of those that there are."""
        if len(self._scores) > 1:
            self._scores, self._targets = [torch.cat(self._scores, -1)], [torch.cat(self._targets, -1)]


def _against_others(scores: Tensor) -> list[Tensor]:
    """What ranks the samples by each class, (K, n) of scores (K, C, n): its probability, or what grows with it.

    Of logits x it is x_c - log sum of exp(x) over the others, the log-odds, which do not round to 1 as a softmax does.
    """
    scores = scores.double()
    sums_to_one = ((scores.sum(1) - 1.0).abs() < UNROUNDED).all(-1)
    are_probabilities = ((scores >= 0.0).all(1).all(-1) & sums_to_one).unsqueeze(-1)  # (K, 1)
    logits = scores - scores.amax(1, keepdim=True)
    log_odds = [
        logits[:, c] - torch.cat([logits[:, :c], logits[:, c + 1 :]], 1).logsumexp(1) for c in range(scores.shape[1])
    ]
    return [scores[:, c].where(are_probabilities, each) for c, each in enumerate(log_odds)]


def _check_yes_or_no(targets: Tensor, kept: Tensor) -> None:
    wrong = kept & (targets != 0) & (targets != 1) & (targets != -1)
    if bool(wrong.any()):
        raise LabelError(
            "AUC of one score per sample takes yes or no",
            expected="targets of 0 and 1, or -1 and 1",
            got=f"a target of {targets[wrong][0].item():g}",
            fix="targets above a threshold: (target > 0.5).long()",
        )
