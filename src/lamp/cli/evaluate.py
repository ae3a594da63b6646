"""`lamp evaluate`: measure a trained folder on another table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamp.cli import terminal
from lamp.cli.options import SEED
from lamp.cli.table_options import TABLE, TableCommand, collect_rarely, forms, printing, reading, unknown

if TYPE_CHECKING:
    from lamp.tables.column import Unknown


@click.command(
    cls=TableCommand,
    epilog="Examples:\n\n  lamp evaluate houses-model houses-of-2025.csv\n\n  lamp evaluate m t.csv --json -q",
)
@click.argument("folder", type=TABLE)
@click.argument("table", type=TABLE)
@reading
@unknown
@forms("as in training")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the bootstrap.")
@printing
def evaluate(
    folder: Path,
    table: Path,
    reading: Mapping[str, Any],
    unknown: Unknown | None,
    decimal: tuple[str, ...],
    dates: tuple[str, ...],
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure the model that lamp train wrote into FOLDER on the rows of TABLE, which must have the target's column.

    Prints each metric with its 95 % confidence interval. Rows without a target are left out. Rows of a class that was
    not in the training table count as wrong.
    """
    from lamp.cli import show_tables as show
    from lamp.tables import ReadOptions, read_with
    from lamp.tables.evaluate import evaluate as measure
    from lamp.tables.folder import load_model, load_reading

    collect_rarely()
    model = load_model(folder)
    asked = model.asked(decimal, dates)
    notes: list[str] = []
    with show.notes_before_errors(notes, quiet):
        frame = read_with(table, ReadOptions.of(**reading), load_reading(folder), notes=notes, as_text=True)
        measured = measure(model, frame, seed=seed, unknown=unknown, asked=asked)
    if not quiet:
        show.notes([*notes, *measured.notes])
    if as_json:
        terminal.write_json(measured.to_dict())
    else:
        show.estimates(measured, model.target.name)
