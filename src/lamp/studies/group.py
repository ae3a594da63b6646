"""`Group`: some settings of a sweep whose networks train together as one population, some epochs at a time."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.data import DataLoader, as_batches
from lamp.errors import NonFiniteError, NonFiniteWarning
from lamp.optim import Optimizer, Schedule
from lamp.optim.checks import rows_of
from lamp.replicas import Population, population, stack
from lamp.studies.makers import schedule_of
from lamp.studies.recipe import Recipe
from lamp.studies.settings import Setting
from lamp.studies.trial import Trial
from lamp.training import Callback, History, fit
from lamp.training.metrics import MetricLike


@dataclass(frozen=True)
class SweepArguments:
    """The arguments of `sweep` that all groups share."""

    recipe: Recipe
    seeds: list[int]
    score: str
    data: Any
    rows: Tensor | None  # the samples of the data to train on; None for all
    epochs: int
    batch_size: int | None
    shuffle: bool | None
    validation: Any
    metrics: Mapping[str, MetricLike]
    scheduler: Callable[[Optimizer], Schedule] | None
    schedule_per: str
    engine: str


class Group:
    """Trials whose networks train together, with their optimizer, loss and data, which are made when training begins.

    replicas    for each replica its trial, and the index of its seed
    population  the networks; None before training begins, and after the last of them was dropped
    """

    def __init__(self, arguments: SweepArguments, trials: Sequence[Trial]) -> None:
        self.arguments = arguments
        self.replicas = [(trial, j) for trial in trials for j in range(len(arguments.seeds))]
        self.population: Population | None = None
        self.schedule: Any = None

    def _begin(self) -> Population:
        """Make the networks and what trains them."""
        arguments, settings = self.arguments, [trial.setting for trial, _ in self.replicas]
        networks = self._networks(settings)
        self.optimizer = arguments.recipe.optimizer_of(networks, settings)
        self.schedule = None if arguments.scheduler is None else schedule_of(arguments.scheduler, self.optimizer)
        self.criterion = arguments.recipe.loss_of(networks, settings)
        self.clip = arguments.recipe.clip_of(settings)
        seeds = [arguments.seeds[j] for _, j in self.replicas]
        options: dict[str, Any] = {"seed": seeds, "epochs": arguments.epochs, "indices": arguments.rows}
        batches = as_batches(arguments.data, arguments.batch_size, arguments.shuffle, **options)
        self.batches = copy.copy(batches) if isinstance(batches, DataLoader) else batches  # with its own epoch
        for trial, _ in self.replicas:
            trial.group = self
        return networks

    def _networks(self, settings: Sequence[Setting]) -> Population:
        """A population with the network of each replica's setting, initialised with the replica's seed."""
        each = [self.arguments.recipe.network(setting) for setting in settings]
        of_seeds = {id(network): population(network, self.arguments.seeds) for network in each}
        if len(of_seeds) == 1:
            return of_seeds[id(each[0])].select([j for _, j in self.replicas])
        return stack([of_seeds[id(network)][j] for network, (_, j) in zip(each, self.replicas, strict=True)])

    def train(self, epochs: int, callbacks: Sequence[Callback]) -> History:
        """Train all networks that have not failed for so many more epochs."""
        networks = self.population = self.population or self._begin()
        arguments = self.arguments
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NonFiniteWarning)  # the trials count failures
            try:
                history = fit(
                    networks,
                    self.criterion,
                    self.optimizer,
                    self.batches,
                    epochs=epochs,
                    validation=arguments.validation,
                    metrics=arguments.metrics,
                    scheduler=self.schedule,
                    schedule_per=arguments.schedule_per,
                    callbacks=callbacks,
                    progress=False,
                    engine=arguments.engine,
                    **self.clip,
                )
            except NonFiniteError as error:
                if error.history is None:
                    raise
                history = error.history  # every network of this group has failed
        scores = _last(history[arguments.score]) if history.epochs else torch.full((len(networks),), torch.nan)
        rows: dict[Trial, dict[int, int]] = {}
        for row, (trial, j) in enumerate(self.replicas):
            rows.setdefault(trial, {})[j] = row
        for trial, row_of in rows.items():
            trial.record(history, row_of, scores)
        return history

    def keep(self, trials: set[Trial]) -> None:
        """Drop all networks but those of these trials that have not failed."""
        rows = [k for k, (trial, j) in enumerate(self.replicas) if trial in trials and j not in trial.lost]
        for trial in {trial for trial, _ in self.replicas} - {self.replicas[k][0] for k in rows}:
            trial.group = None
        if len(rows) == len(self.replicas) or self.population is None:
            return
        old, chosen = self.population, torch.tensor(rows)
        self.replicas = [self.replicas[k] for k in rows]
        if not rows:
            self.close()
            self.population = None
            return
        self.population = old.select(rows)
        twins = dict(zip(old.parameters(), self.population.parameters(), strict=True))
        self.optimizer = self.optimizer.of_replicas(chosen, twins)
        if self.schedule is not None:
            self.schedule = self.schedule.of_replicas(chosen, self.optimizer)
        self.criterion = None if self.criterion is None else self.criterion.of_replicas(chosen)
        self.batches = self.batches.of_replicas(chosen) if isinstance(self.batches, DataLoader) else self.batches
        self.clip = rows_of(self.clip, chosen)

    def close(self) -> None:
        """Free what only training needs."""
        del self.optimizer, self.schedule, self.criterion, self.batches

    def networks_of(self, trial: Trial) -> Population:
        """The networks of one trial that have not failed, in order of its seeds."""
        assert self.population is not None
        return self.population.select(
            [k for k, (each, j) in enumerate(self.replicas) if each is trial and j not in trial.lost]
        )


def _last(values: Tensor) -> Tensor:
    """The last value per replica that is not NaN, (K,), from values (epochs, K)."""
    epochs = torch.arange(1, len(values) + 1).unsqueeze(1)
    last = (~values.isnan() * epochs).argmax(0, keepdim=True)
    return values.gather(0, last).squeeze(0)
