"""What code of a user's may change between compiled epochs, and whether it has."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from lamp.compiler.sources import frozen, sources
from lamp.compiler.stand_ins import NotCompiled, look_for_overrides
from lamp.optim import LambdaLR, Schedule
from lamp.overrides import is_lamps, methods, overridden
from lamp.training.active_replicas import ActiveReplicas
from lamp.training.callbacks import Callback
from lamp.training.epochs import Data
from lamp.training.metrics import answer_of

if TYPE_CHECKING:
    from lamp.training.run import Training

ON_BATCH = Callback.on_batch  # which does nothing


class Watch:
    """Looks whether a kernel is still what training, model, loss, optimizer and data ask for.

    loads     whether a callback may change weights and the optimizer: those are taken over after each epoch
    strangers whether code of a user's runs between epochs at all

    Raises NotCompiled where a callback or a schedule wants to see every step.
    """

    def __init__(self, training: Training) -> None:
        for callback in training.callbacks:
            if _sees_batches(callback):
                raise NotCompiled(f"{type(callback).__name__} looks at every batch")
        scheduler = training.scheduler
        if scheduler is not None:
            if not isinstance(scheduler, Schedule):
                raise NotCompiled(f"{type(scheduler).__name__} is a schedule of another kind than lamp's")
            look_for_overrides(scheduler, only=("step",))
        own = [each for each in training.callbacks if not is_lamps(type(each)) or overridden(each) is not None]
        self.training = training
        self.loads = any(callback.needs_model and _may_change(callback) for callback in training.callbacks)
        functions = [metric for metric in training.metrics.values() if answer_of(metric) is None]
        self.strangers = bool(own or functions) or isinstance(scheduler, LambdaLR)
        # Where epochs are trained before they are asked for, the numbers of their steps are laid out too.
        self._numbers = self.strangers and not self.loads and scheduler is None

    @property
    def copies(self) -> bool:
        """Whether the data must be the engine's own: code of a user's may run while epochs are trained on them."""
        return self.strangers and not self.loads

    def look(self, active: ActiveReplicas, *data: Data | None) -> Hashable:
        """All that the kernels are made from, to be compared with what it was when they were made."""
        training = self.training
        return (
            sources(active.model, active.criterion, active.optimizer, self._numbers),
            frozen(training.clip_norm),
            frozen(training.clip_value),
            tuple((name, answer_of(metric)) for name, metric in training.metrics.items()),
            tuple(each.state for each in data if each is not None),
        )


def _may_change(callback: Callback) -> bool:
    """Whether a callback may change the model; its class says if it does not, as far as what it does is the class's."""
    kind: Any = type(callback)
    return vars(kind).get("changes_model", True) or overridden(callback, but=methods(kind)) is not None


def _sees_batches(callback: Any) -> bool:
    """Whether a callback does something after each batch."""
    plain = getattr(type(callback), "on_batch", ON_BATCH) is ON_BATCH and is_lamps(ON_BATCH)
    return not plain or "on_batch" in vars(callback)
