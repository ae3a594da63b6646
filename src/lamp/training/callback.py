"""Callback, the base class of callbacks, and Training, the object that they are given."""

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
from lamp.signatures import Constructed, called
from lamp.torch_habits import explains_attributes, without_items
from lamp.training.history import History
from lamp.training.metrics import MetricLike

HOOKS = {
    "on_start": ("training",),
    "on_batch": ("training", "loss"),
    "on_epoch": ("training",),
    "on_end": ("training",),
}


INSTEAD = {  # what users of Keras, Lightning and skorch look for in a training
    **dict.fromkeys(("logs", "log", "callback_metrics", "loss", "val_loss"), "training.history.last['loss']"),
    **dict.fromkeys(("current_epoch", "epoch_number"), "training.epoch"),
    **dict.fromkeys(("global_step", "batch", "batch_idx"), "training.step"),
    **dict.fromkeys(("lr", "learning_rate"), "training.optimizer.lr"),
    **dict.fromkeys(("stop_training", "should_stop"), 'training.stop("why") ends the training'),
    **dict.fromkeys(("save", "save_checkpoint", "save_weights"), "lamp.save(training.model, path)"),
    **dict.fromkeys(("max_epochs", "n_epochs", "num_epochs"), "training.epochs"),
    **dict.fromkeys(("net", "network", "module", "pl_module", "lightning_module"), "training.model"),
}
LOOKED_FOR = {  # and in a callback
    **dict.fromkeys(("model", "trainer", "params", "net", "optimizer"), "on_epoch(self, training): training.model"),
    **dict.fromkeys(("wait", "wait_count", "counter", "num_bad_epochs"), "history.epochs - 1 - stopping.best_epoch"),
    **dict.fromkeys(("stopped_epoch", "early_stop", "stopped"), "history.stopped says why, history.epochs when"),
    **dict.fromkeys(("best_score", "best_value", "val_loss_min"), "stopping.best, a number of lamp.EarlyStopping"),
    **dict.fromkeys(("step", "update"), "pass it to fit: callbacks=[stopping]"),
}

FIXED = ("model", "criterion", "optimizer", "history", "metrics", "callbacks")  # attributes of a Training


class Stepping(Protocol):
    """What `scheduler=` requires: an object with a method `step`."""

    def step(self) -> Any: ...


@explains_attributes(INSTEAD)
@dataclass
class Training:
    """A training in progress, as callbacks see it: what is trained, with which options, and how far it has come.

    For a population, `model` and `optimizer` are those of all replicas; the rows of replicas that have ended no longer
    change.

    epoch      the number of whole epochs done
    step       the number of batches trained on
    measured   the names of the values measured after each epoch, such as "loss" and "validation_accuracy"
    ending     why the training ends after this epoch; None while it continues
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
    step_in_backward: bool = False
    epoch: int = 0
    step: int = 0
    measured: Sequence[str] = ()
    ending: str | None = field(default=None, init=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dataclass_fields__:
            raise ArgumentError(
                f"nothing reads training.{name}",
                expected=", ".join(self.__dataclass_fields__),
                got=f"training.{name} = {value!r}"[:80],
                fix='training.stop("why") ends the training' if "stop" in name else "keep it in the callback itself",
            )
        if name in FIXED and name in vars(self):
            raise ArgumentError(
                f"training.{name} was replaced during the training",
                expected=f"the {name} that fit was given, possibly with changed attributes",
                got=f"another {type(value).__name__}",
                fix="change its attributes, or end this training and begin another one",
            )
        super().__setattr__(name, value)

    def __getitem__(self, name: Any) -> Any:
        raise without_items(self, name, "training.history.last holds the values of the last epoch")

    @called()
    def stop(self, why: str, replicas: Tensor | Sequence[int] | None = None) -> None:
        """End the training after this epoch; or only these replicas of a population (indices, or a mask (K,)).

        Raises ArgumentError for replicas that do not exist, and if the model is a single network.
        """
        if replicas is None:
            self.ending = self.ending or why
            return
        if self.model.replicas is None:
            raise ArgumentError(
                "a single network has no replicas to stop",
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
                fix="training.going is the mask of the replicas that are still training",
            )
        for k in rows:
            self.history.endings.setdefault(k % count, why)

    @property
    def going(self) -> Tensor:
        """The mask (K,) of the replicas that are still training."""
        going = torch.ones(self.model.replicas or 1, dtype=torch.bool)
        going[list(self.history.endings)] = False
        return going

    @property
    def looked_at(self) -> bool:
        """Whether a callback reads the model or the optimizer after each epoch."""
        return any(callback.needs_model for callback in self.callbacks)

    @property
    def steps_schedule(self) -> bool:
        """Whether the schedule makes a step after each batch."""
        return self.schedule_per == "batch" and not isinstance(self.scheduler, ReduceLROnPlateau | None)


@explains_attributes(LOOKED_FOR)
class Callback(metaclass=Constructed):
    """The base class of callbacks. Override the methods that you need; `training.stop("why")` ends the training.

    `training` has model, criterion, optimizer, history, epoch (from 0), step (batches so far) and epochs.

    A callback that keeps a state from epoch to epoch returns it from `state_dict()` and restores it in
    `load_state_dict(state)`, which is called after `on_start` when a training is resumed. The state may hold numbers,
    texts, tensors and generators, in lists, tuples and dicts.

    needs_model    whether it reads the model or the optimizer. Then both are brought up to date after each epoch; else
                   the compiled engine trains several epochs in one call, and calls `on_epoch` for each afterwards
    changes_model  set it to False if the callback reads the weights but changes nothing; then, too, the compiled engine
                   may train ahead. Subclasses do not inherit it. A write all the same is an ArgumentError
    across_stages  whether it works in a sweep with halving, where each stage is a training of its own
    """

    needs_model: ClassVar[bool] = True
    changes_model: ClassVar[bool] = True
    across_stages: ClassVar[bool] = False

    def on_start(self, training: Training) -> None:
        """Called before the first epoch, or before the first one after resuming (number `training.epoch`)."""

    def on_batch(self, training: Training, loss: Tensor) -> None:
        """Called after each optimizer step, with the batch's loss: a number, or (k,) for the replicas still
        training."""

    def on_epoch(self, training: Training) -> None:
        """Called after each epoch, once its values are in `training.history`."""

    def on_end(self, training: Training) -> None:
        """Called when the training is over, even after an error."""

    def state_dict(self) -> Mapping[str, Any]:
        """The state that a checkpoint must hold; empty if it keeps none."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
