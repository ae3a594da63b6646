"""What user code may look at or change while a training runs."""

from __future__ import annotations

from typing import Any

from lamp.optim import LambdaLR, Schedule
from lamp.overrides import is_lamps, methods, overridden
from lamp.training.callback import Callback, Training
from lamp.training.metrics import runs_own_code

ON_BATCH = Callback.on_batch  # which does nothing


class Watch:
    """What user code may look at or change while a training runs, so that an engine knows what to look out for.

    every_step  what wants to run after each step, in words; None where nothing does
    scheduler   the schedule, which may have a `step` of the user's
    strangers   whether user code runs between epochs at all
    loads       whether a callback may change the weights or the optimizer: they are read again after each epoch
    blind       the callbacks that say they do not look at the model, in words
    numbers     whether the optimizer's hyperparameters must be compared too, because epochs are prepared in advance
    """

    def __init__(self, training: Training) -> None:
        each_batch = [type(each).__name__ for each in training.callbacks if _sees_batches(each)]
        self.every_step = f"{each_batch[0]} looks at every batch" if each_batch else None
        self.scheduler = training.scheduler
        if self.every_step is None and not isinstance(self.scheduler, Schedule | None):
            self.every_step = f"{type(self.scheduler).__name__} is a schedule of another kind than lamp's"
        own = [each for each in training.callbacks if not is_lamps(type(each)) or overridden(each) is not None]
        measuring = any(runs_own_code(metric) for metric in training.metrics.values())
        self.loads = any(callback.needs_model and _may_change(callback) for callback in training.callbacks)
        self.strangers = bool(own) or measuring or isinstance(self.scheduler, LambdaLR)
        self.blind = ", ".join(type(each).__name__ for each in training.callbacks if not each.needs_model)
        self.numbers = self.strangers and not self.loads and self.scheduler is None

    @property
    def copies(self) -> bool:
        """Whether the engine must copy the data: user code may run while epochs are trained on them."""
        return self.strangers and not self.loads


def _may_change(callback: Callback) -> bool:
    """Whether a callback may change the model; its class says if it does not, as far as what it does is the class's."""
    kind: Any = type(callback)
    return vars(kind).get("changes_model", True) or overridden(callback, but=methods(kind)) is not None


def _sees_batches(callback: Any) -> bool:
    """Whether a callback does something after each batch."""
    plain = getattr(type(callback), "on_batch", ON_BATCH) is ON_BATCH and is_lamps(ON_BATCH)
    return not plain or "on_batch" in vars(callback)
