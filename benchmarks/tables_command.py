"""The command `python -m benchmarks tables`: it measures what is not measured yet, and prints and saves the tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import tables, tables_data, tables_report
from benchmarks.machine import description
from benchmarks.report import machine_line, write_between
from benchmarks.tables_report import Lines, Scores

NAME = "tables"
TITLE = "tables: lamp train beside boosted trees, a linear model and other networks"
BUDGETS = (20.0, 120.0)
PACKAGES = ("scikit-learn", "catboost", "lightgbm", "xgboost", "pytabkit", "numpy")


def run(
    console: Console,
    document: Path,
    saved: Path,
    *,
    only: str,
    write_docs: bool,
    from_results: bool,
    without: Sequence[str],
    budgets: Sequence[float],
    splits: int,
    rows: int,
    again: Sequence[str],
) -> None:
    """Measure the tables whose name contains `only`, go on from saved results, and show them.

    document  the page that write_docs writes the tables into, between their markers
    saved     the file of results: scores that it holds are not measured again, unless the contender's name begins with
              one of `again`; it is written after each score
    """
    if write_docs and os.environ.get(tables_data.FOLDER):
        raise click.UsageError(f"--write-docs is for tables that everyone has: unset {tables_data.FOLDER}")
    chosen = [table for table in tables_data.tables() if only.lower() in table.name.lower()]
    if not chosen:
        raise click.UsageError(f"no table is named so: {only}")
    who = tables.contenders(budgets or BUDGETS, without)
    if not who:
        raise click.UsageError("--without leaves no contender")
    scores, machines = tables.from_json(saved.read_text(encoding="utf-8")) if saved.exists() else ([], [])
    known = {score.key: score for score in scores}
    keys = [(table.name, rows, split, name) for table in chosen for name in who for split in range(splits)]
    absent: dict[str, str] = {}
    if not from_results:
        for key in keys:
            if again and key[-1].startswith(tuple(again)):
                known.pop(key, None)
        machines = list(dict.fromkeys([*machines, machine_line(description(PACKAGES))]))
        with console.status("") as status:
            for table in chosen:
                there = {name: budget for name, budget in who.items() if name not in absent}
                absent |= tables.measure(
                    table, there, splits, rows, known, status.update, lambda: _save(saved, known, machines)
                )
    found = Scores(known[key] for key in keys if key in known)
    if not found.of:
        raise click.UsageError(
            "there are no results: leave --from-results out" if from_results else "nothing was measured"
        )
    absent |= {name: "not measured" for name in who if name not in found.contenders and name not in absent}
    titled = {
        "Mean ranks": tables_report.summary(found, budgets or BUDGETS),
        "Scores": tables_report.by_table(found, "[bold]{}[/]"),
        "Coverage of 90 % intervals, in percent, by fifths of the predictions": tables_report.coverage(found),
    }
    told = tables_report.remarks(found, absent)
    for title, lines in titled.items():
        if lines:
            console.print(_printed(title, lines), "")
    for remark in [*told, *machines]:
        console.print(f"  {remark}", highlight=False, markup=False)
    if write_docs:
        write_between(document, NAME, _markdown(found, budgets or BUDGETS, told, machines))


def _save(path: Path, known: Mapping[tuple[str, int, int, str], tables.Score], machines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(tables.to_json(known.values(), machines), encoding="utf-8")
    unfinished.replace(path)


def _printed(title: str, lines: Lines) -> Table:
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for k, name in enumerate(lines[0]):
        shown.add_column(name, justify="left" if k == 0 else "right")
    for line in lines[1:]:
        shown.add_row(*line)
    return shown


def _markdown(found: Scores, budgets: Sequence[float], told: Sequence[str], machines: Sequence[str]) -> str:
    text = []
    for lines in (tables_report.summary(found, budgets), tables_report.by_table(found), tables_report.coverage(found)):
        if lines:
            head, *body = lines
            text += [f"| {' | '.join(row)} |" for row in (head, ["---"] + ["--:"] * (len(head) - 1), *body)] + [""]
    return "\n".join([*text, *[f"- {remark}" for remark in told], "", *[f"{machine}." for machine in machines]])
