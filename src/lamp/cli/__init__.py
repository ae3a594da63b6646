"""The program `lamp`: it parses, calls and prints; the work is done elsewhere.

Nothing here imports torch before a command runs, so that help and version answer at once.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from lamp import __version__
from lamp.cli.bench import bench
from lamp.cli.disk import disk
from lamp.cli.evaluate import evaluate
from lamp.cli.export import export
from lamp.cli.inspect import inspect
from lamp.cli.predict import predict
from lamp.cli.reproduce import reproduce
from lamp.cli.train import train

INTERRUPTED = 130
BAD_INPUT = 2


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples:\n\n  lamp train houses.csv --target price\n\n  lamp disk\n\n  lamp reproduce all",
)
@click.version_option(__version__, prog_name="lamp")
def program() -> None:
    """lamp: deep learning on PyTorch tensors with every gradient written out."""


for command in (train, predict, evaluate, inspect, export, disk, reproduce, bench):
    program.add_command(command)


def main(**kwargs: Any) -> None:
    """Run the program; exits 0, 1 (a result falls short), 2 (bad input) or 130 (interrupted)."""
    try:
        code = program.main(standalone_mode=False, **kwargs)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        if not _is_lamp_error(error):
            raise
        print(f"lamp: {error}", file=sys.stderr)
        code = BAD_INPUT
    sys.exit(code)


def _is_lamp_error(error: Exception) -> bool:
    from lamp.errors import LampError

    return isinstance(error, LampError)
