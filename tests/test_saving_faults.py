"""If the operating system refuses any call, lamp's error names the path, and nothing is lost.

Every function of `os` that touches files, and every file that is opened, is wrapped; the first, second, ... call fails.
By default every 5th call of the longer acts is made to fail; LAMP_EVERY_FAULT=1 takes each in turn.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import warnings

import pytest
import torch

import lamp
from lamp.errors import CheckpointError, LampError
from lamp.saving import check_folder, load_json, read_folder, save_json, sealed_folder
from lamp.training.checkpoints import read_checkpoint
from tests.cases.resumes import build

NAME = "list_of_batches, eager"
NUMBERS = (errno.ENOSPC, errno.EACCES, errno.EIO, errno.ENOENT)
STRIDE = 1 if os.environ.get("LAMP_EVERY_FAULT") else 5

BY_PATH = ("open", "stat", "lstat", "scandir", "listdir", "mkdir", "rename", "replace", "unlink", "remove", "rmdir")
BY_PATH += ("readlink", "truncate", "access", "chmod", "utime", "link", "symlink")
BY_NUMBER = ("fsync", "fstat", "write", "ftruncate", "close", "read")
OF_FILES = ("read", "write", "flush", "close", "tell", "truncate", "seek", "readinto")


class Faults:
    """Calls that touch files below a folder, of which one fails."""

    def __init__(self, patch, folder, fails, number):
        self.folder, self.left, self.number = str(folder), fails, number
        self.failed: str | None = None
        for name in BY_PATH:
            patch.setattr(os, name, self.by_path(getattr(os, name), name))
        for name in BY_NUMBER:
            patch.setattr(os, name, self.counted(getattr(os, name), f"os.{name} of a number"))
        opened = self.opening(builtins.open)
        patch.setattr(builtins, "open", opened)
        patch.setattr(io, "open", opened)

    def count(self, what):
        self.left -= 1
        if self.left == 0:
            self.failed = what
            raise OSError(self.number, os.strerror(self.number), what)

    def counted(self, function, what):
        def called(*arguments, **options):
            self.count(what)
            return function(*arguments, **options)

        return called

    def by_path(self, function, name):
        def called(path=".", *arguments, **options):
            if not isinstance(path, int) and os.fspath(path).startswith(self.folder):
                self.count(f"os.{name}")
            return function(path, *arguments, **options)

        return called

    def opening(self, function):
        def called(path, *arguments, **options):
            if isinstance(path, int) or not os.fsdecode(path).startswith(self.folder):
                return function(path, *arguments, **options)
            self.count("open")
            return File(function(path, *arguments, **options), self)

        return called


class File:
    """An open file whose operations count."""

    def __init__(self, file, faults):
        self._file, self._faults = file, faults

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __iter__(self):
        return iter(self._file)

    def close(self):
        already = self._file.closed
        self._file.close()
        if not already:
            self._faults.count("file.close")

    def __getattr__(self, name):
        value = getattr(self._file, name)
        return self._faults.counted(value, f"file.{name}") if name in OF_FILES else value


def faulty(monkeypatch, folder, act, number, stride=1, most=4000):
    """Call `act` with its first, second, ... call failing, until none does; yields what failed, and the error."""
    fails, found = 1, 0
    while fails < most:
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            faults = Faults(patch, folder, fails, number)
            error = None
            try:
                act()
            except Exception as raised:
                error = raised
        if faults.failed is None:
            assert error is None
            assert found > 0
            return
        found += 1
        yield faults.failed, error
        fails += stride
    raise AssertionError("no end")


def is_told(error, folder, kind=CheckpointError):
    """Whether an error is lamp's, names the place, and says what to do."""
    if error is None:
        return True
    whole = isinstance(error, kind) and str(folder) in str(error) and error.expected and error.got and error.fix
    return bool(whole) and error.__suppress_context__


def small(model=None):
    torch.manual_seed(0)
    return model or lamp.Sequential(lamp.Linear(2, 3), lamp.Tanh(), lamp.Linear(3, 2))


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_a_training_that_begins(number, tmp_path, monkeypatch):
    raw = []
    folder = tmp_path / "run"
    checkpoint = lamp.Checkpoint(folder, every_epochs=1, keep=2)

    begins = lambda: lamp.fit(**build(NAME) | {"epochs": 2}, checkpoint=checkpoint)  # noqa: E731
    for what, error in faulty(monkeypatch, folder, begins, number, STRIDE):
        raw += [] if is_told(error, folder) else [f"{what}: {error!r}"]
        assert all(read_checkpoint(path) for path in checkpoint.saved())
        shutil.rmtree(folder, ignore_errors=True)
    assert not raw, "\n".join(raw)


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_a_training_that_goes_on(number, tmp_path, monkeypatch):
    """Saved files remain, and the same call resumes from them with the same bits."""
    folder, copied = tmp_path / "run", tmp_path / "copied"
    checkpoint = lamp.Checkpoint(folder, every_epochs=1, keep=2)
    lamp.fit(**build(NAME) | {"epochs": 2}, checkpoint=checkpoint)
    shutil.copytree(folder, copied)
    whole = build(NAME) | {"epochs": 4}
    lamp.fit(**whole)
    raw, kinds = [], set()
    goes_on = lambda: lamp.fit(**build(NAME) | {"epochs": 4}, checkpoint=checkpoint, resume=True)  # noqa: E731
    for k, (what, error) in enumerate(faulty(monkeypatch, folder, goes_on, number, STRIDE)):
        kinds.add(what)
        raw += [] if is_told(error, folder) else [f"{what}: {error!r}"]
        epoch = read_checkpoint(folder).state["epoch"]
        assert epoch >= 2
        lines = lamp.History.from_lines(folder / "history.jsonl").epochs if (folder / "history.jsonl").exists() else 0
        assert lines >= 2
        if k % 10 == 0:
            resumed = build(NAME) | {"epochs": 4}
            lamp.fit(**resumed, checkpoint=checkpoint, resume=True)
            for one, other in zip(whole["model"].parameters(), resumed["model"].parameters(), strict=True):
                assert torch.equal(one.data, other.data)
            assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "history.jsonl"]
        shutil.rmtree(folder)
        shutil.copytree(copied, folder)
    assert not raw, "\n".join(raw)
    assert STRIDE > 1 or kinds >= {"open", "os.stat", "os.listdir", "os.mkdir", "os.rename", "os.fsync of a number"}


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_small_files(number, tmp_path, monkeypatch):
    """Every call of writing and reading one file, and one folder."""
    raw = []

    def writes_folder():
        with sealed_folder(tmp_path / "folder", {"kind": "x"}) as inside:
            (inside / "a").write_text("b")

    def loads_folder():
        lamp.load(small(), tmp_path / "whole")

    with sealed_folder(tmp_path / "whole") as inside:
        lamp.save(small(), inside / "model.safetensors")
    writes_folder()
    acts = {
        "save": lambda: lamp.save(small(), tmp_path / "model.safetensors"),
        "load": lambda: lamp.load(small(), tmp_path / "model.safetensors"),
        "save_json": lambda: save_json(tmp_path / "a.json", {"a": 1}),
        "load_json": lambda: load_json(tmp_path / "a.json"),
        "writes_folder": writes_folder,
        "check_folder": lambda: check_folder(tmp_path / "folder"),
        "read_folder": lambda: read_folder(tmp_path / "folder"),
        "loads_folder": loads_folder,
    }
    for name, act in acts.items():
        act()
        for what, error in faulty(monkeypatch, tmp_path, act, number):
            raw += [] if is_told(error, tmp_path) else [f"{name}, {what}: {error!r}"]
            check_folder(tmp_path / "folder")
            load_json(tmp_path / "a.json") if name == "save_json" else None
            lamp.load(small(), tmp_path / "model.safetensors")
    assert not raw, "\n".join(raw)


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_the_folder_of_a_table(number, tmp_path, monkeypatch):
    pytest.importorskip("polars")
    from lamp.tables.folder import load_model, open_folder
    from lamp.tables.train import reserved

    raw = []

    def holds():
        with reserved(tmp_path / "new", force=False):
            pass

    with sealed_folder(tmp_path / "model", {"kind": "lamp table"}) as inside:
        for name in ("preprocessing.json", "architecture.json", "metrics.json", "config.json"):
            save_json(inside / name, {})
        lamp.save(small(), inside / "model.safetensors")
    for act in (lambda: open_folder(tmp_path / "model"), holds):
        for what, error in faulty(monkeypatch, tmp_path, act, number):
            raw += [] if is_told(error, tmp_path, LampError) else [f"{what}: {error!r}"]
    assert not raw, "\n".join(raw)
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "model")


def test_a_run_that_cannot_be_looked_at(tmp_path, monkeypatch):
    lamp.fit(**build(NAME) | {"epochs": 1}, checkpoint=tmp_path)
    for act in (lambda: lamp.Checkpoint(tmp_path).saved(), lambda: read_checkpoint(tmp_path)):
        for what, error in faulty(monkeypatch, tmp_path, act, errno.EACCES):
            assert is_told(error, tmp_path), f"{what}: {error!r}"


def test_an_error_that_is_not_reported_is_noticed(tmp_path, monkeypatch):
    """The wrapper notices an error that is not reported."""
    (tmp_path / "a").write_text("b")
    acts = {
        "open": lambda: (tmp_path / "a").read_text(),
        "os.stat": (tmp_path / "a").stat,
        "os.listdir": lambda: os.listdir(tmp_path),
        "os.scandir": lambda: list(os.scandir(tmp_path)),
    }
    for name, act in acts.items():
        what, error = next(faulty(monkeypatch, tmp_path, act, errno.EIO))
        assert what == name
        assert not is_told(error, tmp_path)
