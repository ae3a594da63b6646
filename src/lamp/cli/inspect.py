"""`lamp inspect`: show what is in a trained folder."""

from __future__ import annotations

from pathlib import Path

import click

from lamp.cli import terminal
from lamp.cli.table_options import TABLE


@click.command(epilog="Examples:\n\n  lamp inspect houses-model\n\n  lamp inspect houses-model --json")
@click.argument("folder", type=TABLE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of tables.")
def inspect(folder: Path, as_json: bool) -> None:
    """Show what lamp train wrote into FOLDER: what it predicts, from which columns, how well, how it was trained."""
    from lamp.cli import show_tables as show
    from lamp.tables.folder import load_model, load_reports

    model, reports = load_model(folder), load_reports(folder)
    if as_json:
        document = {**reports, "architecture": model.architecture, "preprocessing": model.preprocessing.to_dict()}
        terminal.write_json(document)
    else:
        show.summary(model, reports, folder)
