"""The command `python -m benchmarks compiling`: seconds until a training can begin, by where its kernel comes from."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import click
from rich.console import Console
from rich.table import Table

from benchmarks.disk import disk
from benchmarks.machine import description
from benchmarks.report import machine_line, write_between
from benchmarks.row17_transformer import texts
from benchmarks.row18_residual_cnn import images
from benchmarks.row19_recurrence import sequences
from benchmarks.single import ADAM, Task
from benchmarks.single_lamp import WithFitCompiled
from benchmarks.stacks import LARGER, LENET, stack

NAME = "compiling"
TITLE = "seconds until a training can begin"
ROUNDS = 7
HEAD = "network", "compiled", "from the disk"
FROM_DISK = 0.02  # seconds: the goal for every network
NETWORKS: Mapping[str, Callable[[], Task]] = {
    "2-25-25-25-2": partial(disk, ADAM),
    "LeNet-5": partial(stack, LENET, 32, 2),
    "four convolutions": partial(stack, LARGER, 32, 2),
    "residual CNN": partial(images, 64, 2),
    "LSTM": partial(sequences, "LSTM"),
    "transformer": texts,
}
GOALS = {"LeNet-5": 0.7, "transformer": 2.0}  # seconds to compile

Seconds = dict[str, list[float]]  # "compiled" and "from the disk" -> seconds of each round


def measure(task: Task, rounds: int = ROUNDS) -> Seconds:
    """The seconds that `lamp.fit` reports (`history.compile_seconds`), in rounds: with nothing on the disk, then with
    the kernel there and nothing in memory."""
    found: Seconds = {"compiled": [], "from the disk": []}
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, LAMP_CACHE_DIR=f"{folder}/kernels"):
        for _ in range(rounds):
            shutil.rmtree(f"{folder}/kernels", ignore_errors=True)
            for seconds in found.values():
                training = WithFitCompiled(task)  # which drops the kernels in memory
                training.run(task.batches)
                seconds.append(training.compiling)
    return found


def run(console: Console, document: Path, saved: Path, *, only: str, write_docs: bool, from_results: bool) -> None:
    """Measure the networks whose name contains `only`, or read saved results, and show them.

    document  the page that write_docs writes the table into, between its markers
    saved     the file of results, which from_results reads and write_docs writes
    """
    if from_results:
        if not saved.exists():
            raise click.UsageError(f"{NAME} has no results: leave --from-results out")
        kept = json.loads(saved.read_text(encoding="utf-8"))
        results, machine = kept["results"], kept["machine"]
    else:
        machine, results = description(), {}
        measure(disk(ADAM), 1)  # loads the compiler
        for name, task in NETWORKS.items():
            if only.lower() in name.lower():
                results[name] = measure(task())
    if not results:
        raise click.UsageError(f"no network is named so: {only}")
    shown = Table(title=TITLE, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for k, name in enumerate(HEAD):
        shown.add_column(name, justify="right" if k else "left", no_wrap=True)
    for line in lines(results):
        shown.add_row(*line)
    console.print(shown)
    for remark in (*remarks(results), machine_line(machine)):
        console.print(f"  {remark}", highlight=False)
    if write_docs:
        saved.parent.mkdir(exist_ok=True)
        saved.write_text(json.dumps({"machine": dict(machine), "results": results}, indent=1) + "\n", encoding="utf-8")
        rows = ["| " + " | ".join(line) + " |" for line in (HEAD, ("---", "--:", "--:"), *lines(results))]
        told = [f"- {remark}" for remark in (*remarks(results), f"medians of {ROUNDS}")]
        write_between(document, NAME, "\n".join([*rows, "", *told, "", f"{machine_line(machine)}."]))


def lines(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The lines of the table, under HEAD."""
    return [
        (name, *(f"{statistics.median(seconds[each]):.3f}" for each in HEAD[1:])) for name, seconds in results.items()
    ]


def remarks(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Whether each goal is met."""
    found = []
    for name, goal in GOALS.items():
        if name in results:
            found.append(_verdict(f"{name} compiled", statistics.median(results[name]["compiled"]), goal))
    slowest = max(statistics.median(seconds["from the disk"]) for seconds in results.values())
    return [*found, _verdict("every kernel from the disk", slowest, FROM_DISK)]


def _verdict(what: str, seconds: float, goal: float) -> str:
    return f"{'met' if seconds <= goal else 'MISSED'}: {what} within {goal:g} s; it is {seconds:.3f}"
