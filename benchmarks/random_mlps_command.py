"""`python -m benchmarks mlps --seed 0 --count 40`: measure random MLPs, print, draw and store what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks import random_mlps
from benchmarks import single_work as who
from benchmarks.machine import description
from benchmarks.random_mlps import Found
from benchmarks.report import machine_line, write_between

NAME = "mlps"
WIDTH = 130  # columns of the terminal that the table needs
TITLE = "random MLPs: the engine that lamp.fit chooses, beside torch.nn and JAX"
COLOURS = {who.FUSED: "#D55E00", who.JAX: "#0072B2"}
DPI = 130


def run(
    console: Console,
    document: Path,
    saved: Path,
    *,
    only: str,
    write_docs: bool,
    from_results: bool,
    seed: int,
    count: int,
) -> None:
    """Measure the networks whose title contains `only`, or take saved results, and show them.

    document  into which table and figure go with write_docs, between its markers
    saved     the file of results: read with from_results, written with write_docs
    """
    if from_results:
        if not saved.exists():
            raise click.UsageError(f"{NAME} has no results: leave --from-results out")
        found, seed, machine = random_mlps.from_json(saved.read_text(encoding="utf-8"))
    else:
        machine = dict(description())
        drawn = [each for each in random_mlps.draw(seed, count) if only in each.title]
        with console.status("") as status:
            found = []
            for k, each in enumerate(drawn):
                begin = f"{k + 1} of {len(drawn)}: "
                found.append(random_mlps.run(each, lambda text, begin=begin: status.update(begin + text)))  # type: ignore[misc]
    if not found:
        raise click.UsageError(f"no network is named so: {only}")
    console = Console(width=max(console.width, WIDTH), file=console.file)
    shown = Table(title=f"{TITLE} (seed {seed})", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for k, name in enumerate(random_mlps.HEAD):
        shown.add_column(name, justify="left" if k < 2 else "right", no_wrap=True)
    for line in random_mlps.lines(found):
        shown.add_row(*line)
    console.print(shown)
    for remark in random_mlps.remarks(found):
        console.print(f"  {remark}", highlight=False)
    console.print("  " + machine_line(machine), highlight=False)
    if write_docs:
        saved.parent.mkdir(exist_ok=True)
        saved.write_text(random_mlps.to_json(found, seed, machine), encoding="utf-8")
        write_between(document, NAME, _markdown(found, seed, machine_line(machine)))
        draw(found).savefig(document.with_name("mlps.png"), dpi=DPI)


def _markdown(found: Sequence[Found], seed: int, machine: str) -> str:
    head = random_mlps.HEAD
    rows = ["| " + " | ".join(line) + " |" for line in random_mlps.lines(found)]
    rule = "| --- | --- |" + " --: |" * (len(head) - 2)
    told = [f"- {remark}" for remark in (f"seed {seed}", *random_mlps.remarks(found), machine)]
    return "\n".join(["| " + " | ".join(head) + " |", rule, *rows, "", *told])


def draw(found: Sequence[Found]) -> Figure:
    """Times as long as lamp that each peer takes, the networks in order: a point each."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for peer, colour in COLOURS.items():
        ratios = sorted(each.ratio(peer) for each in found if not each.wrong and peer in each.step)
        axes.plot(range(1, len(ratios) + 1), ratios, "o", color=colour, label=peer, markersize=5)
    axes.axhline(1.0, color="0.3", linewidth=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("times as long as lamp")
    axes.set_xlabel("networks, from the least ratio to the largest")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
