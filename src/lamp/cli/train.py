"""`lamp train`: learn to predict one column of a table, and write a folder with everything that needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lamp.cli import terminal
from lamp.cli.options import SEED
from lamp.cli.table_options import (
    MOST_SECONDS,
    TABLE,
    TableCommand,
    collect_rarely,
    default_folder,
    held_out,
    kinds,
    number,
    printing,
    reading,
    written,
)
from lamp.printable import as_utf8

FALLS_SHORT = 1


@click.command(
    cls=TableCommand,
    epilog="Examples:\n\n  lamp train houses.csv --target price\n\n  lamp train visits.parquet --target returned "
    "--time-budget 30 --out visits-model\n\n  lamp train survey.csv --target answer --dry-run\n\n  lamp train "
    "survey.csv --target answer --kind zip=category --kind comment=drop --json -q",
)
@click.argument("table", type=TABLE)
@click.option("--target", required=True, type=as_utf8, metavar="COLUMN", help="The column to predict.")
@click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    help="Whether to predict classes or a number  [default: detected]",
)
@click.option(
    "--kind",
    "kind",
    multiple=True,
    metavar="COLUMN=KIND",
    callback=kinds,
    help="Read a column as number, category, boolean or date, or drop it. May be given several times.",
)
@reading
@written
@held_out
@click.option(
    "--leave-out-odd", is_flag=True, help="Leave out the rows in which a numeric target is not a finite number."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write  [default: the table's name with -model]"
)
@click.option("--force", is_flag=True, help="Replace an existing folder once the training is done.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of the split, the settings and the networks."
)
@click.option(
    "--time-budget",
    type=click.FloatRange(1, MOST_SECONDS),
    callback=number,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="About how long the training may take. A large table is searched less thoroughly in less time.",
)
@click.option(
    "--members", type=click.IntRange(1, 256), default=24, show_default=True, help="Most networks in the ensemble."
)
@click.option(
    "--peers/--no-peers", default=True, help="Train scikit-learn's models too, for comparison  [default: peers]"
)
@click.option("--dry-run", is_flag=True, help="Show what would be done with each column; train and write nothing.")
@printing
def train(
    table: Path,
    target: str,
    task: str | None,
    kind: Mapping[str, str],
    reading: Mapping[str, Any],
    missing: tuple[str, ...],
    decimal: tuple[str, ...],
    dates: tuple[str, ...],
    held_out: Mapping[str, Any],
    leave_out_odd: bool,
    out: Path | None,
    force: bool,
    seed: int,
    time_budget: float,
    members: int,
    peers: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Learn to predict a column of TABLE: CSV and other text, JSON, Parquet, Arrow or a spreadsheet, compressed or not.

    TABLE may be - for standard input, or a pattern in quotes, such as "sales-*.csv". The format of a text file is
    detected. Options that describe it are kept in the folder, and apply to lamp predict and lamp evaluate too.

    Decides what each column holds, splits the rows into training, validation and test, tries dozens of settings as one
    population, trains the best one as an ensemble and calibrates it. Prints the metrics on the test rows, with 95 %
    confidence intervals, beside those of a linear model and scikit-learn's MLP and gradient boosting. Writes one folder
    with weights, preprocessing, metrics, curves and figures. Exits with status 1 if the model is no better than
    guessing.
    """
    out = out or default_folder(table)
    if not quiet:  # before the imports below, which take seconds on a busy machine
        terminal.say("reading standard input" if str(table) == "-" else f"reading {table}")
    from lamp.cli import show_tables as show
    from lamp.tables import ReadOptions
    from lamp.tables import train as work
    from lamp.tables.holdout import HoldOut
    from lamp.tables.planning import Request, plan_training

    collect_rarely()
    request = Request(
        table,
        target,
        task,
        kind,
        ReadOptions.of(**reading),
        missing,
        decimal,
        dates,
        leave_out_odd,
        seed=seed,
        members=members,
        seconds=time_budget,
        with_peers=peers,
        held_out=HoldOut(**held_out),
    )
    if not dry_run:
        click.get_current_context().with_resource(work.reserved(out, force))
    notes: list[str] = []
    with show.notes_before_errors(notes, quiet):
        plan = plan_training(request, notes)
        if dry_run:
            work.preprocessed(plan)  # for its remarks
    if dry_run:
        if as_json:
            terminal.write_json(plan.to_dict())
        else:
            show.plan(plan)
        return

    def tell(line: str) -> None:
        if not quiet:
            terminal.say(line)

    if not quiet:
        show.remarks(plan)
    outcome = work.train(plan, progress=not quiet, tell=tell)
    work.write(outcome, out, {"command": sys.argv[1:]}, tell, replace=force)
    if as_json:
        terminal.write_json({**work.report(outcome), "folder": str(out)})
    else:
        show.outcome(outcome, out)
    if outcome.falls_short:
        on = work.report(outcome)["measured_on"]
        terminal.say(f"on the {on} rows this predicts {target!r} no better than guessing")
        sys.exit(FALLS_SHORT)
