"""What happens beside the training: callbacks, and early stopping as one of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from lamp.errors import ArgumentError

if TYPE_CHECKING:
    from lamp.training.fit import Training


class Callback:
    """Base of all callbacks: override what you need. `training.stop("why")` ends the training after this epoch.

    `training` has model, criterion, optimizer, history, epoch (from 0), step (batches so far) and epochs.
    """

    def on_start(self, training: Training) -> None:
        """Before the first epoch."""

    def on_batch(self, training: Training, loss: Tensor) -> None:
        """After each optimizer step, with the batch's loss."""

    def on_epoch(self, training: Training) -> None:
        """After each epoch, once its numbers are in `training.history`."""

    def on_end(self, training: Training) -> None:
        """When the training is over, however it ended."""


class EarlyStopping(Callback):
    """Stop when what is monitored has not improved for `patience` epochs, and restore the best weights.

    monitor    a name in the history
    mode       "min" or "max": which way is better; by default "max" for what ends in "accuracy", else "min"
    min_delta  how much better counts as better
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: str = "validation_loss",
        *,
        mode: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if not isinstance(patience, int) or patience < 1:
            raise ArgumentError("patience is a number of epochs", expected="an integer of at least 1", got=patience)
        if mode not in (None, "min", "max"):
            raise ArgumentError("unknown mode", expected="'min' or 'max'", got=repr(mode), fix="name one of these")
        if not min_delta >= 0:
            raise ArgumentError("min_delta is an amount", expected="at least 0", got=min_delta)
        self.patience, self.monitor, self.min_delta, self.restore_best = patience, monitor, min_delta, restore_best
        self.mode = mode or ("max" if monitor.endswith("accuracy") else "min")
        self.best, self.best_epoch = math.nan, -1
        self._weights: dict[str, Tensor] = {}

    def on_start(self, training: Training) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = -1
        self._weights = {}

    def on_epoch(self, training: Training) -> None:
        if self.monitor not in training.history.last:
            raise ArgumentError(
                f"early stopping monitors {self.monitor!r}, which is not measured",
                expected=", ".join(training.history.names),
                got=self.monitor,
                fix="pass validation= to fit, or monitor one of these",
            )
        value = training.history.last[self.monitor]
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best, self.best_epoch = value, training.epoch
            if self.restore_best:
                self._weights = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
        elif training.epoch - self.best_epoch >= self.patience:
            training.stop(
                f"no better {self.monitor} for {self.patience} epochs: {self.best:.4g} in epoch {self.best_epoch + 1}"
            )

    def on_end(self, training: Training) -> None:
        if self._weights:
            training.model.load_state_dict(self._weights)
            self._weights = {}
