"""Save a network's weights to a file, and load them."""

from __future__ import annotations

import os

from lamp.errors import ArgumentError, CheckpointError, StateDictError
from lamp.hidden import warn_of_unfound
from lamp.module import Module
from lamp.saving.folders import MANIFEST, SealedFolder
from lamp.saving.paths import reading, saving
from lamp.saving.tensors import load_tensors, read_tensors, save_tensors
from lamp.signatures import called
from lamp.state_dict import IncompatibleKeys
from lamp.values import as_path

WEIGHTS = "model.safetensors"  # the file's name in a folder


@called()
def save(model: Module, path: str | os.PathLike[str]) -> None:
    """Write a network's parameters and buffers to a safetensors file, under torch.nn's keys.

    The file is written atomically: an earlier one stays until the new one is complete. torch can read it too:
    `torch_model.load_state_dict(safetensors.torch.load_file(path))`. For a population, each tensor is (K, ...).

    Warns of modules that the network does not find, such as those in a set, and raises CheckpointError if the file
    cannot be written, and ArgumentError for a model that is not a module.
    """
    _check_arguments("save", model, path)
    path = as_path(path)
    with saving(path):
        is_folder = path.is_dir()
    if is_folder:
        raise CheckpointError(f"{path} is a folder", expected="a file", got="a folder", fix=f"save to {path / WEIGHTS}")
    warn_of_unfound(model, "not saved")
    save_tensors(path, model.state_dict(), {"format": "pt", "lamp.model": repr(model)})


@called()
def load(model: Module, path: str | os.PathLike[str], strict: bool = True) -> IncompatibleKeys:
    """Copy the weights from a safetensors file, or from a checkpoint's folder, into a network of the same architecture.

    strict  whether the keys must be the same; False ignores keys that only the file or the network has

    Returns the keys that were missing or unexpected. Every byte of a file that lamp wrote is checked first, and nothing
    in it is executed.

    Raises CheckpointError for a file that is missing, damaged or has no weights, and StateDictError for the weights of
    another network; the network is then unchanged.
    """
    _check_arguments("load", model, path)
    path = as_path(path)
    with reading(path):
        is_folder = path.is_dir()
        if is_folder and not (path / MANIFEST).exists():
            raise CheckpointError(
                f"{path} is not the folder of a checkpoint",
                expected=f"{WEIGHTS} and {MANIFEST}",
                got=", ".join(sorted(each.name for each in path.iterdir())[:10]) or "an empty folder",
                fix="name the file, or the folder of one checkpoint: below checkpoints/ in the folder of a run",
            )
    if is_folder:
        folder = SealedFolder(path)
        folder.require(WEIGHTS)
        path = path / WEIGHTS
        state, _ = read_tensors(folder.read(WEIGHTS), path)
    else:
        state = load_tensors(path, foreign=True)
    try:
        return model.load_state_dict(state, strict)
    except StateDictError as error:
        error.where = str(path)
        raise


def _check_arguments(function: str, model: object, path: object) -> None:
    """Raise ArgumentError unless the first argument is a network."""
    if isinstance(model, Module):
        return
    is_path = isinstance(model, str | os.PathLike)
    raise ArgumentError(
        f"lamp.{function} takes a network first",
        expected="a lamp.Module, then a path",
        got="a path" if is_path else f"a {type(model).__module__}.{type(model).__qualname__}".replace("builtins.", ""),
        fix=f'lamp.{function}(model, "model.safetensors")'
        + ("" if is_path else "; tensors alone: safetensors.torch.save_file; torch.nn's: lamp.from_torch(network)"),
    )
