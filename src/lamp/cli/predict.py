"""`lamp predict`: what a trained folder says of the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lamp.cli.table_options import TABLE, reading


@click.command(
    epilog="Examples:\n\n  lamp predict houses-model new-houses.csv > predicted.csv\n\n  lamp predict visits-model "
    "visits.parquet --keep visit_id --out predicted.parquet"
)
@click.argument("folder", type=TABLE)
@click.argument("table", type=TABLE)
@reading
@click.option("--keep", multiple=True, metavar="COLUMN", help="Put this column of the table beside the predictions.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a file (.csv, .parquet, .jsonl) instead of stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines on stdout instead of CSV.")
@click.option("--quiet", "-q", is_flag=True, help="Print no remarks on stderr.")
def predict(
    folder: Path,
    table: Path,
    reading: Mapping[str, Any],
    keep: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Predict for every row of TABLE, in order, with what lamp train wrote into FOLDER.

    Of classes: the likeliest, each one's probability p(...), and the spread: the standard deviation of the members of
    the ensemble. Of numbers: the number, the spread, and from low to high the interval that holds 90 %.
    """
    from lamp.tables import ReadOptions, read_with, write_table
    from lamp.tables.folder import load_model, load_reading
    from lamp.tables.kinds import no_column

    model = load_model(folder)
    notes: list[str] = []
    frame = read_with(table, ReadOptions.of(**reading), load_reading(folder), notes=notes, as_text=True)
    for name in keep:
        if name not in frame.columns:
            raise no_column(name, frame.columns)
    predicted = model.table_of(model.predict(frame, notes))
    if keep := tuple(name for name in keep if name not in predicted.columns):
        predicted = frame.select(keep).hstack(predicted)
    if not quiet:
        for note in notes:
            click.echo(note, err=True)
    if out is not None:
        write_table(predicted, out)
    else:
        click.echo(predicted.write_ndjson() if as_json else predicted.write_csv(), nl=False)
