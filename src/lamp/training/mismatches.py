"""Warnings about trainings that run but are probably a mistake: a last layer that does not fit the loss, and parameters
that nobody trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from lamp.data import DataLoader
from lamp.errors import TrainingWarning, warn_of
from lamp.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    HingeEmbeddingLoss,
    KLDivLoss,
    Loss,
    MarginRankingLoss,
    NLLLoss,
    SoftMarginLoss,
)
from lamp.losses.regression import DifferenceLoss
from lamp.losses.weighted import WeightedLoss
from lamp.metrics.classification import PredictionMetric
from lamp.module import Module
from lamp.nn import (
    Activation,
    Dropout,
    Flatten,
    Hardsigmoid,
    Hardtanh,
    Identity,
    Linear,
    LinearCrossEntropyLoss,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sequential,
    Sigmoid,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
    Unflatten,
)
from lamp.overrides import is_lamps
from lamp.parameter import Parameter
from lamp.passes import latest
from lamp.paths import describe
from lamp.replicas import Population
from lamp.signatures import SYNONYMS
from lamp.values import kind_of

OF_SIGNS = (CosineEmbeddingLoss, HingeEmbeddingLoss, MarginRankingLoss, SoftMarginLoss)  # losses of labels -1 and 1
LOOKED_AT = 10_000  # numbers among the targets, to tell what they are
PASSED_ON = (Identity, Dropout, Flatten, Unflatten)  # modules that do not change the range of the numbers


def last_of(network: Module) -> list[Module]:
    """The modules at the end of a network, last first, as long as they are in a Sequential."""
    if isinstance(network, Population):
        return last_of(network.network)
    if not isinstance(network, Sequential):
        return [network]
    return [each for module in list(network)[::-1] for each in last_of(module)]


def _is_probability(last: Module) -> bool:
    return isinstance(last, Sigmoid | Hardsigmoid | Softmax) or (
        isinstance(last, Hardtanh) and last.min_val >= 0 and last.max_val <= 1
    )


def _is_log_probability(last: Module) -> bool:
    return isinstance(last, LogSoftmax | LogSigmoid)


def _squashes(last: Module) -> bool:
    return isinstance(last, Sigmoid | LogSigmoid | Hardsigmoid | Softmax | LogSoftmax | Tanh | Hardtanh | Softsign)


def _leaves_no_negatives(last: Module) -> bool:
    return isinstance(last, ReLU | ReLU6 | Softplus)


# A loss, which last modules do not fit it, why, and the fix.
PAIRS: list[tuple[type[Any], Callable[[Module], bool], str, str]] = [
    (
        CrossEntropyLoss,
        lambda last: isinstance(last, LogSoftmax),
        "CrossEntropyLoss takes scores, and the logarithm of their softmax itself",
        "leave LogSoftmax out, or use NLLLoss",
    ),
    (
        CrossEntropyLoss,
        _squashes,
        "CrossEntropyLoss takes scores of any size, and their softmax itself",
        "leave it out; lamp.Softmax(1) of what is predicted gives probabilities",
    ),
    (
        BCEWithLogitsLoss,
        _squashes,
        "BCEWithLogitsLoss takes log-odds of any size, and their sigmoid itself",
        "leave it out, or use BCELoss after a Sigmoid",
    ),
    (
        CrossEntropyLoss,
        _leaves_no_negatives,
        "CrossEntropyLoss takes scores of any size, and this leaves none below 0, where it passes no gradient on",
        "leave it out",
    ),
    (
        BCEWithLogitsLoss,
        _leaves_no_negatives,
        "BCEWithLogitsLoss takes log-odds of any size, and without negative ones no probability is below 0.5",
        "leave it out",
    ),
    (
        Loss,
        lambda last: isinstance(last, Softmax | LogSoftmax) and last.dim == 0,
        "along the first axis, the batch's, each sample's numbers depend on the samples beside it",
        "dim=1, the axis of the classes",
    ),
    (
        NLLLoss,
        lambda last: not _is_log_probability(last),
        "NLLLoss takes log-probabilities, and this puts out other numbers: the loss has no lower bound, or a wrong one",
        "end the network in LogSoftmax(1), or use CrossEntropyLoss on scores",
    ),
    (
        KLDivLoss,
        lambda last: not _is_log_probability(last),
        "KLDivLoss takes log-probabilities, and this puts out other numbers",
        "end the network in LogSoftmax(1)",
    ),
    (
        BCELoss,
        lambda last: not _is_probability(last),
        "BCELoss takes probabilities, and this puts out numbers beyond 0 and 1",
        "end the network in a Sigmoid, or use BCEWithLogitsLoss",
    ),
]


def warn_of_pair(network: Module, criterion: Loss) -> None:
    """Warn if the last layer and the loss do not fit together. `warn_of_own_pair` looks into a user's own forward."""
    _warn_of_last(last_of(network), criterion)


def warn_of_own_pair(network: Module, criterion: Loss, output: Any) -> None:
    """The same for a network with a forward of the user's, once a step has shown which module computed last.

    The user's forward may have computed further, so nothing is said unless the output may be that module's.
    """
    through, own = latest(network), last_of(network)[0]
    if through is None or not isinstance(output, Tensor) or not own._has_users_forward:
        return
    row, within = list(through.memory)[::-1], list(own.modules())[1:]
    last = next((module for module in row if not isinstance(module, PASSED_ON)), None)
    if last in within and isinstance(last, Module) and _may_put_out(last, output):
        _warn_of_last([last], criterion)


def _may_put_out(last: Module, output: Tensor) -> bool:
    """Whether the numbers of an output may come out of this module."""
    if isinstance(last, Softmax) and last.dim is not None and -output.dim() <= last.dim < output.dim():
        return bool(((output.sum(last.dim) - 1.0).abs() < 1e-2).all())
    if isinstance(last, Linear):
        return bool((output > 0).any())  # else they may be the logarithms of probabilities
    low, high = output.min().item(), output.max().item()
    return all(
        not isinstance(last, kinds) or (least <= low and high <= most)
        for kinds, least, most in (
            (Sigmoid | Hardsigmoid | Softmax, 0.0, 1.0),
            (LogSoftmax | LogSigmoid, -math.inf, 0.0),
            (Tanh | Softsign, -1.0, 1.0),
            (ReLU | ReLU6 | Softplus, 0.0, math.inf),
        )
    )


def _warn_of_last(row: list[Module], criterion: Loss) -> None:
    """Warn if the last of these modules, last first, and the loss do not fit together."""
    loss = criterion.loss if isinstance(criterion, WeightedLoss) else criterion
    last = next((module for module in row if not isinstance(module, PASSED_ON)), None)
    if last is None or not (is_lamps(type(last)) and is_lamps(type(loss))) or isinstance(loss, LinearCrossEntropyLoss):
        return
    name, known = type(loss).__name__, isinstance(last, Linear | Activation | Softmax | LogSoftmax)
    for kind, cannot_be, why, fix in PAIRS:
        if isinstance(loss, kind) and known and cannot_be(last):
            warn_of(f"{describe(last)} before {name}: {why}. Fix: {fix}.", TrainingWarning)
            return
    through = (*PASSED_ON, Activation, Softmax, LogSoftmax)
    affine = next((module for module in row if not isinstance(module, through)), None)
    reshaped = any(isinstance(module, Flatten | Unflatten) for module in row)
    of_classes = isinstance(loss, CrossEntropyLoss | NLLLoss) and not reshaped
    if of_classes and isinstance(affine, Linear) and affine.out_features == 1:
        warn_of(
            f"{describe(affine)} before {name}: of one class the probability is always 1, and nothing is learned. "
            "Fix: one output for each class, or BCEWithLogitsLoss on one.",
            TrainingWarning,
        )


def warn_of_labels(criterion: Loss, batches: Any) -> None:
    """Warn of labels 0 and 1 for a loss whose labels are -1 and 1."""
    loss = criterion.loss if isinstance(criterion, WeightedLoss) else criterion
    target = batches.tensors[-1] if isinstance(batches, DataLoader) and batches.tensors is not None else None
    if isinstance(loss, OF_SIGNS) and isinstance(target, Tensor) and target.numel() and target.min().item() == 0:
        warn_of(
            f"the labels of {type(loss).__name__} are -1 and 1, and these targets are from 0 to "
            f"{target.max().item():g}. Fix: 2 * targets - 1 for labels 0 and 1.",
            TrainingWarning,
        )


def warn_of_classes(metrics: Mapping[str, Any], criterion: Loss, batches: Any) -> None:
    """Warn of a metric of classes beside a loss of differences, if the targets look like those of a regression.

    They do if they are neither probabilities nor two numbers, such as -1 and 1.
    """
    target = batches.tensors[-1] if isinstance(batches, DataLoader) and batches.tensors is not None else None
    of_classes = [
        name for name, each in metrics.items() if isinstance(each, PredictionMetric) and each.threshold is None
    ]
    loss = criterion.loss if isinstance(criterion, WeightedLoss) else criterion
    if not of_classes or not isinstance(loss, DifferenceLoss) or not isinstance(target, Tensor):
        return
    some = target.reshape(-1)[:LOOKED_AT]
    if target.is_floating_point() and bool(((some < 0) | (some > 1)).any()) and some.unique().numel() > 2:
        warn_of(
            f"{' and '.join(of_classes)} after {type(loss).__name__}: where the targets are scores of classes, such as "
            "a teacher's, this compares which class has the largest score; of a regression it says nothing. "
            "Fix: lamp.metrics.R2() or lamp.metrics.MeanAbsoluteError().",
            TrainingWarning,
        )


def warn_of_untrained(names: list[str], strangers: int, all_frozen: bool) -> None:
    """Warn of parameters that the optimizer lacks, of parameters of other networks that it has, and of frozen ones if
    there are no others."""
    if all_frozen:
        warn_of(
            "all parameters that the optimizer has of this network are frozen, so nothing is trained. "
            "Fix: model.requires_grad_(True), or lamp.evaluate, which measures without a training.",
            TrainingWarning,
        )
    if names:
        named = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        warn_of(
            f"the optimizer does not have {named}: what is not in it stays as it is. Where that is meant, say so by "
            "requires_grad_(False); else make the optimizer of model.parameters() after the last layer is added, or "
            "call optimizer.add_param_group.",
            TrainingWarning,
        )
    if strangers:
        warn_of(
            f"the optimizer has {strangers} parameters that are not in this network: they get no gradients here. "
            "Fix: an optimizer of this network's parameters alone.",
            TrainingWarning,
        )


def warn_of_torchs_parameters(network: Module) -> None:
    """Warn of attributes of a user's modules that wait for a gradient of torch's autograd, which nobody computes."""
    for path, module in network.named_modules():
        for name, value in {} if is_lamps(type(module)) else vars(module).items():
            if any(isinstance(each, Tensor) and each.requires_grad for each in _tensors_of(value)):
                warn_of(
                    f"{f'{path}.{name}'.lstrip('.')}, a {kind_of(value)}, is not trained. Fix: lamp.Parameter(tensor), "
                    "or lamp.from_torch(module); where it is to stay as it is, say so by requires_grad_(False).",
                    TrainingWarning,
                )


def warn_of_unread(network: Module) -> None:
    """Warn of attributes of lamp's modules that nothing reads here: those that freeze a layer in Keras, or look as if
    they did, and other libraries' names of options."""
    for module in (each for each in network.modules() if is_lamps(type(each))):
        own = vars(module)
        for name in ("trainable", "requires_grad"):
            if own.get(name) is False:
                warn_of(
                    f"{describe(module)}: {name} = False freezes nothing, because modules have no such attribute. "
                    "Fix: module.requires_grad_(False).",
                    TrainingWarning,
                )
        for name in sorted(own.keys() & SYNONYMS.keys()):
            option = next((each for each in SYNONYMS[name] if each in own), None)
            if option is not None and not hasattr(type(module), name):
                warn_of(
                    f"{describe(module)}: {name} = {own[name]!r} is read by nothing. Fix: module.{option} = ...",
                    TrainingWarning,
                )


def warn_of_forgotten(network: Module, output: Any) -> None:
    """Warn of parameters whose module took part in a forward, but not as often in the backward of a user's module.

    A network of several outputs may have one that the loss does not use.
    """
    through = latest(network)
    of_users = any(module._has_users_forward for module in network.modules())
    if through is None or not of_users or not isinstance(output, Tensor):
        return
    for path, module in network.named_modules():
        trained = any(not parameter.frozen for _, parameter in module._members(Parameter))
        if trained and through.memory.get(module):
            warn_of(
                f"{f'{path}: ' if path else ''}{describe(module)} remembered in forward what no backward recalled, so "
                "a part of its gradients is missing. Fix: call its backward in yours, once for each call in the "
                "forward; a call that is not to be trained belongs within lamp.evaluating(), or freeze the module by "
                "requires_grad_(False).",
                TrainingWarning,
            )


def warn_of_hidden(network: Module) -> None:
    """Warn of modules with parameters that took part in a forward, but are not among the modules of the network."""
    through, found = latest(network), set(network.modules())
    took_part = [] if through is None else [module for module in through.memory if isinstance(module, Module)]
    hidden = [
        describe(module)
        for module in took_part
        if module not in found and any(not parameter.frozen for _, parameter in module._members(Parameter))
    ]
    if hidden:
        named = ", ".join(hidden[:3]) + (f" and {len(hidden) - 3} more" if len(hidden) > 3 else "")
        one = len(hidden) == 1
        warn_of(
            f"{named} {'takes' if one else 'take'} part in the forward of {type(network).__name__}, which does not "
            f"find {'it' if one else 'them'} among its modules. So {'it is' if one else 'they are'} not trained and "
            "not saved, and shared by all replicas of a population. Fix: keep modules in attributes of the module "
            "that calls them, or in lists, tuples or dicts there; what is not to be trained, freeze by "
            "requires_grad_(False).",
            TrainingWarning,
        )


def _tensors_of(value: Any) -> Iterator[Any]:
    """The value itself, the parameters of a torch.nn.Module, or those of all items in a list, tuple or dict."""
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors_of(each)
    elif hasattr(value, "named_parameters") and not isinstance(value, Module | type):
        yield from value.parameters()
    else:
        yield value
