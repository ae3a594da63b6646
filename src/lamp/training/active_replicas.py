"""Who trains: the network, or of a population those replicas that have not ended yet.

A replica that stops early, or whose loss is not finite any more, leaves. The others go on as a smaller population with
an optimizer, a loss and batches of their own, so it costs nothing more; its row of the whole population stays as it
was when it left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.axes import marked, replicas_of
from lamp.data import DataLoader
from lamp.errors import ArgumentError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.optim.checks import rows_of
from lamp.overrides import is_lamps
from lamp.replicas import Population
from lamp.training.eager import Batch, parts
from lamp.training.history import Measured
from lamp.training.training_state import data_state, set_data_state


class ActiveReplicas:
    """What trains at the moment: `model`, `criterion`, `optimizer` and `batches`, all of them or for some replicas.

    rows   which replicas train, (k,); None while all do
    whole  model, criterion and optimizer of all of them
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
        self.rows: Tensor | None = None
        self._target_axes: int | None = None  # of targets of their own, (K, B, ...)

    @property
    def replicas(self) -> int | None:
        """K of the whole population; None for one network."""
        return self.whole[0].replicas

    def check_whole(self, training: Any) -> None:
        """Raise ArgumentError where the training's model, criterion or optimizer is another one by now."""
        if all(is_lamps(type(callback)) for callback in training.callbacks):
            return
        for name, own in zip(("model", "criterion", "optimizer"), self.whole, strict=True):
            if (other := getattr(training, name)) is not own:
                raise ArgumentError(
                    f"training.{name} was replaced during the training",
                    expected=f"the {name} that fit was given, whatever becomes of its attributes",
                    got=f"another {type(other).__name__}",
                    fix="change its attributes, or end this training and begin another one",
                )

    def keep(self, rows: Tensor) -> None:
        """Go on with these replicas of the whole, which are among those that train."""
        self.hand_over()
        whole, criterion, optimizer = self.whole
        assert isinstance(whole, Population)
        self.rows, self.model = rows, whole.select(rows)
        self._parameters = dict(zip(whole.parameters(), self.model.parameters(), strict=True))
        self.optimizer = optimizer.of_replicas(rows, self._parameters)
        self.criterion = criterion.of_replicas(rows)
        self.batches = _batches_of(self._batches, rows)
        self.validation = None if self._validation is None else _batches_of(self._validation, rows)

    # ---- a checkpoint ------------------------------------------------------------------------------------------------
    def state_dict(self, under_way: bool) -> dict[str, Any]:
        """Who trains, and where the data are; all else is the whole's, once it is handed over.

        under_way  whether an epoch is
        """
        return {
            "rows": self.rows,
            "target_axes": self._target_axes,
            "data": data_state(self._batches, under_way),
            "validation": data_state(self._validation),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with those, once the whole has its weights and state."""
        self._target_axes = state_dict["target_axes"]
        set_data_state(self._validation, state_dict["validation"])
        set_data_state(self._batches, state_dict["data"])
        if state_dict["rows"] is not None:
            self.keep(state_dict["rows"])

    # ---- the batches of a population -------------------------------------------------------------------------------
    def batch_for(self, batch: Any, source: Iterable[Any]) -> Batch:
        """A batch as (inputs..., target), for those that train: of one that comes for the whole, their rows."""
        *inputs, target = parts(batch)
        if self.rows is not None and not isinstance(source, DataLoader):
            inputs = [self._of_those(x) for x in inputs]
            own = replicas_of(target) is not None or target.dim() == self._target_axes
            target = marked(target[self.rows], len(self.rows)) if own else target
        return (*inputs, target)

    def _of_those(self, x: Any) -> Any:
        """What is marked as each replica's own, for those that train; what all share as it is."""
        if self.rows is None or not isinstance(x, Tensor) or replicas_of(x) is None:
            return x
        return marked(x[self.rows], len(self.rows))

    def note_target(self, output: Tensor, target: Tensor) -> None:
        """Learn from a batch how many axes a target has that is (K, B, ...)."""
        if self._target_axes is None and self.replicas is not None:
            self._target_axes = self.criterion.per_replica_target(output, target, self.replicas).dim()

    # ---- the whole -------------------------------------------------------------------------------------------------
    def write_back(self) -> None:
        """Copy the weights of those that train into the whole population."""
        if self.rows is not None:
            assert isinstance(self.whole[0], Population)
            assert isinstance(self.model, Population)
            self.whole[0].copy_(self.rows.tolist(), self.model)

    def hand_over(self) -> None:
        """Bring the whole up to date: its weights, the optimizer's state and the number of the epoch."""
        if self.rows is None:
            return
        self.write_back()
        self.whole[2].take_back(self.optimizer, self.rows, self._parameters)
        for whole, own in ((self._batches, self.batches), (self._validation, self.validation)):
            if isinstance(whole, DataLoader) and isinstance(own, DataLoader):
                whole.epoch = own.epoch

    def follow_schedule(self) -> None:
        """Take over the hyperparameters that a schedule has set in the whole optimizer."""
        if self.rows is None:
            return
        for own, of_all in zip(self.optimizer.param_groups, self.whole[2].param_groups, strict=True):
            own.update(rows_of({name: of_all[name] for name in self.optimizer.defaults}, self.rows))

    def number(self, limit: Any) -> Any:
        """A number as it is, of a tensor (K,) those of the replicas that train."""
        return limit if self.rows is None or not isinstance(limit, Tensor) else limit[self.rows]

    def spread(self, values: dict[str, Measured]) -> dict[str, Measured]:
        """What was measured of those that train, (k,), as (K,), NaN for the others."""
        if self.rows is None or self.replicas is None:
            return values
        spread: dict[str, Measured] = {}
        for name, value in values.items():
            spread[name] = torch.full((self.replicas,), math.nan, dtype=torch.float64)
            spread[name][self.rows] = torch.as_tensor(value, dtype=torch.float64)  # type: ignore[index]
        return spread


def _batches_of(batches: Iterable[Any], rows: Tensor) -> Iterable[Any]:
    """A loader of the replicas' batches; others keep coming for all."""
    return batches.of_replicas(rows) if isinstance(batches, DataLoader) else batches
