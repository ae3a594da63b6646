"""Where a training is kept, how often it is saved, and what a saved one looks like on disk.

FOLDER/history.jsonl                                   one line an epoch, as it happens
FOLDER/checkpoints/epoch-000003-step-000000042/        after 3 whole epochs and 42 steps
    model.safetensors    parameters and buffers, under torch.nn's keys
    state.safetensors    every other tensor: the optimizer's state, generators, best weights, the history
    state.json           everything else
    manifest.json        size and digest of each file
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError, CheckpointError
from lamp.saving import read_folder, sealed_folder
from lamp.saving.documents import MANIFEST, json_bytes, parse_json
from lamp.saving.tensors import read_tensors, write_tensors
from lamp.saving.trees import pack, unpack
from lamp.saving.weights import WEIGHTS

SECONDS = 60.0  # between two saves, where nothing else is said
STATE, STATE_TENSORS = "state.json", "state.safetensors"
KIND, FORMAT = "checkpoint of a lamp training", 1
NAME = re.compile(r"epoch-(\d{6,})-step-(\d{9,})")


@dataclass(frozen=True)
class Checkpoint:
    """Where `fit` keeps a training, and how often: `fit(..., checkpoint=Checkpoint("run", every_steps=100))`.

    folder         gets `history.jsonl`, a line an epoch, and `checkpoints/`
    every_epochs, every_steps, every_seconds
                   when to save: each that is given counts. None of them: every 60 seconds. However it is, what is
                   reached is saved when the training ends, by SIGTERM and Ctrl-C too
    keep           how many to keep: older ones are removed once a newer one is complete

    `fit(..., checkpoint=..., resume=True)` goes on from the newest one, from the very step, with the same bits as if it
    had never stopped. A checkpoint is safetensors and JSON: reading it runs nothing.

    Raises ArgumentError for an argument out of range.
    """

    folder: str | os.PathLike[str]
    every_epochs: int | None = None
    every_steps: int | None = None
    every_seconds: float | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        for name in ("every_epochs", "every_steps", "keep"):
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1) and (
                value is not None or name == "keep"
            ):
                raise ArgumentError(f"{name} is a count", expected="an integer of at least 1", got=repr(value))
        if self.every_seconds is not None and not self.every_seconds >= 0:
            raise ArgumentError("every_seconds is a time", expected="at least 0 seconds", got=self.every_seconds)
        if (self.every_epochs, self.every_steps, self.every_seconds) == (None, None, None):
            object.__setattr__(self, "every_seconds", SECONDS)

    def saved(self) -> list[Path]:
        """The checkpoints in the folder, the oldest first."""
        return saved_in(Path(self.folder))

    def path_of(self, epoch: int, step: int) -> Path:
        """The folder of the checkpoint after so many whole epochs and steps."""
        return Path(self.folder) / "checkpoints" / f"epoch-{epoch:06d}-step-{step:09d}"


def saved_in(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, the oldest first."""
    found = [(NAME.fullmatch(path.name), path) for path in (folder / "checkpoints").glob("epoch-*")]
    named = [((int(match[1]), int(match[2])), path) for match, path in found if match and path.is_dir()]
    return [path for _, path in sorted(named)]


# ---- one checkpoint --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Saved:
    """A checkpoint as it was read: the network's weights, and the state of all the rest."""

    path: Path
    weights: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(path: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint as a whole. Raises CheckpointError where it cannot be written."""
    packed, tensors = pack(state)
    text = json_bytes({"state": packed}, path)
    with sealed_folder(path, {"kind": KIND, "format": FORMAT}) as folder:
        for name, held in ((WEIGHTS, weights), (STATE_TENSORS, tensors)):
            with open(folder / name, "wb") as file:
                write_tensors(file, held, path / name)
        (folder / STATE).write_bytes(text)


def read_checkpoint(path: Path) -> Saved:
    """Read a checkpoint, or a run's newest one, every byte of it checked.

    Raises CheckpointError for one that is missing, damaged, or something else.
    """
    if (path / "checkpoints").is_dir() and not (path / MANIFEST).exists():
        newest = saved_in(path)
        if not newest:
            raise CheckpointError(
                f"{path} holds no checkpoint yet",
                expected="a folder checkpoints/epoch-...-step-...",
                got="none that is complete",
                fix="train without resume=, or with resume=True, which begins anew where there is none",
            )
        path = newest[-1]
    manifest, files = read_folder(path)
    if manifest.get("kind") != KIND or manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no checkpoint of a training that this version can read",
            expected=f"{KIND}, format {FORMAT}",
            got=f"{manifest.get('kind')}, format {manifest.get('format')}",
            fix="resume from a folder that fit(..., checkpoint=...) has written",
        )
    if missing := {WEIGHTS, STATE_TENSORS, STATE} - set(files):
        raise CheckpointError(
            f"{path} lacks files", expected=f"{WEIGHTS}, {STATE_TENSORS}, {STATE}", got=f"none of {sorted(missing)}"
        )
    weights, _ = read_tensors(files[WEIGHTS], path / WEIGHTS)
    tensors, _ = read_tensors(files[STATE_TENSORS], path / STATE_TENSORS)
    return Saved(path, weights, unpack(parse_json(files[STATE], path / STATE)["state"], tensors))
