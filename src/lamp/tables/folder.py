"""The folder of a trained table: everything needed to predict, and everything that was found out on the way.

preprocessing.json     what becomes of each column
architecture.json      the networks, the target, the calibration
model.safetensors      the weights, (K, ...) each
metrics.json           on the test rows, beside scikit-learn's models; importance of the columns
config.json            how it was trained: table, rows, seed, settings, times, versions
history.json           the ensemble's training; sweep.csv: all settings tried
test.csv               the test rows' numbers in the table, what is true, what was predicted
*.png                  figures
manifest.json          size and digest of each of these files
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamp.errors import DataError
from lamp.saving import check_folder, load, load_json
from lamp.saving.documents import MANIFEST
from lamp.saving.weights import WEIGHTS
from lamp.tables.model import TableModel
from lamp.tables.preprocessing import Preprocessing

KIND = "lamp table"
PREPROCESSING, ARCHITECTURE = "preprocessing.json", "architecture.json"
METRICS, CONFIG = "metrics.json", "config.json"
HISTORY, SWEEP, TEST = "history.json", "sweep.csv", "test.csv"
CURVES, CALIBRATION, RESIDUALS = "curves.png", "calibration.png", "residuals.png"
CONFUSION, IMPORTANCE = "confusion.png", "importance.png"


def is_empty(path: Path) -> bool:
    """Whether this is a folder with nothing in it."""
    return path.is_dir() and not any(path.iterdir())


def check_kind(path: Path) -> None:
    """That what is here may be replaced: a folder that lamp train wrote, whole or damaged. Raises DataError if not."""
    names = {each.name for each in path.iterdir()} if path.is_dir() else set()
    if not {MANIFEST, ARCHITECTURE, PREPROCESSING} & names:
        raise DataError(
            f"{path} is no folder that lamp train wrote, so it is not replaced",
            expected="a name that is free, or such a folder",
            got=f"{len(names)} files" if path.is_dir() else "a file",
            fix="choose another name with --out",
        )


def check_is_table(path: Path) -> Mapping[str, Any]:
    """The folder's manifest, once every file in it is found whole.

    Raises DataError for what is no folder of `lamp train`, CheckpointError for damaged files.
    """
    if not path.exists():
        raise DataError(
            f"{path}: there is no such folder", expected="a folder that lamp train wrote", fix="look at the path"
        )
    if not path.is_dir() or not (path / MANIFEST).is_file():
        there = sorted(each.name for each in path.iterdir())[:8] if path.is_dir() else []
        raise DataError(
            f"{path} is no folder that lamp train wrote",
            expected=f"a folder with {MANIFEST}, {ARCHITECTURE}, {WEIGHTS}, ...",
            got=(", ".join(there) or "an empty folder") if path.is_dir() else "a file",
            fix="name the folder that lamp train printed",
        )
    manifest = check_folder(path)
    if manifest.get("kind") != KIND:
        raise DataError(
            f"{path} is another folder of lamp's, not one of lamp train",
            expected=f"a manifest of kind {KIND!r}",
            got=repr(manifest.get("kind")),
            fix="name the folder that lamp train printed",
        )
    return manifest


def load_model(path: str | Path) -> TableModel:
    """The model in a folder of lamp train. Raises DataError where there is none, CheckpointError for a damaged one."""
    path = Path(path)
    check_is_table(path)
    try:
        preprocessing = Preprocessing.from_dict(load_json(path / PREPROCESSING))
        architecture = load_json(path / ARCHITECTURE)
        return TableModel.rebuilt(architecture, preprocessing, lambda networks: load(networks, path / WEIGHTS))
    except DataError as error:
        error.where = str(path)
        raise


def load_reports(path: str | Path) -> dict[str, Any]:
    """What metrics.json and config.json say, under "metrics" and "config"."""
    path = Path(path)
    check_is_table(path)
    return {"metrics": load_json(path / METRICS), "config": load_json(path / CONFIG)}
