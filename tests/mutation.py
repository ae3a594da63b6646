"""Mutation testing: cosmic-ray plants small mistakes in lamp one at a time, and the tests must fail.

    python -m tests.mutation nn losses --seed 0 --per-file 3     two rooms; without names, all rooms

The same seed draws the same mutants of the same commit. They are made in a copy of HEAD, never in the working tree. A
run that was interrupted continues where it stopped; another commit, seed or number per file starts a new run.
cosmic-ray finds the mutations, makes them and runs the tests; this file only draws some of them. `docs/testing.md`
shows the scores, and `tests/mutation.toml` lists the files and the tests of each room.
"""

from __future__ import annotations

import ast
import os
import random
import shlex
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import click
from cosmic_ray.config import serialize_config
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec, WorkerOutcome, WorkResult

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ROOMS = SETTINGS["rooms"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("rooms", nargs=-1, metavar="[ROOM]...")
@click.option("--seed", default=0, show_default=True, help="From which the mutants are drawn.")
@click.option("--per-file", default=3, show_default=True, type=click.IntRange(1), help="Mutants of each file.")
@click.option(
    "--out",
    default=ROOT / "build" / "mutation",
    show_default="build/mutation",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the copy and cosmic-ray's sessions.",
)
@click.option("--through", default="", help="A command that runs the tests, such as `nice`.")
@click.option("--timeout", default=SETTINGS["cosmic-ray"]["timeout"], show_default=True, help="Seconds for one mutant.")
def main(rooms: tuple[str, ...], seed: int, per_file: int, out: Path, through: str, timeout: float) -> None:
    """Plant mistakes in ROOMs of lamp, and count those that the tests notice."""
    if unknown := set(rooms) - set(ROOMS):
        raise click.UsageError(f"no such room: {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    out = out.resolve() / commit
    copy = out / "copy"
    if not copy.exists():
        run("git", "worktree", "add", "--detach", str(copy), "HEAD", folder=ROOT)
    run("git", "checkout", "--", ".", folder=copy)  # an interrupted run may have left a mutant behind
    for room in rooms or ROOMS:
        tests = [f"tests/test_{name}.py" for name in ROOMS[room]["tests"]]
        pytest = f"{shlex.quote(sys.executable)} -m pytest -x -p no:cacheprovider"
        config = SETTINGS["cosmic-ray"] | {
            "module-path": [f"src/lamp/{name}.py" for name in ROOMS[room]["modules"]],
            "test-command": f"{through} {pytest} {' '.join(tests)}",
            "timeout": timeout,
        }
        configuration, session = out / f"{room}.toml", out / f"{room}-seed{seed}-{per_file}.sqlite"
        configuration.write_text(serialize_config(config), encoding="utf-8")
        run("cosmic-ray", "baseline", str(configuration), folder=copy)  # the tests pass where nothing is mutated
        if not session.exists():
            run("cosmic-ray", "init", str(configuration), str(session), folder=copy)
            run("cr-filter-operators", str(session), str(configuration), folder=copy)
            draw(session, copy, seed, per_file)
        run("cosmic-ray", "exec", str(configuration), str(session), folder=copy)
        tell(room, session)


def run(*command: str, folder: Path) -> None:
    """Run a command of the tool in the copy, where `import lamp` finds the copy's source."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    program = Path(sys.executable).with_name(command[0])  # of the same virtual environment
    subprocess.run([program if program.exists() else command[0], *command[1:]], cwd=folder, env=environment, check=True)


def draw(session: Path, copy: Path, seed: int, per_file: int) -> None:
    """Mark all mutations as skipped, except `per_file` of each file at different places."""
    with use_db(session) as database:
        places: dict[Path, dict[tuple[int, int], dict[str, MutationSpec]]] = defaultdict(lambda: defaultdict(dict))
        for item in database.pending_work_items:
            (mutation,) = item.mutations
            places[mutation.module_path][mutation.start_pos][item.job_id] = mutation
        drawn: set[str] = set()
        for path, mutations in places.items():
            source = (copy / path).read_text(encoding="utf-8")
            drawn |= set(_drawn(source, mutations, random.Random(f"{seed} {path}"), per_file))
        left = [job for mutations in places.values() for each in mutations.values() for job in each if job not in drawn]
        database.set_multiple_results(left, WorkResult(output="not drawn", worker_outcome=WorkerOutcome.SKIPPED))


def _drawn(
    source: str, places: dict[tuple[int, int], dict[str, MutationSpec]], generator: random.Random, count: int
) -> list[str]:
    """Some mutations of one file, in an order that does not depend on their count."""
    silent = spans_of_types_and_messages(source)
    order = sorted(place for place in places if not any(begin <= place < end for begin, end in silent))
    generator.shuffle(order)
    found: list[str] = []
    for place in order:
        if len(found) == count:
            break
        by_name = sorted((mutation.operator_name, mutation.occurrence, job) for job, mutation in places[place].items())
        operator, occurrence, job = generator.choice(by_name)
        if compiles(mutate_code(source, get_operator(operator)(), occurrence)):
            found.append(job)
    return found


def spans_of_types_and_messages(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The begin and end of each annotation, raised error and formatted string in a file."""
    nodes: list[ast.expr | ast.stmt | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise | ast.JoinedStr):
            nodes.append(node)
        elif isinstance(node, ast.arg | ast.AnnAssign):
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            nodes.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset))
        for node in nodes
        if node is not None
    ]


def compiles(source: str) -> bool:
    """Whether a mutant is valid Python; `if not x := f()` is not."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def tell(room: str, session: Path) -> None:
    """Print how many mutants of a room were killed, and the diff of each survivor."""
    with use_db(session) as database:
        results = [(item, result) for item, result in database.completed_work_items if result.test_outcome is not None]
    survivors = [(item.mutations[0], result.diff) for item, result in results if not result.is_killed]
    killed = len(results) - len(survivors)
    click.echo(
        f"{room}: {len(results)} mutants, {killed} killed, {len(survivors)} survived: {killed / len(results):.0%}"
    )
    for mutation, diff in sorted(survivors, key=lambda each: (each[0].module_path, each[0].start_pos)):
        click.echo(f"\n{mutation.module_path}:{mutation.start_pos[0]}  {mutation.operator_name}")
        changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("---", "+++")]
        click.echo("\n".join(changed))


if __name__ == "__main__":
    main(prog_name="python -m tests.mutation")
