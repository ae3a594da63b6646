"""`Perplexity`, a metric of language models."""

from __future__ import annotations

from torch import Tensor

from lamp.axes import standing, sums
from lamp.errors import LabelError
from lamp.metrics.classification import LabelMetric
from lamp.metrics.metric import SumMetric, share
from lamp.metrics.targets import check_labels, labels_of


class Perplexity(LabelMetric, SumMetric):
    """exp of the mean of -log p[label]; 1 is perfect, and C a uniform guess among C classes.

    output  logits or log-probabilities (B, C) or (B, C, d1, ...), classes on axis 1: p = softmax(output)
    target  class indices (B, d1, ...)

    ignore_index  the label to ignore. None means that of the criterion in `lamp.fit` and `lamp.evaluate`, else -100

    The value is NaN if all labels are ignored. In a population outputs are (K, B, ...); shared labels have no axis K.

    Raises ShapeError for outputs and labels that do not fit together, and LabelError for a label out of range.
    """

    name = "perplexity"

    def __init__(self, *, ignore_index: int | None = None) -> None:
        self._set(ignore_index=ignore_index)

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        axis = standing(1, replicas)
        labels, by_label = labels_of(output, target, self.name)
        if not by_label:
            raise LabelError(
                "perplexity needs labels",
                expected=f"class indices {tuple(labels.shape)}",
                got=f"a target {tuple(target.shape)}, of the outputs' shape",
                fix=f"target.argmax({axis})",
            )
        kept = labels != self.ignored
        check_labels(labels, kept, output.shape[axis], self.ignored)
        logits = output if output.dtype.itemsize >= 4 else output.float()
        log_p = logits.log_softmax(axis).gather(axis, (labels * kept).unsqueeze(axis)).squeeze(axis)
        return sums(-log_p.double().where(kept, 0.0), replicas), sums(kept, replicas)

    def of(self, surprise: Tensor, counted: Tensor) -> Tensor:
        return share(surprise, counted).exp()
