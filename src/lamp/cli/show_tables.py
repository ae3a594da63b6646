"""What the commands for tables print: tables on stdout, remarks on stderr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lamp.cli.show import console
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, LeftOut, NumberColumn
from lamp.tables.dates import described
from lamp.tables.evaluate import Measured
from lamp.tables.kinds import Decision, listed
from lamp.tables.metrics import Estimate
from lamp.tables.model import TableModel
from lamp.tables.targets import Target
from lamp.tables.train import OURS, Outcome, Plan

MOST_ROWS = 60  # of columns
MOST_IMPORTANT = 5
PERCENT = ("accuracy", "balanced accuracy", "coverage")  # shares, shown as such


def plan(plan: Plan) -> None:
    """What would be done: target, rows, columns and effort."""
    out = console()
    out.print(f"[bold]{escape(_what(plan.target))}[/]")
    parts = plan.split
    out.print(
        f"{len(plan.rows):,} rows: {len(parts.training):,} training, {len(parts.validation):,} validation, "
        f"{len(parts.test):,} test; {len(plan.preprocessing.features):,} inputs of the networks"
    )
    table = _table("column", "kind", "inputs", "")
    by_name = {column.name: column for column in plan.preprocessing.columns}
    for decision in plan.decisions[:MOST_ROWS]:
        features = len(by_name[decision.name].features)
        style = "dim" if decision.kind == LeftOut.kind else ""
        told = decision.why or _learned(by_name[decision.name])
        table.add_row(escape(decision.name), decision.kind, str(features or ""), escape(told), style=style)
    out.print(table)
    _more(len(plan.decisions), MOST_ROWS, "columns")
    effort = plan.effort
    out.print(
        f"{effort.settings} settings of {len(effort.shapes)} networks would be tried on {effort.swept_rows:,} rows for "
        f"{effort.sweep_epochs} epochs, and the best trained as {effort.members} members for at most {effort.epochs}",
        soft_wrap=True,
    )
    for note in plan.notes:
        click.echo(note, err=True)


def remarks(plan: Plan) -> None:
    """What the user should know before the training begins, on stderr."""
    parts = plan.split
    click.echo(
        f"{_what(plan.target)}; {len(plan.rows):,} rows: {len(parts.training):,} training, "
        f"{len(parts.validation):,} validation, {len(parts.test):,} test",
        err=True,
    )
    used = [each for each in plan.decisions if each.kind != LeftOut.kind]
    counts = {kind: sum(each.kind == kind for each in used) for kind in dict.fromkeys(each.kind for each in used)}
    click.echo("columns: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()), err=True)
    for decision in [each for each in plan.decisions if each.kind == LeftOut.kind][:MOST_ROWS]:
        click.echo(f"left out: {_told(decision)}", err=True)
    for note in plan.notes:
        click.echo(note, err=True)


def outcome(outcome: Outcome, path: Path) -> None:
    """The test metrics beside those of scikit-learn's models, what matters, and where the files are."""
    out, ours = console(), outcome.estimates
    rows = {OURS: (ours, outcome.seconds, "")}
    rows |= {f"scikit-learn\n{peer.name}": (peer.estimates, peer.seconds, peer.note) for peer in outcome.peers}
    names = [name for name in ours if name != "coverage"]
    _metrics(f"{len(outcome.plan.split.test):,} test rows,\n95 % interval", names, rows)
    _important([(each.column, each.mean) for each in outcome.importances])
    if outcome.model.target.is_classes:
        out.print(f"temperature {outcome.model.temperature:.3g}")
    else:
        share = "{} ({})".format(*_parts("coverage", ours["coverage"]))
        out.print(
            f"intervals of ±{outcome.model.margin:.4g}, made to hold 90 %, hold {share} of the test rows",
            soft_wrap=True,
        )
    out.print(str(path), style="bold", soft_wrap=True, markup=False)


def estimates(measured: Measured, name: str) -> None:
    """Each metric of an evaluation on its own line."""
    table = _table(f"{measured.rows:,} rows, {name}", "value", "95 % interval")
    for metric, estimate in measured.estimates.items():
        value, interval = _parts(metric, estimate)
        table.add_row(metric, value, interval)
    console().print(table)


def summary(model: TableModel, reports: Mapping[str, Any], path: Path) -> None:
    """What is in a folder."""
    out, config, metrics = console(), reports["config"], reports["metrics"]
    out.print(f"[bold]{escape(str(path))}[/]: {escape(_what(model.target))}", soft_wrap=True)
    out.print(
        f"{len(model.networks)} networks of {config['network']}, trained on {config['table']} "
        f"({config['rows']:,} rows, seed {config['seed']}) in {config['seconds']:.1f} s, {config['epochs']} epochs",
        soft_wrap=True,
        markup=False,
    )
    table = _table("column", "kind", "inputs", "")
    for column in model.preprocessing.columns[:MOST_ROWS]:
        style = "dim" if isinstance(column, LeftOut) else ""
        told = escape(_learned(column))
        table.add_row(escape(column.name), column.kind, str(len(column.features) or ""), told, style=style)
    out.print(table)
    _more(len(model.preprocessing.columns), MOST_ROWS, "columns")
    rows = {
        name if name == OURS else f"scikit-learn\n{name}": (
            {metric: Estimate.from_dict(estimate) for metric, estimate in of.items()},
            metrics["seconds"][name],
            metrics["notes"].get(name, ""),
        )
        for name, of in metrics["models"].items()
    }
    names = [name for name in metrics["models"][OURS] if name != "coverage"]
    _metrics(f"{metrics['rows']:,} test rows,\n95 % interval", names, rows)
    _important([(each["column"], each["mean"]) for each in metrics["importance"]])


# ---- parts of these --------------------------------------------------------------------------------------------------
def _metrics(title: str, names: list[str], rows: Mapping[str, tuple[Mapping[str, Estimate], float, str]]) -> None:
    """A column a model, each metric with its interval below; models go side by side on 80 columns."""
    table = _table(title)
    table.padding = (0, 0, 0, 1)  # four models fit
    for name in rows:
        heading = name.replace("gradient boosting", "gradient\nboosting")
        table.add_column(heading, justify="right", no_wrap=True, style="bold" if name == OURS else "")
    for metric in names:
        table.add_row(metric, *(_shown(metric, found[metric], two_lines=True) for found, _, _ in rows.values()))
    table.add_row("seconds", *(f"{seconds:.1f}" for _, seconds, _ in rows.values()))
    console().print(table)
    for name, (_, _, note) in rows.items():
        if note:
            console().print(f"{name.replace(chr(10), ' ')}: {note}", markup=False)


def _important(found: list[tuple[str, float]]) -> None:
    shown = ", ".join(f"{name} {rise:.3g}" for name, rise in found[:MOST_IMPORTANT])
    console().print(f"most important (rise of the loss when shuffled): {shown}", soft_wrap=True, markup=False)


def _shown(metric: str, estimate: Estimate, two_lines: bool = False) -> str:
    value, interval = _parts(metric, estimate)
    return f"{value}{chr(10) if two_lines else ' '}{interval}".rstrip()


def _parts(metric: str, estimate: Estimate) -> tuple[str, str]:
    """The value and the interval as text."""

    def text(number: float) -> str:
        return (
            f"{100 * number:.1f} %"
            if metric in PERCENT
            else f"{number:#.4g}"
            if 10 <= number < 10_000
            else f"{number:.4g}"
            if number >= 10_000
            else f"{number:.3f}"
        )

    if estimate.low is None or estimate.high is None:
        return text(estimate.value), ""
    dash = "-" if estimate.low >= 0 else "to"
    return text(estimate.value), f"{text(estimate.low).removesuffix(' %')} {dash} {text(estimate.high)}"


def _what(target: Target) -> str:
    if target.is_classes:
        return f"classification of {target.name}: {len(target.classes)} classes ({listed(target.classes, 3)})"
    return f"regression of {target.name}" + (f", in {target.unit}" if target.unit else "")


def _told(decision: Decision) -> str:
    return f"{decision.name}: {decision.why}"


def _learned(column: Column) -> str:
    """What was learned from a column, in few words."""
    if isinstance(column, NumberColumn):
        gaps = f"; gaps {column.median:.4g}" if column.indicator else ""
        curve = "; asinh" if column.curve else ""
        unit = f" {column.unit}" if column.unit else ""
        comma = "; a comma for the point" if column.decimal == "," else ""
        return f"{column.low:.4g} to {column.high:.4g}{unit}{comma}{curve}{gaps}"
    if isinstance(column, CategoryColumn):
        rare = f"; {column.rare:,} rare words together" if column.rare else ""
        return listed([repr(level) for level in column.levels], 5) + rare + "; gaps" * column.missing
    if isinstance(column, DateColumn):
        return (f"written {described(column.format)}" if column.format else "dates") + "; gaps" * column.indicator
    if isinstance(column, LeftOut):
        return column.why
    return "yes or no" + "; gaps" * column.indicator if isinstance(column, BooleanColumn) else ""


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(escape(first), overflow="fold")
    for heading in others:
        table.add_column(heading)
    return table


def _more(count: int, shown: int, what: str) -> None:
    if count > shown:
        console().print(f"and {count - shown:,} more {what}")
