"""What the commands for tables print: results on stdout, remarks on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table

from lamp.cli.console import console
from lamp.cli.terminal import say
from lamp.errors import LampError
from lamp.printable import counted, printable, readable, shortened
from lamp.tables.column import Column
from lamp.tables.columns import LeftOut
from lamp.tables.descriptions import by_fifths, of_column, of_estimates, of_target
from lamp.tables.evaluate import Measured
from lamp.tables.few_lines import by_reason
from lamp.tables.folder import REPORT
from lamp.tables.metrics import FIFTHS, Estimate
from lamp.tables.model import TableModel
from lamp.tables.planning import TrainingPlan
from lamp.tables.prediction_intervals import PredictionIntervals
from lamp.tables.train import MEASURED_ON, OURS, Outcome
from lamp.tables.usage import commands

MOST_ROWS = 60  # columns that are listed, and remarks
MOST_IMPORTANT = 5
LONGEST_NAME = 36  # letters of a column's name
WIDEST = 1000  # characters per line; wider than any terminal
OF_INTERVALS = ("coverage", *FIFTHS, "interval width")  # metrics that only the ensemble has

CHANGE = "--kind COLUMN=number (category, boolean, date, drop) reads a column otherwise or uses one that is left out"

Row = tuple[Mapping[str, Estimate], float, str]  # a model's metrics, its seconds, and a remark on it


def plan(plan: TrainingPlan) -> None:
    """Print what a training would do: target, rows, columns and effort."""
    out = console()
    out.tell(of_target(plan.target), "bold")
    parts = plan.split
    out.tell(
        f"{len(plan.rows):,} rows: {len(parts.training):,} training, {len(parts.validation):,} validation, "
        f"{len(parts.test):,} test; {counted(len(plan.preprocessing.features), 'input')} of the networks",
    )
    by_name = {column.name: column for column in plan.preprocessing.columns}
    columns = [by_name[decision.name] for decision in plan.decisions]
    _columns(columns, [decision.why or of_column(by_name[decision.name]) for decision in plan.decisions[:MOST_ROWS]])
    effort = plan.effort
    out.tell(
        f"{effort.settings} settings of {len(effort.shapes) + len(effort.encoded)} networks would be tried on "
        f"{effort.swept_rows:,} rows for {effort.sweep_epochs} epochs; the best would be trained as an ensemble of at "
        f"most {effort.members} for at most {effort.epochs} epochs",
    )
    notes(plan.notes)


def notes(lines: Iterable[str]) -> None:
    """Print remarks on stderr, at most the first MOST_ROWS."""
    lines = list(lines)
    for line in lines[:MOST_ROWS]:
        say(line)
    if len(lines) > MOST_ROWS:
        say(f"and {counted(len(lines) - MOST_ROWS, 'more remark')}")


@contextmanager
def notes_before_errors(lines: Sequence[str], quiet: bool) -> Iterator[None]:
    """A context in which an error comes with the remarks made until then, which may say what is wrong."""
    try:
        yield
    except LampError:
        if not quiet:
            notes(lines)
        raise


def remarks(plan: TrainingPlan) -> None:
    """Print on stderr what the user should know before the training begins."""
    parts = plan.split
    say(
        f"{of_target(plan.target)}; {len(plan.rows):,} rows: {len(parts.training):,} training, "
        f"{len(parts.validation):,} validation, {len(parts.test):,} test"
    )
    used = [each for each in plan.decisions if each.kind != LeftOut.kind]
    counts = {kind: sum(each.kind == kind for each in used) for kind in dict.fromkeys(each.kind for each in used)}
    say("columns: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
    notes(f"left out: {line}" for line in by_reason(each for each in plan.decisions if each.kind == LeftOut.kind))
    notes(plan.notes)
    if len(used) < len(plan.decisions) or any(each.reported for each in used):
        say(CHANGE)


def outcome(outcome: Outcome, path: Path) -> None:
    """Print the test metrics beside those of scikit-learn's models, the important columns, and the folder."""
    out, ours = console(), outcome.estimates
    rows: dict[str, Row] = {OURS: (ours, outcome.seconds, "")}
    rows |= {peer.name: (peer.estimates, peer.seconds, peer.note) for peer in outcome.peers}
    on = MEASURED_ON[bool(len(outcome.plan.split.test))]
    _metrics(f"{len(outcome.truth):,} {on} rows", rows)
    _important([(each.column, each.mean) for each in outcome.importances])
    if outcome.model.target.is_classes:
        out.tell(
            f"temperature {outcome.model.temperature:.3g}: the networks' scores are divided by it, so that on held-out "
            "rows the probabilities are as sure as they are right"
        )
    else:
        _of_intervals(ours, outcome.model.intervals, on)
    verdict(outcome.verdict.sentences, outcome.verdict.advice)
    out.tell("commands", "bold")
    found = commands(path, outcome.plan.request.table)
    longest = max(map(len, found.values()))
    for purpose, command in found.items():
        out.print(f"  {command:{longest}}  # {purpose}", soft_wrap=True)
    out.tell(f"{path}: figures and all numbers are in {REPORT}", "bold")


def verdict(sentences: Sequence[str], advice: Sequence[str]) -> None:
    """Print what a training has come to, and what to try next."""
    out = console()
    for heading, lines in (("verdict", sentences), ("to try next", advice)):
        if lines:
            out.tell(heading, "bold")
        for line in lines:
            if out.is_terminal:
                out.print(Padding(out.render_str(line), (0, 0, 0, 2)))
            else:
                out.tell(f"  {line}")


def estimates(measured: Measured, name: str) -> None:
    """Print each metric of an evaluation on its own line."""
    table = _table(f"{counted(measured.rows, 'row')}, {shortened([name], LONGEST_NAME)[0]}", "value", "95 % interval")
    for metric, estimate in measured.estimates.items():
        if metric == FIFTHS[0]:
            table.add_row("coverage by fifths of the prediction", by_fifths(measured.estimates), "")
        elif metric not in FIFTHS:
            table.add_row(metric, *of_estimates(metric, [estimate])[0])
    console().print(table)


def summary(model: TableModel, reports: Mapping[str, Any], path: Path) -> None:
    """Print what is in a trained folder."""
    out, config, metrics = console(), reports["config"], reports["metrics"]
    out.tell(f"{path}: {of_target(model.target)}", "bold")
    out.tell(
        f"trained on {config['table']} ({config['rows']:,} rows, seed {config['seed']}) in {config['seconds']:.1f} s, "
        f"{config['epochs']} epochs",
    )
    alone = len(model.groups) == 1
    out.tell(f"an ensemble of {model.groups[0]}" if alone else f"an ensemble of {model.members} networks:")
    for group in model.groups if not alone else ():
        out.tell(f"  {group}: {100 * group.weight:.0f} % of the mean")
    if said := config.get("reading"):
        options = ", ".join(f"{name.replace('_', ' ')} {value!r}" for name, value in said.items())
        out.tell(f"tables are read with: {options}")
    columns = model.preprocessing.columns
    _columns(columns, [of_column(column) for column in columns[:MOST_ROWS]])
    rows = {
        name: (
            {metric: Estimate.from_dict(estimate) for metric, estimate in of.items()},
            metrics["seconds"][name],
            metrics["notes"].get(name, ""),
        )
        for name, of in metrics["models"].items()
    }
    on = metrics.get("measured_on", MEASURED_ON[True])
    _metrics(f"{metrics['rows']:,} {on} rows", rows)
    _important([(each["column"], each["mean"]) for each in metrics["importance"]])
    if {"coverage", "interval width"} <= (ours := rows[OURS][0]).keys():
        _of_intervals(ours, model.intervals, on)
    said = metrics.get("verdict", {"sentences": [], "advice": []})
    verdict(said["sentences"], said["advice"])


# ---- parts of the above ----------------------------------------------------------------------------------------------
def _columns(columns: Sequence[Column], texts: Sequence[str]) -> None:
    """Print one row per column: its kind, the number of inputs made from it, and a remark."""
    out, table = console(), _table("column", "kind", "inputs", "")
    table.columns[0].no_wrap = True
    shown = columns[: len(texts)]
    for column, name, text in zip(shown, shortened([each.name for each in shown], LONGEST_NAME), texts, strict=True):
        style = "dim" if isinstance(column, LeftOut) else ""
        table.add_row(name, column.kind, str(len(column.features) or ""), printable(text), style=style)
    out.print(table)
    if len(columns) > len(shown):
        out.tell(f"and {counted(len(columns) - len(shown), 'more column')}")


def _metrics(measured_on: str, rows: Mapping[str, Row]) -> None:
    """Print each model's metrics, side by side where that fits the terminal, else metric by metric."""
    names = [name for name in rows[OURS][0] if name not in OF_INTERVALS]
    out, table = console(), _side_by_side(measured_on, names, rows)
    if Measurement.get(out, out.options.update(max_width=WIDEST), table).maximum > out.width:
        table = _metric_by_metric(measured_on, names, rows)
    out.print(table)
    for name, (_, _, note) in rows.items():
        if note:
            out.tell(f"scikit-learn's {name}: {note}")


def _side_by_side(measured_on: str, names: Sequence[str], rows: Mapping[str, Row]) -> Table:
    """A table with one column per model; each metric has its interval below it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))  # four models fit into 80 characters
    table.add_column(f"{measured_on},\n95 % interval", no_wrap=True)
    for name in rows:
        heading = name if name == OURS else "scikit-learn\n" + name.replace(" boosting", "\nboosting")
        table.add_column(heading, justify="right", no_wrap=True, style="bold" if name == OURS else "")
    for metric in names:
        texts = of_estimates(metric, [found[metric] for found, _, _ in rows.values()])
        table.add_row(metric, *("\n".join(filter(None, each)) for each in texts))
    table.add_row("seconds", *(f"{seconds:.1f}" for _, seconds, _ in rows.values()))
    return table


def _metric_by_metric(measured_on: str, names: Sequence[str], rows: Mapping[str, Row]) -> Table:
    """A table with one block per metric and one row per model, for long numbers."""
    table = _table("", measured_on, "95 % interval", "seconds")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for metric in names:
        table.add_row(metric, style="dim")
        texts = of_estimates(metric, [found[metric] for found, _, _ in rows.values()])
        for (name, (_, seconds, _)), shown in zip(rows.items(), texts, strict=True):
            label = name if name == OURS else f"scikit-learn's {name}"
            last = f"{seconds:.1f}" if metric == names[0] else ""
            style = "bold" if name == OURS else ""
            table.add_row(label, *shown, last, style=style, end_section=name == list(rows)[-1])
    return table


def _of_intervals(found: Mapping[str, Estimate], intervals: PredictionIntervals | None, on: str) -> None:
    """Print how many of the test rows the prediction intervals hold, and how wide they are."""
    out = console()
    share = "{} ({})".format(*of_estimates("coverage", [found["coverage"]])[0])
    width = readable(found["interval width"].value)
    out.tell(f"intervals meant to hold 90 % hold {share} of the {on} rows; their mean width is {width}")
    if found.keys() >= set(FIFTHS):
        out.tell(f"by fifths of the prediction, from low to high, they hold {by_fifths(found)}")
    if intervals is not None and intervals.remark:
        out.tell(intervals.remark)


def _important(found: list[tuple[str, float]]) -> None:
    first = found[:MOST_IMPORTANT]
    names = shortened([name for name, _ in first], LONGEST_NAME)
    shown = ", ".join(f"{name} {readable(rise)}" for name, (_, rise) in zip(names, first, strict=True))
    console().tell(f"most important columns (rise of the loss when shuffled): {shown}")


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, overflow="fold")
    return table
