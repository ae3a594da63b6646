"""One setting of a sweep, with all its seeds: how far its networks have come, and how well they do."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.replicas import Population
from lamp.studies.settings import Setting, shown
from lamp.training import History

Stage = tuple[History, dict[int, int], int]  # of a population, the row of each of the trial's seeds, epochs before it


class TrainedTogether(Protocol):
    """Some trials that train as one population, as each of them sees it."""

    population: Population | None

    def networks_of(self, trial: Trial) -> Population: ...


class Trial:
    """One setting, trained with every seed.

    setting  the hyperparameters by name
    scores   (seeds,): what the sweep ranks by, of each seed at the last epoch it trained; NaN where it failed
    mean     of the scores of those that did not fail, and their std
    epochs   how many it trained
    rounds   of successive halving: how often it was among the best, that went on
    failed   how many of its networks had a loss that is not finite
    """

    def __init__(self, setting: Setting, seeds: int) -> None:
        self.setting, self.epochs, self.rounds = setting, 0, 0
        self.scores = torch.full((seeds,), math.nan, dtype=torch.float64)
        self.group: TrainedTogether | None = None  # the population that has its networks
        self.lost: set[int] = set()  # the seeds, by place, whose network failed
        self._stages: list[Stage] = []

    @property
    def going(self) -> list[int]:
        """The places of the seeds whose networks did not fail."""
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
        """Take note of some epochs.

        history  of a population
        row_of   of the places of this trial's seeds, which replica of it was which
        scores   (K,), at the replicas' last epochs
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
        """What trials are sorted by: who got further, who has a score, who failed less, whose score is better."""
        none = not math.isfinite(self.mean)
        return (-self.rounds, none, self.failed, 0.0 if none else self.mean if mode == "min" else -self.mean)

    def history(self) -> History:
        """All that was measured: a tensor (epochs, seeds) of each name, NaN where a network took no part any more."""
        if not self._stages:
            raise ArgumentError(
                f"the setting {shown(self.setting)} was not trained",
                expected="a setting that was",
                got="a sweep that was interrupted before",
                fix="let the sweep run to its end",
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
                if all(value.isnan().all() for value in values.values()):  # all had ended before
                    break
                whole.record(values, seconds)
            after = f"after {before} epochs: " if before else ""
            endings = {j: history.endings[row] for j, row in row_of.items() if row in history.endings}
            whole.endings |= {j: after + why for j, why in endings.items()}
            whole.stopped = history.stopped
        whole.failed = sorted(self.lost)
        return whole
