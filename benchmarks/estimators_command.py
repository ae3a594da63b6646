"""The command `python -m benchmarks estimators`: it measures, prints and saves the table of estimators."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import estimators
from benchmarks.machine import description
from benchmarks.report import machine_line, write_between

NAME = "estimators"
WIDTH = 130  # characters per line that the table needs
TITLE = "scikit-learn estimators: lamp's beside scikit-learn's own"


def run(console: Console, document: Path, saved: Path, *, only: str, write_docs: bool, from_results: bool) -> None:
    """Measure the tables whose name contains `only`, or read saved results, and show them.

    document  the page that write_docs writes the table into, between its markers
    saved     the file of results, which from_results reads and a measurement writes
    """
    if from_results:
        if not saved.exists():
            raise click.UsageError(f"{NAME} has no results: leave --from-results out")
        results, machine = estimators.from_json(saved.read_text(encoding="utf-8"))
    else:
        machine = description()
        with console.status("") as status:
            results = {table.name: estimators.measure(table, status.update) for table in estimators.chosen(only)}
    if not results:
        raise click.UsageError(f"no table is named so: {only}")
    console = Console(width=max(console.width, WIDTH), file=console.file)
    shown = Table(title=TITLE, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for k, name in enumerate(estimators.HEAD):
        shown.add_column(name, justify="left" if k < 2 else "right", no_wrap=True)
    for line in estimators.lines(results):
        shown.add_row(*line)
    console.print(shown)
    for remark in estimators.remarks(results):
        console.print(f"  {remark}", highlight=False)
    console.print("  " + machine_line(machine), highlight=False)
    if not from_results and not only:
        saved.parent.mkdir(exist_ok=True)
        saved.write_text(estimators.to_json(results, machine), encoding="utf-8")
    if write_docs:
        write_between(document, NAME, estimators.markdown(results, machine_line(machine)))
