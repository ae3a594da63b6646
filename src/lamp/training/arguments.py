"""The arguments of `fit`: checks before anything is trained, and conversion to one form."""

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
from lamp.devices import check_default_device
from lamp.errors import ArgumentError, DataError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer, ReduceLROnPlateau
from lamp.optim.checks import Range, plain
from lamp.overrides import is_lamps
from lamp.replicas import Population
from lamp.signatures import check_takes
from lamp.training.callback import HOOKS, Callback
from lamp.training.mismatches import warn_of_untrained
from lamp.values import a_switch, integer, kind_of

# Names that other libraries use for fit's arguments.
ALSO = {
    "validation_data": "validation",
    "validation_split": "validation",
    "val_data": "validation",
    "val_loader": "validation",
    "train_loader": "data",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "n_epoch": "epochs",
    "bs": "batch_size",
    "cbs": "callbacks",
    "max_epochs": "epochs",
    "lr_scheduler": "scheduler",
    "random_state": "seed",
    "verbose": "progress",
    "loss": "criterion",
    "loss_fn": "criterion",
}
_OPTIMIZERS = "set it in the optimizer: lamp.Adam(model.parameters(), lr=0.001)"
_CLIPPING = "clip_norm= limits the norm of all gradients, clip_value= each element"
INSTEAD = {
    "learning_rate": _OPTIMIZERS,
    "lr": _OPTIMIZERS,
    "weight_decay": _OPTIMIZERS,
    "wd": _OPTIMIZERS,
    "max_lr": _OPTIMIZERS,
    "momentum": _OPTIMIZERS,
    "workers": "data in memory need no workers; else pass a torch DataLoader with num_workers as data",
    "num_workers": "data in memory need no workers; else pass a torch DataLoader with num_workers as data",
    "pin_memory": "pass a torch DataLoader with pin_memory as data",
    "device": "model.to(device), and move the data there too",
    "x": "data=(x, y)",
    "y": "data=(x, y)",
    "X": "data=(X, y)",
    "class_weight": "lamp.CrossEntropyLoss(weight=torch.tensor([...])), one weight per class",
    "sample_weight": "lamp.losses.weighted.WeightedLoss(loss), whose targets have the weight as their last column",
    "max_grad_norm": _CLIPPING,
    "gradient_clip_val": _CLIPPING,
    "clipnorm": _CLIPPING,
    "clipvalue": _CLIPPING,
    **dict.fromkeys(("accelerator", "devices", "gpus"), "model.to(device), and move the data there too"),
    **dict.fromkeys(("precision", "fp16", "bf16", "amp"), "model.bfloat16(), and inputs of that dtype"),
    **dict.fromkeys(
        ("accumulate_grad_batches", "gradient_accumulation_steps"),
        "a larger batch_size=, or a loop of your own, where gradients add up until optimizer.zero_grad()",
    ),
    "patience": "callbacks=lamp.EarlyStopping(patience=10), with validation=",
    "initial_epoch": "checkpoint=folder, resume=True continues a training",
    "steps_per_epoch": "an epoch is one pass over the data",
    "early_stopping": "callbacks=lamp.EarlyStopping(patience=10), with validation=",
}
EVALUATION_BATCH = 1024  # samples per batch in evaluation
LIMIT = Range(0.0, float("inf"), closed=True)


# ---- network and loss ------------------------------------------------------------------------------------------------
def network_and_loss(model: Any, criterion: Any, what: str = "fit") -> tuple[Module, Loss]:
    """The network without its loss, and the loss. Raises ArgumentError if either is missing or of the wrong kind."""
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
    check_is_loss(criterion, what)
    if not is_lamps(criterion.forward):
        check_takes("the criterion", criterion.forward, "input", "target")
    elif is_lamps(criterion.prepare) and next(filter(is_lamps, type(criterion).__mro__)) is Loss:
        for name in ("value", "derivative"):
            check_takes(f"{type(criterion).__name__}.{name}", getattr(criterion, name), "output", "target")
    if criterion.reduction == "none":
        raise ArgumentError(
            "training minimises a single number",
            expected='reduction="mean" or "sum"',
            got='reduction="none"',
            fix='use reduction="mean"',
        )
    return model, criterion


def check_is_loss(criterion: Any, what: str) -> None:
    """Raise ArgumentError unless the criterion is a loss; `what` is the function that it was passed to."""
    if not isinstance(criterion, Loss):
        raise ArgumentError(
            "the criterion is not a loss" if isinstance(criterion, Module) else "the criterion is not a lamp module",
            expected="a loss of lamp, or your own subclass of lamp.Loss",
            got=kind_of(criterion),
            fix=_way_to_a_loss(criterion, what),
        )


def check_model(model: Any, what: str) -> None:
    """Raise ArgumentError unless the model is a lamp module and not a loss."""
    if not isinstance(model, Module) or isinstance(model, Loss):
        raise ArgumentError(
            f"{what}: the model is not a lamp module",
            expected="a lamp.Module, such as a lamp.Sequential",
            got=kind_of(model),
            fix=_way_to_a_module(model, what),
        )
    check_default_device()


def _way_to_a_module(model: Any, what: str) -> str:
    if isinstance(model, type):
        return f"make one: {model.__name__}(...)"
    if type(model).__module__.startswith("torch.nn"):
        return "convert it with lamp.from_torch(model)"
    return f"the order of arguments is {what}(model, {'inputs' if what == 'predict' else 'criterion, ...'})"


def _way_to_a_loss(criterion: Any, what: str) -> str:
    name = criterion.__name__ if isinstance(criterion, type) else type(criterion).__name__
    if isinstance(criterion, type):
        return f"make one: {name}()"
    if what != "sweep" and isinstance(criterion, Optimizer | Tensor | np.ndarray | tuple):  # sweep takes it by name
        return f"the order of arguments is {what}(model, criterion, {'optimizer, ' if what == 'fit' else ''}data, ...)"
    if isinstance(criterion, str):
        known = {"mse": "MSELoss", "mae": "L1Loss", "bce": "BCEWithLogitsLoss"}
        return f"lamp.{known.get(criterion, 'CrossEntropyLoss')}()"
    if type(criterion).__module__.startswith("torch.nn"):
        return f"lamp.{name}(...), which has a backward"
    return "lamp.CrossEntropyLoss() or another loss; your own is a subclass of lamp.Loss with value and derivative"


# ---- optimizer and schedule ------------------------------------------------------------------------------------------
def check_optimizer(model: Module, criterion: Loss, optimizer: Any) -> None:
    """Raise ArgumentError unless the optimizer has parameters of this network; warn if it lacks some of them."""
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    if not isinstance(optimizer, Optimizer):
        known = kind.__name__ if kind.__name__ in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad") else "Adam"
        raise ArgumentError(
            "the optimizer is not a lamp optimizer",
            expected="a lamp optimizer of model.parameters()",
            got=kind_of(optimizer),
            fix=f"optimizer = lamp.{known}(model.parameters(), lr=...)",
        )
    names = {each: name for part in (model, criterion) for name, each in part.named_parameters()}
    owned = {each for group in optimizer.param_groups for each in group["params"]}
    if not owned & names.keys():
        raise ArgumentError(
            "the optimizer belongs to another network: nothing would be trained",
            expected="an optimizer of this model's parameters",
            got=f"{type(optimizer).__name__} of {len(owned)} parameters, none of which is in this model",
            fix=f"lamp.{kind.__name__}(model.parameters(), ...); copy or pickle (model, optimizer) as one object",
        )
    warn_of_untrained(
        [name for each, name in names.items() if each not in owned and not each.frozen],
        len(owned - names.keys()),
        all_frozen=all(each.frozen for each in owned & names.keys()),
    )


def check_scheduler(optimizer: Optimizer, scheduler: Any, schedule_per: str) -> None:
    """Raise ArgumentError unless this schedules this optimizer."""
    if not isinstance(schedule_per, str) or schedule_per not in ("epoch", "batch"):
        raise ArgumentError(
            "unknown schedule_per", expected="'epoch' or 'batch'", got=repr(schedule_per), fix="name one of these"
        )
    if scheduler is None:
        return
    steps = callable(getattr(scheduler, "step", None)) and not hasattr(scheduler, "zero_grad")  # as optimizers have
    if isinstance(scheduler, type) or not steps:
        fix = (
            "lamp.LambdaLR(optimizer, function)" if callable(scheduler) else "lamp.StepLR(optimizer, 10), for instance"
        )
        raise ArgumentError(
            "the scheduler is no schedule",
            expected="a schedule of the optimizer",
            got=kind_of(scheduler),
            fix=f"make one: {scheduler.__name__}(optimizer, ...)" if isinstance(scheduler, type) else fix,
        )
    other = getattr(scheduler, "optimizer", None)
    if other is not None and other is not optimizer:
        raise ArgumentError(
            "the scheduler belongs to another optimizer: the learning rate would not change",
            expected="a schedule of the optimizer that is passed to fit",
            got=f"{kind_of(scheduler)} of another {type(other).__name__}",
            fix=f"build it on this optimizer: lamp.{type(scheduler).__name__}(optimizer, ...)",
        )
    measures = ("measure",) if isinstance(scheduler, ReduceLROnPlateau) else ()
    check_takes("scheduler.step", scheduler.step, *measures)


# ---- numbers ---------------------------------------------------------------------------------------------------------
def as_epochs(epochs: Any) -> int:
    """The number of epochs, checked. Raises ArgumentError unless it is an integer of at least 1."""
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
    """A limit of gradients, checked: a number, a tensor (K,), or None for no limit. Raises ArgumentError."""
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
            f"{name} is one number, or one per replica of a population",
            expected="a number" if replicas is None else f"a number, or a tensor ({replicas},) (K = {replicas})",
            got=f"a tensor {tuple(limit.shape)}",
            fix=f"{name}=1.0, for instance",
        )
    return limit


def as_step_in_backward(wanted: Any, optimizer: Optimizer, *limits: Any) -> bool:
    """The argument step_in_backward, checked. Raises ArgumentError for no bool, and for what needs all gradients."""
    in_backward: bool = a_switch(wanted, "step_in_backward")
    if in_backward and any(limit is not None for limit in limits):
        raise ArgumentError(
            "gradients that are used one by one cannot be clipped together",
            expected="step_in_backward=True without clip_norm and clip_value",
            got="a limit beside it",
            fix="leave out one of them",
        )
    if in_backward:
        optimizer.check_step_in_backward()
    return in_backward


# ---- callbacks -------------------------------------------------------------------------------------------------------
def as_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """The callbacks in a tuple; a single callback is accepted too. Raises ArgumentError for what is no callback."""
    listed = [callbacks] if isinstance(callbacks, Callback | type | str) or callable(callbacks) else callbacks
    if listed is None:
        return ()
    if not isinstance(listed, Iterable) or isinstance(listed, Tensor):
        listed = [listed]
    found = tuple(listed)
    for callback in found:
        if not isinstance(callback, Callback):
            raise ArgumentError(
                "an entry of callbacks is not a callback",
                expected="callbacks of lamp, or of your own subclass of lamp.Callback",
                got=kind_of(callback),
                fix=f"make one: {callback.__name__}()"
                if isinstance(callback, type)
                else "write a subclass of lamp.Callback with on_epoch(self, training)",
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
                fix=f"name it {meant}(self, {', '.join(HOOKS[meant])}), or without on_ if only your own code calls it",
            )
    own = [name for name, each in vars(type(callback)).items() if callable(each) and not hasattr(Callback, name)]
    if own and all(_is_inherited(callback, name) for name in HOOKS):
        raise ArgumentError(
            f"{kind} would never be called: it overrides no method of lamp.Callback",
            expected=", ".join(f"{name}(self, {', '.join(takes)})" for name, takes in HOOKS.items()),
            got=", ".join(own),
            fix="name the method on_epoch(self, training), to have it called after each epoch",
        )


def _is_inherited(callback: Callback, name: str) -> bool:
    """Whether this method is the empty one of lamp.Callback."""
    return getattr(getattr(callback, name), "__func__", None) is vars(Callback)[name]


def _meant(name: str) -> str:
    """The hook whose name is most similar to this one, for names such as Keras's on_epoch_end."""
    close = get_close_matches(name, HOOKS, 1)
    by_word = next((hook for hook in HOOKS if hook.removeprefix("on_") in name), None)
    return by_word or (close[0] if close else "on_epoch")


# ---- data ------------------------------------------------------------------------------------------------------------
def with_targets(data: Any, targets: Any) -> Any:
    """The data, joined with targets that are passed as a second argument. Raises DataError if there are two targets."""
    if targets is None:
        return data
    if is_batched(data):
        raise DataError(
            "targets were passed, but the data are batches that have their own targets",
            expected="batches alone, or inputs and targets",
            got=f"a {type(data).__name__} of batches, and targets",
            fix="leave the targets out",
        )
    return (data, targets)


def is_share(validation: Any) -> bool:
    """Whether `validation` is a share of the training data. Raises ArgumentError for a number not between 0 and 1."""
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
    """The samples with these indices, of a data set that is read sample by sample."""

    def __init__(self, samples: Any, indices: list[int]) -> None:
        self.samples, self.indices = samples, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, k: int) -> Any:
        return self.samples[self.indices[k]]


def held_out(data: Any, share: float, seed: Any) -> tuple[Any, Tensor | None, DataLoader]:
    """The data to train on, the indices of its rows to use (None for all), and a loader of the samples held out.

    Which samples are held out depends on the seed alone (the first one if there are several, 0 if there is none).

    Raises ArgumentError for data that are batches already, and for a share that leaves one side without samples.
    """
    if is_batched(data):
        raise ArgumentError(
            "validation is a share, but the data come in batches already",
            expected="samples, such as (inputs, targets), or validation data",
            got=f"validation={share} of a {type(data).__name__}",
            fix="pass validation data",
        )
    columns = columns_of(data)
    n = len(data) if columns is None else len(columns[0])
    count = round(n * share)
    if not 0 < count < n:
        raise ArgumentError(
            "no samples would be left for training or for validation",
            expected=f"a share of {n} samples that is at least one and not all",
            got=f"validation={share}",
            fix="validation=0.2 holds out a fifth",
        )
    first = seed if isinstance(seed, Integral) else next(iter(seed or [0]))
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(integer(first, "seed")))
    held, taken = rows[:count].sort().values, rows[count:].sort().values
    if columns is None:
        return _Some(data, taken.tolist()), None, DataLoader(_Some(data, held.tolist()), EVALUATION_BATCH)
    return data, taken, DataLoader(data, EVALUATION_BATCH, indices=held)
