"""What the commands print: tables on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lamp.experiments.experiment import Outcome
from lamp.experiments.protocol import Results

console = Console(highlight=False)


def spread(mean: float, std: float, digits: int = 1) -> str:
    """mean ± std."""
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def _spread_of(results: Results, name: str, digits: int = 1) -> str:
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
    console.print(table)


def outcome(outcome: Outcome) -> None:
    """An experiment's settings: what was published, what lamp gets, and torch.nn in the same run where it was trained."""
    experiment = outcome.experiment
    table = Table(title=f"{experiment.label}: {experiment.about}", title_justify="left")
    table.add_column("setting", no_wrap=True)
    headings = ["runs", "published test %", "lamp test %", "train %", "test loss", "s a run"]
    if outcome.peers:
        headings[3:3] = ["torch.nn published", "torch.nn here"]
        headings.append("torch.nn time / lamp's")
    for heading in [*headings, ""]:
        table.add_column(heading, justify="right", no_wrap=True)
    for k, results in enumerate(outcome.results):
        setting = results.setting
        published = "-" if setting.published is None else f"{setting.published:g}"
        if setting.published_std is not None:
            published += f" ({setting.published_std:g})"
        row = [
            setting.name,
            str(len(results.runs)),
            published,
            _spread_of(results, "test_accuracy", 2),
            _spread_of(results, "train_accuracy", 2),
            _spread_of(results, "test_loss", 4),
            f"{results.mean('seconds'):.2f}",
        ]
        if outcome.peers:
            peers = outcome.peers[k]
            row[4:4] = [f"{setting.published_torch:g}", spread(peers.mean("test_accuracy"), peers.std("test_accuracy"), 2)]
            row.append(f"{peers.mean('seconds') / results.mean('seconds'):.2f}")
        verdict = "" if setting.published is None else "[green]met[/]" if results.meets else "[red]below[/]"
        table.add_row(*row, verdict)
    console.print(table)
    files(outcome.figures)


def files(paths: Sequence[Path]) -> None:
    """Where the files are."""
    for path in paths:
        console.print(f"  {path}", style="dim", soft_wrap=True)
