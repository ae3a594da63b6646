"""Functions that build an estimator's network and loss from its parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lamp import losses, nn
from lamp.errors import ArgumentError, CallError
from lamp.interop.sklearn.losses import AbsoluteError, HalfSquaredError
from lamp.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, Loss, NLLLoss
from lamp.losses.weighted import WeightedLoss
from lamp.module import Module
from lamp.nn import Dropout, Identity, Linear, Sequential, Sigmoid, Softmax

OF_SKLEARN = {"logistic": Sigmoid, "identity": Identity}  # activations that only scikit-learn names so
CLASSIFICATION = {"log_loss": CrossEntropyLoss}
REGRESSION = {"squared_error": HalfSquaredError, "absolute_error": AbsoluteError}


def activation_of(activation: Any) -> Module:
    """A new activation module from its name (scikit-learn's or lamp's, in any spelling of capitals), class or example.

    Raises ArgumentError for anything else.
    """
    kind = activation
    if isinstance(activation, str):
        kind = _named(activation, nn, {**OF_SKLEARN})
    if isinstance(kind, type) and issubclass(kind, Module):
        try:
            return kind()
        except CallError as error:
            raise ArgumentError(
                f"{kind.__name__} needs arguments", expected="an example of it", got=error.got, fix="pass an instance"
            ) from None
    if isinstance(kind, Module):
        return copy.deepcopy(kind)
    raise ArgumentError(
        "unknown activation",
        expected='a name such as "relu", "tanh", "logistic" or "gelu", or a lamp module or its class',
        got=repr(activation),
        fix="see lamp.nn for the names",
    )


def loss_of(loss: Any, default: str, names: Mapping[str, type[Loss]]) -> Loss:
    """A new loss from its name (scikit-learn's or lamp's), class or example. Raises ArgumentError for anything else."""
    kind = names.get(loss, loss) if isinstance(loss, str) else loss
    if isinstance(kind, str):
        kind = _named(kind, losses, {}) or _named(f"{kind}loss", losses, {})
    if isinstance(kind, type) and issubclass(kind, Loss) and kind.value is not Loss.value:
        kind = kind()
    if isinstance(kind, Loss) and kind.reduction in ("mean", "batchmean"):
        return copy.deepcopy(kind)
    raise ArgumentError(
        "unknown loss" if not isinstance(kind, Loss) else "an estimator's loss is the mean over samples",
        expected=f'"{default}", or a lamp loss with reduction="mean", or its name',
        got=repr(loss),
        fix=f'loss="{default}"',
    )


def _named(name: str, room: Any, others: dict[str, Any]) -> Any:
    """The public class of a module with this name, ignoring case and underscores; None if there is none."""
    plain = name.replace("_", "").lower()
    for each in room.__all__:
        if each.lower() == plain:
            return getattr(room, each)
    return others.get(name)


def classes_tail(criterion: Loss, several: bool) -> Module | None:
    """The last module of a classifier's network: None if its loss takes scores, or one that makes probabilities.

    several  whether a sample may have several labels

    Raises ArgumentError for a loss for which lamp has an equivalent that takes scores.
    """
    instead = {NLLLoss: "CrossEntropyLoss", BCELoss: "BCEWithLogitsLoss"}
    if several:
        instead[CrossEntropyLoss] = "BCEWithLogitsLoss"
    for kind, other in instead.items():
        if isinstance(criterion, kind):
            raise ArgumentError(
                f"{type(criterion).__name__} does not fit this classifier's network",
                expected="a loss of scores" if not several else "a loss of independent labels",
                got=type(criterion).__name__,
                fix=f"loss=lamp.{other}()",
            )
    if isinstance(criterion, CrossEntropyLoss | BCEWithLogitsLoss):
        return None
    return Sigmoid() if several else Softmax(-1)


def with_weights(criterion: Loss) -> Loss:
    """The loss for samples with weights. For cross-entropy the weights are part of the targets."""
    if not isinstance(criterion, CrossEntropyLoss):
        return WeightedLoss(criterion)
    criterion = copy.copy(criterion)
    criterion.label_smoothing = 0.0  # the targets are smoothed instead
    return criterion


def network_of(
    features: int,
    hidden: Sequence[int],
    outputs: int,
    activation: Any,
    dropout: float,
    tail: Module | None,
    dtype: str,
    encoding: Module | None = None,
) -> Sequential:
    """Linear layers, with the activation, and Dropout if its probability is not 0, after each but the last.

    encoding  a module that comes first and puts out `features` numbers
    """
    number = getattr(torch, dtype)
    modules: list[Module] = [] if encoding is None else [encoding]
    for size in hidden:
        modules += [Linear(features, size, dtype=number), activation_of(activation)]
        modules += [Dropout(dropout)] if dropout else []
        features = size
    modules.append(Linear(features, outputs, dtype=number))
    return Sequential(*modules, *([] if tail is None else [tail]))
