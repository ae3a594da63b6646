"""The replicas that are still training.

A replica ends when it stops early or when its loss is not finite. The others then go on as a smaller population with
their own optimizer, loss and batches, so a replica that has ended costs nothing. Its row of the whole population stays
as it was when it ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.errors import ArgumentError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.optim.checks import rows_of
from lamp.overrides import is_lamps
from lamp.replicas import Population
from lamp.training.batch import BatchReader
from lamp.training.callback import Training
from lamp.training.history import Measured
from lamp.training.training_state import data_state, set_data_state


class ActiveReplicas:
    """The model, criterion, optimizer and batches of the replicas that are still training; or of the one network.

    rows    which replicas they are, (k,); None while all are
    whole   model, criterion and optimizer of all replicas
    reader  reads a batch for them
    """

    def __init__(
        self,
        model: Module,
        criterion: Loss,
        optimizer: Optimizer,
        batches: Iterable[Any],
        validation: Iterable[Any] | None,
    ) -> None:
        self.whole = (model, criterion, optimizer)
        self._batches, self._validation = batches, validation
        self.model, self.criterion, self.optimizer = self.whole
        self.batches, self.validation = batches, validation
        self.reader = BatchReader(criterion, model.replicas)

    @property
    def rows(self) -> Tensor | None:
        """Which replicas are still training, (k,); None while all are."""
        return self.reader.rows

    @property
    def replicas(self) -> int | None:
        """K of the whole population; None for one network."""
        return self.whole[0].replicas

    def check_whole(self, training: Training) -> None:
        """Raise ArgumentError if a callback has replaced the training's model, criterion or optimizer."""
        if all(is_lamps(type(callback)) for callback in training.callbacks):
            return
        for name, own in zip(("model", "criterion", "optimizer"), self.whole, strict=True):
            if (other := getattr(training, name)) is not own:
                raise ArgumentError(
                    f"training.{name} was replaced during the training",
                    expected=f"the {name} that fit was given, possibly with changed attributes",
                    got=f"another {type(other).__name__}",
                    fix="change its attributes, or end this training and begin another one",
                )

    def keep(self, rows: Tensor) -> None:
        """Continue with only these replicas. Their numbers are those of the whole population."""
        self.hand_over()
        whole, criterion, optimizer = self.whole
        assert isinstance(whole, Population)
        self.reader.rows, self.model = rows, whole.select(rows)
        self._parameters = dict(zip(whole.parameters(), self.model.parameters(), strict=True))
        self.optimizer = optimizer.of_replicas(rows, self._parameters)
        self.criterion = criterion.of_replicas(rows)
        self.batches = _batches_of(self._batches, rows)
        self.validation = None if self._validation is None else _batches_of(self._validation, rows)

    # ---- a checkpoint ------------------------------------------------------------------------------------------------
    def state_dict(self, under_way: bool) -> dict[str, Any]:
        """Which replicas are active, and the position in their data. Everything else is in the whole population, once
        `hand_over` has been called.

        under_way  whether an epoch is under way
        """
        return {
            "rows": self.rows,
            "target_axes": self.reader.target_axes,
            "data": data_state(self._batches, under_way),
            "validation": data_state(self._validation),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned. The whole population must have its weights and state already."""
        self.reader.target_axes = state_dict["target_axes"]
        set_data_state(self._validation, state_dict["validation"])
        set_data_state(self._batches, state_dict["data"])
        if state_dict["rows"] is not None:
            self.keep(state_dict["rows"])

    # ---- the whole -------------------------------------------------------------------------------------------------
    def write_back(self) -> None:
        """Copy the weights of the active replicas into the whole population."""
        if self.rows is not None:
            assert isinstance(self.whole[0], Population)
            assert isinstance(self.model, Population)
            self.whole[0].copy_(self.rows.tolist(), self.model)

    def hand_over(self) -> None:
        """Update the whole population from the active replicas: weights, optimizer state and number of epochs."""
        if self.rows is None:
            return
        self.write_back()
        self.whole[2].take_back(self.optimizer, self.rows, self._parameters)
        for whole, own in ((self._batches, self.batches), (self._validation, self.validation)):
            if isinstance(whole, DataLoader) and isinstance(own, DataLoader):
                whole.epoch = own.epoch

    def follow_schedule(self) -> None:
        """Copy the hyperparameters that a schedule has set in the optimizer of the whole population."""
        if self.rows is None:
            return
        for own, of_all in zip(self.optimizer.param_groups, self.whole[2].param_groups, strict=True):
            own.update(rows_of({name: of_all[name] for name in self.optimizer.defaults}, self.rows))

    def number(self, limit: Any) -> Any:
        """A limit for the active replicas: a number unchanged, a tensor (K,) as (k,)."""
        return limit if self.rows is None or not isinstance(limit, Tensor) else limit[self.rows]

    def spread(self, values: dict[str, Measured]) -> dict[str, Measured]:
        """Values of the active replicas, (k,), expanded to (K,), with NaN for replicas that have ended."""
        if self.rows is None or self.replicas is None:
            return values
        spread: dict[str, Measured] = {}
        for name, value in values.items():
            spread[name] = torch.full((self.replicas,), math.nan, dtype=torch.float64)
            spread[name][self.rows] = torch.as_tensor(value, dtype=torch.float64)  # type: ignore[index]
        return spread


def _batches_of(batches: Iterable[Any], rows: Tensor) -> Iterable[Any]:
    """A loader of these replicas' batches. Other iterables are unchanged: their batches are for all replicas."""
    return batches.of_replicas(rows) if isinstance(batches, DataLoader) else batches
