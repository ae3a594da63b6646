"""`lamp predict`: predict the target for the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamp.cli import terminal
from lamp.cli.table_options import TABLE, TableCommand, collect_rarely, forms, reading, unknown
from lamp.printable import as_utf8

if TYPE_CHECKING:
    from lamp.tables.column import Unknown

TEXT_TABLES = (".csv", ".tsv", ".tab", ".txt")


@click.command(
    cls=TableCommand,
    epilog="Examples:\n\n  lamp predict houses-model new-houses.csv > predicted.csv\n\n  lamp predict visits-model "
    "visits.parquet --keep visit_id --out predicted.parquet",
)
@click.argument("folder", type=TABLE)
@click.argument("table", type=TABLE)
@reading
@unknown
@forms("as in training")
@click.option(
    "--keep",
    multiple=True,
    type=as_utf8,
    metavar="COLUMN",
    help="Copy this column of the table into the output. May be given several times.",
)
@click.option(
    "--prefix", type=as_utf8, default="", metavar="TEXT", help="Text before the names of the predicted columns."
)
@click.option(
    "--escape-formulas",
    is_flag=True,
    help="In CSV, put ' before text that begins with = + - or @, which a spreadsheet would run as a formula.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write a file (.csv, .parquet, .jsonl) instead of stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines on stdout instead of CSV.")
@click.option("--quiet", "-q", is_flag=True, help="Print no remarks on stderr.")
def predict(
    folder: Path,
    table: Path,
    reading: Mapping[str, Any],
    unknown: Unknown | None,
    decimal: tuple[str, ...],
    dates: tuple[str, ...],
    keep: tuple[str, ...],
    prefix: str,
    escape_formulas: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Predict the target for every row of TABLE, in order, with the model that lamp train wrote into FOLDER.

    For classes, the output has the most likely class, the probability p(...) of each class, and the spread: the
    standard deviation over the members of the ensemble. For numbers, it has the number, the spread, and the bounds low
    and high of the 90 % prediction interval.

    Remarks go to stderr. stdout is UTF-8 whatever the console's encoding is, so that redirected output holds every
    name unchanged. On a terminal, control characters and letters that it cannot show are written as escapes.
    """
    if as_json and out is not None:
        raise click.UsageError("--json prints on stdout: leave it out, and give --out a name that ends in .jsonl")
    is_csv = not as_json and (out is None or out.suffix.lower() in TEXT_TABLES)
    if escape_formulas and not is_csv:
        raise click.UsageError(
            "--escape-formulas is for CSV: from other formats, spreadsheets do not run text as formulas"
        )
    if out is not None and out.exists() and table.exists() and out.samefile(table):
        raise click.UsageError(f"--out {out} is the table itself and would overwrite it: choose another name")

    from lamp.cli import show_tables as show
    from lamp.tables import ReadOptions, read_with, write_table
    from lamp.tables.folder import load_model, load_reading
    from lamp.tables.predict import for_csv, for_types
    from lamp.tables.predict import predict as work

    collect_rarely()
    model = load_model(folder)
    asked = model.asked(decimal, dates)
    notes: list[str] = []
    with show.notes_before_errors(notes, quiet):
        frame = read_with(table, ReadOptions.of(**reading), load_reading(folder), notes=notes, as_text=True)
        predicted = work(model, frame, keep=keep, prefix=prefix, unknown=unknown, asked=asked, notes=notes)
        predicted = for_csv(predicted, escape_formulas=escape_formulas) if is_csv else for_types(predicted, frame, keep)
    if not quiet:
        show.notes(notes)
    if out is not None:
        write_table(predicted, out)
    else:
        terminal.write_data(predicted.write_ndjson() if as_json else predicted.write_csv())
