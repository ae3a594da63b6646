"""`cross_validate`: the networks of all folds are trained at once, and scored on the samples that they were not
trained on."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.axes import marked
from lamp.data import DataLoader, is_batched, order
from lamp.data.batches import BATCH_SIZE
from lamp.data.forms import columns_of
from lamp.errors import ArgumentError, DataError, LabelError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Adam, Optimizer
from lamp.parameter import Parameter
from lamp.replicas import population
from lamp.signatures import called
from lamp.studies.makers import optimizer_of, schedule_of
from lamp.studies.scores import CrossValidation
from lamp.training import Callback, fit, predict
from lamp.training.arguments import EVALUATION_BATCH
from lamp.training.batch import parts
from lamp.training.callback import Stepping
from lamp.training.epoch_metrics import measured
from lamp.training.measured import MeasuredValues
from lamp.training.metrics import Metrics, by_name
from lamp.training.prediction import takes_inputs
from lamp.trees import first_leaf, leaves, mapped
from lamp.values import natural


@called()
def cross_validate(
    model: Module,
    data: Any,
    *,
    criterion: Loss | None,
    optimizer: Callable[[list[Parameter]], Optimizer] = Adam,
    folds: int = 5,
    repeats: int = 1,
    epochs: int,
    batch_size: int | None = None,
    metrics: Metrics = (),
    stratify: bool | None = None,
    scheduler: Callable[[Optimizer], Stepping] | None = None,
    clip_norm: float | Tensor | None = None,
    callbacks: Sequence[Callback] = (),
    seed: int = 0,
    progress: bool = True,
) -> CrossValidation:
    """Train a network per fold, all at once, on the samples outside the fold, and score it on those in the fold.

    model      any network; replica k is initialised with the seed seed + k, which also orders its batches
    data       (inputs, targets) as tensors or arrays, or a lamp Dataset; several inputs or targets in a tuple
    optimizer  a class, or a function, such as lambda parameters: lamp.SGD(parameters, lr=0.1)
    folds      the number of parts that the samples are divided into at random
    repeats    how many times the samples are divided again
    stratify   whether to spread each class evenly, so that its counts in two folds differ by at most one. None does so
               if the targets are integers (n,). True also requires as many samples of each class as there are folds
    scheduler  a function, such as lambda optimizer: lamp.StepLR(optimizer, 30)

    The other arguments are those of `fit`. Replica k is trained as by `fit` on the samples training[k] with the seed
    seed + k.

    If n is not a multiple of `folds`, the sizes of folds differ by one. All replicas train on n - ceil(n / folds)
    samples, so some leave out one at random; and the history measures floor(n / folds) held-out samples after each
    epoch. The scores are exact: in each repeat every sample counts once, for the replica that was not trained on it.

    Whatever is learned from data must be learned from the training samples of a fold alone. If you normalise all data
    first, information about the held-out samples reaches the networks; scale by known constants instead. With a
    callback that uses the held-out samples, such as EarlyStopping, the scores are too good.

    Raises DataError, ArgumentError or LabelError for data, folds or labels that do not fit, and the errors of `fit`.
    """
    inputs, targets = _inputs_and_targets(data, model)
    n, folds, repeats = len(first_leaf(inputs)), natural(folds, "folds", least=2), natural(repeats, "repeats", least=1)
    if folds > n:
        fix = f"folds={n}" if n > 1 else "pass more samples"
        raise ArgumentError("there are more folds than samples", expected=f"from 2 to {n}", got=folds, fix=fix)
    seed, named = natural(seed, "seed"), by_name(metrics, criterion if isinstance(criterion, Loss) else None)
    held_out, training = _divide(n, folds, repeats, _classes(targets, stratify, folds), seed)
    widest = -(-n // folds)
    rows = torch.stack([torch.cat([held, held[:1]])[:widest] for held in held_out])  # (K, widest)

    seeds = range(seed, seed + repeats * folds)
    networks = population(model, seeds)
    made_optimizer = optimizer_of(optimizer, networks.parameters())
    batch_size = BATCH_SIZE if batch_size is None else batch_size
    history = fit(
        networks,
        criterion,
        made_optimizer,
        DataLoader((inputs, targets), batch_size, True, seed=seeds, indices=training),
        epochs=epochs,
        validation=DataLoader((inputs, targets), EVALUATION_BATCH, indices=rows[:, : n // folds]),
        metrics=named,
        scheduler=None if scheduler is None else schedule_of(scheduler, made_optimizer),
        clip_norm=clip_norm,
        callbacks=callbacks,
        progress=progress,
    )

    own = mapped(inputs, lambda x: networks.per_replica(x[rows]))
    by_replica = predict(networks, own)  # (K, widest, ...)
    for _, each in leaves(by_replica):
        each[history.failed] = math.nan
    outputs = mapped(by_replica, lambda each: each.new_empty(repeats, n, *each.shape[2:]))
    scores = {name: torch.full((len(seeds),), math.nan, dtype=torch.float64) for name in ("loss", *named)}
    loss: Any = criterion or networks.loss  # fit has checked that there is one
    for k, held in enumerate(held_out):
        of_k = functools.partial(_of_one, k, len(held))
        output = mapped(by_replica, of_k)  # (1, m, ...)
        target = mapped(targets, functools.partial(_rows, held))
        for (_, whole), (_, part) in zip(leaves(outputs), leaves(output), strict=True):
            whole[k // folds, held] = part[0]
        if k not in history.failed:
            scores["loss"][k] = loss.of_replicas(torch.tensor([k]))(output, target).item()
            for name, value in measured(named, output, target, 1).items():
                scores[name][k] = value
    return CrossValidation(MeasuredValues(scores), outputs, held_out, training, networks, history)


def _of_one(k: int, count: int, outputs: Tensor) -> Tensor:
    """The first `count` outputs of replica k, as outputs of a population of one."""
    return marked(outputs[k : k + 1, :count], 1)


def _rows(held: Tensor, targets: Tensor) -> Tensor:
    """These rows of the targets, as targets of a population of one."""
    return targets[held].unsqueeze(0)


def _inputs_and_targets(data: Any, model: Module) -> tuple[Any, Any]:
    """Inputs and targets as tensors; several of either in a tuple."""
    columns = None if is_batched(data) else columns_of(data)
    if columns is not None and len(columns) > 1:
        *inputs, targets = parts(DataLoader(data).in_form(columns))
        if len(inputs) == 1:
            return inputs[0], targets
        if takes_inputs(model, len(inputs)):
            return tuple(inputs), targets
    raise DataError(
        "cross-validation needs inputs and targets",
        expected="(inputs, targets) as tensors or arrays, or a lamp Dataset; as many inputs as the network takes",
        got=f"a {type(data).__name__}" if columns is None else f"{len(columns)} column" + "s" * (len(columns) > 1),
        fix="data=(inputs, targets); torch.stack samples, or torch.cat batches, first",
    )


def _classes(targets: Any, stratify: bool | None, folds: int) -> Tensor | None:
    """The class of each sample, (n,); None if classes need not be spread evenly."""
    one = isinstance(targets, Tensor) and targets.dim() == 1
    labels = one and not (targets.is_floating_point() or targets.is_complex())
    if not isinstance(stratify, bool | None):
        raise ArgumentError(
            "stratify is a switch",
            expected="None, True or False",
            got=repr(stratify),
            fix="stratify=None spreads classes evenly if the targets are classes",
        )
    if stratify is False or (stratify is None and not labels):
        return None
    if not labels:
        raise LabelError(
            "only classes can be spread evenly over folds",
            expected="targets (n,) of integers",
            got=f"{tuple(targets.shape)}, {targets.dtype}" if isinstance(targets, Tensor) else "several targets",
            fix="stratify=False",
        )
    classes, counts = targets.cpu().unique(return_counts=True)
    if stratify and counts.min() < folds:
        raise LabelError(
            f"class {classes[counts.argmin()].item()} has fewer samples than there are folds",
            expected=f"at least {folds} of each class",
            got=int(counts.min()),
            fix="use fewer folds, or stratify=None, which allows folds without this class",
        )
    of_samples: Tensor = targets.cpu()
    return of_samples


def _divide(n: int, folds: int, repeats: int, classes: Tensor | None, seed: int) -> tuple[list[Tensor], Tensor]:
    """Divide the samples at random: the held-out ones per replica, and the training ones, (K, n - ceil(n / folds))."""
    held_out, training = list[Tensor](), list[Tensor]()
    for repeat in range(repeats):
        shuffled = order(n, seed, repeat)
        if classes is not None:
            shuffled = shuffled[classes[shuffled].argsort(stable=True)]  # class after class, each in a random order
        fold_of = torch.empty_like(shuffled).scatter_(0, shuffled, torch.arange(n) % folds)  # (n,)
        for fold in range(folds):
            held_out.append((fold_of == fold).nonzero().flatten())
            outside = (fold_of != fold).nonzero().flatten()
            kept = order(len(outside), seed, len(training))[: n + -n // folds]
            training.append(outside[kept.sort().values])
    return held_out, torch.stack(training)
