"""Schedules that cycle the learning rate, and the momentum against it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.optim.checks import Range
from lamp.optim.optimizer import Optimizer
from lamp.optim.schedule import LRScheduler, check_optimizer, per_group


def cosine(begin: Number, end: Number, done: float) -> Number:
    """From begin to end along half a cosine, as done goes from 0 to 1."""
    return end + (begin - end) * ((1.0 + math.cos(math.pi * done)) / 2.0)


def linear(begin: Number, end: Number, done: float) -> Number:
    """From begin to end along a line, as done goes from 0 to 1."""
    return begin + (end - begin) * done


class Cycle(LRScheduler):
    """Base of the schedules that cycle momentum too: `base_momentums` and `max_momentums`, None where they do not."""

    base_momentums: list[Number] | None
    max_momentums: list[Number] | None

    def _take_momentums(self, optimizer: Optimizer, cycle_momentum: bool, base: Any, highest: Any) -> None:
        self.cycle_momentum = cycle_momentum
        name = type(self).__name__
        for group in check_optimizer(optimizer, name).param_groups:
            if cycle_momentum and "momentum" not in group and "betas" not in group:
                raise ArgumentError(
                    f"{name} cycles the momentum, and {type(optimizer).__name__} has none",
                    expected="an optimizer with momentum or betas",
                    got=f"{', '.join(key for key in group if key != 'params')}",
                    fix="pass cycle_momentum=False",
                )
        self.base_momentums = per_group(base, optimizer, name, "base_momentum")
        self.max_momentums = per_group(highest, optimizer, name, "max_momentum")
