"""The program `lamp`. It parses arguments, calls the package and prints; the work is done elsewhere.

Nothing here imports torch before a command runs, so that help and version answer at once.
"""

from __future__ import annotations

import io
import sys
from difflib import get_close_matches
from typing import Any

import click

from lamp import __version__
from lamp.cli import terminal
from lamp.cli.bench import bench
from lamp.cli.cache import cache
from lamp.cli.disk import disk
from lamp.cli.evaluate import evaluate
from lamp.cli.export import export
from lamp.cli.inspect import inspect
from lamp.cli.predict import predict
from lamp.cli.reproduce import reproduce
from lamp.cli.train import train
from lamp.errors import LampError

INTERRUPTED = 130
BAD_INPUT = 2


class Program(click.Group):
    """The group of all commands. For an unknown command it suggests the closest name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            close = get_close_matches(args[0], self.commands, 1)
            meant = f"Did you mean {close[0]!r}?" if close else f"The commands are {', '.join(sorted(self.commands))}."
            ctx.fail(f"No such command {args[0]!r}. {meant}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples:\n\n  lamp train houses.csv --target price\n\n  lamp disk\n\n  lamp reproduce all",
)
@click.version_option(__version__, prog_name="lamp")
def program() -> None:
    """lamp: deep learning on PyTorch tensors with every gradient written out."""


for command in (train, predict, evaluate, inspect, export, disk, reproduce, bench, cache):
    program.add_command(command)


def main(**kwargs: Any) -> None:
    """Run the program.

    Exit status: 0, 1 (a result falls short), 2 (bad input, or a file that cannot be read or written), 130 (Ctrl-C),
    141 (the reader of stdout has gone), 143 (SIGTERM).
    """
    terminal.open_streams()
    with terminal.ended_by_signals():
        code = _run(kwargs)
    sys.exit(code)


def _run(kwargs: dict[str, Any]) -> Any:
    """Run the program and return its exit status; errors are printed on stderr."""
    try:
        try:
            return program.main(standalone_mode=False, **kwargs)
        finally:
            terminal.flush()
    except click.ClickException as error:
        text = io.StringIO()
        error.show(file=text)
        terminal.say_lines(text.getvalue())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        terminal.say("interrupted")
        return INTERRUPTED
    except LampError as error:
        terminal.say_lines(f"lamp: {error}")
    except MemoryError as error:
        terminal.say(f"lamp: there is not enough memory: {error}".rstrip(": "))
    except OSError as error:
        at = f"{error.filename}: " if error.filename else ""
        terminal.say(f"lamp: {at}{error.strerror or error}")
        terminal.abandon_stdout()
    return BAD_INPUT
