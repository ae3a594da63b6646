"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

SEED = click.IntRange(0, 2**32 - 1)  # larger ones numpy does not take


def reporting(command: Command) -> Command:
    """--out, --json and --quiet: where the files go, and what is printed."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print no progress and no table; the files are written."),
        click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout instead of a table."),
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("lamp-out"),
            show_default=True,
            help="The folder for figures and histories; made if it is not there.",
        ),
    ):
        command = option(command)
    return command


def compared(command: Command) -> Command:
    """--one-by-one and --compare: how the runs are trained, and beside what."""
    for option in (
        click.option(
            "--compare",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            metavar="RUNS",
            help="Train so many of the runs one by one as well, by lamp and by torch.nn, and show the times.",
        ),
        click.option("--one-by-one", is_flag=True, help="Train the runs one after another, not as one population."),
    ):
        command = option(command)
    return command


def make_folder(path: Path) -> Path:
    """The folder, made if need be; a clear message where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".lamp-can-write"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise click.BadParameter(
            f"cannot write into {path}: {error.strerror}. Choose another folder.", param_hint="--out"
        ) from None
    return path
