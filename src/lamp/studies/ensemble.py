"""`Ensemble`: many networks as one predictor, with their mean and measures of their disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.axes import replicas_of
from lamp.errors import ArgumentError, DTypeError, ShapeError
from lamp.module import Module
from lamp.nn import Activation
from lamp.passes import evaluating
from lamp.replicas import Population, stack
from lamp.signatures import called
from lamp.torch_habits import explains_attributes, without_items
from lamp.training import predict
from lamp.training.arguments import EVALUATION_BATCH
from lamp.trees import flat
from lamp.values import natural

INSTEAD = {  # what users of scikit-learn, torch and Keras look for
    **dict.fromkeys(
        ("fit", "partial_fit", "train"), "lamp.fit(ensemble.members, ...); an ensemble is made when they are"
    ),
    **dict.fromkeys(("score", "evaluate"), "a metric of predictions, such as lamp.accuracy(ensemble(x), y)"),
    "predict_proba": "ensemble.predict(x).mean, with probabilities=lamp.Softmax(-1)",
    **dict.fromkeys(("estimators_", "models", "networks"), "ensemble.members"),
}
SUM_TOLERANCE = 1e-3  # how far from 1 the sum of probabilities may be, which allows for half precision


@dataclass(frozen=True, eq=False)
class EnsemblePrediction:
    """The predictions of K members for n inputs, and measures of their agreement.

    mean     (n, ...) the mean of the members' outputs, or of their probabilities
    std      (n, ...) their standard deviation, sqrt(1/K sum of (member - mean)^2); 0 for a single member
    members  (K, n, ...) the prediction of each member

    The following are None unless the members give probabilities p_k of C classes, (K, n, C). Entropies are in nats.

    vote                (n,) the class that is most probable for most members; of several, the one with the higher mean
    agreement           (n,) the share of the members that voted for it
    entropy             (n,) the whole uncertainty, H(mean), with H(p) = -sum over classes of p log p
    mutual_information  (n,) the part of it that is due to disagreement of the members, H(mean) - mean over k of H(p_k)

    If each output is a probability of its own, as with Sigmoid, the classes are "yes" (1) and "no" (0) for each output,
    and these tensors are (n, ...).
    """

    mean: Tensor
    std: Tensor
    members: Tensor
    vote: Tensor | None = None
    agreement: Tensor | None = None
    entropy: Tensor | None = None
    mutual_information: Tensor | None = None


@explains_attributes(INSTEAD)
class Ensemble:
    """The mean of many networks, as one predictor.

    y = 1/K sum over k of probabilities(network_k(x))

    members        a trained population, which is used as it is; or a list of networks that `lamp.stack` accepts, which
                   are copied
    probabilities  a module that makes probabilities of the outputs, such as lamp.Softmax(-1) or lamp.Sigmoid(); None to
                   average the outputs themselves
    batch_size     the number of inputs predicted at a time

    `ensemble(x)` is y, for inputs x (n, ...) that all members share. `ensemble.predict(x)` also says how far the
    members agree. For networks with two inputs these are `ensemble(a, b)` and `ensemble.predict((a, b))`.
    `len(ensemble)` is K. The members predict in eval mode.

    Source    Lakshminarayanan, Pritzel & Blundell 2017, "Simple and scalable predictive uncertainty estimation using
              deep ensembles"

    Raises ArgumentError for members that cannot be stacked, and for outputs of `probabilities` that are not
    probabilities; ShapeError for inputs per member; DTypeError for inputs that are not a tensor.
    """

    @called()
    def __init__(
        self,
        members: Population | Sequence[Module],
        *,
        probabilities: Module | None = None,
        batch_size: int = EVALUATION_BATCH,
    ) -> None:
        if not isinstance(members, Population):
            members = _stacked(members)
        if probabilities is not None and not isinstance(probabilities, Module):
            raise ArgumentError(
                "probabilities is not a module",
                expected="a module that makes probabilities of outputs, or None",
                got=repr(probabilities),
                fix="probabilities=lamp.Softmax(-1)",
            )
        self.members, self.probabilities = members, probabilities
        self.batch_size = natural(batch_size, "batch_size", least=1)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: Any) -> Any:
        raise without_items(self, index, "ensemble.members[0] is a network")

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The mean of the members' predictions, (n, ...)."""
        return self._per_member(inputs).mean(0)

    @called()
    def predict(self, inputs: Tensor | tuple[Tensor, ...]) -> EnsemblePrediction:
        """The mean, the standard deviation and each member's prediction; for classes also measures of agreement."""
        each = self._per_member(inputs if isinstance(inputs, tuple) else (inputs,))  # (K, n, ...)
        mean, std = each.mean(0), each.std(0, correction=0)
        if self.probabilities is None:
            return EnsemblePrediction(mean, std, each)
        p = torch.stack([1 - each, each], -1) if self._yes_or_no else each  # (K, n, ..., C)
        mean_p = p.mean(0)
        classes = torch.arange(p.shape[-1], device=p.device)
        votes = (p.argmax(-1, keepdim=True) == classes).sum(0)  # (n, ..., C)
        most = votes.amax(-1, keepdim=True)
        entropy = _entropy(mean_p)
        return EnsemblePrediction(
            mean,
            std,
            each,
            vote=mean_p.masked_fill(votes < most, -1.0).argmax(-1),
            agreement=most.squeeze(-1).to(mean.dtype) / len(self),
            entropy=entropy,
            mutual_information=(entropy - _entropy(p).mean(0)).clamp_min(0.0),  # rounding may put it below 0
        )

    @property
    def _yes_or_no(self) -> bool:
        """Whether each output is a probability of its own, since an elementwise module makes it."""
        return self.probabilities is not None and isinstance([*self.probabilities.modules()][-1], Activation)

    def _per_member(self, inputs: tuple[Any, ...]) -> Tensor:
        """The members' outputs, or probabilities, (K, n, ...)."""
        for x in flat(inputs):
            _check_shared(x)
        outputs = predict(self.members, inputs if len(inputs) != 1 else inputs[0], batch_size=self.batch_size)
        if not isinstance(outputs, Tensor):
            raise ArgumentError(
                "an ensemble takes networks with one output",
                expected="a tensor",
                got=f"a {type(outputs).__name__} of {len(outputs)}",
                fix="lamp.predict(population, x) returns all outputs of all members",
            )
        if self.probabilities is None:
            return outputs
        with evaluating():
            p: Tensor = self.probabilities(outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2])  # as for one network
        self._check(p)
        return p

    def _check(self, p: Tensor) -> None:
        """Raise ArgumentError unless these (K, n, ...) are probabilities."""
        alone = self._yes_or_no
        fits = alone or (p.dim() > 2 and p.shape[-1] > 1)  # a softmax of one class is always 1
        total = p if alone else p.sum(-1)
        if fits and not ((p < 0).any() or (p > 1).any() or (not alone and ((total - 1).abs() > SUM_TOLERANCE).any())):
            return
        numbers = (
            "numbers from 0 to 1" if alone else "(n, C), C >= 2, from 0 to 1, that add up to 1 along the last axis"
        )
        raise ArgumentError(
            f"{type(self.probabilities).__name__} does not make probabilities of the members' outputs",
            expected=numbers,
            got=f"{tuple(p.shape[1:])}, from {p.min().item():.4g} to {p.max().item():.4g}"
            + ("" if alone else f", that add up to {total.min().item():.4g} ... {total.max().item():.4g}"),
            fix="lamp.Softmax(-1) for scores of classes, lamp.Sigmoid() for single scores, None for regression",
        )

    def __repr__(self) -> str:
        option = "" if self.probabilities is None else f", probabilities={self.probabilities!r}"
        network = repr(self.members.network).replace("\n", "\n  ")
        return f"Ensemble(\n  {len(self)} members{option}\n  {network}\n)"


def _stacked(members: object) -> Population:
    """The networks as a population. Raises ArgumentError for anything but a list of networks."""
    listed = list(members) if isinstance(members, Sequence) else None
    strangers = [each for each in listed or [] if not isinstance(each, Module) or isinstance(each, Population)]
    if listed is None or strangers:
        raise ArgumentError(
            "an ensemble is made of networks",
            expected="a population, or a list of networks",
            got=type(members).__name__ + (f" with a {type(strangers[0]).__name__}" if strangers else ""),
            fix="Ensemble([network, ...]); a list of one network makes an ensemble of one",
        )
    return stack(listed)


def _check_shared(x: Any) -> None:
    """Raise DTypeError for anything but a tensor, and ShapeError for a tensor without samples or one per replica."""
    if not isinstance(x, Tensor):
        raise DTypeError(
            "an ensemble takes a tensor", expected="inputs (n, ...)", got=type(x).__name__, fix="torch.as_tensor(x)"
        )
    if x.dim() == 0 or replicas_of(x) is not None:
        raise ShapeError(
            "the members of an ensemble share their inputs",
            expected="(n, ...)",
            got=f"{tuple(x.shape)}, a row of inputs for each member" if x.dim() else "a single number",
            fix="lamp.predict(population, population.per_replica(x)) takes inputs per replica",
        )


def _entropy(p: Tensor) -> Tensor:
    """-sum of p log p over the classes, on the last axis, with 0 log 0 = 0."""
    return torch.special.entr(p).sum(-1)  # type: ignore[no-any-return]
