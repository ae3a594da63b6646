"""`lamp train`: from a table to a folder with everything needed to predict one of its columns."""

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
    as_utf8,
    default_folder,
    kinds,
    number,
    printing,
    reading,
    written,
)

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
    help="Classes or a number  [default: as the column looks]",
)
@click.option(
    "--kind",
    "kind",
    multiple=True,
    metavar="COLUMN=KIND",
    callback=kinds,
    help="Take a column for a number, category, boolean, date, or drop it. May be given several times.",
)
@reading
@written
@click.option(
    "--leave-out-odd", is_flag=True, help="Leave out rows whose target is no number, where it is one in the others."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write  [default: the table's name and -model]"
)
@click.option("--force", is_flag=True, help="Replace the folder if it is there, once the training is done.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of split, settings and networks.")
@click.option(
    "--time-budget",
    type=click.FloatRange(1, MOST_SECONDS),
    callback=number,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="About how long it may take; a large table is searched less with less.",
)
@click.option("--members", type=click.IntRange(1, 256), default=10, show_default=True, help="Networks of the ensemble.")
@click.option("--peers/--no-peers", default=True, help="Train scikit-learn's models as well, to compare with.")
@click.option("--dry-run", is_flag=True, help="Say what would be done with which column; train and write nothing.")
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
    """Learn to predict a column of TABLE: CSV and other text, JSON, Parquet, Arrow, a spreadsheet; packed or not.

    TABLE may be - for standard input, or a pattern in quotes, such as "sales-*.csv". How text is written is found in
    it; what the options say of it is kept in the folder, and holds for lamp predict and lamp evaluate too.

    Looks at each column, deals the rows into training, validation and test, tries some dozens of settings as one
    population, trains the best as an ensemble, calibrates it, and prints how well it does on the test rows, with 95 %
    confidence intervals, beside a linear model and scikit-learn's MLP and gradient boosting. Writes one folder:
    weights, preprocessing, metrics, curves and figures. Exits with 1 where it does no better than guessing.
    """
    out = out or default_folder(table)
    from lamp.cli import show_tables as show
    from lamp.tables import ReadOptions
    from lamp.tables import train as work

    wish = work.Wish(
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
    )
    if not dry_run:
        click.get_current_context().with_resource(work.reserved(out, force))
    plan = work.look(wish)
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
        terminal.say(f"on the test rows this predicts {target!r} no better than guessing")
        sys.exit(FALLS_SHORT)
