"""Watch: which user code runs during a training, and what it may read or change."""

from __future__ import annotations

from typing import Any

from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.optim import Schedule
from lamp.overrides import is_lamps, methods, overridden
from lamp.parameter import Parameter
from lamp.training.callback import Callback, Training
from lamp.training.metrics import runs_own_code
from lamp.training.mismatches import warn_of_untrained

ON_BATCH = Callback.on_batch  # which does nothing


class Watch:
    """Which user code runs during a training, so that an engine knows which changes to expect.

    every_step  what must run after each step, in words; None if nothing must
    scheduler   the schedule, whose `step` may be a user's
    strangers   whether any user code runs between epochs
    loads       whether a callback may change the weights or the optimizer, so that they are read again after each epoch
    measures    whether a metric is the user's code
    schedules   whether a schedule is, or calls a function of the user's
    notices     whether such code runs that should leave the model alone, so that its writes must be found
    promising   the names of the callbacks that say they leave the model alone; without any, what else runs
    numbers     whether the optimizer's hyperparameters must be compared too, because epochs are prepared in advance
    """

    def __init__(self, training: Training) -> None:
        each_batch = [type(each).__name__ for each in training.callbacks if _sees_batches(each)]
        self.every_step = f"{each_batch[0]} looks at every batch" if each_batch else None
        self.scheduler = training.scheduler
        if self.every_step is None and not isinstance(self.scheduler, Schedule | None):
            self.every_step = f"{type(self.scheduler).__name__} is a schedule of another kind than lamp's"
        own = [each for each in training.callbacks if not is_lamps(type(each)) or overridden(each) is not None]
        self.measures = any(runs_own_code(metric) for metric in training.metrics.values())
        self.loads = any(callback.needs_model and _may_change(callback) for callback in training.callbacks)
        self.schedules = _calls_own_code(self.scheduler)
        self.strangers = bool(own) or self.measures or self.schedules
        self.notices = self.strangers and (self.measures or not self.loads)
        leaving = [type(each).__name__ for each in own if not (each.needs_model and _may_change(each))]
        self.promising = ", ".join(leaving) or "a metric or a schedule"
        self.numbers = self.strangers and not self.loads and self.scheduler is None
        self._known = _parameters(training.model) if self.loads else {}

    @property
    def copies(self) -> bool:
        """Whether the engine must copy the data, because user code may run while epochs are trained on them."""
        return self.strangers and not self.loads

    def tell_of_untrained(self, training: Training) -> None:
        """Warn if a callback has given the model parameters that the optimizer does not have."""
        if not self.loads or (now := _parameters(training.model)).keys() == self._known.keys():
            return
        new, self._known = [each for each in now if each not in self._known and not each.frozen], now
        owned = {each for group in training.optimizer.param_groups for each in group["params"]}
        warn_of_untrained([now[each] for each in new if each not in owned], 0, all_frozen=False)

    def explain_changed(self, what: str, by: str | None = None) -> ArgumentError:
        """The error for something that user code has changed although it is said to leave the model alone."""
        return ArgumentError(
            f"{what} changed between epochs, by code that is said to leave the model alone",
            expected="metrics, schedules, and callbacks with needs_model = False or changes_model = False that "
            "change neither weights nor modules",
            got=f"a change after {by or self.promising} had run",
            fix="make the change in a callback with needs_model and changes_model True, which is the default",
        )

    @staticmethod
    def explain_changed_in_epoch() -> ArgumentError:
        """The error for a schedule of every batch that changes what a compiled epoch does not read again."""
        return ArgumentError(
            "a schedule that moves after every batch changed the network, the loss or the optimizer's options",
            expected="a function that changes nothing but the optimizer's numbers, which the next step reads",
            got="another change in the middle of an epoch, which compiled code would not follow",
            fix='engine="eager", which reads everything in each step; or a callback that changes it after an epoch',
        )


def _parameters(model: Module) -> dict[Parameter, str]:
    """The parameters of a model with their names, left where they lie in memory."""
    return {each: name for name, each in model._named(Parameter, everywhere=False)}


def _calls_own_code(value: Any) -> bool:
    """Whether a schedule, or one that it consists of, is of a user's class or calls a user's function."""
    if isinstance(value, list | tuple):
        return any(map(_calls_own_code, value))
    if isinstance(value, Schedule):
        return not is_lamps(type(value)) or any(map(_calls_own_code, vars(value).values()))
    return callable(value) and not is_lamps(value)


def _may_change(callback: Callback) -> bool:
    """Whether a callback may change the model. `changes_model = False` counts only in the class that defines it, and
    only if no method was set on the instance."""
    kind: Any = type(callback)
    return vars(kind).get("changes_model", True) or overridden(callback, allowed=methods(kind)) is not None


def _sees_batches(callback: Any) -> bool:
    """Whether a callback does something after each batch."""
    plain = getattr(type(callback), "on_batch", ON_BATCH) is ON_BATCH and is_lamps(ON_BATCH)
    return not plain or "on_batch" in vars(callback)
