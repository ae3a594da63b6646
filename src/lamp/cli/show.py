"""Tables that the commands for experiments print on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lamp.cli.console import console
from lamp.experiments.protocol import Results, Runs
from lamp.experiments.reproduction import Outcome

VERDICTS = {"met": "green", "within": "yellow", "below": "red"}  # the interval of the mean


def spread(mean: float, std: float, digits: int = 1) -> str:
    """The text "mean ± std"."""
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def _spread_of(results: Runs, name: str, digits: int = 1) -> str:
    """The text "mean ± std"; for a single run, which has no std, its value."""
    if len(results.runs) == 1:
        return f"{results.mean(name):.{digits}f}"
    return spread(results.mean(name), results.std(name), digits)


def runs(results: Results) -> None:
    """Print one row per run, and the mean ± std of all runs."""
    table = Table(title=f"{results.setting.name} network on the disk, {results.setting.epochs} epochs")
    table.add_column("seed")
    for heading in ("train loss", "train accuracy", "test accuracy", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in results.runs:
        table.add_row(
            str(run.seed),
            f"{run.train_loss:.4f}",
            f"{run.train_accuracy:.1f}",
            f"{run.test_accuracy:.1f}",
            f"{run.seconds:.2f}",
        )
    table.add_section()
    table.add_row(
        "mean ± std",
        _spread_of(results, "train_loss", 4),
        _spread_of(results, "train_accuracy"),
        _spread_of(results, "test_accuracy"),
        _spread_of(results, "seconds", 2),
        style="bold",
    )
    console().print(table)
    console().print(f"  {_how_long(results)}")


def _how_long(results: Results) -> str:
    """A sentence on how long all runs took together, in seconds, and how much of it was compiling."""
    networks = "1 network" if len(results.runs) == 1 else f"{len(results.runs)} networks"
    whole, compiling = results.of("seconds").sum().item(), results.of("compiling").sum().item()
    if not compiling:
        return f"{networks} trained in {whole:.2f} s"
    return f"{networks} trained in {whole - compiling:.2f} s, after {compiling:.2f} s of compiling"


def times(results: Results, alone: Runs, peers: Runs) -> None:
    """Print the seconds per run: as trained, one by one with lamp, and one by one with torch.nn."""
    ours = results.mean("seconds")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("time per run")
    for heading in ("runs", "seconds", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("as trained above", str(len(results.runs)), f"{ours:.3f}", "")
    for name, runs in (("lamp, one by one", alone), ("torch.nn, one by one", peers)):
        seconds = runs.mean("seconds")
        table.add_row(name, str(len(runs.runs)), f"{seconds:.3f}", f"{seconds / ours:.1f}x")
    console().print(table)


def outcome(outcome: Outcome) -> None:
    """Print an experiment: per setting the published figure, lamp's result, and the runs trained for comparison."""
    experiment = outcome.experiment
    table = Table(
        title=f"{experiment.label}: {experiment.about}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column("setting", no_wrap=True)
    for heading in ("published %", "test %", "test loss", "s per run", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for k, results in enumerate(outcome.results):
        setting = results.setting
        verdict = "" if setting.published is None else Text(results.verdict, style=VERDICTS[results.verdict])
        published = _published(setting.published, setting.published_std)
        beside: list[tuple[str, str, Runs]] = []
        if outcome.alone:
            beside.append(("  one by one", "", outcome.alone[k]))
        if outcome.peers:
            beside.append(("  torch.nn", _published(setting.published_torch, None), outcome.peers[k]))
        table.add_row(setting.name, published, *_measured(results), verdict)
        for name, theirs, runs in beside:
            ratio = f"{runs.mean('seconds') / results.mean('seconds'):.1f}x"
            table.add_row(name, theirs, *_measured(runs), ratio, end_section=name == beside[-1][0])
    console().print(table)
    files(outcome.figures)


def _measured(runs: Runs) -> tuple[str, str, str]:
    """Test accuracy in percent, test loss and seconds per run, as texts."""
    return _spread_of(runs, "test_accuracy", 2), _spread_of(runs, "test_loss", 3), f"{runs.mean('seconds'):.2f}"


def _published(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:g}" if std is None else f"{mean:g} ({std:g})"


def files(paths: Sequence[Path]) -> None:
    """Print the paths of the files that were written."""
    for path in paths:
        console().tell(f"  {path}", "dim")
