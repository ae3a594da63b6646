"""Options that the commands for tables share."""

from __future__ import annotations

import gc
import math
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from lamp.printable import as_utf8

Command = Callable[..., Any]

COLLECTED_AFTER = 50_000  # objects made; by default 700, of which a wide table makes hundreds of thousands that stay

MOST_SECONDS = 30 * 86_400.0
TABLE = click.Path(path_type=Path)


def collect_rarely() -> None:
    """Let the garbage collector leave out what is imported, and run more rarely: wide tables take a tenth less time."""
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, 20, 50)


def printing(command: Command) -> Command:
    """Add --json and --quiet."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print no progress and no remarks on stderr."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table."),
    ):
        command = option(command)
    return command


READING: dict[tuple[str, ...], dict[str, Any]] = {
    ("--separator", "--delimiter", "--sep"): {
        "metavar": "CHAR",
        "help": "The character between values, such as ';', tab, or ' ' for blanks  [default: detected]",
    },
    ("--quote",): {
        "type": click.Choice(["double", "backslash", "none"]),
        "help": "How a quote is written inside quotes: doubled, or after a backslash. With none, quotes have no "
        "special meaning  [default: detected]",
    },
    ("--encoding",): {
        "metavar": "NAME",
        "help": "The text's encoding, such as utf-16 or cp1252  [default: detected, or UTF-8]",
    },
    ("--header/--no-header",): {
        "default": None,
        "help": "Whether the first line names the columns; without, they are column_1, ...  [default: header]",
    },
    ("--comment",): {
        "metavar": "TEXT",
        "help": "Skip lines that begin with this; '' skips none  [default: # if the file begins with it]",
    },
    ("--skip-lines",): {
        "type": click.IntRange(0),
        "metavar": "N",
        "help": "Skip this many lines at the beginning.",
    },
    ("--sheet",): {
        "metavar": "NAME",
        "help": "The sheet of a spreadsheet, or the file in a .zip  [default: the first sheet]",
    },
    ("--ragged",): {
        "type": click.Choice(["error", "fill", "drop"]),
        "help": "What to do with lines of too few or too many values: refuse the file, fill and cut the lines, or drop "
        "them  [default: error]",
    },
    ("--max-bytes",): {
        "metavar": "SIZE",
        "help": "The largest size of the table, decompressed, such as 16G  [default: 4G]",
    },
    ("--max-columns",): {
        "type": click.IntRange(1),
        "metavar": "N",
        "help": "The largest number of columns  [default: 100000]",
    },
}


class TableCommand(click.Command):
    """A command that takes one table; given several, its error names the pattern to use."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            fix = 'to read several files with the same columns as one table, give a pattern in quotes: "sales-*.csv"'
            raise click.UsageError(f"{error.message}\n{fix}", ctx) from None


def reading(command: Command) -> Command:
    """Add the options for reading a table. The command gets those that were given as the dict `reading`."""

    @wraps(command)
    def with_reading(**options: Any) -> Any:
        given = {name: options.pop(name) for name in names}
        return command(reading={name: value for name, value in given.items() if value is not None}, **options)

    names, read = [], with_reading
    for flags, about in reversed(READING.items()):
        names.append(flags[0].split("/")[0].removeprefix("--").replace("-", "_"))
        read = click.option(names[-1], *flags, **about)(read)
    return read


def forms(default: str) -> Callable[[Command], Command]:
    """Add --decimal and --dates: how a table writes its numbers and dates; by default, as `default` says."""

    def with_forms(command: Command) -> Command:
        for option in (
            click.option(
                "--dates",
                multiple=True,
                type=as_utf8,
                metavar="ORDER",
                help="The order of day, month and year in dates written in digits: dmy, mdy, ymd or ydm, for all "
                f"columns or as COLUMN=ORDER  [default: {default}]",
            ),
            click.option(
                "--decimal",
                multiple=True,
                type=as_utf8,
                metavar="MARK",
                help=f"The decimal mark, point or comma, for all columns or as COLUMN=MARK  [default: {default}]",
            ),
        ):
            command = option(command)
        return command

    return with_forms


def written(command: Command) -> Command:
    """Add --missing, --decimal and --dates: how a table writes its values."""
    for option in (
        forms("detected"),
        click.option(
            "--missing",
            multiple=True,
            type=as_utf8,
            metavar="WORD",
            help="A word that means missing, instead of NA, null, None and the like; 'none' if no word does. For all "
            "columns or as COLUMN=WORD. May be given several times.",
        ),
    ):
        command = option(command)
    return command


HELD_OUT: dict[str, dict[str, Any]] = {
    "--test": {
        "type": TABLE,
        "metavar": "FILE",
        "help": "Another table whose rows are the test rows, read like TABLE; all rows of TABLE are then for training "
        "and validation  [default: a random fifth of TABLE]",
    },
    "--groups": {
        "type": as_utf8,
        "metavar": "COLUMN",
        "help": "Rows with the same value in this column, such as a patient's, stand in one part: training, validation "
        "or test, and in one fold of the ensemble. The column is not learned from, unless --kind says what it is.",
    },
    "--time-column": {
        "type": as_utf8,
        "metavar": "COLUMN",
        "help": "The last rows by this column are the test rows, those before them the validation rows; no network "
        "trains on rows that come after those it is judged by.",
    },
    "--no-test": {
        "is_flag": True,
        "help": "Keep no rows for a test and learn from all. The scores are then those of validation rows, which are a "
        "little too good.",
    },
}


def held_out(command: Command) -> Command:
    """Add the options that say how the rows are split. The command gets them as the dict `held_out`."""

    @wraps(command)
    def with_held_out(**options: Any) -> Any:
        return command(held_out={name: options.pop(name) for name in names}, **options)

    names, made = [flag.removeprefix("--").replace("-", "_") for flag in HELD_OUT], with_held_out
    for flag, about in reversed(HELD_OUT.items()):
        made = click.option(flag, **about)(made)
    return made


def unknown(command: Command) -> Command:
    """Add --unknown: what to do with values that training did not have."""
    return click.option(
        "--unknown",
        type=click.Choice(["gap", "error"]),
        help="What to do with words that were not in training, and with values that do not fit their column (a word "
        "among numbers): take both for missing, or refuse both  [default: refuse only the latter]",
    )(command)


def number(_: click.Context, __: click.Parameter, given: float) -> float:
    """The number. Refuses NaN, which every range of click lets pass."""
    if math.isnan(given):
        raise click.BadParameter("nan is not a number of seconds")
    return given


def kinds(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """The values NAME=KIND of an option as a dict {name: kind}."""
    found = {}
    for each in map(as_utf8, given):
        name, sign, kind = each.rpartition("=")
        if not sign or not name:
            raise click.BadParameter(f"{each!r} is not NAME=KIND, such as zip=category")
        found[name] = kind
    return found


def default_folder(table: Path) -> Path:
    """The folder that a model is written into by default: the table's name followed by -model."""
    name = "stdin" if str(table) == "-" else re.sub(r"[^\w-]+$|[*?\[\]]+", "", table.name.split(".")[0])
    return Path(f"{name.strip('-_ ') or 'table'}-model")
