"""`lamp disk`: train the network of lamp-2019 from several seeds."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path

import click

from lamp.cli import terminal
from lamp.cli.options import SEED, compared, make_folder, reporting


@click.command(
    epilog="Examples:\n\n  lamp disk\n\n  lamp disk --runs 50 --epochs 100 --out results\n\n  lamp disk --compare 2\n\n"
    "  lamp disk --json -q"
)
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True, help="Networks to train, one per seed.")
@click.option("--epochs", type=click.IntRange(1), default=400, show_default=True, help="Epochs per network.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="The first seed.")
@compared
@reporting
def disk(
    runs: int, epochs: int, seed: int, one_by_one: bool, compare: int, out: Path, as_json: bool, quiet: bool
) -> None:
    """Train networks to tell a disk from its surroundings.

    1,000 training and 1,000 test points on the unit square; label 1 inside the disk that covers half of it. Each
    network 2-25-25-25-2 (SELU, cross-entropy, Adam) has its own seed and its own data; all of them train together,
    as one population. Prints a table with mean and standard deviation, and writes the figure disk.png and the
    histories disk.json.
    """
    if compare > runs:
        raise click.BadParameter(f"{compare} of {runs} runs cannot be trained one by one", param_hint="--compare")
    make_folder(out)
    from lamp.cli import show
    from lamp.experiments.figures import three_panels
    from lamp.experiments.lamp_2019 import SELU_NETWORK
    from lamp.experiments.protocol import MEASURED, train_runs
    from lamp.experiments.reproduction import beside_torch

    gc.freeze()  # torch's modules stay loaded; scanning them would take each full garbage collection 0.1 s
    setting = dataclasses.replace(SELU_NETWORK, epochs=epochs)
    seeds = range(seed, seed + runs)
    results = train_runs(setting, seeds, progress=not quiet, one_by_one=one_by_one)
    figure = three_panels(results, out / "disk.png")
    measured = results.to_dict()
    if compare:
        alone, peers = beside_torch(setting, seeds, compare, False, "epoch (to compare)", not quiet)
        measured |= {"one by one": alone.spread(*MEASURED), "torch.nn": peers.spread(*MEASURED)}
    summary = {**measured, "histories": [run.history.to_dict() for run in results.runs]}
    history = out / "disk.json"
    history.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if as_json:
        terminal.write_json({**measured, "files": [str(figure), str(history)]})
    elif not quiet:
        show.runs(results)
        if compare:
            show.times(results, alone, peers)
        show.files([figure, history])
