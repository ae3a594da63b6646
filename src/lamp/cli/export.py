"""`lamp export`: write a trained folder's ensemble for use in other programs."""

from __future__ import annotations

from pathlib import Path

import click

from lamp.cli import terminal
from lamp.cli.table_options import TABLE


@click.command(
    epilog="Examples:\n\n  lamp export houses-model --to onnx\n\n  lamp export houses-model --to python --out prices.py"
)
@click.argument("folder", type=TABLE)
@click.option(
    "--to",
    "kind",
    type=click.Choice(["onnx", "torch", "safetensors", "python"]),
    required=True,
    help="onnx; torch: Python code with torch; safetensors: the weights alone; python: Python code with only numpy.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The file to write  [default: named after the folder]")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def export(folder: Path, kind: str, out: Path | None, force: bool, as_json: bool) -> None:
    """Write the ensemble in FOLDER for other programs, with its calibration, checked against lamp's own predictions.

    The files for onnx and python take raw columns: numbers, words, dates and missing values. Those for torch take the
    inputs of the networks. The file FILE.inputs.json, written beside it, says what each column holds, or how each input
    is computed.
    """
    from lamp.errors import DataError
    from lamp.tables.export import KINDS, recipe_of
    from lamp.tables.export import export as write
    from lamp.tables.folder import load_model

    model = load_model(folder)
    path = out or Path(folder.resolve().name.replace("-", "_") + KINDS[kind])
    if path.suffix != KINDS[kind]:
        raise DataError(
            f"--to {kind} writes a {KINDS[kind]} file",
            expected=f"a name that ends in {KINDS[kind]}",
            got=str(path),
            fix=f"--out {path.with_suffix(KINDS[kind])}",
        )
    for each in {path, path.with_suffix(".safetensors") if kind == "torch" else path, recipe_of(path)}:
        if each.exists() and not force:
            raise DataError(
                f"{each} exists already",
                expected="names of no existing files, for the model and the files beside it",
                got="a folder" if each.is_dir() else "a file",
                fix="choose another name with --out, or --force to replace it",
            )
    files = write(model, kind, path)
    if as_json:
        terminal.write_json({"files": [str(file) for file in files]})
        return
    for file in files:
        terminal.tell(str(file))
    if kind in ("onnx", "python"):
        terminal.say(f"{files[-1]} says what each of the {len(model.preprocessing.used)} columns holds")
    else:
        terminal.say(f"{files[-1]} says how each of the {len(model.preprocessing.features)} inputs is computed")
