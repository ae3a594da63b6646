"""`lamp bench`: the rows of the benchmark table, measured on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Examples:\n\n  lamp bench\n\n  lamp bench row1 row2\n\n  lamp bench row1 --repetitions 5",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ROW ...] [OPTIONS]")
def bench(arguments: tuple[str, ...]) -> None:
    """Measure rows of the benchmark table against their peers; without arguments, list the rows.

    The benchmarks are part of a clone of lamp's repository, so run this command there. `python -m benchmarks --help`
    lists the options and the peers that must be installed.
    """
    folder = _clone()
    if folder is None:
        raise click.UsageError(
            f"there are no benchmarks in {Path.cwd()} or above: run this in a clone of lamp's repository"
        )
    done = subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=folder, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def _clone() -> Path | None:
    """The nearest folder above the current one, or above the package, that holds the benchmarks."""
    here = Path.cwd()
    for folder in (here, *here.parents, *Path(__file__).resolve().parents):
        if (folder / "benchmarks" / "__main__.py").is_file() and (folder / "src" / "lamp").is_dir():
            return folder
    return None
