"""Two writers of one place: the second gets an error that names the first, and nothing is lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import lamp
from lamp.errors import CheckpointError, CheckpointWarning
from lamp.saving import Lock, check_folder, lock, sealed_folder
from tests.cases.resumes import build

ROOT = Path(__file__).parent.parent
NAME = "list_of_batches, eager"

TRAINS = """
import sys, lamp
from tests.cases.resumes import build
print(len(lamp.fit(**build({name!r}) | {{"epochs": 3}}, checkpoint={folder!r}, resume=True)))
"""


class Looks(lamp.Callback):
    """Calls something once, in the middle of a training."""

    def __init__(self, look):
        self.look, self.found = look, None

    def on_epoch(self, training):
        if training.epoch == 1:
            self.found = self.look()


def error_of(act):
    """The error that a call gets."""
    try:
        act()
    except CheckpointError as error:
        return str(error)
    return "none"


def in_another_process(folder):
    done = subprocess.run(
        [sys.executable, "-c", TRAINS.format(name=NAME, folder=str(folder))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def in_another_thread(folder):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(error_of(lambda: lamp.fit(**build(NAME), checkpoint=folder, resume=True)))
    )
    thread.start()
    thread.join()
    return found[0]


def in_the_same_thread(folder):
    return error_of(lambda: lamp.fit(**build(NAME), checkpoint=folder))


@pytest.mark.parametrize("look", [in_another_process, in_another_thread, in_the_same_thread])
def test_the_second_training_in_a_folder_is_told_of_the_first(look, tmp_path):
    looks = Looks(lambda: look(tmp_path))
    arguments = build(NAME)
    history = lamp.fit(**arguments, callbacks=[looks], checkpoint=lamp.Checkpoint(tmp_path, every_epochs=1, keep=99))
    for said in (f"{tmp_path} is in use", f"process {os.getpid()} on {socket.gethostname()}, since 20"):
        assert said in looks.found
    assert "AssertionError" not in looks.found
    assert history.epochs == 12
    assert len(lamp.Checkpoint(tmp_path).saved()) == 12
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 13))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("fails", ["an error of ours", "another training", "a wrong engine", "callback"])
def test_whatever_ends_a_training_lets_go_of_the_folder(fails, tmp_path):
    if fails == "another training":
        lamp.fit(**build(NAME) | {"epochs": 1}, checkpoint=tmp_path)
    more = {
        "an error of ours": {"callbacks": [Looks(lambda: 1 / 0)]},
        "another training": {},
        "a wrong engine": {"engine": "compiled"},
        "callback": {"callbacks": [object()]},
    }[fails]
    with pytest.raises(Exception) as error:  # noqa: PT011 - each its own; it keeps the frames alive
        lamp.fit(**build(NAME) | more, checkpoint=tmp_path)
    if fails == "another training":
        assert "already holds a training" in str(error.value)
    Lock.inside(tmp_path).release()


def test_a_killed_process_holds_nothing(tmp_path):
    code = f"from pathlib import Path; from lamp.saving import Lock; lock = Lock.inside(Path({str(tmp_path)!r})); "
    code += "print('held', flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"process {holder.pid} "):
            Lock.inside(tmp_path)
        holder.kill()
    Lock.inside(tmp_path).release()
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of other packages with threads, such as JAX
def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    held = Lock.inside(tmp_path)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    held.release()
    Lock.inside(tmp_path).release()
    os.kill(child, 9)
    os.waitpid(child, 0)


def test_many_who_try_at_once_and_one_at_a_time_has_it(tmp_path):
    inside, most, refused = [], [], []

    def tries():
        for _ in range(100):
            try:
                with Lock.inside(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.0001)
                    inside.pop()
            except CheckpointError:
                refused.append(1)

    threads = [threading.Thread(target=tries) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert refused
    assert len(most) + len(refused) == 600


@pytest.mark.parametrize("missing", ["fcntl", "ENOLCK"])
def test_without_locks_it_trains_and_says_so(missing, tmp_path, monkeypatch):
    class NoLocks:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(file, how):
            import errno

            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "fcntl", None if missing == "fcntl" else NoLocks)
    with pytest.warns(CheckpointWarning, match="cannot lock"):
        history = lamp.fit(**build(NAME), checkpoint=tmp_path)
    assert history.epochs == 12


def test_a_folder_in_which_nothing_may_be_written(tmp_path, monkeypatch):
    def refused(*arguments):
        raise PermissionError(13, "Permission denied", str(arguments[0]))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(CheckpointError, match="could not be saved: Permission denied"):
        lamp.fit(**build(NAME), checkpoint=tmp_path)


# ---- one file, one folder, several writers and readers ---------------------------------------------------------------
WRITES = """
import sys, torch, lamp
from lamp.saving import sealed_folder
number, path = float(sys.argv[1]), sys.argv[2]
model = lamp.Linear(40, 50)
for parameter in model.parameters():
    parameter.data.fill_(number)
for _ in range(150):
    if path.endswith("safetensors"):
        lamp.save(model, path)
    else:
        with sealed_folder(path) as folder:
            lamp.save(model, folder / "model.safetensors")
            (folder / "number").write_text(str(number))
"""


@pytest.mark.parametrize("name", ["model.safetensors", "folder"])
def test_writers_of_one_place_at_once(python, name, tmp_path):
    """A reader always finds the complete file of one writer, and no other files remain."""
    path = tmp_path / name
    writers = [
        subprocess.Popen([*python, "-c", WRITES, str(k), str(path)], stderr=subprocess.PIPE, text=True) for k in (1, 2)
    ]
    model, seen, misses = lamp.Linear(40, 50), set(), 0
    while any(writer.poll() is None for writer in writers):
        try:
            lamp.load(model, path)
        except CheckpointError:  # before the first one; of a folder, also while it is exchanged for another
            misses += 1
            continue
        values = {float(value) for parameter in model.parameters() for value in parameter.data.unique()}
        assert len(values) == 1
        seen |= values
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    assert seen == {1.0, 2.0}
    assert [each.name for each in tmp_path.iterdir()] == [name]
    if name == "folder":
        check_folder(path)


@pytest.mark.parametrize("moment", ["before it is asked for", "before it takes its place"])
def test_a_folder_that_comes_or_goes_in_between(moment, tmp_path, monkeypatch):
    """A folder that another writer replaces during reading causes no error."""
    path = tmp_path / "folder"

    def write(number):
        with sealed_folder(path) as folder:
            (folder / "number").write_text(str(number))

    write(0)
    if moment == "before it is asked for":
        exists = Path.exists

        def exchanged(self, **options):
            found = exists(self, **options)
            if self == path and found:
                os.rename(path, tmp_path / "elsewhere")
                monkeypatch.undo()
            return found

        monkeypatch.setattr(Path, "exists", exchanged)
    else:
        os.rename(path, tmp_path / "elsewhere")
        rename = os.rename

        def late(old, new):
            if Path(new) == path:
                monkeypatch.undo()
                write(1)
            rename(old, new)

        monkeypatch.setattr(os, "rename", late)
    write(2)
    assert (path / "number").read_text() == "2"


def test_a_folder_that_came_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "model"

    def write(name, meanwhile=lambda: None, **options):
        with sealed_folder(path, **options) as folder:
            (folder / name).touch()
            meanwhile()

    with pytest.raises(CheckpointError, match="exists already"):
        write("mine", lambda: write("theirs"), replace=False)
    assert sorted(each.name for each in path.iterdir()) == ["manifest.json", "theirs"]
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_the_same_model_twice_by_lamp_train(python, tmp_path):
    """The second is refused before it trains, and the first one's folder is complete."""
    pytest.importorskip("polars")
    rows = "\n".join(f"{k % 7},{k % 5},{'ab'[k % 2]}" for k in range(200))
    (tmp_path / "table.csv").write_text(f"x,y,class\n{rows}\n")
    command = ["-m", "lamp", "train", "table.csv", "--target", "class", "--out", "m", "--no-peers", "-q"]
    command += ["--members", "2", "--time-budget", "5"]
    first = subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".m*lock")):
        assert time.monotonic() < deadline
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    second = subprocess.run([*python, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    err = first.communicate()[1]
    assert second.returncode == 2, second.stdout
    assert (
        f"m is in use\n  expected  no other process or thread that writes there\n  got       process {first.pid} on"
        in second.stderr
    )
    assert first.returncode in (0, 1), err
    check_folder(tmp_path / "m")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m", "table.csv"]


def test_a_lock_can_be_released_twice(tmp_path):
    held = Lock.of(tmp_path / "model")
    held.release()
    held.release()
    assert not list(tmp_path.iterdir())
