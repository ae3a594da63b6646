"""When the disk refuses, there is a clear error, earlier saves are unchanged, and nothing half-written remains.

Each operation that a save makes is made to fail in turn. The trainings that are killed at random moments take
LAMP_KILLS rounds (10 by default, half of them for each engine):

    LAMP_KILLS=1000 python -m pytest tests/test_saving_failures.py -k kill
"""

from __future__ import annotations

import builtins
import errno
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import lamp
from lamp.errors import CheckpointError
from lamp.saving import check_folder, load_json, load_tensors, save_json, save_tensors, sealed_folder, sweep
from lamp.saving.disk import recover
from lamp.training.checkpoints import read_checkpoint
from tests.cases.resumes import build

ROOT = Path(__file__).parent.parent
KILLS = int(os.environ.get("LAMP_KILLS", "10"))
OPERATIONS = ("fsync", "replace", "rename", "mkdir")


class Disk:
    """File operations of which the n-th fails."""

    def __init__(self, patch, fails, number):
        self.left, self.number, self.made = fails, number, []
        for name in OPERATIONS:
            patch.setattr(os, name, self.counted(getattr(os, name), name))
        opened = builtins.open

        def open_counted(path, mode="r", *arguments, **options):
            file = opened(path, mode, *arguments, **options)
            return Written(file, self) if "w" in mode or "x" in mode or "a" in mode else file

        patch.setattr(builtins, "open", open_counted)

    def counted(self, function, name):
        def called(*arguments, **options):
            if name != "mkdir" or not os.path.isdir(arguments[0]):
                self.count(name)
            return function(*arguments, **options)

        return called

    def count(self, name):
        self.made.append(name)
        self.left -= 1
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))


class Written:
    """A file whose writes are counted; a failing write writes half."""

    def __init__(self, file, disk):
        self.file, self.disk = file, disk

    def write(self, data):
        try:
            self.disk.count("write")
        except OSError:
            self.file.write(data[: len(data) // 2])
            raise
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def failing(monkeypatch, act, number=errno.ENOSPC, most=200):
    """Call `act` with its first, second, ... operation failing, until none does; yields after each failure."""
    for fails in range(1, most):
        with monkeypatch.context() as patch:
            disk = Disk(patch, fails, number)
            try:
                act()
            except CheckpointError as error:
                found = error
            else:
                assert disk.left > 0
                return
        assert os.strerror(number) in str(found)
        assert "free some space or choose another folder" in str(found)
        yield disk.made[fails - 1]
    raise AssertionError("no end")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_file_that_cannot_be_written(number, tmp_path, monkeypatch):
    old, new = {"x": torch.arange(5)}, {"x": torch.arange(7), "y": torch.zeros(2)}
    for save, load, before, after in (
        (save_tensors, load_tensors, old, new),
        (save_json, load_json, {"a": 1}, {"b": 2}),
    ):
        path = tmp_path / save.__name__
        save(path, before)
        kinds = []
        for kind in failing(monkeypatch, lambda: save(path, after), number):  # noqa: B023
            kinds.append(kind)
            found = load(path)
            assert found.keys() == before.keys() or kind == "fsync"  # of the folder, when the new one has its name
            assert names(tmp_path) == [path.name]
            save(path, before)
        assert {"write", "fsync", "replace"} <= set(kinds)
        assert load(path).keys() == after.keys()
        path.unlink()


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "whole"

    def write(text):
        with sealed_folder(path) as folder:
            for name in ("a", "b"):
                (folder / name).write_text(text)

    write("old")
    kinds = []
    for kind in failing(monkeypatch, lambda: write("new")):
        kinds.append(kind)
        check_folder(path)
        both = {(path / name).read_text() for name in ("a", "b")}
        assert len(both) == 1
        assert names(tmp_path) == ["whole"]
        write("old")
    assert {"mkdir", "fsync", "rename"} <= set(kinds)
    assert (path / "b").read_text() == "new"


def test_an_error_of_ones_own_removes_the_folder(tmp_path):
    with suppress(ZeroDivisionError), sealed_folder(tmp_path / "whole") as folder:
        (folder / "a").write_text(str(1 / 0))
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file"), sealed_folder(tmp_path / "file"):
        pass


def test_files_reach_the_disk_before_they_get_their_names(tmp_path, monkeypatch):
    """All files of a folder are synced, then the folder, then it is renamed, then the names above it are synced."""
    done = []

    def fsync(number):
        done.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)

    def rename(source, target):
        done.append(("rename", Path(target).name))
        renamed(source, target)

    renamed = os.rename
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    with sealed_folder(tmp_path / "whole") as folder:
        for name in ("a", "b"):
            (folder / name).write_text(name)
    at = done.index(("rename", "whole"))
    assert {"a", "b", "manifest.json", folder.name} == set(done[:at])
    assert done[at - 1] == folder.name
    assert done[at + 1 :] == [tmp_path.name]
    done.clear()
    monkeypatch.setattr(os, "replace", rename)
    save_json(tmp_path / "file", {})
    assert [each[:5] if isinstance(each, str) else each for each in done] == [
        ".file",
        ("rename", "file"),
        tmp_path.name[:5],
    ]


def test_killed_between_the_two_renamings(tmp_path, monkeypatch):
    path = tmp_path / "whole"
    for text in ("old", "new"):
        with sealed_folder(path) as folder:
            (folder / "a").write_text(text)
            if text == "new":
                shutil.copytree(path, tmp_path / ".whole.lamp-former")
    assert (path / "a").read_text() == "new"
    assert names(tmp_path) == ["whole"]
    path.rename(tmp_path / ".whole.lamp-former")
    (tmp_path / ".whole.1234.lamp-partial").mkdir()
    (tmp_path / ".file.1234.lamp-partial").touch()
    check_folder(path)  # whoever looks for it finds it
    path.rename(tmp_path / ".whole.lamp-former")
    sweep(tmp_path)
    assert names(tmp_path) == ["whole"]
    shutil.copytree(path, tmp_path / ".whole.lamp-former")
    recover(path)
    assert names(tmp_path) == ["whole"]


# ---- trainings -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_training_that_cannot_be_saved(number, tmp_path, monkeypatch):
    """fit raises the error; every checkpoint is complete, and the training can be resumed from it."""
    checkpoint = lamp.Checkpoint(tmp_path, every_epochs=1, keep=2)
    arguments = {**build("list_of_batches, eager"), "epochs": 2}
    lamp.fit(**arguments, checkpoint=checkpoint)
    kinds = set()
    goes_on = lambda: lamp.fit(  # noqa: E731
        **{**build("list_of_batches, eager"), "epochs": 3}, checkpoint=checkpoint, resume=True
    )
    copied = tmp_path.with_name(f"copied {number}")
    shutil.copytree(tmp_path, copied)
    for kind in failing(monkeypatch, goes_on, number):
        kinds.add(kind)
        assert checkpoint.saved()
        for path in checkpoint.saved():
            read_checkpoint(path)
        assert not [name for name in names(tmp_path / "checkpoints") if name.startswith(".")]
        lines = (tmp_path / "history.jsonl").read_bytes()
        assert all(json.loads(line)["epoch"] for line in lines.splitlines())
        shutil.rmtree(tmp_path)
        shutil.copytree(copied, tmp_path)
    assert kinds >= {"write", "fsync", "rename", "mkdir"}
    assert lamp.History.from_lines(tmp_path / "history.jsonl").epochs == 3


def test_a_folder_that_may_not_be_written():
    """Root may write anywhere, so the test runs as another user."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        for act in (
            lambda: lamp.fit(**build("list_of_batches, eager"), checkpoint=folder / "run"),
            lambda: lamp.save(lamp.Linear(2, 3), folder / "model.safetensors"),
        ):
            with pytest.raises(CheckpointError, match=r"could not be saved: Permission denied[\s\S]*another folder"):
                act()
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


@pytest.mark.parametrize(("engine", "rounds"), [("eager", KILLS - KILLS // 2), ("compiled", KILLS // 2)])
def test_kill_at_random_moments(python, engine, rounds, tmp_path):
    """The newest checkpoint always loads, and the killed run ends with the same bits as an uninterrupted one."""
    command = [*python, "-m", "tests.cases.killed", str(tmp_path), str(rounds), engine, "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60 + 5 * rounds)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["same bits"]
    assert found["swept in the end"]
    assert found["lines"]
    assert found["rounds"] == rounds
