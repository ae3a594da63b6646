"""`ReduceLROnPlateau`, which reduces the learning rate when a measure stops improving."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NonFiniteError
from lamp.formulas import Number
from lamp.optim.checks import Range, plain
from lamp.optim.optimizer import Optimizer
from lamp.optim.schedule import Schedule, per_group
from lamp.signatures import called
from lamp.values import a_number


class ReduceLROnPlateau(Schedule):
    """lr <- max(factor lr, min_lr) when a measure has not improved for more than `patience` epochs.

    mode            "min" if lower is better, "max" if higher is better
    threshold       a measure counts as better below best (1 - threshold) with threshold_mode "rel", or below
                    best - threshold with "abs"; for "max", above best (1 + threshold) or best + threshold
    cooldown        number of epochs after a reduction that do not count as bad
    eps             reductions by less than this are not made

    Call `step(measure)` after each epoch, for example with the validation loss.

    Source    torch.optim.lr_scheduler.ReduceLROnPlateau

    Raises ArgumentError for arguments out of range, and NonFiniteError for a measure that is NaN.
    """

    ranges: ClassVar = {
        "factor": Range(0.0, 1.0),
        "patience": Range(whole=True),
        "threshold": Range(),
        "cooldown": Range(whole=True),
        "eps": Range(),
        "min_lrs": Range(),
    }

    listed = ("min_lrs",)

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Number | list[Number] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        mode, threshold_mode = (each if isinstance(each, str) else repr(each) for each in (mode, threshold_mode))
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ArgumentError(
                "ReduceLROnPlateau: no such mode",
                expected="mode 'min' or 'max', threshold_mode 'rel' or 'abs'",
                got=f"mode={mode!r}, threshold_mode={threshold_mode!r}",
                fix="choose one of these",
            )
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, plain(eps)
        self.min_lrs = [plain(each) for each in per_group(min_lr, optimizer, "ReduceLROnPlateau", "min_lr")]
        super().__init__(optimizer)
        self.last_epoch = 0
        self.best: Number = math.inf if mode == "min" else -math.inf
        self.cooldown_counter: Number = 0
        self.num_bad_epochs: Number = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    @called()
    def step(self, metrics: Any = None) -> None:
        """Record the measure of an epoch, and reduce the learning rate if it has not improved for long enough.

        metrics  a number or a tensor of one element; for a population also (K,). Then each replica has its own learning
                 rate from here on, and NaN counts as not better
        """
        if metrics is None:
            raise ArgumentError(
                "ReduceLROnPlateau.step needs a measure of the epoch",
                expected="a number, such as the loss on validation data",
                got="nothing",
                fix="scheduler.step(validation_loss); lamp.fit(..., scheduler=scheduler) does it by itself",
            )
        if not isinstance(metrics, Tensor):
            is_number = not hasattr(metrics, "__array__") and metrics == metrics
            try:
                metrics = torch.as_tensor(a_number(metrics, "metrics", finite=False) if is_number else metrics)
            except (TypeError, RuntimeError):  # an array of objects, or of texts
                raise ArgumentError(
                    "metrics is not a number, nor an array of numbers",
                    expected="a number, or a tensor (K,) for a population",
                    got=repr(metrics)[:60],
                    fix="pass the loss on validation data",
                ) from None
        measure = metrics.detach().cpu().double()
        measure = measure.reshape(()) if measure.numel() == 1 else measure
        if measure.dim() == 0 and measure.isnan():
            raise NonFiniteError(
                "the measure is NaN", expected="a number", got=math.nan, fix="look at the epoch's loss"
            )
        self._add_new_groups()
        self.last_epoch += 1
        better = self._is_better(measure)
        bad = torch.where(better, 0, torch.as_tensor(self.num_bad_epochs) + 1)
        cooldown = torch.as_tensor(self.cooldown_counter)
        bad = torch.where(cooldown > 0, 0, bad)
        cooldown = (cooldown - 1).clamp(min=0)
        due = bad > self.patience
        self._reduce(due)
        self.best = _number(torch.where(better, measure, torch.as_tensor(self.best, dtype=torch.float64)))
        self.num_bad_epochs = _number(torch.where(due, 0, bad))
        self.cooldown_counter = _number(torch.where(due, self.cooldown, cooldown))
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _is_better(self, measure: Tensor) -> Tensor:
        margin = 1.0 if self.mode == "max" else -1.0  # the sign of an improvement
        best = torch.as_tensor(self.best, dtype=torch.float64)
        bar = best * (1.0 + margin * self.threshold) if self.threshold_mode == "rel" else best + margin * self.threshold
        return measure > bar if self.mode == "max" else measure < bar

    def _reduce(self, due: Tensor) -> None:
        for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lr = torch.as_tensor(group["lr"], dtype=torch.float64)
            reduced = (lr * self.factor).clamp(min=lowest)
            changes = due & (lr - reduced > self.eps)
            if changes.any():
                group["lr"] = _number(torch.where(changes, reduced, lr))

    @called()
    def state_dict(self) -> dict[str, Any]:
        worst = math.inf if self.mode == "min" else -math.inf
        return {**super().state_dict(), "mode_worse": worst, "default_min_lr": None}  # these two are for torch


def _number(tensor: Tensor) -> Number:
    """A tensor of one element as a Python number; others unchanged."""
    return tensor.item() if tensor.dim() == 0 else tensor
