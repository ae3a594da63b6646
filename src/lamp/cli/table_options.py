"""Options of the commands for tables."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

MOST_SECONDS = 30 * 86_400.0
TABLE = click.Path(path_type=Path)


def printing(command: Command) -> Command:
    """--json and --quiet."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print no progress and no remarks on stderr."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table."),
    ):
        command = option(command)
    return command


READING: dict[tuple[str, ...], dict[str, Any]] = {
    ("--separator", "--delimiter", "--sep"): {
        "metavar": "LETTER",
        "help": "What separates values, such as ';', tab, or ' ' for blanks  [default: found in the file]",
    },
    ("--quote",): {
        "type": click.Choice(["double", "backslash", "none"]),
        "help": "How a quote is written within quotes: twice, or after a backslash; none: quotes are letters  "
        "[default: found in the file]",
    },
    ("--encoding",): {"metavar": "NAME", "help": "Of text, such as utf-16 or cp1252  [default: found, or UTF-8]"},
    ("--header/--no-header",): {
        "default": None,
        "help": "Whether the first line has the columns' names; else they are column_1, ...  [default: it has]",
    },
    ("--comment",): {
        "metavar": "TEXT",
        "help": "Leave out lines that begin with this; '' for none  [default: # where the file begins so]",
    },
    ("--skip-lines",): {
        "type": click.IntRange(0),
        "metavar": "N",
        "help": "Leave out so many lines at the beginning.",
    },
    ("--sheet",): {"metavar": "NAME", "help": "Of a spreadsheet, or a file in a .zip  [default: the first sheet]"},
    ("--ragged",): {
        "type": click.Choice(["error", "fill", "drop"]),
        "help": "Lines with too few or too many values: refuse, fill and cut, or leave them out  [default: refuse]",
    },
    ("--max-bytes",): {"metavar": "SIZE", "help": "The largest table, unpacked, such as 16G  [default: 4G]"},
    ("--max-columns",): {"type": click.IntRange(1), "metavar": "N", "help": "The most columns  [default: 100000]"},
}


class TableCommand(click.Command):
    """A command that takes one table, and says what to do with several."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            fix = 'several files with the same columns are one table as a pattern in quotes: "sales-*.csv"'
            raise click.UsageError(f"{error.message}\n{fix}", ctx) from None


def reading(command: Command) -> Command:
    """The options of how a table is read; the command gets them as `reading`, by name, those that were given."""

    @wraps(command)
    def with_reading(**options: Any) -> Any:
        given = {name: options.pop(name) for name in names}
        return command(reading={name: value for name, value in given.items() if value is not None}, **options)

    names, read = [], with_reading
    for flags, about in reversed(READING.items()):
        names.append(flags[0].split("/")[0].removeprefix("--").replace("-", "_"))
        read = click.option(names[-1], *flags, **about)(read)
    return read


def written(command: Command) -> Command:
    """--missing, --decimal, --dates: how a table writes its values."""
    for option in (
        click.option(
            "--dates",
            multiple=True,
            type=as_utf8,
            metavar="ORDER",
            help="What comes first in dates of digits: dmy, mdy or ymd, for all columns or as COLUMN=ORDER  [default: "
            "as the rows show]",
        ),
        click.option(
            "--decimal",
            multiple=True,
            type=as_utf8,
            metavar="MARK",
            help="What parts decimals, '.' or ',': for all columns or as COLUMN=MARK  [default: as the rows show]",
        ),
        click.option(
            "--missing",
            multiple=True,
            type=as_utf8,
            metavar="WORD",
            help="A word that means missing, in place of NA, null, None and the like; 'none': no word does. For all "
            "columns or as COLUMN=WORD; may be given several times.",
        ),
    ):
        command = option(command)
    return command


def unknown(command: Command) -> Command:
    """--unknown."""
    return click.option(
        "--unknown",
        type=click.Choice(["gap", "error"]),
        help="Words that training had not, and values that a column cannot have (a word among numbers): take them for "
        "missing, or refuse both  [default: refuse the latter]",
    )(command)


def as_utf8(text: str) -> str:
    """An argument whose bytes Python could not read in the console's encoding, read as UTF-8."""
    if text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def number(_: click.Context, __: click.Parameter, given: float) -> float:
    """A number; NaN is within every range."""
    if math.isnan(given):
        raise click.BadParameter("nan is not a number of seconds")
    return given


def kinds(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=KIND, several times, as a dict."""
    found = {}
    for each in map(as_utf8, given):
        name, sign, kind = each.rpartition("=")
        if not sign or not name:
            raise click.BadParameter(f"{each!r} is not NAME=KIND, such as zip=category")
        found[name] = kind
    return found


def default_folder(table: Path) -> Path:
    """The folder that a model is written into unless one is named: the table's name and -model."""
    name = "stdin" if str(table) == "-" else re.sub(r"[^\w-]+$|[*?\[\]]+", "", table.name.split(".")[0])
    return Path(f"{name.strip('-_ ') or 'table'}-model")
