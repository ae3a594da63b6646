"""An experiment: several settings, carried out, compared with what was published, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamp.experiments import figures
from lamp.experiments.figures import file_name
from lamp.experiments.protocol import MEASURED, Results, Runs, Setting, train_one, train_runs
from lamp.experiments.torch_peer import PeerRun, train_peer
from lamp.training.progress import reporter
from lamp.training.threads import threads_for

SMALL = 0  # work for which threads would only wait for each other


@dataclass
class Peers(Runs):
    """A setting's runs by torch.nn."""

    runs: list[PeerRun] = field(default_factory=list)


@dataclass
class Outcome:
    """An experiment carried out."""

    experiment: Experiment
    results: list[Results] = field(default_factory=list)
    peers: list[Peers] = field(default_factory=list)  # beside results, where torch.nn was trained too
    figures: list[Path] = field(default_factory=list)

    @property
    def short(self) -> list[str]:
        """The settings whose mean test accuracy is below the published one."""
        return [results.setting.name for results in self.results if not results.meets]

    def to_dict(self) -> dict[str, Any]:
        """Everything measured, as numbers and strings."""
        settings = [results.to_dict() for results in self.results]
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
    """A seed system's experiment: its settings, how many runs it made, and the figures its report shows."""

    label: str
    about: str
    settings: Sequence[Setting]
    runs: int
    figures: Callable[[Sequence[Results], Path], list[Path]]
    peer: bool = False  # whether torch.nn is trained beside it

    def carry_out(self, folder: Path, *, runs: int | None = None, progress: bool = True) -> Outcome:
        """Train every setting, draw the figures into the folder, and return all of it."""
        outcome = Outcome(self)
        seeds = range(runs or self.runs)
        for setting in self.settings:
            title = f"{self.label}, {setting.name}: epoch"
            if self.peer:
                results, peers = beside_torch(setting, seeds, title=title, progress=progress)
                outcome.peers.append(peers)
            else:
                results = train_runs(setting, seeds, title=title, progress=progress)
            outcome.results.append(results)
        outcome.figures = self.figures(outcome.results, folder)
        if outcome.peers:
            path = folder / file_name(self.label, "beside torch")
            outcome.figures.append(figures.beside_torch(outcome.results, outcome.peers, path))
        return outcome


def beside_torch(setting: Setting, seeds: Sequence[int], *, title: str, progress: bool) -> tuple[Results, Peers]:
    """Train the setting by lamp and by torch.nn, seed by seed in turn, so that their times compare.

    Both run on one of torch's threads, which is the fastest for either on networks of this size.
    """
    results, peers = Results(setting), Peers()
    with threads_for(SMALL), reporter(progress, setting.epochs * len(seeds), title) as report:
        for k, seed in enumerate(seeds):
            results.runs.append(train_one(setting, seed, report, k * setting.epochs))
            peers.runs.append(train_peer(setting, seed))
    return results, peers
