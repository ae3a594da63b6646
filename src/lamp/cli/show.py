"""What the commands print: tables on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lamp.experiments.protocol import Results, Runs
from lamp.experiments.reproduction import Outcome


def console() -> Console:
    """Where tables go: stdout as it is now."""
    return Console(highlight=False)


def spread(mean: float, std: float, digits: int = 1) -> str:
    """mean ± std."""
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def _spread_of(results: Runs, name: str, digits: int = 1) -> str:
    return spread(results.mean(name), results.std(name), digits)


def runs(results: Results) -> None:
    """A row a run, and the mean ± std of all."""
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


def outcome(outcome: Outcome) -> None:
    """An experiment's settings: what was published, what lamp gets, and what torch.nn gets where it was trained too."""
    experiment = outcome.experiment
    table = Table(
        title=f"{experiment.label}: {experiment.about}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column("setting", no_wrap=True)
    for heading in ("published %", "test %", "test loss", "s a run", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for k, results in enumerate(outcome.results):
        setting = results.setting
        verdict = "" if setting.published is None else "[green]met[/]" if results.meets else "[red]below[/]"
        measured = [_spread_of(results, "test_accuracy", 2), _spread_of(results, "test_loss", 3)]
        row = [
            _published(setting.published, setting.published_std),
            *measured,
            f"{results.mean('seconds'):.2f}",
            verdict,
        ]
        if not outcome.peers:
            table.add_row(setting.name, *row)
            continue
        peers = outcome.peers[k]
        ratio = peers.mean("seconds") / results.mean("seconds")
        measured = [_spread_of(peers, "test_accuracy", 2), _spread_of(peers, "test_loss", 3)]
        table.add_row(setting.name, *row)
        peer = [_published(setting.published_torch, None), *measured, f"{peers.mean('seconds'):.2f}", f"{ratio:.1f}x"]
        table.add_row("  torch.nn", *peer, end_section=True)
    console().print(table)
    files(outcome.figures)


def _published(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:g}" if std is None else f"{mean:g} ({std:g})"


def files(paths: Sequence[Path]) -> None:
    """Where the files are."""
    for path in paths:
        console().print(f"  {path}", style="dim", soft_wrap=True)
