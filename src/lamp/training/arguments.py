"""What `fit` is given, checked before anything is trained and brought into one form."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.data import DataLoader, is_batched
from lamp.data.forms import columns_of
from lamp.errors import ArgumentError, DataError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer, ReduceLROnPlateau
from lamp.optim.checks import Range, plain
from lamp.replicas import Population
from lamp.signatures import check_takes
from lamp.training.callback import HOOKS, Callback
from lamp.training.mismatches import warn_of_untrained
from lamp.values import integer

# Names that other libraries have for fit's arguments.
ALSO = {
    "validation_data": "validation",
    "validation_split": "validation",
    "val_data": "validation",
    "val_loader": "validation",
    "train_loader": "data",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "lr_scheduler": "scheduler",
    "random_state": "seed",
    "verbose": "progress",
    "loss": "criterion",
    "loss_fn": "criterion",
}
_OPTIMIZERS = "the optimizer has it: lamp.Adam(model.parameters(), lr=0.001)"
_CLIPPING = "clip_norm= limits the norm of all gradients, clip_value= each"
INSTEAD = {
    "learning_rate": _OPTIMIZERS,
    "lr": _OPTIMIZERS,
    "weight_decay": _OPTIMIZERS,
    "momentum": _OPTIMIZERS,
    "num_workers": "data in memory need none; else give a torch DataLoader with num_workers as data",
    "pin_memory": "give a torch DataLoader with pin_memory as data",
    "device": "model.to(device), and the data there too",
    "x": "data=(x, y)",
    "y": "data=(x, y)",
    "X": "data=(X, y)",
    "class_weight": "lamp.CrossEntropyLoss(weight=torch.tensor([...])), one for each class",
    "sample_weight": "lamp.losses.weighted.WeightedLoss(loss), whose target has the weight as its last column",
    "max_grad_norm": _CLIPPING,
    "gradient_clip_val": _CLIPPING,
    "clipnorm": _CLIPPING,
    "clipvalue": _CLIPPING,
    "initial_epoch": "checkpoint=folder, resume=True go on with a training",
    "steps_per_epoch": "an epoch goes over the data once",
    "early_stopping": "callbacks=lamp.EarlyStopping(patience=10), with validation=",
}
EVALUATION_BATCH = 1024  # samples that are measured at a time
LIMIT = Range(0.0, float("inf"), closed=True)


def name_of(thing: object) -> str:
    """What errors call what was passed: a class by its name, anything else by its kind."""
    kind = thing if isinstance(thing, type) else type(thing)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"the class {name}" if isinstance(thing, type) else repr(thing) if isinstance(thing, str) else name


# ---- network and loss ------------------------------------------------------------------------------------------------
def network_and_loss(model: Any, criterion: Any, what: str = "fit") -> tuple[Module, Loss]:
    """The part of the network before its loss, and the loss."""
    check_model(model, what)
    if criterion is None:
        if isinstance(model, Sequential | Population) and model.loss is not None:
            return model.body, model.loss
        raise ArgumentError(
            "there is no loss to train with",
            expected="a criterion, or a Sequential that ends in its loss",
            got="criterion=None and a network without one",
            fix="pass a loss, such as lamp.CrossEntropyLoss()",
        )
    if not isinstance(criterion, Loss):
        raise ArgumentError(
            "the criterion is no loss" if isinstance(criterion, Module) else "the criterion is no lamp module",
            expected="a loss of lamp's, or a class of lamp.Loss",
            got=name_of(criterion),
            fix=_way_to_a_loss(criterion, what),
        )
    check_takes("the criterion", criterion.forward, "input", "target")
    if criterion.reduction == "none":
        raise ArgumentError(
            "training goes down one number",
            expected='reduction="mean" or "sum"',
            got='reduction="none"',
            fix="reduce the loss",
        )
    return model, criterion


def check_model(model: Any, what: str) -> None:
    """Raise ArgumentError unless it is a network of lamp's."""
    if not isinstance(model, Module) or isinstance(model, Loss):
        raise ArgumentError(
            f"{what}: the model is no lamp module",
            expected="a lamp.Module, such as a lamp.Sequential",
            got=name_of(model),
            fix=_way_to_a_module(model, what),
        )


def _way_to_a_module(model: Any, what: str) -> str:
    if isinstance(model, type):
        return f"make one: {model.__name__}(...)"
    if type(model).__module__.startswith("torch.nn"):
        return "lamp.from_torch(model) makes one of it"
    return f"the order is {what}(model, criterion, ...)"


def _way_to_a_loss(criterion: Any, what: str) -> str:
    name = criterion.__name__ if isinstance(criterion, type) else type(criterion).__name__
    if isinstance(criterion, type):
        return f"make one: {name}()"
    if isinstance(criterion, Optimizer | Tensor | np.ndarray | tuple):
        return f"the order is {what}(model, criterion, {'optimizer, ' if what == 'fit' else ''}data, ...)"
    if isinstance(criterion, str):
        known = {"mse": "MSELoss", "mae": "L1Loss", "bce": "BCEWithLogitsLoss"}
        return f"lamp.{known.get(criterion, 'CrossEntropyLoss')}()"
    if type(criterion).__module__.startswith("torch.nn"):
        return f"lamp.{name}(...), which has a backward"
    return "lamp.CrossEntropyLoss() or another; one of your own is a class of lamp.Loss with value and derivative"


# ---- optimizer and schedule ------------------------------------------------------------------------------------------
def check_optimizer(model: Module, criterion: Loss, optimizer: Any) -> None:
    """Raise ArgumentError unless the optimizer trains this network; warn where it leaves out some of it."""
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    if not isinstance(optimizer, Optimizer):
        known = kind.__name__ if kind.__name__ in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad") else "Adam"
        raise ArgumentError(
            "the optimizer is none of lamp's",
            expected="a lamp optimizer of model.parameters()",
            got=name_of(optimizer),
            fix=f"optimizer = lamp.{known}(model.parameters(), lr=...)",
        )
    names = {each: name for part in (model, criterion) for name, each in part.named_parameters()}
    owned = {each for group in optimizer.param_groups for each in group["params"]}
    if not owned & names.keys():
        raise ArgumentError(
            "the optimizer is of another network: nothing would be trained",
            expected="an optimizer of this model's parameters",
            got=f"{type(optimizer).__name__} of {len(owned)} parameters, none of which is in this model",
            fix=f"lamp.{kind.__name__}(model.parameters(), ...); copy or pickle (model, optimizer) as one object",
        )
    warn_of_untrained(
        [name for each, name in names.items() if each not in owned and not each.frozen], len(owned - names.keys())
    )


def check_scheduler(optimizer: Optimizer, scheduler: Any, schedule_per: str) -> None:
    """Raise ArgumentError unless this schedules this optimizer."""
    if not isinstance(schedule_per, str) or schedule_per not in ("epoch", "batch"):
        raise ArgumentError(
            "unknown schedule_per", expected="'epoch' or 'batch'", got=repr(schedule_per), fix="name one of these"
        )
    if scheduler is None:
        return
    if isinstance(scheduler, type) or not callable(getattr(scheduler, "step", None)):
        fix = (
            "lamp.LambdaLR(optimizer, function)" if callable(scheduler) else "lamp.StepLR(optimizer, 10), for instance"
        )
        raise ArgumentError(
            "the scheduler has no step",
            expected="a schedule of the optimizer",
            got=name_of(scheduler),
            fix=f"make one: {scheduler.__name__}(optimizer, ...)" if isinstance(scheduler, type) else fix,
        )
    other = getattr(scheduler, "optimizer", None)
    if other is not None and other is not optimizer:
        raise ArgumentError(
            "the scheduler is of another optimizer: this one's learning rate would not change",
            expected="a schedule of the optimizer that trains",
            got=f"{name_of(scheduler)} of another {type(other).__name__}",
            fix=f"build it on this optimizer: lamp.{type(scheduler).__name__}(optimizer, ...)",
        )
    measures = ("measure",) if isinstance(scheduler, ReduceLROnPlateau) else ()
    check_takes("scheduler.step", scheduler.step, *measures)


# ---- numbers ---------------------------------------------------------------------------------------------------------
def as_epochs(epochs: Any) -> int:
    """The number of epochs."""
    try:
        number = 0 if isinstance(epochs, bool) else operator.index(epochs)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(
            "epochs is a count", expected="an integer of at least 1", got=repr(epochs), fix="epochs=10, for instance"
        )
    return number


def as_limit(name: str, limit: Any, replicas: int | None) -> Any:
    """A limit of gradients: one number, or a tensor (K,); None for none."""
    if limit is None:
        return None
    given, limit = limit, limit if isinstance(limit, bool) else plain(limit)
    if isinstance(limit, bool) or not LIMIT.holds(limit) or not torch.as_tensor(limit > 0).all():
        raise ArgumentError(
            f"{name} is a limit",
            expected="a positive number or None",
            got=repr(given),
            fix=f"{name}=1.0, for instance",
        )
    if isinstance(limit, Tensor) and limit.dim() and tuple(limit.shape) != (replicas,):
        raise ArgumentError(
            f"{name} is one number, or one for each network of a population",
            expected="a number" if replicas is None else f"a number, or a tensor ({replicas},) (K = {replicas})",
            got=f"a tensor {tuple(limit.shape)}",
            fix=f"{name}=1.0, for instance",
        )
    return limit


# ---- callbacks -------------------------------------------------------------------------------------------------------
def as_callbacks(callbacks: Any) -> list[Callback]:
    """The callbacks as a list; one alone needs none."""
    listed = [callbacks] if isinstance(callbacks, Callback | type | str) or callable(callbacks) else callbacks
    if listed is None:
        return []
    if not isinstance(listed, Iterable) or isinstance(listed, Tensor):
        listed = [listed]
    found = list(listed)
    for callback in found:
        if not isinstance(callback, Callback):
            raise ArgumentError(
                "that is no callback",
                expected="callbacks of lamp's, or of a class of lamp.Callback",
                got=name_of(callback),
                fix=f"make one: {callback.__name__}()"
                if isinstance(callback, type)
                else "write a class of lamp.Callback with on_epoch(self, training)",
            )
        _check_hooks(callback)
    return found


def _check_hooks(callback: Callback) -> None:
    kind = type(callback).__name__
    for name in dir(callback):
        if name in HOOKS:
            check_takes(f"{kind}.{name}", getattr(callback, name), *HOOKS[name])
        elif name.startswith("on_") and callable(getattr(type(callback), name, None)):
            meant = _meant(name)
            raise ArgumentError(
                f"{kind}.{name} would never be called",
                expected=", ".join(HOOKS),
                got=name,
                fix=f"call it {meant}(self, {', '.join(HOOKS[meant])}); a method for your own use, something else",
            )


def _meant(name: str) -> str:
    """The hook that is most like this name, such as Keras's on_epoch_end."""
    close = get_close_matches(name, HOOKS, 1)
    by_word = next((hook for hook in HOOKS if hook.removeprefix("on_") in name), None)
    return by_word or (close[0] if close else "on_epoch")


# ---- data ------------------------------------------------------------------------------------------------------------
def with_targets(data: Any, targets: Any) -> Any:
    """The data, where inputs and targets come as two arguments."""
    if targets is None:
        return data
    if is_batched(data):
        raise DataError(
            "there are targets beside data that come in batches",
            expected="data that have their targets, or inputs and targets",
            got=f"a {type(data).__name__} of batches, and targets",
            fix="leave the targets out",
        )
    return (data, targets)


def is_share(validation: Any) -> bool:
    """Whether validation data are a share of the training data."""
    if not isinstance(validation, Real):
        return False
    if isinstance(validation, bool) or not 0 < float(validation) < 1:
        raise ArgumentError(
            "validation is data, or a share of the data",
            expected="data such as (inputs, targets), or a number between 0 and 1",
            got=repr(validation),
            fix="validation=0.2 holds out a fifth",
        )
    return True


class _Some:
    """Some samples of a data set that is asked one by one."""

    def __init__(self, samples: Any, indices: list[int]) -> None:
        self.samples, self.indices = samples, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, k: int) -> Any:
        return self.samples[self.indices[k]]


def held_out(data: Any, share: float, seed: Any) -> tuple[Any, Tensor | None, DataLoader]:
    """The data to train on, those of its rows that are taken (None for all), and a share of the samples left out.

    Which ones follows from the seed alone (the first of several; 0 where there is none), whatever else is drawn.
    """
    if is_batched(data):
        raise ArgumentError(
            "validation is a share of data that come in batches already",
            expected="samples, such as (inputs, targets), or validation data",
            got=f"validation={share} of a {type(data).__name__}",
            fix="pass the validation data themselves",
        )
    columns = columns_of(data)
    n = len(data) if columns is None else len(columns[0])
    count = round(n * share)
    if not 0 < count < n:
        raise ArgumentError(
            "nothing would be left to train on, or to validate with",
            expected=f"a share of {n} samples that is at least one, and not all",
            got=f"validation={share}",
            fix="validation=0.2 holds out a fifth",
        )
    first = seed if isinstance(seed, Integral) else next(iter(seed or [0]))
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(integer(first, "seed")))
    held, taken = rows[:count].sort().values, rows[count:].sort().values
    if columns is None:
        return _Some(data, taken.tolist()), None, DataLoader(_Some(data, held.tolist()), EVALUATION_BATCH)
    return data, taken, DataLoader(data, EVALUATION_BATCH, indices=held)
