"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

Command = Callable[..., Any]

SEED = click.IntRange(0, 2**32 - 1)  # numpy takes no larger seeds


def reporting(command: Command) -> Command:
    """Add --out, --json and --quiet: where files are written and what is printed."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print no progress and no table; the files are written."),
        click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout instead of a table."),
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("lamp-out"),
            show_default=True,
            help="The folder for figures and histories; created if it does not exist.",
        ),
    ):
        command = option(command)
    return command


def compared(command: Command) -> Command:
    """Add --one-by-one and --compare: how the runs are trained, and what they are compared with."""
    for option in (
        click.option(
            "--compare",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            metavar="RUNS",
            help="Also train this many of the runs one by one, with lamp and with torch.nn, and show the times.",
        ),
        click.option("--one-by-one", is_flag=True, help="Train the runs one after another, not as one population."),
    ):
        command = option(command)
    return command


def make_folder(path: Path) -> Path:
    """Create the folder if needed, and return it. Raises click.BadParameter where nothing can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise click.BadParameter(
            f"cannot write into {path}: {error.strerror}. Choose another folder.", param_hint="--out"
        ) from None
    return path
