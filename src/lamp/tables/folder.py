"""The folder of a trained table: everything needed to predict, and a record of the training.

preprocessing.json     how each column is encoded
architecture.json      the networks, the target, the calibration
model.safetensors      the weights, (K, ...) each; those of the first group of networks begin with "0."
metrics.json           metrics on the test rows, beside scikit-learn's models; importance of the columns; a verdict
config.json            how it was trained: table, rows, seed, settings, times, versions
history.json           the history of the ensemble's training; of further groups history-2.json, ...
sweep.csv              all settings that were tried
test.csv               each test row's number in the table, true value and prediction
*.png                  figures
report.html            all of this for people, in one file
manifest.json          size and digest of each of these files
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import polars as pl
from torch import Tensor

from lamp.errors import DataError
from lamp.printable import counted
from lamp.saving import SealedFolder, reading
from lamp.saving.folders import MANIFEST
from lamp.saving.schema import Count, Range, check
from lamp.saving.seal import DamagedError, restoring
from lamp.saving.tensors import read_tensors
from lamp.saving.weights import WEIGHTS
from lamp.tables.columns import KINDS
from lamp.tables.groups import GroupDocument, encoded_inputs, shape_of
from lamp.tables.model import VERSION, TableModel
from lamp.tables.prediction_intervals import PredictionIntervals
from lamp.tables.preprocessing import Preprocessing
from lamp.tables.reading import ReadOptions
from lamp.tables.targets import Target
from lamp.values import as_path

KIND = "lamp table"
OURS = "lamp ensemble"  # among the models of metrics.json
PREPROCESSING, ARCHITECTURE = "preprocessing.json", "architecture.json"
METRICS, CONFIG = "metrics.json", "config.json"
HISTORY, SWEEP, TEST = "history.json", "sweep.csv", "test.csv"
CURVES, CALIBRATION, RESIDUALS = "curves.png", "calibration.png", "residuals.png"
REPORT = "report.html"
CONFUSION, IMPORTANCE = "confusion.png", "importance.png"


LEAST_BYTES = 2  # bytes that a weight takes in a file, at least


class ArchitectureDocument(TypedDict):
    """architecture.json: see `TableModel.architecture`."""

    version: Annotated[int, Range(1, 10**6)]
    inputs: Annotated[int, Range(0, 10**8)]
    outputs: Annotated[int, Range(1, 10**6)]
    groups: list[GroupDocument]
    temperature: Annotated[float, Range(1e-30, 1e30)]
    intervals: PredictionIntervals | None
    target: Target


class ColumnDocument(TypedDict):
    """A column's entry, which also has the fields of its kind."""

    kind: str


class PreprocessingDocument(TypedDict):
    """preprocessing.json: see `Preprocessing.to_dict`."""

    version: int
    missing_words: NotRequired[list[str]]
    grouped: NotRequired[bool]
    columns: list[ColumnDocument]
    features: list[str]


@dataclass
class Score:
    """A metric's value with its 95 % interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Importance(TypedDict):
    """How much the loss rises when a column is shuffled."""

    column: str
    mean: float


class VerdictDocument(TypedDict):
    """What a training has come to, in sentences."""

    sentences: list[str]
    advice: list[str]


class MetricsDocument(TypedDict):
    """metrics.json: see `lamp.tables.train.report`."""

    rows: Count
    measured_on: NotRequired[str]
    models: dict[str, dict[str, Score]]
    seconds: dict[str, float]
    notes: dict[str, str]
    importance: list[Importance]
    verdict: NotRequired[VerdictDocument]


class ConfigDocument(TypedDict):
    """config.json: see `lamp.tables.train`."""

    reading: NotRequired[dict[str, str | int | bool]]
    table: str
    rows: Count
    seed: int
    seconds: float
    epochs: Count


def history_file(place: int) -> str:
    """The name of the file with the training history of a group of networks."""
    return f"history-{place + 1}.json" if place else HISTORY


def is_empty(path: Path) -> bool:
    """Whether this is an empty folder."""
    return path.is_dir() and not any(path.iterdir())


def check_kind(path: Path) -> None:
    """Raise DataError unless this is a folder that lamp train wrote, intact or damaged, which may be replaced."""
    names = {each.name for each in path.iterdir()} if path.is_dir() else set()
    if not {MANIFEST, ARCHITECTURE, PREPROCESSING} & names:
        raise DataError(
            f"{path} is not a folder that lamp train wrote, so it is not replaced",
            expected="a path that does not exist, or a folder of lamp train",
            got=counted(len(names), "file") if path.is_dir() else "a file",
            fix="choose another name with --out",
        )


def open_folder(path: str | os.PathLike[str]) -> SealedFolder:
    """The folder of a trained table, after checking that every file in it is intact.

    Raises DataError if it is not a folder of `lamp train`, and CheckpointError for damaged files.
    """
    path = as_path(path)
    with reading(path):
        is_there, is_folder = path.exists(), path.is_dir()
        names = sorted(each.name for each in path.iterdir()) if is_folder else []
    if not is_there:
        raise DataError(
            f"{path}: there is no such folder",
            expected="a folder that lamp train wrote",
            got="no file or folder",
            fix="check the path",
        )
    if MANIFEST not in names:
        raise DataError(
            f"{path} is not a folder that lamp train wrote",
            expected=f"a folder with {MANIFEST}, {ARCHITECTURE}, {WEIGHTS}, ...",
            got=(", ".join(names[:8]) or "an empty folder") if is_folder else "a file",
            fix="name the folder that lamp train printed",
        )
    folder = SealedFolder(path)
    if (kind := folder.manifest.get("kind")) != KIND:
        raise DataError(
            f"{path} is a folder of lamp, but not one that lamp train wrote",
            expected=f"a manifest of kind {KIND!r}",
            got=repr(kind)[:80],
            fix="name the folder that lamp train printed",
        )
    folder.require(PREPROCESSING, ARCHITECTURE, WEIGHTS, METRICS, CONFIG)
    folder.check()
    return folder


def load_model(path: str | os.PathLike[str]) -> TableModel:
    """The model in a folder of lamp train. Raises DataError for another folder, CheckpointError for a damaged one."""
    folder = open_folder(path)
    saved = folder.read_json(PREPROCESSING, PreprocessingDocument)
    known: Any = Literal[tuple(KINDS)]
    for k, column in enumerate(saved["columns"]):
        place = folder.path / PREPROCESSING, f"columns[{k}]"
        check(column["kind"], known, place[0], f"{place[1]}.kind")
        check({name: value for name, value in column.items() if name != "kind"}, KINDS[column["kind"]], *place)
    state, _ = read_tensors(folder.read(WEIGHTS), folder.path / WEIGHTS)
    architecture = folder.read_json(ARCHITECTURE)
    if "version" not in architecture:
        architecture, state = _of_version_1(architecture, state)
    _check_version(architecture, folder.path)
    check(architecture, ArchitectureDocument, folder.path / ARCHITECTURE)
    _check_size(architecture, folder)
    with restoring(folder.path, "the model"):
        preprocessing = Preprocessing.from_dict(saved)
        model = TableModel.rebuilt(architecture, preprocessing, state)
        empty = pl.DataFrame({column.name: pl.Series([None], dtype=pl.String) for column in preprocessing.used})
        model.predict(empty)  # parts that do not fit together fail here, on one row of missing values
    return model


def _of_version_1(architecture: dict[str, Any], state: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The architecture and weights of a folder that has no version: one group, no encoding, one width of intervals."""
    group = {name: architecture[name] for name in GroupDocument.__annotations__ if name in architecture}
    group |= {"weight": 1.0, "edges": None}
    is_number = "margin" in architecture and architecture["target"].get("task") == "regression"
    intervals = PredictionIntervals.of_one_width(architecture["margin"]).to_dict() if is_number else None
    now = {**architecture, "version": VERSION, "groups": [group], "intervals": intervals}
    return now, {f"0.{name}": each for name, each in state.items()}


def _check_version(architecture: dict[str, Any], path: Path) -> None:
    """Raise DataError for a folder that a newer version of lamp wrote."""
    if isinstance(version := architecture["version"], int) and version > VERSION:
        raise DataError(
            f"{path} was written by a newer version of lamp",
            expected=f"version {VERSION} of {ARCHITECTURE}, or an older one",
            got=f"version {version}",
            fix="read it with that version or a later one",
        )


def _check_size(architecture: dict[str, Any], folder: SealedFolder) -> None:
    """Raise DamagedError for networks with more weights than their file can hold, before they are built."""
    inputs, outputs = architecture["inputs"], architecture["outputs"]
    weights = sum(
        each["members"] * shape_of(each).weights(encoded_inputs(each, inputs), outputs)
        for each in architecture["groups"]
    )
    if weights * LEAST_BYTES > folder.files[WEIGHTS]["bytes"]:
        raise DamagedError(
            f"{folder.path / ARCHITECTURE}: the networks are larger than the file of their weights",
            f"at most {folder.files[WEIGHTS]['bytes'] // LEAST_BYTES:,} weights",
            f"{weights:,}",
        )


def load_reading(path: str | os.PathLike[str]) -> ReadOptions:
    """The options with which the training table was read. Raises what `open_folder` does, or for invalid options."""
    folder = open_folder(path)
    saved = folder.read_json(CONFIG, ConfigDocument).get("reading", {})
    with restoring(folder.path, "how tables are read"):
        return ReadOptions.from_dict(saved)


def load_reports(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The contents of metrics.json and config.json, under "metrics" and "config"."""
    folder = open_folder(path)
    metrics, config = folder.read_json(METRICS, MetricsDocument), folder.read_json(CONFIG, ConfigDocument)
    if OURS not in metrics["models"] or (without := metrics["models"].keys() - metrics["seconds"].keys()):
        got = ", ".join(sorted(without)) + " without seconds" if OURS in metrics["models"] else f"no {OURS!r}"
        raise DamagedError(f"{folder.path / METRICS}: models", f"{OURS!r} and others, with their seconds", got)
    return {"metrics": metrics, "config": config}
