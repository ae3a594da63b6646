"""Options of the commands for tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

TABLE = click.Path(path_type=Path)


def printing(command: Command) -> Command:
    """--json and --quiet."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print no progress and no remarks on stderr."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table."),
    ):
        command = option(command)
    return command


def delimited(command: Command) -> Command:
    """--delimiter."""
    return click.option("--delimiter", metavar="LETTER", help="What parts the columns of a CSV file, such as ';'.")(
        command
    )


def written(command: Command) -> Command:
    """--missing, --decimal, --dates: how a table writes its values."""
    for option in (
        click.option(
            "--dates",
            multiple=True,
            metavar="ORDER",
            help="What comes first in dates of digits: dmy, mdy or ymd, for all columns or as COLUMN=ORDER  [default: "
            "as the rows show]",
        ),
        click.option(
            "--decimal",
            multiple=True,
            metavar="MARK",
            help="What parts decimals, '.' or ',': for all columns or as COLUMN=MARK  [default: as the rows show]",
        ),
        click.option(
            "--missing",
            multiple=True,
            metavar="WORD",
            help="A word that means missing, in place of NA, null, None and the like; 'none': no word does. For all "
            "columns or as COLUMN=WORD; may be given several times.",
        ),
    ):
        command = option(command)
    return command


def kinds(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=KIND, several times, as a dict."""
    found = {}
    for each in given:
        name, sign, kind = each.rpartition("=")
        if not sign or not name:
            raise click.BadParameter(f"{each!r} is not NAME=KIND, such as zip=category")
        found[name] = kind
    return found
