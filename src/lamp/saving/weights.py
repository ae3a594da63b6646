"""A network's weights in a file, and back."""

from __future__ import annotations

import os
from pathlib import Path

from lamp.errors import ArgumentError, CheckpointError, StateDictError
from lamp.module import Module
from lamp.saving.documents import MANIFEST, check_folder
from lamp.saving.tensors import load_tensors, save_tensors
from lamp.state import IncompatibleKeys

WEIGHTS = "model.safetensors"  # in a folder


def save(model: Module, path: str | os.PathLike[str]) -> None:
    """Write a network's parameters and buffers into a safetensors file, under torch.nn's keys.

    The file is there as a whole or not at all: an earlier one stays until this one is complete. Others read it as well:
    `torch_model.load_state_dict(safetensors.torch.load_file(path))`. Of a population each tensor is (K, ...).

    Raises CheckpointError where the file cannot be written, ArgumentError for what is no module.
    """
    if not isinstance(model, Module):
        raise ArgumentError("only a lamp module can be saved", expected="a lamp.Module", got=type(model).__name__)
    if Path(path).is_dir():
        raise CheckpointError(
            f"{path} is a folder", expected="a file", got="a folder", fix=f"save to {Path(path) / WEIGHTS}"
        )
    save_tensors(path, model.state_dict(), {"format": "pt", "lamp.model": repr(model)})


def load(model: Module, path: str | os.PathLike[str], strict: bool = True) -> IncompatibleKeys:
    """Copy the weights in a safetensors file, or in a checkpoint's folder, into a network built alike.

    strict  False passes over keys that only one of them has, and returns them

    Every byte is checked first where lamp wrote the file; nothing in it can be run. Raises CheckpointError for a file
    that is missing, damaged or none of weights, StateDictError for weights of another network: then nothing has
    changed.
    """
    if not isinstance(model, Module):
        raise ArgumentError("weights are loaded into a lamp module", expected="a lamp.Module", got=type(model).__name__)
    path = Path(path)
    if path.is_dir():
        if not (path / MANIFEST).exists():
            raise CheckpointError(
                f"{path} holds no checkpoint",
                expected=f"{WEIGHTS} and {MANIFEST}",
                got=", ".join(sorted(each.name for each in path.iterdir())[:10]) or "an empty folder",
                fix="name the file, or the folder of one checkpoint",
            )
        check_folder(path)
        path = path / WEIGHTS
    state = load_tensors(path, foreign=True)
    try:
        return model.load_state_dict(state, strict)
    except StateDictError as error:
        error.where = str(path)
        raise
