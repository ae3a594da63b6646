"""`lamp reproduce`: run the five experiments and print each published figure beside lamp's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamp.cli import terminal
from lamp.cli.options import compared, make_folder, reporting
from lamp.experiments import LABELS

if TYPE_CHECKING:
    from lamp.experiments.reproduction import Outcome

FALLS_SHORT = 1


@click.command(
    epilog="Examples:\n\n  lamp reproduce all\n\n  lamp reproduce lamp-2021 mini-2020 --runs 3\n\n"
    "  lamp reproduce mini-2020 --compare 1\n\n  lamp reproduce torchlike-2019 --json -q > torchlike.json"
)
@click.argument("labels", nargs=-1, type=click.Choice([*LABELS, "all"]), metavar="[LABEL ...|all]")
@click.option("--runs", type=click.IntRange(1), default=None, help="Runs per setting  [default: as in the experiment]")
@compared
@reporting
def reproduce(
    labels: tuple[str, ...],
    runs: int | None,
    one_by_one: bool,
    compare: int,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run the experiments of the five systems that lamp grew from.

    LABEL is lamp-2019, mini-2019, torchlike-2019, mini-2020, lamp-2021 or all (the default). The runs of a setting,
    each with its own seed and data, train as one population. Prints each published figure beside lamp's, writes the
    plots of the original reports and reproduce.json, and exits with status 1 where a published figure lies above the
    95 % confidence interval of lamp's mean.
    """
    make_folder(out)
    from lamp.cli import show
    from lamp.experiments import experiment

    chosen = LABELS if not labels or "all" in labels else tuple(dict.fromkeys(labels))
    outcomes: list[Outcome] = []
    summary: dict[str, Any] = {}
    for label in chosen:
        outcome = experiment(label).carry_out(
            out, runs=runs, progress=not quiet, one_by_one=one_by_one, compare=compare
        )
        outcomes.append(outcome)
        summary[label] = outcome.to_dict()
        (out / "reproduce.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        if not (as_json or quiet):
            show.outcome(outcome)
    if as_json:
        terminal.write_json(summary)
    short = [f"{outcome.experiment.label} {name}" for outcome in outcomes for name in outcome.short]
    if short:
        terminal.say(f"below the published figure: {'; '.join(short)}")
        sys.exit(FALLS_SHORT)
