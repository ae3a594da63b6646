"""Checkpoint, the settings of `fit(checkpoint=...)`, and the format of checkpoints on disk.

FOLDER/history.jsonl                                   one line per epoch, written as it ends
FOLDER/checkpoints/epoch-000003-step-000000042/        after 3 whole epochs and 42 steps
    model.safetensors    parameters and buffers, under torch.nn's keys
    state.safetensors    every other tensor: the optimizer's state, generators, best weights, the history
    state.json           everything else
    manifest.json        the size and digest of each file
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError, CheckpointError, CheckpointWarning
from lamp.saving import SealedFolder, reading, sealed_folder
from lamp.saving.documents import json_bytes
from lamp.saving.folders import MANIFEST
from lamp.saving.schema import check
from lamp.saving.seal import DamagedError
from lamp.saving.tensors import read_tensors, write_tensors
from lamp.saving.trees import pack, unpack
from lamp.saving.weights import WEIGHTS
from lamp.signatures import Constructed
from lamp.torch_habits import explains_attributes, unchangeable
from lamp.training.checkpoint_schema import State, StateDocument
from lamp.values import as_path

SECONDS = 60.0  # between two saves, by default
STATE, STATE_TENSORS = "state.json", "state.safetensors"
KIND, FORMAT = "checkpoint of a lamp training", 2
CHECKPOINTS = "checkpoints"
INSTEAD = {  # what users of Lightning and Keras look for
    **dict.fromkeys(("best_model_path", "last_model_path", "path", "filepath"), "checkpoint.saved()[-1], the newest"),
    **dict.fromkeys(("load", "restore", "load_weights"), "lamp.load(model, path); fit(..., resume=True) goes on"),
    **dict.fromkeys(("save", "step", "update"), "fit(..., checkpoint=...) saves; lamp.save(model, path) at any time"),
    **dict.fromkeys(("best", "monitor", "save_best_only"), "lamp.EarlyStopping(...) restores the best weights"),
}
NAME = re.compile(r"epoch-(\d{6,})-step-(\d{9,})")


@explains_attributes(INSTEAD)
@unchangeable("lamp.Checkpoint(folder, ...) makes another, with all options that you want")
@dataclass(frozen=True)
class Checkpoint(metaclass=Constructed):
    """Where and how often `fit` saves a training: `fit(..., checkpoint=Checkpoint("run", every_steps=100))`.

    folder         receives `history.jsonl`, with one line per epoch, and `checkpoints/`
    every_epochs, every_steps, every_seconds
                   when to save; several may be given. By default every 60 seconds. A training is also saved when it
                   ends, by SIGTERM and Ctrl-C too
    keep           the number of checkpoints to keep; older ones are removed once a newer one is complete

    `fit(..., checkpoint=..., resume=True)` continues from the newest checkpoint, at the exact step and with the same
    bits as if it had never stopped. A checkpoint is safetensors and JSON, so reading it runs no code.

    Raises ArgumentError for an argument out of range.
    """

    folder: str | os.PathLike[str]
    every_epochs: int | None = None
    every_steps: int | None = None
    every_seconds: float | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", as_path(self.folder, "checkpoint"))
        for name in ("every_epochs", "every_steps", "keep"):
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1) and (
                value is not None or name == "keep"
            ):
                raise ArgumentError(
                    f"{name} is a count",
                    expected="an integer of at least 1",
                    got=repr(value),
                    fix=f"{name}=3, for instance",
                )
        seconds = self.every_seconds
        if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):
            raise ArgumentError(
                "every_seconds is a time",
                expected="at least 0 seconds",
                got=repr(self.every_seconds),
                fix="every_seconds=60",
            )
        if (self.every_epochs, self.every_steps, self.every_seconds) == (None, None, None):
            object.__setattr__(self, "every_seconds", SECONDS)

    def saved(self) -> list[Path]:
        """The checkpoints in the folder, oldest first, damaged ones included. Raises CheckpointError if unreadable."""
        return saved_in(Path(self.folder))

    def path_of(self, epoch: int, step: int) -> Path:
        """The folder of the checkpoint saved after so many whole epochs and steps."""
        return Path(self.folder) / CHECKPOINTS / f"epoch-{epoch:06d}-step-{step:09d}"


def saved_in(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, oldest first. Raises CheckpointError if it cannot be read."""
    with reading(folder):
        try:
            names = os.listdir(folder / CHECKPOINTS)
        except FileNotFoundError:
            return []
        found = [folder / CHECKPOINTS / name for name in names if NAME.fullmatch(name)]
        return sorted((path for path in found if path.is_dir()), key=moment_of)


def moment_of(path: Path) -> tuple[int, int]:
    """The numbers of whole epochs and of steps after which a checkpoint was saved, from its name."""
    match = NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2])


# ---- one checkpoint --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read: the network's weights, and the state of everything else."""

    path: Path
    weights: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(path: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint, completely or not at all. Raises CheckpointError if it cannot be written."""
    packed, tensors = pack(state)
    text = json_bytes({"state": packed}, path)
    with sealed_folder(path, {"kind": KIND, "format": FORMAT}) as folder:
        for name, held in ((WEIGHTS, weights), (STATE_TENSORS, tensors)):
            with open(folder / name, "wb") as file:
                write_tensors(file, held, path / name)
        (folder / STATE).write_bytes(text)


def read_checkpoint(path: Path) -> Saved:
    """Read a checkpoint, or a run's newest intact one. Every byte is checked.

    If a run's newest checkpoint is damaged, a CheckpointWarning says so and the one before it is read. Training from
    there gives the same bits and only takes longer.

    Raises CheckpointError for a checkpoint that is missing or damaged, and for anything that is not a checkpoint.
    """
    with reading(path):
        is_run = (path / CHECKPOINTS).is_dir() and not (path / MANIFEST).exists()
    if not is_run:
        return _read_one(path)
    saved = saved_in(path)
    if not saved:
        raise CheckpointError(
            f"{path} holds no checkpoint yet",
            expected="a folder checkpoints/epoch-...-step-...",
            got="none that is complete",
            fix="train without resume=, or with resume=True, which begins a new training if there is no checkpoint",
        )
    newest: DamagedError | None = None
    for each in reversed(saved):
        try:
            found = _read_one(each)
        except DamagedError as error:
            newest = newest or error
        else:
            if newest is not None:
                text = f"{newest}\n  so the training continues from {each.name}; damaged ones after it will be removed"
                warnings.warn(text, CheckpointWarning, stacklevel=4)
            return found
    assert newest is not None
    raise newest


def _read_one(path: Path) -> Saved:
    folder = SealedFolder(path)
    kind, form = folder.manifest.get("kind"), folder.manifest.get("format")
    if kind != KIND or form != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint that this version can read",
            expected=f"{KIND}, format {FORMAT}",
            got=f"{str(kind)[:80]}, format {str(form)[:80]}",
            fix="resume from a folder that fit(..., checkpoint=...) of this version has written; "
            "lamp.load(model, path) loads only the weights",
        )
    folder.require(WEIGHTS, STATE_TENSORS, STATE)
    weights, _ = read_tensors(folder.read(WEIGHTS), path / WEIGHTS)
    tensors, _ = read_tensors(folder.read(STATE_TENSORS), path / STATE_TENSORS)
    state = unpack(folder.read_json(STATE, StateDocument)["state"], tensors, path / STATE)
    check(state, State, path / STATE)
    return Saved(path, weights, state)
