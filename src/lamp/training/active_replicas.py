"""The replicas that are still training.

A replica ends when it stops early or when its loss is not finite. The others then go on as a smaller population with
their own optimizer, loss and batches, so a replica that has ended costs nothing. Its row of the whole population stays
as it was when it ended.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
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
from lamp.parameter import Buffer, Parameter
from lamp.paths import path_of
from lamp.replicas import Population
from lamp.replicas.selecting import selected
from lamp.training.batch import BatchReader
from lamp.training.callback import Training
from lamp.training.changes import Twins, make_up, settings_of
from lamp.training.measured import Measured
from lamp.training.own_state import OwnState, of_data
from lamp.training.training_state import data_state, set_position
from lamp.training.untouched import Untouched


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
        """Raise ArgumentError if a callback of the user's has put a module of other replicas into the model."""
        if not all(is_lamps(type(callback)) for callback in training.callbacks):
            self.check_replicas()

    def check_replicas(self) -> None:
        """Raise ArgumentError for a module with state in a population that is not per replica."""
        model, replicas = self.whole[0], self.replicas
        for module in model.modules() if replicas is not None else ():
            members = (*module._members(Parameter), *(() if module.gives_loss else module._members(Buffer)))
            if module.replicas != replicas and (members or module.get_extra_state() is not None):
                raise ArgumentError(
                    "a module of a single network was put into a population",
                    expected=f"a module of {replicas} replicas, with tensors ({replicas}, ...)",
                    got=f"{type(module).__name__} of {module.replicas or 1}",
                    fix="put in lamp.population(module, seeds).network, or change the network before lamp.population",
                    where=path_of(module, model),
                )

    def keep(self, rows: Tensor) -> None:
        """Continue with only these replicas. Their numbers are those of the whole population."""
        self.hand_over()
        self.reader.rows = rows
        self.select()

    def select(self) -> None:
        """Copy the active replicas from the whole population: model, criterion, optimizer and batches."""
        whole, criterion, optimizer = self.whole
        rows = self.rows
        assert isinstance(whole, Population)
        assert rows is not None
        self.model = whole.of_replicas(rows)
        self._modules = [*whole.modules()]
        self._parameters = dict(zip(whole.parameters(), self.model.parameters(), strict=True))
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._removed = selected([each for each in trained if each not in self._parameters], rows.tolist())
        self._parameters |= self._removed
        self.optimizer = optimizer.of_replicas(rows, self._parameters)
        self.criterion = criterion.of_replicas(rows)
        self.batches = _batches_of(self._batches, rows)
        self.validation = None if self._validation is None else _batches_of(self._validation, rows)
        pairs = [*zip(whole.modules(), self.model.modules(), strict=True), (criterion, self.criterion)]
        self._twins = [Twins(a, b) for a, b in [*pairs, (optimizer, self.optimizer)] if not is_lamps(type(a))]
        self._selected_from, self._state_key = self._key(), optimizer.state_key
        self._untouched = Untouched(whole, optimizer, (self._batches, self._validation))

    # ---- what user code changes --------------------------------------------------------------------------------------
    def _key(self) -> Hashable:
        """A key of all that `select` copies, except the numbers that `take_over` copies."""
        return make_up(*self.whole), settings_of(self._batches), settings_of(self._validation)

    @property
    def is_outdated(self) -> bool:
        """Whether user code has changed more in the whole population than its numbers, since `select`."""
        if self.rows is None:
            return False
        for whole, own in self._loaders:  # data per replica were copied
            columns = zip(whole.columns, own.columns, strict=True) if whole.per_replica else ()
            if not all(torch.equal(column[self.rows], twin) for column, twin in columns):
                return True
        return self._key() != self._selected_from

    @property
    def has_other_modules(self) -> bool:
        """Whether user code has added, removed or replaced modules of the whole population since `select`, so that the
        active replicas no longer fit into it."""
        return [*self.whole[0].modules()] != self._modules

    def take_over(self) -> None:
        """Copy the numbers of the whole population: weights, buffers, the optimizer's state, the number of epochs."""
        if self.rows is None:
            return
        assert isinstance(self.whole[0], Population)
        assert isinstance(self.model, Population)
        self.model.take(range(len(self.rows)), self.whole[0], self.rows.tolist())
        for parameter, twin in self._removed.items():
            twin.data.copy_(parameter.data[self.rows])
        if self.whole[2].state_key != self._state_key:
            self.optimizer.take(self.whole[2], self.rows, self._parameters)
        for whole, own in self._loaders:
            own.epoch = whole.epoch
        self._untouched.note()

    @property
    def written(self) -> str | None:
        """What user code has written to in the whole population since lamp did: weights, state or counts."""
        return None if self.rows is None else self._untouched.changed

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
        """Restore what `state_dict` returned, but for the user's own data (see `restore_own`).

        The whole population must have its weights and state already.
        """
        self.reader.target_axes = state_dict["target_axes"]
        set_position(self._validation, state_dict["validation"])
        set_position(self._batches, state_dict["data"])
        if state_dict["rows"] is not None:
            self.keep(state_dict["rows"])

    def generators(self, training: Training) -> dict[str, Any]:
        """The states of the generators that the user's objects hold, by path."""
        return self._own(training).state_dict()["generators"]  # type: ignore[no-any-return]

    def restore_own(self, training: Training, state: Mapping[str, Any]) -> None:
        """Restore the user's generators and what the user's data keep, once nothing else runs the user's code."""
        self._own(training).load_state_dict({"generators": state.get("generators", {})})
        for name, data in (("data", self._batches), ("validation", self._validation)):
            if data is not None:
                of_data(data).load_state_dict(state["crew"][name])

    def _own(self, training: Training) -> OwnState:
        both = (("network", self.model), ("loss", self.criterion))
        modules = {f"{name}.{path}": inner for name, module in both for path, inner in module.named_modules()}
        metrics = {f"metric {name}": metric for name, metric in training.metrics.items()}
        callbacks = {f"callbacks[{k}]": callback for k, callback in enumerate(training.callbacks)}
        return OwnState(
            {**modules, "optimizer": self.optimizer, "schedule": training.scheduler, **metrics, **callbacks}
        )

    # ---- the whole -------------------------------------------------------------------------------------------------
    def write_back(self) -> None:
        """Copy the weights of the active replicas into the whole population."""
        if self.rows is not None:
            assert isinstance(self.whole[0], Population)
            assert isinstance(self.model, Population)
            self.whole[0].take(self.rows.tolist(), self.model, range(len(self.rows)))
            self._untouched.note()

    def hand_over(self) -> None:
        """Update the whole population from the active replicas: weights, optimizer state and number of epochs."""
        if self.rows is None or self.has_other_modules:
            return
        self.write_back()
        for parameter, twin in self._removed.items():
            parameter.data[self.rows] = twin.data
        self.whole[2].take_back(self.optimizer, self.rows, self._parameters)
        self._state_key = self.whole[2].state_key
        for whole, own in self._loaders:
            whole.epoch = own.epoch
            if whole.seed is None:  # one may have been drawn since
                whole.load_state_dict(own.state_dict())
        moved = [twins.hand_over() for twins in self._twins]
        if any(moved):
            self._selected_from = self._key()
        self._untouched.note()

    @property
    def _loaders(self) -> list[tuple[DataLoader, DataLoader]]:
        """The loaders of all replicas, each with the one of the active replicas."""
        pairs = ((self._batches, self.batches), (self._validation, self.validation))
        return [(a, b) for a, b in pairs if isinstance(a, DataLoader) and isinstance(b, DataLoader)]

    def follow_hyperparameters(self) -> None:
        """Copy the hyperparameters of the whole population's optimizer, which a schedule or user code may have set."""
        if self.rows is None:
            return
        for own, of_all in zip(self.optimizer.param_groups, self.whole[2].param_groups, strict=True):
            for name, value in rows_of({name: of_all[name] for name in self.optimizer.defaults}, self.rows).items():
                own.put(name, value)  # without a check: the whole population's group has checked it

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
