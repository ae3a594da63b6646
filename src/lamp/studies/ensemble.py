"""Many networks as one predictor: what they say together, and how far they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.axes import replicas_of
from lamp.errors import ArgumentError, DTypeError, ShapeError
from lamp.module import Module
from lamp.nn import Activation
from lamp.passes import evaluating
from lamp.replicas import Population, stack
from lamp.signatures import called
from lamp.training import predict
from lamp.training.arguments import EVALUATION_BATCH
from lamp.values import natural

OFF_ONE = 1e-3  # how far probabilities may add up to something else than 1: they may be half precision


@dataclass(frozen=True, eq=False)
class EnsemblePrediction:
    """What K members say of n inputs, and how far they agree.

    mean     (n, ...) the mean of the members' outputs, or of their probabilities
    std      (n, ...) their spread around it: 1/K sum of (member - mean)^2, rooted; 0 for a single member
    members  (K, n, ...) what each says

    With probabilities p_k of C classes, (K, n, C) (else None); entropies are in nats:

    vote                (n,) the class that most members hold the likeliest; of several, the one of the higher mean
    agreement           (n,) the share of the members that voted so
    entropy             (n,) H(mean), with H(p) = -sum over classes of p log p: all of the uncertainty
    mutual_information  (n,) H(mean) - mean over k of H(p_k): the part that comes from the members' disagreement

    Where each output is a probability of its own, as Sigmoid's, its "yes" (1) and "no" (0) are the classes, and these
    are (n, ...).
    """

    mean: Tensor
    std: Tensor
    members: Tensor
    vote: Tensor | None = None
    agreement: Tensor | None = None
    entropy: Tensor | None = None
    mutual_information: Tensor | None = None


class Ensemble:
    """The mean of many networks, as one predictor.

    y = 1/K sum over k of probabilities(network_k(x))

    members        a population, as it is, or a list of networks of one architecture, which are copied
    probabilities  what makes probabilities of outputs, such as lamp.Softmax(-1) or lamp.Sigmoid(); None averages the
                   outputs as they are
    batch_size     inputs predicted at a time

    `ensemble(x)` is y, for inputs x (n, ...) that all members share; `ensemble.predict(x)` tells also how far they
    agree; `len(ensemble)` is K. The members are asked in eval mode. They are trained beforehand, as a population.

    Source    Lakshminarayanan, Pritzel & Blundell 2017, "Simple and scalable predictive uncertainty estimation using
              deep ensembles"

    Raises ArgumentError for members that are no networks of one architecture, and for probabilities that are none;
    ShapeError for inputs of the members' own, DTypeError for inputs that are no tensor.
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
                "probabilities is no module",
                expected="a module that makes probabilities of outputs, or None",
                got=repr(probabilities),
                fix="probabilities=lamp.Softmax(-1)",
            )
        self.members, self.probabilities = members, probabilities
        self.batch_size = natural(batch_size, "batch_size", least=1)

    def __len__(self) -> int:
        return len(self.members)

    def __call__(self, x: Tensor) -> Tensor:
        """The mean of the members' predictions, (n, ...)."""
        return self._of_each(x).mean(0)

    def predict(self, x: Tensor) -> EnsemblePrediction:
        """That mean, the spread, every member's prediction, and of classes how far the members agree."""
        each = self._of_each(x)  # (K, n, ...)
        mean, std = each.mean(0), each.std(0, correction=0)
        if self.probabilities is None:
            return EnsemblePrediction(mean, std, each)
        p = torch.stack([1 - each, each], -1) if self._yes_or_no else each  # (K, n, ..., C)
        of_all = p.mean(0)
        classes = torch.arange(p.shape[-1], device=p.device)
        votes = (p.argmax(-1, keepdim=True) == classes).sum(0)  # (n, ..., C)
        most = votes.amax(-1, keepdim=True)
        entropy = _entropy(of_all)
        return EnsemblePrediction(
            mean,
            std,
            each,
            vote=of_all.masked_fill(votes < most, -1.0).argmax(-1),
            agreement=most.squeeze(-1).to(mean.dtype) / len(self),
            entropy=entropy,
            mutual_information=(entropy - _entropy(p).mean(0)).clamp_min(0.0),  # below 0 by rounding alone
        )

    @property
    def _yes_or_no(self) -> bool:
        """Whether each output is a probability of its own: what makes it looks at each output alone."""
        return self.probabilities is not None and isinstance([*self.probabilities.modules()][-1], Activation)

    def _of_each(self, x: Tensor) -> Tensor:
        """The members' outputs, or probabilities, (K, n, ...)."""
        if not isinstance(x, Tensor):
            raise DTypeError(
                "an ensemble takes a tensor", expected="inputs (n, ...)", got=type(x).__name__, fix="torch.as_tensor(x)"
            )
        if x.dim() == 0 or replicas_of(x) is not None:
            raise ShapeError(
                "the members of an ensemble share their inputs",
                expected="(n, ...)",
                got=f"{tuple(x.shape)}, a row of inputs for each member" if x.dim() else "a single number",
                fix="lamp.predict(population, population.per_replica(x)) for inputs of their own",
            )
        outputs = predict(self.members, x, batch_size=self.batch_size)
        if not isinstance(outputs, Tensor):
            raise ArgumentError(
                "an ensemble is of networks with one output",
                expected="a tensor",
                got=f"a {type(outputs).__name__} of {len(outputs)}",
                fix="lamp.predict(population, x) gives all outputs of all members",
            )
        if self.probabilities is None:
            return outputs
        with evaluating():
            p: Tensor = self.probabilities(outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2])  # as of one network
        self._check(p)
        return p

    def _check(self, p: Tensor) -> None:
        """That these (K, n, ...) are probabilities."""
        alone = self._yes_or_no
        fits = alone or (p.dim() > 2 and p.shape[-1] > 1)  # a softmax of one class is always 1
        total = p if alone else p.sum(-1)
        if fits and not ((p < 0).any() or (p > 1).any() or (not alone and ((total - 1).abs() > OFF_ONE).any())):
            return
        numbers = (
            "numbers from 0 to 1" if alone else "(n, C), C >= 2, from 0 to 1, that add up to 1 along the last axis"
        )
        raise ArgumentError(
            f"{type(self.probabilities).__name__} does not make probabilities of the members' outputs",
            expected=numbers,
            got=f"{tuple(p.shape[1:])}, from {p.min().item():.4g} to {p.max().item():.4g}"
            + ("" if alone else f", that add up to {total.min().item():.4g} ... {total.max().item():.4g}"),
            fix="lamp.Softmax(-1) for scores of classes, lamp.Sigmoid() for one score a question, None for regression",
        )

    def __repr__(self) -> str:
        told = "" if self.probabilities is None else f", probabilities={self.probabilities!r}"
        network = repr(self.members.network).replace("\n", "\n  ")
        return f"Ensemble(\n  {len(self)} members{told}\n  {network}\n)"


def _stacked(members: object) -> Population:
    """The networks as a population; ArgumentError for what is no list of them."""
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


def _entropy(p: Tensor) -> Tensor:
    """-sum of p log p over the classes, the last axis, where 0 log 0 is 0."""
    return torch.special.entr(p).sum(-1)  # type: ignore[no-any-return]
