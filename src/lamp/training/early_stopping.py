"""EarlyStopping: the callback that ends a training once it no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.metrics.metric import mode_of
from lamp.optim.checks import Range
from lamp.signatures import called
from lamp.state import ModelState
from lamp.state_dict import check_state_of
from lamp.training.callback import Callback, Training
from lamp.values import natural

DELTAS = Range()  # the values that min_delta may have


class EarlyStopping(Callback):
    """Ends the training if the monitored value has not improved for `patience` epochs, and restores the best state.

    In a population each replica ends on its own. It then costs nothing more, and has its own best weights at the end.

    patience      epochs without improvement
    monitor       a name in the history; "val_loss" means "validation_loss"
    mode          "min" or "max", which direction is better; by default "max" if the name ends in that of a metric to
                  maximise ("accuracy", "precision", "recall", "f1", "auc", "r2"), else "min"
    min_delta     an improvement must be larger than this
    restore_best  whether to restore the weights and buffers of the best epoch at the end

    best, best_epoch  the best value and its epoch, counted from 0; tensors (K,) in a population

    Raises ArgumentError for an argument out of range; during training also for a `monitor` that is not measured.
    """

    changes_model = False

    def __init__(
        self,
        patience: int = 10,
        monitor: str = "validation_loss",
        *,
        mode: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        monitor = f"validation_{monitor[4:]}" if isinstance(monitor, str) and monitor.startswith("val_") else monitor
        self.patience, self.monitor, self.mode = patience, monitor, mode
        self.min_delta, self.restore_best = min_delta, restore_best
        self._check_options()
        self.mode = mode or mode_of(monitor)
        self._by_name = mode is None
        self.best: Any = math.nan
        self.best_epoch: Any = -1
        self._kept: ModelState | None = None  # the state of the best epoch

    def _check_options(self) -> None:
        """Raise ArgumentError for an option out of range; they may be set before each training."""
        mode, monitor, min_delta, restore_best = self.mode, self.monitor, self.min_delta, self.restore_best
        self.patience = natural(self.patience, "patience", least=1)
        if not isinstance(mode, str | None) or mode not in (None, "min", "max"):
            raise ArgumentError("unknown mode", expected="'min' or 'max'", got=repr(mode), fix="name one of these")
        if not isinstance(monitor, str):
            raise ArgumentError(
                "monitor must be a name in the history",
                expected="a text",
                got=repr(monitor),
                fix='monitor="validation_loss"',
            )
        if isinstance(min_delta, tuple | list | torch.Tensor) or not DELTAS.holds(min_delta):
            raise ArgumentError(
                "min_delta must be a number",
                expected="a number of at least 0",
                got=repr(min_delta),
                fix="min_delta=0.001",
            )
        if not isinstance(restore_best, bool):
            raise ArgumentError(
                "restore_best must be True or False",
                expected="True or False",
                got=repr(restore_best),
                fix="restore_best=True",
            )
        self.min_delta = float(min_delta)

    def on_start(self, training: Training) -> None:
        self._check_options()
        self._check_measured(training.measured)
        if self._by_name and self.mode == mode_of(self.monitor):  # the metric itself may say otherwise
            self.mode = mode_of(self.monitor, training.metrics)
        lead = () if training.model.replicas is None else (training.model.replicas,)
        worst = math.inf if self.mode == "min" else -math.inf
        self._best, self._epoch = torch.full(lead, worst, dtype=torch.float64), torch.full(lead, -1)
        self._kept, self._device = None, training.model.parameters()[0].device
        self._show()

    def on_epoch(self, training: Training) -> None:
        self._check_measured(list(training.history.last))
        value = torch.as_tensor(training.history.last[self.monitor], dtype=torch.float64)
        better = (self._best - value if self.mode == "min" else value - self._best) > self.min_delta
        self._best, self._epoch = (
            torch.where(better, value, self._best),
            torch.where(better, training.epoch, self._epoch),
        )
        self._show()
        if self.restore_best and better.any():
            now = ModelState.of(training.model)
            if self._kept is None or better.dim() == 0:
                self._kept = now.clone()
            else:
                self._kept.restore(now.select(better), better)
        over = training.epoch - self._epoch >= self.patience
        why = f"{self.monitor} did not improve for {self.patience} epochs"
        if training.model.replicas is None:
            if over:
                training.stop(f"{why}: {self.best:.4g} in epoch {self.best_epoch + 1}")
            return
        self._end_replicas(training, over, why)

    def _end_replicas(self, training: Training, over: Tensor, why: str) -> None:
        """End the replicas whose value has not improved for too long, `over` (K,)."""
        for k in (over & training.going).nonzero().flatten().tolist():
            training.stop(f"{why}: {self._best[k].item():.4g} in epoch {int(self._epoch[k]) + 1}", [k])

    def _check_measured(self, names: Sequence[str]) -> None:
        if self.monitor not in names:
            raise ArgumentError(
                f"early stopping monitors {self.monitor!r}, which is not measured",
                expected=", ".join(names),
                got=self.monitor,
                fix="pass validation= to fit, or monitor one of these",
            )

    def _show(self) -> None:
        one = self._best.dim() == 0
        self.best, self.best_epoch = (self._best.item(), self._epoch.item()) if one else (self._best, self._epoch)

    @called()
    def state_dict(self) -> Mapping[str, Any]:
        return {"best": self._best, "best_epoch": self._epoch, "weights": self._kept.tensors if self._kept else []}

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        check_state_of(self, state_dict, "best", "best_epoch", "weights")
        best, epoch, weights = state_dict["best"], state_dict["best_epoch"], list(state_dict["weights"])
        if not all(isinstance(each, Tensor) and each.shape == self._best.shape for each in (best, epoch)):
            raise ArgumentError(
                "the state of early stopping belongs to another training",
                expected=f"best and best_epoch as tensors {tuple(self._best.shape)}",
                got=f"{best!r}, {epoch!r}"[:80],
                fix="pass what state_dict() of this training returned",
            )
        self._best, self._epoch = best, epoch
        self._kept = ModelState(weights).to(self._device) if weights else None
        self._show()

    def on_end(self, training: Training) -> None:
        if self._kept is not None:
            now, ever = ModelState.of(training.model), self._epoch >= 0
            if ever.dim() == 0:
                now.restore(self._kept)
            else:  # a replica whose value was never a number keeps its last weights, as it would alone
                now.restore(self._kept.select(ever), ever)
            self._kept = None
