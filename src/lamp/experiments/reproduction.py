"""`Experiment`: several settings that are trained, compared with published results, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamp.cpu_settings import threads_for
from lamp.experiments import figures
from lamp.experiments.figures import file_name
from lamp.experiments.protocol import MEASURED, Results, Runs, Setting, train_one, train_runs
from lamp.experiments.torch_peer import PeerRun, train_peer
from lamp.training.progress import reporter

SMALL = 0  # an amount of work so small that threads would only wait for each other


@dataclass
class Peers(Runs):
    """The runs of a setting by torch.nn."""

    runs: list[PeerRun] = field(default_factory=list)


@dataclass
class Outcome:
    """The results and the figures of an experiment."""

    experiment: Experiment
    results: list[Results] = field(default_factory=list)  # one per setting
    alone: list[Results] = field(default_factory=list)  # one per setting: some runs trained one by one, to compare
    peers: list[Peers] = field(default_factory=list)  # one per setting: runs by torch.nn; empty without these
    figures: list[Path] = field(default_factory=list)

    @property
    def short(self) -> list[str]:
        """The names of settings whose confidence interval of the test accuracy is below the published accuracy."""
        return [results.setting.name for results in self.results if not results.meets]

    def to_dict(self) -> dict[str, Any]:
        """All results, as numbers and strings."""
        settings = [results.to_dict() for results in self.results]
        for of_lamp, results, alone in zip(settings, self.results, self.alone, strict=False):
            of_lamp["one by one"] = alone.spread(*MEASURED)
            of_lamp["one by one"]["time ratio"] = alone.mean("seconds") / results.mean("seconds")
        for of_lamp, results, peers in zip(settings, self.results, self.peers, strict=False):
            of_lamp["torch.nn"] = {**peers.spread(*MEASURED), "published": results.setting.published_torch}
            of_lamp["torch.nn"]["time ratio"] = peers.mean("seconds") / results.mean("seconds")
        return {
            "about": self.experiment.about,
            "settings": settings,
            "figures": [str(path) for path in self.figures],
        }


@dataclass(frozen=True)
class Experiment:
    """The experiment of one of the systems that lamp grew from: its settings, number of runs, and figures."""

    label: str
    about: str
    settings: Sequence[Setting]
    runs: int
    figures: Callable[[Sequence[Results], Path], list[Path]]
    peer: bool = False  # whether torch.nn is trained too, with every seed

    def carry_out(
        self,
        folder: Path,
        *,
        runs: int | None = None,
        progress: bool = True,
        one_by_one: bool = False,
        compare: int = 0,
    ) -> Outcome:
        """Train every setting, write the figures to the folder, and return the outcome.

        one_by_one  train the runs one after another, not as one population
        compare     the number of runs that are also trained one by one, by lamp and by torch.nn, to compare times
        """
        outcome = Outcome(self)
        seeds = range(runs or self.runs)
        for setting in self.settings:
            title = f"{self.label}, {setting.name}: epoch"
            results = train_runs(setting, seeds, title=title, progress=progress, one_by_one=one_by_one)
            outcome.results.append(results)
            if compare or self.peer:
                alone, peers = beside_torch(setting, seeds, compare, self.peer, f"{title} (to compare)", progress)
                outcome.peers.append(peers)
                outcome.alone += [alone] if compare else []
        outcome.figures = self.figures(outcome.results, folder)
        if self.peer:
            path = folder / file_name(self.label, "beside torch")
            outcome.figures.append(figures.beside_torch(outcome.results, outcome.peers, path))
        return outcome


def beside_torch(
    setting: Setting, seeds: Sequence[int], compare: int, all_by_torch: bool, title: str, progress: bool
) -> tuple[Results, Peers]:
    """Train some of the seeds by lamp and some or all by torch.nn, alternately, so that their times can be compared.

    Both use one thread, which is the fastest for both with networks of this size.
    """
    alone, peers = Results(setting), Peers()
    by_torch = len(seeds) if all_by_torch else compare
    with threads_for(SMALL), reporter(progress, setting.epochs * max(compare, by_torch), title) as report:
        for k, seed in enumerate(seeds):
            if k < compare:
                alone.runs.append(train_one(setting, seed, report, k * setting.epochs))
            if k < by_torch:
                peers.runs.append(train_peer(setting, seed))
                report.at((k + 1) * setting.epochs, {"loss": peers.runs[-1].train_loss})
    return alone, peers
