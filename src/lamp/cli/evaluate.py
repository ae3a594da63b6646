"""`lamp evaluate`: how well a trained folder does on another table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lamp.cli.table_options import TABLE, printing, reading


@click.command(
    epilog="Examples:\n\n  lamp evaluate houses-model houses-of-2025.csv\n\n  lamp evaluate m t.csv --json -q"
)
@click.argument("folder", type=TABLE)
@click.argument("table", type=TABLE)
@reading
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@printing
def evaluate(folder: Path, table: Path, reading: Mapping[str, Any], seed: int, as_json: bool, quiet: bool) -> None:
    """Measure FOLDER, which lamp train wrote, on the rows of TABLE, which must have the target's column.

    Prints each metric with its 95 % confidence interval. Rows of which the target is missing are left out.
    """
    from lamp.cli import show_tables as show
    from lamp.tables import ReadOptions, read_with
    from lamp.tables.evaluate import evaluate as measure
    from lamp.tables.folder import load_model, load_reading

    model = load_model(folder)
    notes: list[str] = []
    frame = read_with(table, ReadOptions.of(**reading), load_reading(folder), notes=notes, as_text=True)
    measured = measure(model, frame, seed=seed)
    if not quiet:
        for note in [*notes, *measured.notes]:
            click.echo(note, err=True)
    if as_json:
        click.echo(json.dumps(measured.to_dict(), indent=1))
    else:
        show.estimates(measured, model.target.name)
