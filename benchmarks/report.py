"""Tables of results: on the terminal, as JSON, and as the generated part of docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.outcome import Entry, Outcome
from lamp.printable import counted

Cells = list[str]


@dataclass
class Report:
    """The results of one row, as JSON and the docs hold them."""

    row: int
    title: str
    machine: Mapping[str, Any]
    outcomes: Sequence[Outcome]

    def to_json(self) -> str:
        outcomes = [outcome.to_json() for outcome in self.outcomes]
        saved = {"row": self.row, "title": self.title, "machine": dict(self.machine), "outcomes": outcomes}
        return json.dumps(saved, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        saved = json.loads(text)
        outcomes = [Outcome.from_json(outcome) for outcome in saved["outcomes"]]
        return cls(saved["row"], saved["title"], saved["machine"], outcomes)


def cells(outcome: Outcome) -> tuple[Cells, list[Cells]]:
    """The head and the body of an outcome's table."""
    base, compiled = outcome.base, _compiles(outcome)
    head = ["contender", "threads", "us/step", "least", *(["ratio"] if base else [])]
    if compiled:
        head += ["compile", f"over {outcome.job_steps:,}"]
    body = []
    for entry in outcome.entries:
        if entry.absent is not None:
            line = [entry.name, "absent"]
            body.append(line + [""] * (len(head) - len(line)))
            continue
        line = [entry.name, str(entry.threads), number(entry.median), number(entry.minimum)]
        if base:
            line.append("1" if entry.name == base else str(outcome.ratio(entry.name, base)))
        body.append(line + (_compile_cells(entry) if compiled else []))
    return head, body


def _compiles(outcome: Outcome) -> bool:
    return any(entry.compile_seconds is not None for entry in outcome.entries)


def _compile_cells(entry: Entry) -> Cells:
    if entry.compile_seconds is None or entry.with_compile is None:
        return ["", ""]
    return [f"{entry.compile_seconds:.2g}", number(entry.with_compile)]


def memory_cells(outcome: Outcome) -> tuple[Cells, list[Cells]]:
    """The head and the body of an outcome's table of peak memory; no lines where that was not measured."""
    body = []
    for entry in outcome.entries:
        if entry.tensors is not None:
            share = outcome.share(entry.name, outcome.reference)
            resident = "" if entry.resident is None else number(entry.resident)
            body.append([entry.name, number(entry.tensors), f"{share:.2f}", resident])
    return ["contender", "tensors, MB", "share", "resident, MB"], body


def tables(outcome: Outcome) -> list[tuple[Cells, list[Cells]]]:
    """The tables of an outcome: times, and peak memory if it was measured."""
    return [table for table in (cells(outcome), memory_cells(outcome)) if table[1]]


def number(microseconds: float) -> str:
    """A time with three significant digits."""
    return f"{microseconds:.3g}" if microseconds < 100 else f"{microseconds:,.0f}"


def remarks(outcome: Outcome) -> list[str]:
    """The lines below a table: goals, how to read it, who is absent and why, notes on the contenders."""
    lines = [outcome.verdict(goal) for goal in outcome.goals]
    if outcome.is_noisy:
        lines.append("NOISY: ratios differ much between rounds, something else was running; measure again")
    if outcome.base:
        lines.append(f"ratio: times as long as {outcome.base}, median of the rounds (lowest-highest)")
    if _compiles(outcome):
        lines.append(f"compile: seconds; over {outcome.job_steps:,}: us/step of so many steps, compiling included once")
    if memory_cells(outcome)[1]:
        lines.append(f"tensors: alive at once at the peak, the optimizer's too; share: of those of {outcome.reference}")
        lines.append("resident: what the process grows by, which has libraries' own buffers in it")
    for entry in outcome.entries:
        if entry.absent is not None:
            lines.append(f"{entry.name} is absent: {entry.absent}")
        elif entry.note:
            lines.append(f"{entry.name}: {entry.note}")
    differences = [entry.difference for entry in outcome.entries if entry.absent is None]
    return [*lines, f"parameters before timing equal within {max(differences):.1g}"]


def print_report(report: Report, console: Console) -> None:
    """Print the tables of a row."""
    for outcome in report.outcomes:
        title: str | None = f"Row {report.row}: {outcome.title}"
        for head, body in tables(outcome):
            table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
            for k, name in enumerate(head):
                table.add_column(name, justify="left" if k == 0 else "right", no_wrap=True)
            for line in body:
                table.add_row(*line)
            console.print(table)
            title = None
        for remark in remarks(outcome):
            console.print(f"  {remark}", highlight=False)
    console.print("  " + machine_line(report.machine), highlight=False)


def machine_line(machine: Mapping[str, Any]) -> str:
    """A line that describes the machine."""
    about = f"{counted(machine['cores'], 'core')} of {machine['processor']} ({machine['vectors']}), {machine['system']}"
    versions = [
        f"{name} {machine[name]}" for name in machine if name not in ("cores", "processor", "vectors", "system")
    ]
    return f"{about}; {', '.join(versions)}"


def markdown(report: Report) -> str:
    """The tables of a row as Markdown."""
    lines = []
    for outcome in report.outcomes:
        lines += [f"**{outcome.title}**", ""]
        for head, body in tables(outcome):
            lines += [_line(head), _line(["---"] + ["--:"] * (len(head) - 1)), *map(_line, body), ""]
        lines += [f"- {line}" for line in remarks(outcome)] + [""]
    timed = {f"{outcome.repetitions} rounds of {outcome.steps:,} steps" for outcome in report.outcomes}
    return "\n".join([*lines, f"{', '.join(sorted(timed))}. {machine_line(report.machine)}."])


def _line(row: Cells) -> str:
    return f"| {' | '.join(row)} |"


def write_into(document: Path, report: Report) -> None:
    """Replace the text between the row's markers. Raises ValueError if the document has no such markers."""
    write_between(document, f"row {report.row}", markdown(report))


def write_between(document: Path, name: str, generated: str) -> None:
    """Replace the text between the markers of this name. Raises ValueError if the document has none."""
    begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    text = document.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{document.name} needs the lines {begin} and {end}, once each, in this order")
    before, after = text[: text.index(begin)], text[text.index(end) :]
    document.write_text(f"{before}{begin}\n{generated}\n{after}", encoding="utf-8")
