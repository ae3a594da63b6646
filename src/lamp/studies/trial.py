"""`Trial`: one setting of a sweep with all its seeds, their scores and their histories."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.replicas import Population
from lamp.studies.settings import Setting, shown
from lamp.torch_habits import explains_attributes, without_items
from lamp.training import History

INSTEAD = {  # what users of Optuna and scikit-learn look for
    **dict.fromkeys(("score", "value", "loss", "validation_loss"), "row.mean, or row.scores with one per seed"),
    **dict.fromkeys(("params", "parameters", "config", "hyperparameters"), "row.setting"),
}

# Some epochs of a trial: the population's history, the replica of each seed (by index), and the epochs before.
Stage = tuple[History, dict[int, int], int]


class TrainedTogether(Protocol):
    """A group of trials that train as one population, as far as a trial uses it."""

    population: Population | None

    def networks_of(self, trial: Trial) -> Population: ...


@explains_attributes(lambda row: {name: f"row.setting[{name!r}]" for name in vars(row).get("setting", ())} | INSTEAD)
class Trial:
    """One setting, trained with every seed.

    setting  the hyperparameters by name
    scores   (seeds,): the score that the sweep ranks by, per seed, at its last epoch; NaN if its network failed
    mean     the mean of the scores that are not NaN; `std`, their standard deviation
    epochs   the number of epochs trained
    rounds   the number of rounds of successive halving that it survived
    failed   the number of networks whose loss was not finite
    """

    def __init__(self, setting: Setting, seeds: int) -> None:
        self.setting, self.epochs, self.rounds = Setting(setting), 0, 0
        self.scores = torch.full((seeds,), math.nan, dtype=torch.float64)
        self.group: TrainedTogether | None = None  # the group that its networks train in
        self.lost: set[int] = set()  # the indices of the seeds whose networks failed
        self._stages: list[Stage] = []

    def __getitem__(self, name: Any) -> Any:
        raise without_items(self, name, "row.setting['lr'] is a hyperparameter, row.mean the mean score")

    @property
    def going(self) -> list[int]:
        """The indices of the seeds whose networks did not fail."""
        return [j for j in range(len(self.scores)) if j not in self.lost]

    @property
    def failed(self) -> int:
        return len(self.lost)

    @property
    def mean(self) -> float:
        return self.scores[self.going].mean().item()

    @property
    def std(self) -> float:
        return self.scores[self.going].std().item() if len(self.going) > 1 else math.nan

    def record(self, history: History, row_of: dict[int, int], scores: Tensor) -> None:
        """Record some epochs of a population.

        history  the population's history
        row_of   index of one of this trial's seeds: its replica in the population
        scores   (K,), the score of each replica at its last epoch
        """
        self._stages.append((history, row_of, self.epochs))
        rows = list(row_of.values())
        if history.epochs:
            self.epochs += int((~history["loss"][:, rows].isnan()).any(1).sum())
        for j, row in row_of.items():
            self.scores[j] = scores[row]
            if row in history.failed:
                self.lost.add(j)
                self.scores[j] = math.nan

    def place(self, mode: str) -> tuple[float, ...]:
        """The key that trials are sorted by: more rounds, a score at all, fewer failures, a better score."""
        none = not math.isfinite(self.mean)
        return (-self.rounds, none, self.failed, 0.0 if none else self.mean if mode == "min" else -self.mean)

    def history(self) -> History:
        """The history of all epochs, with tensors (epochs, seeds); NaN after a network has stopped."""
        if not self._stages:
            raise ArgumentError(
                f"the setting {shown(self.setting)} was not trained",
                expected="a setting that was trained",
                got="a sweep that was interrupted before",
                fix="let the sweep finish",
            )
        first = self._stages[0][0]
        whole = History(first.engine, first.why, len(self.scores))
        for history, row_of, before in self._stages:
            places, rows = list(row_of), list(row_of.values())
            measured = {name: history[name][:, rows] for name in history.names}  # (epochs, seeds that took part)
            for epoch, seconds in enumerate(history.seconds.tolist()):
                values = {}
                for name, of_all in measured.items():
                    values[name] = torch.full((len(self.scores),), math.nan, dtype=torch.float64)
                    values[name][places] = of_all[epoch]
                if all(value.isnan().all() for value in values.values()):  # all networks had stopped before
                    break
                whole.record(values, seconds)
            after = f"after {before} epochs: " if before else ""
            endings = {j: history.endings[row] for j, row in row_of.items() if row in history.endings}
            whole.endings |= {j: after + why for j, why in endings.items()}
            whole.stopped = history.stopped
        whole.failed = sorted(self.lost)
        return whole
