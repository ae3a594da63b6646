"""Mistakes with files: paths, foreign files, folders, checkpoints, resuming."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import lamp
from lamp.errors import ArgumentError, CheckpointError, DataError, StateDictError
from lamp.saving import Lock, check_folder, load_json, save_json, save_tensors, sealed_folder
from tests.cases.mistakes import Mistake


def network(hidden: int = 4) -> lamp.Sequential:
    torch.manual_seed(0)
    return lamp.Sequential(lamp.Linear(2, hidden), lamp.SELU(), lamp.Linear(hidden, 2))


def fit(model: Any = None, **more: Any) -> lamp.History:
    model = model or network()
    arguments: dict[str, Any] = {"epochs": 1, "batch_size": 10, "progress": False, "seed": 1, "engine": "eager"}
    arguments |= {"criterion": lamp.CrossEntropyLoss(), "optimizer": lamp.SGD(model.parameters(), lr=0.1)}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=generator)
    arguments |= {"data": (x, (x.sum(1) > 0).long()), **more}
    return lamp.fit(model, **arguments)


def in_a_folder(act: Callable[[Path], Any]) -> Callable[[], Any]:
    """Run the act in a new folder that is deleted afterwards."""

    def acts() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return act(Path(folder))

    return acts


def loads(data: bytes, name: str = "model.safetensors") -> Callable[[], Any]:
    """Load a file with this content."""

    def act(folder: Path) -> Any:
        (folder / name).write_bytes(data)
        return lamp.load(network(), folder / name)

    return in_a_folder(act)


def torch_file(folder: Path, **options: Any) -> Path:
    torch.save(torch.nn.Linear(2, 3).state_dict(), folder / "model.pt", **options)
    return folder / "model.pt"


def resumes(**more: Any) -> Callable[[], Any]:
    """Train an epoch, then resume with something changed."""

    def act(folder: Path) -> Any:
        fit(checkpoint=folder)
        return fit(**{"epochs": 2, "checkpoint": folder, "resume": True, **more})

    return in_a_folder(act)


def saved(model: Any, other: Any) -> Callable[[], Any]:
    """Save one network and load it into another."""

    def act(folder: Path) -> Any:
        lamp.save(model, folder / "model.safetensors")
        return lamp.load(other, folder / "model.safetensors")

    return in_a_folder(act)


def twice(folder: Path) -> Any:
    fit(checkpoint=folder)
    return fit(checkpoint=folder)


def at_once(folder: Path) -> Any:
    with Lock.inside(folder):
        return fit(checkpoint=folder)


def changed(folder: Path) -> Any:
    lamp.save(network(), folder / "m")
    data = bytearray((folder / "m").read_bytes())
    data[-1] ^= 1
    (folder / "m").write_bytes(data)
    return lamp.load(network(), folder / "m")


def edited(folder: Path) -> Any:
    save_json(folder / "a.json", {"lr": 0.1})
    text = (folder / "a.json").read_text()
    (folder / "a.json").write_text(text.replace("0.1", "0.2"))
    return load_json(folder / "a.json")


def in_a_file(folder: Path) -> Any:
    (folder / "runs").touch()
    return fit(checkpoint=folder / "runs" / "first")


def below_a_file(folder: Path) -> Any:
    (folder / "models").touch()
    return lamp.save(network(), folder / "models" / "first.safetensors")


def pipe(folder: Path) -> Any:
    os.mkfifo(folder / "pipe")
    return lamp.load(network(), folder / "pipe")


def outside(folder: Path) -> Any:
    with sealed_folder(folder / "sealed") as inside:
        (inside / "a").touch()
    entry = {"bytes": 0, "sha256": "0" * 64}
    save_json(folder / "sealed" / "manifest.json", {"files": {"../secret": entry}})
    return check_folder(folder / "sealed")


def no_run(folder: Path) -> Any:
    (folder / "notes.txt").touch()
    return fit(resume=folder)


def newest_gone(folder: Path) -> Any:
    fit(checkpoint=folder)
    for path in (folder / "checkpoints").glob("*/state.json"):
        path.write_bytes(b"")
    return fit(epochs=2, checkpoint=folder, resume=True)


CE = lamp.CrossEntropyLoss

MISTAKES = [
    # ---- paths -------------------------------------------------------------------------------------------------------
    Mistake("checkpoint=True", lambda: fit(checkpoint=True), ArgumentError, "checkpoint", ('"runs/first"',)),
    Mistake("checkpoint=1", lambda: fit(checkpoint=1), ArgumentError, "checkpoint"),
    Mistake("an empty checkpoint", lambda: fit(checkpoint=""), ArgumentError, "checkpoint"),
    Mistake("resume=1", lambda: fit(checkpoint="never made", resume=1), ArgumentError, "resume", ("True, or",)),
    Mistake("resume=0.5", lambda: fit(resume=0.5), ArgumentError, "resume"),
    Mistake("resume=True without a folder", lambda: fit(resume=True), ArgumentError, "resume=True", ("checkpoint=",)),
    Mistake("Checkpoint(None)", lambda: lamp.Checkpoint(None), ArgumentError, "checkpoint"),
    Mistake("Checkpoint(every_epochs=0)", lambda: lamp.Checkpoint("x", every_epochs=0), ArgumentError, "every_epochs"),
    Mistake("Checkpoint(keep=1.5)", lambda: lamp.Checkpoint("x", keep=1.5), ArgumentError, "keep", ("1.5",)),
    Mistake(
        "Checkpoint(every_seconds=text)",
        lambda: lamp.Checkpoint("x", every_seconds="9"),
        ArgumentError,
        "every_seconds",
    ),
    Mistake("NUL in a path", lambda: lamp.save(network(), "a\0b"), ArgumentError, "path", ("NUL",)),
    Mistake("NUL in a checkpoint", lambda: fit(checkpoint="a\0b"), ArgumentError, "checkpoint", ("NUL",)),
    Mistake("save to None", lambda: lamp.save(network(), None), ArgumentError, "path", ("None",)),
    Mistake("load from None", lambda: lamp.load(network(), None), ArgumentError, "path", ("None",)),
    Mistake("save to 3", lambda: lamp.save(network(), 3), ArgumentError, "path", ("3",)),
    Mistake("save nothing", lambda: lamp.save(None, "x"), ArgumentError, "lamp.save", ("lamp.save(model",)),
    Mistake("save a state dict", lambda: lamp.save(network().state_dict(), "x"), ArgumentError, "lamp.save", ("dict",)),
    Mistake(
        "save a network of torch.nn",
        lambda: lamp.save(torch.nn.Linear(2, 3), "x"),
        ArgumentError,
        "lamp.save",
        ("lamp.from_torch",),
    ),
    Mistake("arguments of save swapped", lambda: lamp.save("x", network()), ArgumentError, "lamp.save", ("a path",)),
    Mistake("arguments of load swapped", lambda: lamp.load("x", network()), ArgumentError, "lamp.load", ("a path",)),
    Mistake(
        "save to a folder",
        in_a_folder(lambda f: lamp.save(network(), f)),
        CheckpointError,
        "is a folder",
        ("model.safetensors",),
    ),
    Mistake("save below a file", in_a_folder(below_a_file), CheckpointError, "first.safetensors", ("models",)),
    Mistake("save to a device", lambda: lamp.save(network(), "/dev/null"), CheckpointError, "/dev/null", ("device",)),
    Mistake(
        "save under too long a name",
        in_a_folder(lambda f: lamp.save(network(), f / ("x" * 300))),
        CheckpointError,
        "could not be saved",
        ("File name too long",),
    ),
    Mistake("a run below a file", in_a_folder(in_a_file), CheckpointError, "runs"),
    Mistake(
        "save_json of NaN",
        in_a_folder(lambda f: save_json(f / "a", {"x": float("nan")})),
        CheckpointError,
        "written as JSON",
    ),
    Mistake(
        "save_tensors of numbers",
        in_a_folder(lambda f: save_tensors(f / "a", {"x": 1.0})),
        CheckpointError,
        "'x'",
        ("float",),
    ),
    # ---- files of others ---------------------------------------------------------------------------------------------
    Mistake(
        "load what is not there", in_a_folder(lambda f: lamp.load(network(), f / "m")), CheckpointError, "No such file"
    ),
    Mistake(
        "load a .pt",
        in_a_folder(lambda f: lamp.load(network(), torch_file(f))),
        CheckpointError,
        "model.pt",
        ("torch.load", "load_state_dict"),
    ),
    Mistake(
        "load an old .pth",
        in_a_folder(lambda f: lamp.load(network(), torch_file(f, _use_new_zipfile_serialization=False))),
        CheckpointError,
        "model.pt",
        ("torch.load",),
    ),
    Mistake("load a pickle", loads(pickle.dumps({"a": 1}), "model.pkl"), CheckpointError, "model.pkl", ("pickle",)),
    Mistake(
        "load an .h5", loads(b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "model.h5"), CheckpointError, "model.h5", ("Keras",)
    ),
    Mistake("load an .npy", loads(b"\x93NUMPY\x01\0" + b"\xff" * 99), CheckpointError, "model.safetensors", ("numpy",)),
    Mistake("load a web page", loads(b"<!DOCTYPE html><html>"), CheckpointError, "not a safetensors", ("download",)),
    Mistake(
        "load a pointer of LFS",
        loads(b"version https://git-lfs.github.com/spec/v1\n"),
        CheckpointError,
        "not a safetensors",
        ("git lfs pull",),
    ),
    Mistake("load an empty file", loads(b""), CheckpointError, "model.safetensors", ("an empty file",)),
    Mistake("load a short file", loads(b"\1\0\0"), CheckpointError, "truncated", ("3 bytes",)),
    Mistake("load JSON", loads(b'{"a": 1}' * 9), CheckpointError, "not a safetensors", ("JSON",)),
    Mistake(
        "load a folder of no checkpoint",
        in_a_folder(lambda f: lamp.load(network(), f)),
        CheckpointError,
        "is not the folder of a checkpoint",
        ("an empty folder",),
    ),
    Mistake("load a pipe", in_a_folder(pipe), CheckpointError, "not a regular file", ("a pipe",)),
    Mistake(
        "load a file that was changed",
        in_a_folder(changed),
        CheckpointError,
        "changed since it was written",
        ("2.bias",),
    ),
    Mistake(
        "load JSON that was edited", in_a_folder(edited), CheckpointError, "a.json", ("changed since it was written",)
    ),
    Mistake(
        "a manifest that names others' files",
        in_a_folder(outside),
        CheckpointError,
        "outside the folder",
        ("../secret",),
    ),
    # ---- another network ---------------------------------------------------------------------------------------------
    Mistake(
        "load into a wider network",
        saved(network(4), network(5)),
        StateDictError,
        "model.safetensors",
        ("0.weight", "(5, 2)", "(4, 2)"),
    ),
    Mistake(
        "load into a longer network",
        saved(network(), lamp.Sequential(*network(), lamp.Linear(2, 2))),
        StateDictError,
        "model.safetensors",
        ("3.weight", "strict=False"),
    ),
    Mistake(
        "load into a population",
        saved(network(), lamp.population(network(), range(3))),
        StateDictError,
        "model.safetensors",
        ("0.weight", "(3, 4, 2)"),
    ),
    Mistake(
        "load a population into one network",
        saved(lamp.population(network(), range(3)), network()),
        StateDictError,
        "model.safetensors",
        ("0.weight", "lamp.population(network, seeds=range(3))"),
    ),
    Mistake(
        "load into a network of a hundred layers",
        saved(network(), lamp.Sequential(*[lamp.Linear(2, 2) for _ in range(100)])),
        StateDictError,
        "model.safetensors",
        ("1.weight", "and 188 more"),
    ),
    # ---- checkpoints -------------------------------------------------------------------------------------------------
    Mistake(
        "train twice into one folder", in_a_folder(twice), CheckpointError, "already holds a training", ("resume=True",)
    ),
    Mistake(
        "train into a folder in use", in_a_folder(at_once), CheckpointError, "is in use", (f"process {os.getpid()}",)
    ),
    Mistake(
        "resume from nowhere",
        in_a_folder(lambda f: fit(resume=f / "x")),
        CheckpointError,
        "is not a folder",
        ("no file or folder",),
    ),
    Mistake(
        "resume from a file", in_a_folder(lambda f: fit(resume=torch_file(f))), CheckpointError, "model.pt", ("a file",)
    ),
    Mistake("resume from another folder", in_a_folder(no_run), CheckpointError, "manifest.json", ("notes.txt",)),
    Mistake("resume what was damaged", in_a_folder(newest_gone), CheckpointError, "state.json", ("another size",)),
    Mistake(
        "resume with another loss",
        resumes(criterion=CE(label_smoothing=0.5)),
        CheckpointError,
        "loss.label_smoothing",
        ("0.5",),
    ),
    Mistake(
        "resume with other data",
        resumes(data=(torch.zeros(40, 2), torch.zeros(40).long())),
        CheckpointError,
        "by its data",
    ),
    Mistake(
        "resume with another batch size", resumes(batch_size=20), CheckpointError, "by its data", ("batch_size 10",)
    ),
    Mistake("resume another network", resumes(model=network(5)), CheckpointError, "by its network", ("lamp.load",)),
    Mistake(
        "resume with fewer epochs",
        in_a_folder(lambda f: (fit(checkpoint=f, epochs=3), fit(checkpoint=f, resume=True))),
        ArgumentError,
        "more epochs than epochs=1",
        ("more epochs",),
    ),
    Mistake(
        "a history of something else",
        in_a_folder(lambda f: lamp.History.from_lines(torch_file(f))),
        DataError,
        "line 1",
    ),
    Mistake(
        "a history that is not there",
        in_a_folder(lambda f: lamp.History.from_lines(f / "h")),
        DataError,
        "cannot be read",
    ),
]
