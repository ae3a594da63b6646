"""The base class of callbacks, and the training that they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer, ReduceLROnPlateau
from lamp.signatures import Constructed
from lamp.training.history import History
from lamp.training.metrics import MetricLike

HOOKS = {
    "on_start": ("training",),
    "on_batch": ("training", "loss"),
    "on_epoch": ("training",),
    "on_end": ("training",),
}


class Stepping(Protocol):
    """What `scheduler=` must do."""

    def step(self) -> Any: ...


@dataclass
class Training:
    """A training in progress, as callbacks see it: what is trained, with which options, and how far it is.

    For a population, `model` and `optimizer` are those of all its replicas; the ones that have ended stay unchanged.

    epoch      whole epochs done
    step       batches trained on
    measured   the names of what is measured after each epoch, such as "loss" and "validation_accuracy"
    ending     why the training ends after this epoch; None while it goes on
    """

    model: Module
    criterion: Loss
    optimizer: Optimizer
    epochs: int
    history: History
    metrics: Mapping[str, MetricLike]
    callbacks: Sequence[Callback]
    scheduler: Stepping | None
    schedule_per: str
    clip_norm: Any
    clip_value: Any
    epoch: int = 0
    step: int = 0
    measured: Sequence[str] = ()
    ending: str | None = field(default=None, init=False)

    def stop(self, why: str, replicas: Tensor | Sequence[int] | None = None) -> None:
        """End the training after this epoch, or only these replicas of a population (indices, or a mask)."""
        if replicas is None:
            self.ending = self.ending or why
            return
        if self.model.replicas is None:
            raise ArgumentError(
                "one network has no replicas to stop",
                expected="replicas=None",
                got=f"replicas={replicas}",
                fix="training.stop(why) ends the training",
            )
        chosen = torch.as_tensor(replicas).flatten()
        rows = (chosen.nonzero().flatten() if chosen.dtype is torch.bool else chosen).tolist()
        count = self.model.replicas
        if any(not isinstance(k, int) or not -count <= k < count for k in rows):
            raise ArgumentError(
                "there is no such replica to stop",
                expected=f"integers from 0 to {count - 1}, or a mask ({count},)",
                got=str(rows),
                fix="training.going is a mask of those that are still training",
            )
        for k in rows:
            self.history.endings.setdefault(k % count, why)

    @property
    def going(self) -> Tensor:
        """Which replicas of a population are still training: a mask (K,)."""
        going = torch.ones(self.model.replicas or 1, dtype=torch.bool)
        going[list(self.history.endings)] = False
        return going

    @property
    def looked_at(self) -> bool:
        """Whether a callback looks at the model or the optimizer after each epoch."""
        return any(callback.needs_model for callback in self.callbacks)

    @property
    def steps_schedule(self) -> bool:
        """Whether the schedule takes a step after each batch."""
        return self.schedule_per == "batch" and not isinstance(self.scheduler, ReduceLROnPlateau | None)


class Callback(metaclass=Constructed):
    """Base of all callbacks: override what you need. `training.stop("why")` ends the training after this epoch.

    `training` has model, criterion, optimizer, history, epoch (from 0), step (batches so far) and epochs.

    A callback that remembers something from epoch to epoch says so by `state_dict()`, and takes it back by
    `load_state_dict(state)`, which is called after `on_start` where a training is resumed: numbers, texts, tensors and
    generators, in lists, tuples and dicts.

    needs_model  whether it looks at the model or the optimizer: they are brought up to date for it after each epoch.
                 Without such a callback the compiled engine trains several epochs in one go, and then tells of each
    changes_model  False where it looks at the weights but changes nothing: then so it does too. Each class says so for
                 itself, subclasses once more
    across_stages  whether it may go through the stages of a sweep with halving, of which each is a training of its own
    """

    needs_model: ClassVar[bool] = True
    changes_model: ClassVar[bool] = True
    across_stages: ClassVar[bool] = False

    def on_start(self, training: Training) -> None:
        """Before the first epoch, and before the first one that is resumed: `training.epoch` says which."""

    def on_batch(self, training: Training, loss: Tensor) -> None:
        """After each optimizer step, with the batch's loss; of a population, one for each replica that trains still."""

    def on_epoch(self, training: Training) -> None:
        """After each epoch, once its numbers are in `training.history`."""

    def on_end(self, training: Training) -> None:
        """When the training is over, however it ended."""

    def state_dict(self) -> Mapping[str, Any]:
        """What it must have to go on; nothing, where it remembers nothing."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
