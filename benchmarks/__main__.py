"""Measure a row of the benchmark table: `python -m benchmarks row10`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.harness import LEAST_REPETITIONS, REPETITIONS, NotEqual, Row, measure
from benchmarks.report import Report, print_report, write_into

os.environ["LAMP_CACHE_DIR"] = "off"  # compiling is measured, so nothing may be compiled already

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
RESULTS = HERE / "results"
FIGURE = DOCUMENT.with_suffix(".png")


def rows() -> dict[str, str]:
    """The module of each row, such as "row10", in the order of their numbers."""
    modules = [path.stem for path in HERE.glob("row*_*.py")]
    found = {module.split("_", 1)[0]: f"benchmarks.{module}" for module in modules}
    return dict(sorted(found.items(), key=lambda item: int(re.sub(r"\D", "", item[0]))))


ALIASES = {"networks": "row16", "recurrence": "row19"}
COMMANDS = {  # the module of each other thing to measure; only what is asked for is imported, which takes seconds
    "compiling": "benchmarks.compiling",
    "estimators": "benchmarks.estimators_command",
    "mlps": "benchmarks.random_mlps_command",
    "tables": "benchmarks.tables_command",
}
SPLITS = 3


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[ROW]...")
@click.option(
    "--repetitions", default=REPETITIONS, show_default=True, type=click.IntRange(LEAST_REPETITIONS), help="Rounds."
)
@click.option("--only", default="", help="Measure only work whose title contains this.")
@click.option("--without", multiple=True, help="Leave out contenders of this name, such as torch.compile.")
@click.option("--write-docs", is_flag=True, help="Put tables and figure into docs/, times into results/.")
@click.option("--from-results", is_flag=True, help="Show what results/ holds; measure nothing.")
@click.option("--seed", default=0, show_default=True, help="Seed from which `mlps` draws its networks.")
@click.option("--count", default=40, show_default=True, type=click.IntRange(1), help="How many networks `mlps` draws.")
@click.option(
    "--budget", "budgets", multiple=True, type=click.FloatRange(1), help="Seconds of `lamp train` in `tables`."
)
@click.option(
    "--splits",
    default=SPLITS,
    show_default=True,
    type=click.IntRange(1),
    help="Splits of each of `tables`.",
)
@click.option(
    "--rows", "most_rows", default=0, type=click.IntRange(0), help="Use at most so many rows of each of `tables`."
)
@click.option("--again", multiple=True, help="Measure contenders of `tables` whose names begin so again, such as lamp.")
@click.option(
    "--results", type=click.Path(dir_okay=False, path_type=Path), help="The file that keeps the scores of `tables`."
)
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw these rows as bars into a file.")
def main(
    names: tuple[str, ...],
    repetitions: int,
    only: str,
    without: tuple[str, ...],
    write_docs: bool,
    from_results: bool,
    seed: int,
    count: int,
    budgets: tuple[float, ...],
    splits: int,
    most_rows: int,
    again: tuple[str, ...],
    results: Path | None,
    figure: Path | None,
) -> None:
    """Measure rows of the benchmark table, such as row10 or networks; without arguments, list them."""
    console = Console()
    there = rows()
    names = tuple(ALIASES.get(name, name) for name in names)
    own_options: dict[str, dict[str, Any]] = {
        "mlps": {"seed": seed, "count": count},
        "tables": {"without": without, "budgets": budgets, "splits": splits, "rows": most_rows, "again": again},
    }
    for name, module in COMMANDS.items():
        if name in names:
            saved = results if results and name == "tables" else RESULTS / f"{name}.json"
            options = {"only": only, "write_docs": write_docs, "from_results": from_results}
            import_module(module).run(console, DOCUMENT, saved, **options, **own_options.get(name, {}))
            names = tuple(each for each in names if each != name)
            if not names:
                return
    if unknown := [name for name in names if name not in there]:
        raise click.UsageError(f"no such row: {', '.join(unknown)}; there are {', '.join(there)}")
    if only and write_docs:
        raise click.UsageError("--write-docs writes whole rows: leave --only out")
    if not names:
        for name, module in there.items():
            console.print(f"{name:<8}{import_module(module).ROW.title}", highlight=False)
        for name, module in COMMANDS.items():
            console.print(f"{name:<11} {import_module(module).TITLE}", highlight=False)
    reports = []
    for name in names:
        saved = RESULTS / f"{name}.json"
        if from_results and not saved.exists():
            raise click.UsageError(f"{name} has no results: leave --from-results out")
        report = _saved(name) if from_results else _measured(there[name], repetitions, only, without, console)
        reports.append(report)
        print_report(report, console)
        if write_docs:
            RESULTS.mkdir(exist_ok=True)
            saved.write_text(report.to_json(), encoding="utf-8")
            write_into(DOCUMENT, report)
    if write_docs and reports:
        from benchmarks.figure import write_figure

        write_figure([_saved(name) for name in there if (RESULTS / f"{name}.json").exists()], FIGURE)
    if figure is not None:
        if not reports:
            raise click.UsageError("--figure draws rows: name them")
        from benchmarks.figure import write_figure

        write_figure(reports, figure)


def _saved(name: str) -> Report:
    return Report.from_json((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _without(row: Row, names: tuple[str, ...]) -> Row:
    """The row without the contenders of these names."""
    there = list(dict.fromkeys(each.name for work in row.works for each in work.contenders))
    if unknown := [name for name in names if name not in there]:
        raise click.UsageError(f"no such contender: {', '.join(unknown)}; there are {', '.join(there)}")
    works = tuple(work.without(names) for work in row.works)
    for work in works:
        if work.reference is None:
            raise click.UsageError(f"{work.title}: without {', '.join(names)} no peer is left to compare lamp with")
    return replace(row, works=works)


def _measured(module: str, repetitions: int, only: str, without: tuple[str, ...], console: Console) -> Report:
    from benchmarks.machine import description

    row = _without(import_module(module).ROW, without)
    works = [work for work in row.works if only.lower() in work.title.lower()]
    if not works:
        raise click.UsageError(f"no title contains {only!r}; there are {'; '.join(work.title for work in row.works)}")
    with console.status("") as status:
        try:
            outcomes = [measure(work, repetitions, say=status.update) for work in works]
        except NotEqual as error:
            raise click.ClickException(str(error)) from error
    return Report(row.number, row.title, description(), outcomes)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
