"""The base classes of learning-rate schedules, `Schedule`, `LRScheduler` and `ScaledLR`."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lamp.errors import ArgumentError, StateDictError, TrainingWarning, warn_of
from lamp.formulas import Number
from lamp.optim.checks import Range, alike, check_ranges
from lamp.optim.optimizer import Group, Optimizer
from lamp.signatures import Constructed, Formulas, called, check_formulas
from lamp.state_dict import check_state_of
from lamp.torch_habits import explains_attributes
from lamp.values import a_number, integer, kind_of

INSTEAD = {  # an attribute of a schedule of torch or Keras: what to write in lamp
    "get_lr": "scheduler.get_last_lr(), or optimizer.lr",
    "lr": "scheduler.get_last_lr(), or optimizer.lr",
    "learning_rate": "scheduler.get_last_lr(), or optimizer.lr",
    "print_lr": "print(scheduler.get_last_lr())",
    "zero_grad": "optimizer.zero_grad()",
}


@explains_attributes(INSTEAD)
class Schedule(metaclass=Constructed):
    """Base of all schedules, which change an optimizer's hyperparameters during a training."""

    ranges: ClassVar[Mapping[str, Range]] = {}  # allowed ranges of arguments, which are attributes of the same names
    listed: ClassVar[tuple[str, ...]] = ()  # the attributes that are lists with one value per parameter group
    optimizer: Optimizer
    last_epoch: float
    _last_lr: list[Number]

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = check_optimizer(optimizer, type(self).__name__)
        check_ranges(self, vars(self), self.ranges, self.listed)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.ranges:
            check_ranges(self, {name: value}, {name: self.ranges[name]}, self.listed)
        super().__setattr__(name, value)

    @called()
    def get_last_lr(self) -> list[Number]:
        """The learning rate last set, per group."""
        return list(self._last_lr)

    @called()
    def state_dict(self) -> dict[str, Any]:
        """The state, with torch's names. A function is not saved, but the attributes of a callable object are."""
        return {name: _saved(value) for name, value in vars(self).items() if name != "optimizer"}

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state dict of this class or its namesake in torch. Raises StateDictError if it does not fit."""
        self._check_state(state_dict)
        self._load(state_dict)

    def of_replicas(self, rows: Tensor, optimizer: Optimizer) -> Self:
        """A copy of this schedule, at its present epoch, for the optimizer of some replicas of a population."""

        def chosen(value: Any) -> Any:
            if isinstance(value, Schedule):
                return value.of_replicas(rows, optimizer)
            if isinstance(value, list):
                return [chosen(each) for each in value]
            return value[rows] if isinstance(value, Tensor) and value.dim() > 0 else value

        twin = copy.copy(self)
        vars(twin).update({name: chosen(value) for name, value in vars(self).items()})
        twin.optimizer = optimizer
        return twin

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        check_state_of(self, state_dict)
        own = set(self.state_dict())
        needed = {name for name in own if not name.startswith("_")}
        given = {name for name in state_dict if not name.startswith("_")}  # torch saves private attributes too
        if needed != given:
            raise StateDictError(
                f"the state dict does not fit this {type(self).__name__}",
                expected=", ".join(sorted(needed)),
                got=", ".join(sorted(given)),
                fix="build the same schedule that was saved",
            )

    def _add_new_groups(self) -> None:
        """Add parameter groups that the optimizer has got since. They use the values that all other groups share."""
        groups = self.optimizer.param_groups
        for k in range(len(self._last_lr), len(groups)):
            self._add_group(k, groups[k], self.last_epoch)
        if len(self._last_lr) > len(groups):
            raise ArgumentError(
                f"{type(self).__name__}: parameter groups were removed from the optimizer",
                expected=f"{len(self._last_lr)} groups",
                got=f"{len(groups)} groups",
                fix="build a new optimizer and a new schedule",
            )

    def _add_group(self, k: int, group: Group, epoch: float) -> None:
        """Add group k, with its present learning rate."""
        listed = {name: vars(self)[name] for name in self.listed if name in vars(self)}
        for name, values in listed.items():
            if not all(alike(value, values[0]) for value in values):
                raise ArgumentError(
                    f"{type(self).__name__} has {name} for each of {k} parameter groups, but the optimizer has more",
                    expected=f"{k} groups",
                    got=f"{len(self.optimizer.param_groups)} groups",
                    fix="add all groups before building the schedule, or pass one value for all groups",
                )
        for values in listed.values():
            values.append(values[0])
        self._last_lr.append(group["lr"])

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        for name, own in list(vars(self).items()):
            if name in state_dict:
                setattr(self, name, _loaded(own, state_dict[name]))


_built: WeakKeyDictionary[Optimizer, tuple[int, ...]] = WeakKeyDictionary()  # its steps when a schedule was last built


def _warn_of_beginning(schedule: Schedule, optimizer: Optimizer) -> None:
    """Warn that a schedule sets the learning rate back, where an earlier one has moved it for some steps."""
    steps = optimizer.step_count
    for group in optimizer.param_groups if _built.get(optimizer, steps) != steps else ():
        now, first = group["lr"], group.get("initial_lr", group["lr"])
        if not torch.as_tensor(now == first).all():
            warn_of(
                f"{type(schedule).__name__} begins with the rate that the optimizer began with, {first}, and not with "
                f'the present one, {now}. Fix: where it is to go on from there, set group["initial_lr"] = group["lr"] '
                "in each of optimizer.param_groups before it is built.",
                TrainingWarning,
            )
            return


class LRScheduler(Schedule, ABC):
    """Base of the schedules that are a function of the epoch.

    A subclass defines that function, `lr_at`. It is called for epoch 0 when the schedule is built, and for the next
    epoch by each `step()`, which comes after the optimizer's steps of an epoch (or of a batch, if "epoch" means that).

    last_epoch  the last epoch of an earlier run, to resume it; the optimizer's groups must then have an "initial_lr",
                as they have after its state dict was loaded

    The learning rate depends on the epoch alone, so a schedule can resume from any `last_epoch`, and rounding errors do
    not accumulate. If something else changes the learning rate, the next step would overwrite it, so that is an error.

    Raises ArgumentError for arguments out of range, anything but an optimizer, a last_epoch without "initial_lr", and
    a learning rate that was changed since the last step.
    """

    formulas: ClassVar[Formulas] = {"lr_at": ("epoch", "initial_lr", "group"), "momentum_at": ("epoch", "group")}
    absolute: ClassVar[bool] = False  # whether it begins at its own base_lrs at any place in a SequentialLR

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1, base_lrs: list[Number] | None = None) -> None:
        super().__init__(optimizer)
        check_formulas(self, self.formulas)
        initial = [self._initial_lr(group, last_epoch) for group in optimizer.param_groups]
        if last_epoch == -1:
            _warn_of_beginning(self, optimizer)
        self.base_lrs: list[Number] = initial if base_lrs is None else base_lrs
        self._set(last_epoch + 1)
        _built[optimizer] = optimizer.step_count

    @abstractmethod
    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        """The learning rate at this epoch, for the group of this number, which began with initial_lr."""

    def momentum_at(self, epoch: float, group: int) -> Number | None:
        """The momentum (beta1 if there are betas) at this epoch; None leaves it unchanged."""
        return None

    @called()
    def step(self, epoch: float | None = None) -> None:
        """Set the learning rates of the next epoch, or of the given one, which may be a fraction."""
        self._check_unchanged()
        is_nan = isinstance(epoch, float) and math.isnan(epoch)
        if epoch is not None and (is_nan or a_number(epoch, "epoch", finite=False) < 0):
            raise ArgumentError("no such epoch", expected="a number of at least 0", got=epoch, fix="count from 0")
        self._set(self.last_epoch + 1 if epoch is None else epoch)

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._set(self.last_epoch)

    def _initial_lr(self, group: Group, last_epoch: int) -> Number:
        integer(last_epoch, "last_epoch")
        if last_epoch != -1 and "initial_lr" not in group:
            raise ArgumentError(
                f"{type(self).__name__} cannot resume from epoch {last_epoch}",
                expected='"initial_lr" in each parameter group',
                got=f"a group with {', '.join(key for key in group if key != 'params')}",
                fix="load the optimizer's state dict first, or build a new schedule and load its own state dict",
            )
        return group.setdefault("initial_lr", group["lr"])

    def _set(self, epoch: float) -> None:
        values = [(self.lr_at(epoch, base, k), self.momentum_at(epoch, k)) for k, base in enumerate(self.base_lrs)]
        self.last_epoch, self._last_lr = epoch, [lr for lr, _ in values]
        for group, (lr, momentum) in zip(self.optimizer.param_groups, values, strict=True):
            group.put("lr", lr)
            if momentum is not None and "betas" in group:
                group.put("betas", (momentum, *group["betas"][1:]))
            elif momentum is not None:
                group.put("momentum", momentum)

    def _add_group(self, k: int, group: Group, epoch: float) -> None:
        super()._add_group(k, group, epoch)
        if "base_lrs" in self.listed:
            return
        at_zero = self.lr_at(epoch, 0.0, k)  # the learning rate is a linear function of the initial one
        slope = self.lr_at(epoch, 1.0, k) - at_zero
        self.base_lrs.append((group["lr"] - at_zero) / slope if slope else group["lr"])
        group.setdefault("initial_lr", self.base_lrs[k])

    def _check_unchanged(self) -> None:
        """Raise ArgumentError if a learning rate is not the one that this schedule has set."""
        self._add_new_groups()
        for group, last in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            if group["lr"] is not last and not torch.as_tensor(group["lr"] == last).all():
                raise ArgumentError(
                    f"the learning rate was changed since the last step of this {type(self).__name__}, which would "
                    "overwrite it",
                    expected=f"lr = {last}",
                    got=f"lr = {group['lr']}",
                    fix="for two schedules at once use ChainedScheduler or SequentialLR; to change the learning rate "
                    "by hand set scheduler.base_lrs; after loading the optimizer's state load the schedule's too",
                )

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        groups = len(self.optimizer.param_groups)
        if len(state_dict["base_lrs"]) != groups:
            raise StateDictError(
                f"the state dict does not fit this {type(self).__name__}",
                expected=f"base_lrs of {groups} groups",
                got=f"base_lrs of {len(state_dict['base_lrs'])}",
                fix="build the optimizer with the same groups",
            )


class ScaledLR(LRScheduler):
    """Base of the schedules that multiply the initial learning rate: lr = initial_lr factor(epoch)."""

    formulas: ClassVar[Formulas] = {**LRScheduler.formulas, "factor_at": ("epoch",)}

    @abstractmethod
    def factor_at(self, epoch: float) -> float:
        """The factor of the initial learning rate at this epoch."""

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        return initial_lr * self.factor_at(epoch)


def check_optimizer(optimizer: Any, owner: str) -> Optimizer:
    """The optimizer, unchanged. Raises ArgumentError for anything else."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    raise ArgumentError(
        f"{owner} needs a lamp optimizer",
        expected="a lamp optimizer",
        got=kind_of(optimizer),
        fix="pass the optimizer first, as in StepLR(optimizer, step_size=30)",
    )


def per_group(value: Any, optimizer: Optimizer, owner: str, name: str) -> list[Any]:
    """An argument that is one value or a list of one per group, as a list with one value per group."""
    groups = len(check_optimizer(optimizer, owner).param_groups)
    if not isinstance(value, list | tuple):
        return [value] * groups
    if len(value) != groups:
        raise ArgumentError(
            f"{owner}: {name} must be one value, or one for each group",
            expected=f"{groups} values",
            got=f"{len(value)} values",
            fix="pass one value for each of the optimizer's param_groups",
        )
    return list(value)


def cosine(begin: Number, end: Number, done: float) -> Number:
    """The value on half a cosine wave from begin to end, as done goes from 0 to 1."""
    return end + (begin - end) * ((1.0 + math.cos(math.pi * done)) / 2.0)


def _saved(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.state_dict()
    if isinstance(value, list):
        return [_saved(each) for each in value]
    if callable(value):
        return dict(getattr(value, "__dict__", {})) or None
    return copy.copy(value)


def _loaded(own: Any, saved: Any) -> Any:
    """The saved value in place of `own`. Schedules and functions are kept, and get their saved attributes."""
    if isinstance(own, list) and isinstance(saved, list) and len(own) == len(saved):
        return [_loaded(*pair) for pair in zip(own, saved, strict=True)]
    if isinstance(own, Schedule):
        own._load(saved)
        return own
    if callable(own):
        if saved:
            vars(own).update(saved)
        return own
    return copy.copy(saved)
