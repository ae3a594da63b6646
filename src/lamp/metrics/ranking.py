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
from lamp.signatures import called
from lamp.state_dict import check_state_of
from lamp.values import is_one_of

AUCAverage = Literal["macro", "weighted", "none"]
SUM_TOLERANCE = 1e-2  # how far from 1 the sum of probabilities may be, which allows for half precision


def roc_area(score: Tensor, positive: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that computes the area under the ROC curve from the counts of rows. The rows are sorted once.

    The area is the probability that a positive row scores higher than a negative one, where a tie counts one half. It
    is NaN if all rows that count are positive, or none is, or one of them has a score of NaN.

    score, positive  numbers and a mask, (..., n). The returned function takes counts (..., n) float64, how often each
                     row counts, and returns the areas (...)
    """
    ordered, order = score.double().sort(-1)
    lower, upper = (torch.searchsorted(ordered, ordered, right=right) for right in (False, True))
    positive = positive.gather(-1, order).double()
    unknown = ordered.isnan() if bool(ordered.isnan().any()) else None

    def area(counts: Tensor) -> Tensor:
        counts = counts.expand(order.shape).gather(-1, order)
        hits = counts * positive
        below = counts.new_zeros(*counts.shape[:-1], counts.shape[-1] + 1)  # negatives before each row; last, all
        torch.cumsum(counts - hits, -1, out=below[..., 1:])
        twice = below.gather(-1, lower).add_(below.gather(-1, upper))  # twice the negatives below, ties counting half
        pairs = hits.sum(-1) * below[..., -1]
        area: Tensor = torch.linalg.vecdot(hits, twice) / (2 * pairs)
        return area if unknown is None else area.where(~(unknown & (counts > 0)).any(-1), math.nan)

    return area


class AUC(LabelMetric):
    """The area under the ROC curve: the probability that a positive sample scores higher than a negative one.

    A tie counts one half. The value is exact; the metric keeps all scores and targets since the last reset.

    output  one score per sample, (B), (B, 1) or (B, 1, d1, ...): a logit or a probability of "yes". Or scores of
            classes, (B, C) or (B, C, d1, ...): probabilities, or logits, of which softmax makes probabilities
    target  for one score per sample as many numbers, 0 and 1 or -1 and 1. For classes their indices (B, d1, ...), or
            one-hot rows or probabilities in the outputs' shape

    average       for classes, where each is compared with all others: "macro", the mean over the classes that have
                  positive and negative samples; "weighted", the mean weighted by their numbers of samples; "none", one
                  number per class, (C,), NaN for a class without such samples
    ignore_index  the label to ignore; None for the criterion's in `lamp.fit` and `lamp.evaluate`, and -100 elsewhere

    NaN if all samples are of one class. In a population outputs are (K, B, ...); targets that all replicas share come
    without the axis K. Raises ShapeError for outputs and targets that do not fit together, and LabelError for other
    targets.
    """

    name = "auc"
    of_replicas: ClassVar[bool] = True

    def __init__(self, average: AUCAverage = "macro", *, ignore_index: int | None = None) -> None:
        if not is_one_of(average, *get_args(AUCAverage)):
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

    @called()
    def reset(self) -> None:
        self._replicas: int | None = None
        self._scores: list[Tensor] = []  # per batch (K, C, n); K = 1 for a single network, C = 1 for a single score
        self._targets: list[Tensor] = []  # per batch (K, n)

    @called()
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

    @called()
    def state_dict(self) -> dict[str, Any]:
        self._join()
        return {"replicas": self._replicas, "scores": list(self._scores), "targets": list(self._targets)}

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        check_state_of(self, state_dict, "replicas", "scores", "targets")
        replicas, scores, targets = (state_dict[name] for name in ("replicas", "scores", "targets"))
        for score, target in zip(scores, targets, strict=True):
            if score.dim() != 3 or target.shape != (replicas or 1, score.shape[-1]):
                raise ShapeError(
                    "these are not scores and targets of AUC",
                    expected="(K, C, n) and (K, n)",
                    got=score.shape,
                    fix="load what state_dict() returned",
                )
        self._replicas, self._scores, self._targets = replicas, list(scores), list(targets)

    def _join(self) -> None:
        """Concatenate all batches into one."""
        if len(self._scores) > 1:
            self._scores, self._targets = [torch.cat(self._scores, -1)], [torch.cat(self._targets, -1)]


def _against_others(scores: Tensor) -> list[Tensor]:
    """For each class c a score (K, n) that ranks samples as its probability does, from scores (K, C, n).

    For logits x it is the log-odds, x_c - log of the sum of exp(x) over the other classes, because softmax rounds to 1.
    The sum is taken in the order of size, so that samples with the same logits in another order are ties.
    """
    scores = scores.double()
    sums_to_one = ((scores.sum(1) - 1.0).abs() < SUM_TOLERANCE).all(-1)
    are_probabilities = ((scores >= 0.0).all(1).all(-1) & sums_to_one).unsqueeze(-1)  # (K, 1)
    logits = scores - scores.amax(1, keepdim=True)
    others = [torch.cat([logits[:, :c], logits[:, c + 1 :]], 1) for c in range(scores.shape[1])]
    log_odds = [logits[:, c] - each.sort(1).values.logsumexp(1) for c, each in enumerate(others)]
    return [scores[:, c].where(are_probabilities, each) for c, each in enumerate(log_odds)]


def _check_yes_or_no(targets: Tensor, kept: Tensor) -> None:
    """Raise LabelError unless all targets that count are 0, 1 or -1."""
    wrong = kept & (targets != 0) & (targets != 1) & (targets != -1)
    if bool(wrong.any()):
        raise LabelError(
            "AUC of one score per sample takes yes or no",
            expected="targets of 0 and 1, or -1 and 1",
            got=f"a target of {targets[wrong][0].item():g}",
            fix="targets above a threshold: (target > 0.5).long()",
        )
