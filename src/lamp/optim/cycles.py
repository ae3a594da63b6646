"""Cyclic schedules, `OneCycleLR` and `CyclicLR`: lr goes up and down, and the momentum down and up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.optim.checks import Range, check_ranges
from lamp.optim.optimizer import Optimizer
from lamp.optim.schedule import LRScheduler, check_optimizer, cosine, per_group
from lamp.signatures import check_takes
from lamp.values import a_function, a_switch, integer, is_one_of, natural


class Cycle(LRScheduler):
    """Base of the schedules whose learning rates depend on their arguments alone, not on the optimizer's initial lr."""

    absolute = True
    listed = ("base_lrs", "_max_lrs", "max_lrs", "_base_momentums", "base_momentums", "_max_momentums", "max_momentums")


class OneCycleLR(Cycle):
    """One cycle over a whole training: lr from max_lr / div_factor up to max_lr, and down to almost 0.

    lr        initial_lr -> max_lr -> min_lr = initial_lr / final_div_factor, where initial_lr = max_lr / div_factor
    momentum  max_momentum -> base_momentum -> max_momentum (beta1, for an optimizer that has betas)
    at        0, pct_start total_steps - 1, total_steps - 1, along half a cosine ("cos") or a line ("linear")

    With three_phase, lr goes down to initial_lr in as many steps as it went up, and from there to min_lr.
    total_steps may be passed as epochs and steps_per_epoch, which are multiplied. A list is one value per group.

    Source    torch.optim.lr_scheduler.OneCycleLR; Smith & Topin 2017. In the first step after the cycle torch goes past
              min_lr; here lr stays at min_lr. Another step raises an error, as in torch

    Raises ArgumentError for arguments out of range, an optimizer without momentum if that is cycled, and a step after
    the end.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Number | list[Number],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Number | list[Number] = 0.85,
        max_momentum: Number | list[Number] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        name = type(self).__name__
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        for argument, count in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if count is not None:
                natural(count, argument, least=1)
        if total_steps is None:
            given = [f"{each}={n}" for each, n in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)) if n]
            raise ArgumentError(
                f"{name} needs the number of steps of the whole training",
                expected="total_steps, or both epochs and steps_per_epoch",
                got=f"{' and '.join(given)} alone" if given else "neither",
                fix="epochs=10, steps_per_epoch=len(loader), for example",
            )
        positive = Range(math.ulp(0.0))
        check_ranges(
            self,
            {
                "total_steps": total_steps,
                "pct_start": pct_start,
                "max_lr": max_lr,
                "div_factor": div_factor,
                "final_div_factor": final_div_factor,
            },
            {
                "total_steps": Range(1, whole=True),
                "pct_start": Range(0.0, 1.0, closed=True, single=True),
                "max_lr": Range(),
                "div_factor": positive,
                "final_div_factor": positive,
            },
            ("max_lr",),
        )
        if not is_one_of(anneal_strategy, "cos", "linear"):
            raise ArgumentError(
                f"{name}: unknown value of anneal_strategy",
                expected="'cos' or 'linear'",
                got=repr(anneal_strategy),
                fix="choose one of these",
            )
        self.total_steps = total_steps
        self.cycle_momentum, three_phase = (
            a_switch(cycle_momentum, "cycle_momentum"),
            a_switch(three_phase, "three_phase"),
        )
        rise = pct_start * self.total_steps - 1
        self._corners = (
            [0.0, rise, 2 * rise, self.total_steps - 1] if three_phase else [0.0, rise, self.total_steps - 1]
        )
        self._anneal_func_type = anneal_strategy
        self._final_div_factor = final_div_factor
        self._max_lrs = per_group(max_lr, optimizer, name, "max_lr")
        if cycle_momentum:
            self.use_beta1 = check_momentum(optimizer, name)
            self._base_momentums = check_momentums(base_momentum, optimizer, name, "base_momentum")
            self._max_momentums = check_momentums(max_momentum, optimizer, name, "max_momentum")
        if integer(last_epoch, "last_epoch") == -1:
            for group, highest in zip(optimizer.param_groups, self._max_lrs, strict=True):
                group["initial_lr"] = highest / div_factor
        super().__init__(optimizer, last_epoch)

    def _between(self, values: list[Number], epoch: float) -> Number:
        """The value at this epoch, interpolated between the values at the corners of the cycle."""
        corners = self._corners
        phase = next((k for k in range(len(corners) - 2) if epoch <= corners[k + 1]), len(corners) - 2)
        length = corners[phase + 1] - corners[phase]
        done = min((epoch - corners[phase]) / length, 1.0) if length > 0 else 1.0
        begin, end = values[phase], values[phase + 1]
        return cosine(begin, end, done) if self._anneal_func_type == "cos" else begin + (end - begin) * done

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        if epoch > self.total_steps:
            raise ArgumentError(
                "the cycle is over",
                expected=f"at most {self.total_steps} steps",
                got=f"step {epoch}",
                fix="build the schedule with more total_steps, or end the training earlier",
            )
        begin, highest = self.base_lrs[group], self._max_lrs[group]
        back = [begin] if len(self._corners) == 4 else []
        return self._between([begin, highest, *back, begin / self._final_div_factor], epoch)

    def momentum_at(self, epoch: float, group: int) -> Number | None:
        if not self.cycle_momentum:
            return None
        lowest, highest = self._base_momentums[group], self._max_momentums[group]
        back = [highest] if len(self._corners) == 4 else []
        return self._between([highest, lowest, *back, highest], epoch)


class CyclicLR(Cycle):
    """Cycles of lr from base_lr up to max_lr in step_size_up steps, and down again in step_size_down.

    lr        base_lr + (max_lr - base_lr) h s       h: 0 -> 1 -> 0 along two lines, every cycle
    momentum  max_momentum - (max_momentum - base_momentum) h s
    s         "triangular": 1.  "triangular2": halved each cycle.  "exp_range": gamma^t.  Or scale_fn of the cycle
              (1, 2, ...), or of the step t with scale_mode="iterations"

    Source    torch.optim.lr_scheduler.CyclicLR; Smith 2015
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Number | list[Number],
        max_lr: Number | list[Number],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Number | list[Number] = 0.8,
        max_momentum: Number | list[Number] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        name = type(self).__name__
        down = step_size_up if step_size_down is None else step_size_down
        check_ranges(
            self,
            {
                "base_lr": base_lr,
                "max_lr": max_lr,
                "step_size_up": step_size_up,
                "step_size_down": down,
                "gamma": gamma,
            },
            {
                "base_lr": Range(),
                "max_lr": Range(),
                "step_size_up": Range(1, whole=True),
                "step_size_down": Range(whole=True),
                "gamma": Range(single=True),
            },
            ("base_lr", "max_lr"),
        )
        if scale_fn is not None:
            check_takes("scale_fn", a_function(scale_fn, "scale_fn", "x"), "x")
        cycle_momentum = a_switch(cycle_momentum, "cycle_momentum")
        mode, scale_mode = (each if isinstance(each, str) else repr(each) for each in (mode, scale_mode))
        modes = ("triangular", "triangular2", "exp_range")
        if (scale_fn is None and mode not in modes) or scale_mode not in ("cycle", "iterations"):
            raise ArgumentError(
                f"{name}: no such mode",
                expected=f"mode {' or '.join(modes)}, or a scale_fn; scale_mode cycle or iterations",
                got=f"mode={mode!r}, scale_mode={scale_mode!r}",
                fix="name one of these",
            )
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        lowest = per_group(base_lr, optimizer, name, "base_lr")
        self.max_lrs = per_group(max_lr, optimizer, name, "max_lr")
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = check_momentum(optimizer, name)
            self.base_momentums = check_momentums(base_momentum, optimizer, name, "base_momentum")
            self.max_momentums = check_momentums(max_momentum, optimizer, name, "max_momentum")
        if integer(last_epoch, "last_epoch") == -1:
            for group, lr in zip(optimizer.param_groups, lowest, strict=True):
                group["lr"] = lr
        super().__init__(optimizer, last_epoch, lowest)

    def _scale(self, x: float) -> float:
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return float({"triangular": 1.0, "triangular2": 2.0 ** (1.0 - x), "exp_range": self.gamma**x}[self.mode])

    def _height(self, epoch: float) -> float:
        """How far up the cycle is, times its scale."""
        cycle, done = divmod(epoch / self.total_size, 1.0)
        height = done / self.step_ratio if done <= self.step_ratio else (1.0 - done) / (1.0 - self.step_ratio)
        return height * self._scale(cycle + 1 if self.scale_mode == "cycle" else epoch)

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        lowest = self.base_lrs[group]
        return lowest + (self.max_lrs[group] - lowest) * self._height(epoch)

    def momentum_at(self, epoch: float, group: int) -> Number | None:
        if not self.cycle_momentum:
            return None
        lowest, highest = self.base_momentums[group], self.max_momentums[group]
        return highest - (highest - lowest) * self._height(epoch)


def check_momentum(optimizer: Optimizer, owner: str) -> bool:
    """Whether the momentum is beta1. Raises ArgumentError for an optimizer without momentum."""
    names = check_optimizer(optimizer, owner).defaults
    if "momentum" not in names and "betas" not in names:
        raise ArgumentError(
            f"{owner} cycles the momentum, and {type(optimizer).__name__} has none",
            expected="an optimizer with momentum or betas",
            got=", ".join(names),
            fix="pass cycle_momentum=False",
        )
    return "betas" in names


def check_momentums(value: Any, optimizer: Optimizer, owner: str, name: str) -> list[Number]:
    """The momentum per group. Raises ArgumentError for one outside [0, 1)."""
    momentums = per_group(value, optimizer, owner, name)
    if not Range(0.0, 1.0).holds(momentums):
        raise ArgumentError(
            f"{owner}: {name} is out of range", expected=str(Range(0.0, 1.0)), got=value, fix="choose another"
        )
    return momentums
