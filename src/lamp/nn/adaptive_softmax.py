"""`AdaptiveLogSoftmaxWithLoss`, the likelihood of one of many classes, most of which are rare."""

from __future__ import annotations

from collections.abc import Iterable, Set
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LabelError, NotTraceable, ShapeError
from lamp.nn.arguments import a_flag, a_size, positive
from lamp.nn.checks import explain_axes, explain_gradient, explain_input, explain_numbers
from lamp.nn.container import Container
from lamp.nn.linear import Linear
from lamp.nn.module_lists import ModuleList
from lamp.nn.sequential import Sequential


class LogLikelihood(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` returns: a number for each sample, and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Container):
    """The logarithm of the probability of each sample's class, for very many classes that are sorted by frequency.

    output = log softmax(head(x))_c                                                    for a frequent class c
    output = log softmax(head(x))_(cutoffs[0] + i) + log softmax(tail_i(x))_(c - begin of i)   for one of cluster i
    loss = - mean of output

    The head has a score for each frequent class and one for each cluster of rare ones. The scores within a cluster are
    computed for the samples of that cluster alone, by two linear layers with few numbers between them.

    cutoffs    the first class of each cluster: [10, 100] makes clusters of the classes 10 to 99, and 100 to the last
    div_value  cluster i has in_features / div_value^(i + 1) numbers between its layers
    head_bias  whether the head has a bias

    Shapes     x (B, in_features) or (in_features)   target (B) or (), integers   output as the target   loss ()
    Backward   d = doutput - dloss / B for each sample. Of each log softmax, dscores = d (one-hot - softmax), where
               one-hot is the class, or its cluster; then as in Linear. A sample's dx is the sum of both
    Source     torch.nn.AdaptiveLogSoftmaxWithLoss; Grave et al. 2017, arXiv:1609.04309

        output, loss = likelihood(model(x), labels)
        model.backward_parameters(likelihood.backward())      # the gradient of the loss

    Its parameters belong to the optimizer too. `log_prob(x)` has all classes, `predict(x)` the most probable one. In a
    population the output is a plain tuple, (K, B) and (K).

    Raises ArgumentError for wrong arguments; ShapeError for inputs and targets that do not fit, LabelError for targets
    that are no classes; and the errors of Linear.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Iterable[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_features = a_size(self, "in_features", in_features)
        self.n_classes = a_size(self, "n_classes", n_classes)
        self.cutoffs = [*self._begins(cutoffs), self.n_classes]
        self.div_value = positive(self, "div_value", div_value)
        self.head_bias = a_flag(self, "head_bias", head_bias)
        self.shortlist_size, self.n_clusters = self.cutoffs[0], len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        between = [int(self.in_features // self.div_value ** (i + 1)) for i in range(self.n_clusters)]
        if min(between) < 1:
            raise ArgumentError(
                "AdaptiveLogSoftmaxWithLoss: the last clusters have no numbers between their layers",
                expected="in_features / div_value^i of at least 1 for each cluster i = 1, 2, ...",
                got=f"{self.in_features} / {self.div_value:g}^{between.index(0) + 1}",
                fix="fewer cutoffs, or a smaller div_value",
            )
        self.head = Linear(self.in_features, self.head_size, self.head_bias, device, dtype)
        self.tail = ModuleList()
        for hidden, (begin, end) in zip(between, pairwise(self.cutoffs), strict=True):
            first = Linear(self.in_features, hidden, False, device, dtype)
            self.tail.append(Sequential(first, Linear(hidden, end - begin, False, device, dtype)))

    def _begins(self, cutoffs: Any) -> list[int]:
        given = list(cutoffs) if isinstance(cutoffs, Iterable) and not isinstance(cutoffs, str | bytes | Set) else []
        whole = all(isinstance(each, int) and not isinstance(each, bool) for each in given)
        if not given or not whole or given != sorted({*given}) or not 0 < given[0] <= given[-1] < self.n_classes:
            raise ArgumentError(
                "AdaptiveLogSoftmaxWithLoss: cutoffs are the first classes of the clusters of rare classes",
                expected=f"increasing integers from 1 to {self.n_classes - 1}, at least one",
                got=f"{cutoffs!r}"[:60],
                fix="cutoffs=[10, 100] for the 10 most frequent classes, those up to 99, and the rest",
            )
        return given

    def forward(self, input_: Tensor, target_: Tensor) -> LogLikelihood:
        x, labels, single = self._checked(input_, target_)  # (K..., B, in), (K..., B)
        digits = torch.promote_types(x.dtype, torch.float32)  # the exp of a rounded logarithm would be far off
        output, index = x.new_zeros(labels.shape, dtype=digits), labels
        clusters: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = []
        for i, (begin, end) in enumerate(pairwise(self.cutoffs)):
            inside = (labels >= begin) & (labels < end)
            index = index.masked_fill(inside, self.shortlist_size + i)
            rows = inside.reshape(-1, inside.shape[-1]).any(0).nonzero().squeeze(-1)  # of some replica's samples: (R)
            if len(rows) == 0:
                continue
            logs = torch.log_softmax(self.tail[i](x.index_select(-2, rows)), -1, digits)  # (K..., R, classes)
            own, here = (labels - begin).clamp(0, end - begin - 1).index_select(-1, rows), inside.index_select(-1, rows)
            output.index_add_(-1, rows, _picked(logs, own).masked_fill(~here, 0.0))
            clusters.append((i, rows, logs, own, here))
        logs = torch.log_softmax(self.head(x), -1, digits)  # (K..., B, head)
        output += _picked(logs, index)
        self.remember((input_.shape, x.dtype, single, logs, index, clusters))
        loss = -output.mean(-1)
        return LogLikelihood((output.squeeze(-1) if single else output).to(x.dtype), loss.to(x.dtype))

    def backward(self, doutput: Tensor | None = None, dloss: Tensor | None = None) -> Tensor:
        """The gradient of the input; without arguments that of the loss."""
        shape, dtype, single, logs, index, clusters = self.recall()
        d = logs.new_zeros(index.shape)
        if doutput is not None:
            d += self._gradient(doutput, index.shape[:-1] if single else index.shape).view(index.shape)
        if dloss is not None or doutput is None:
            whole = logs.new_ones(index.shape[:-1]) if dloss is None else self._gradient(dloss, index.shape[:-1])
            d -= (whole / index.shape[-1]).unsqueeze(-1)
        dx: Tensor = self.head.backward(_scores_back(logs, index, d).to(dtype))
        for i, rows, of_cluster, own, here in reversed(clusters):
            dscores = _scores_back(of_cluster, own, d.index_select(-1, rows).masked_fill(~here, 0.0))
            dx = dx.index_add(-2, rows, self.tail[i].backward(dscores.to(dtype)))
        return dx.view(shape)

    def log_prob(self, input: Tensor) -> Tensor:
        """The logarithm of the probability of each class, for inputs (B, in_features): (B, n_classes)."""
        head = torch.log_softmax(self.head(input), -1)
        parts = [head[..., : self.shortlist_size]]
        for i, tail in enumerate(self.tail):
            parts.append(torch.log_softmax(tail(input), -1) + head[..., self.shortlist_size + i].unsqueeze(-1))
        return torch.cat(parts, -1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each sample, for inputs (B, in_features): (B)."""
        return self.log_prob(input).argmax(-1)

    def trace(self, tracer: Any, *values: Any) -> Any:
        raise NotTraceable(
            "a loss is no part of a network's graph",
            expected="the network that puts out its inputs",
            got=type(self).__name__,
            fix="lamp.trace(model, x), of the network that the loss is for",
        )

    def _checked(self, input: Any, target: Any) -> tuple[Tensor, Tensor, bool]:
        """Inputs, and labels as int64, with an axis of samples; whether they had none."""
        lead = 0 if self.replicas is None else 1
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        if input.dim() not in (lead + 1, lead + 2):
            forms = f"(B, {self.in_features}), or ({self.in_features}) for one sample"
            raise explain_axes(self, input, forms, "x.flatten(0, -2), and the target likewise")
        if input.shape[-1] != self.in_features:
            raise explain_input(self, input, self.in_features, self.head.weight, RuntimeError())
        if not isinstance(target, Tensor) or target.shape != input.shape[:-1]:
            raise ShapeError(
                "each sample needs one class",
                expected=f"a target {tuple(input.shape[:-1])}",
                got=tuple(target.shape) if isinstance(target, Tensor) else type(target).__name__,
                fix="pass one integer per row of the input",
            )
        if target.is_floating_point() or target.dtype is torch.bool:
            raise LabelError(
                "labels must be integers",
                expected=f"classes from 0 to {self.n_classes - 1}",
                got=target.dtype,
                fix="target.long()",
            )
        labels = target.long()
        if labels.numel() and bool(((labels < 0) | (labels >= self.n_classes)).any()):
            raise LabelError(
                "a label is out of range",
                expected=f"classes from 0 to {self.n_classes - 1}",
                got=f"labels from {int(labels.min())} to {int(labels.max())}",
                fix="correct the labels, or set n_classes",
            )
        single = input.dim() == lead + 1
        return (input.unsqueeze(-2), labels.unsqueeze(-1), True) if single else (input, labels, False)

    def _gradient(self, given: Any, shape: torch.Size) -> Tensor:
        if not isinstance(given, Tensor) or given.shape != shape:
            raise explain_gradient(given, shape)
        return given

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, n_classes={self.n_classes}, cutoffs={self.cutoffs[:-1]}, "
            f"div_value={self.div_value}, head_bias={self.head_bias}"
        )


def _picked(logs: Tensor, index: Tensor) -> Tensor:
    """The number of each row that the index says."""
    return logs.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _scores_back(logs: Tensor, index: Tensor, d: Tensor) -> Tensor:
    """The gradient of scores, for logs = log softmax(scores) of which each row's number at the index has gradient d."""
    dscores = logs.exp().mul_(-d.unsqueeze(-1))
    return dscores.scatter_add_(-1, index.unsqueeze(-1), d.unsqueeze(-1))
