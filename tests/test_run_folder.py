"""A run's folder: when it is saved, how many checkpoints remain, and the lines of its history."""

from __future__ import annotations

import json
import os

import pytest
import torch

import lamp
from lamp.errors import CheckpointError, DataError
from lamp.training import checkpointer as checkpointer_file
from tests.cases.resumes import EPOCHS, build


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda number: None)


def names(folder):
    return [
        path.name.replace("epoch-0000", "").replace("-step-0000000", " ") for path in lamp.Checkpoint(folder).saved()
    ]


def trained(folder, name="list_of_batches, eager", resume=False, epochs=EPOCHS, **settings):
    checkpoint = lamp.Checkpoint(folder, **settings)
    return lamp.fit(**build(name) | {"epochs": epochs}, checkpoint=checkpoint, resume=resume)


# ---- when ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_every_so_many_epochs_and_steps(engine, tmp_path):
    """There are 5 steps per epoch; the final state is saved too."""
    name = f"doubles_without_a_look, {engine}"
    trained(tmp_path / "epochs", name, every_epochs=5, keep=99)
    assert names(tmp_path / "epochs") == ["05 25", "10 50", "12 60"]
    trained(tmp_path / "steps", name, every_steps=13, keep=99)
    assert names(tmp_path / "steps") == ["02 13", "05 26", "07 39", "10 52", "12 60"]
    trained(tmp_path / "both", name, every_epochs=6, every_steps=29, keep=99)
    assert names(tmp_path / "both") == ["05 29", "06 30", "11 58", "12 60"]
    trained(tmp_path / "last", name, every_epochs=1, keep=2)
    assert names(tmp_path / "last") == ["11 55", "12 60"]


def test_every_so_many_seconds(tmp_path, monkeypatch):
    """The clock of this test advances by a second at each look."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(checkpointer_file.time, "monotonic", lambda: float(next(ticks)))  # type: ignore[attr-defined]
    trained(tmp_path / "often", every_seconds=9, keep=99)
    assert len(names(tmp_path / "often")) > 5
    trained(tmp_path / "seldom", every_seconds=10**5)
    assert names(tmp_path / "seldom") == ["12 60"]


def test_a_path_alone_saves_by_the_clock_and_in_the_end(tmp_path):
    lamp.fit(**build("list_of_batches, eager"), checkpoint=str(tmp_path / "run"))
    assert names(tmp_path / "run") == ["12 60"]
    settings = lamp.Checkpoint(tmp_path)
    assert (settings.every_epochs, settings.every_steps, settings.every_seconds, settings.keep) == (None, None, 60.0, 3)


def test_nothing_is_removed_that_is_not_a_checkpoint_of_ours(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch-notes.txt").touch()
    (tmp_path / "notes").touch()
    trained(tmp_path, every_epochs=1, keep=1)
    assert names(tmp_path) == ["12 60"]
    assert (tmp_path / "notes").exists()
    assert (tmp_path / "checkpoints" / "epoch-notes.txt").exists()


# ---- lines -----------------------------------------------------------------------------------------------------------
class Reads(lamp.Callback):
    """Reads the lines while the training writes them."""

    def __init__(self, path):
        self.path, self.found = path, []

    def on_epoch(self, training):
        self.found.append(lamp.History.from_lines(self.path).epochs)


@pytest.mark.parametrize("name", ["adam_with_everything, eager", "replicas_that_stop, compiled"])
def test_a_line_an_epoch_as_it_happens(name, tmp_path):
    arguments = build(name)
    reads = Reads(tmp_path / "history.jsonl")
    history = lamp.fit(**arguments | {"callbacks": [*arguments.get("callbacks", ()), reads]}, checkpoint=tmp_path)
    assert reads.found == list(range(history.epochs))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, history.epochs + 1))
    assert list(lines[0]) == ["epoch", "seconds", *history.names]
    (tmp_path / "link").symlink_to("history.jsonl")  # a link that the user names is followed
    back = lamp.History.from_lines(tmp_path / "link")
    assert back.replicas == history.replicas
    for measured in history.names:
        torch.testing.assert_close(back[measured], history[measured], rtol=0, atol=0, equal_nan=True)
    assert "NaN" not in (tmp_path / "history.jsonl").read_text()


def test_a_torn_last_line_is_passed_over(tmp_path):
    trained(tmp_path)
    path = tmp_path / "history.jsonl"
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        assert lamp.History.from_lines(path).epochs == EPOCHS - 1
    path.write_bytes(b"")
    assert lamp.History.from_lines(path).epochs == 0


@pytest.mark.parametrize(
    "line", [b"no json", b'{"epoch": 7, "seconds": 1}', b"[1]", b'{"epoch": 2}', b'{"epoch":2,"seconds":1,"loss":"x"}']
)
def test_other_lines_are_an_error(line, tmp_path):
    trained(tmp_path)
    path = tmp_path / "history.jsonl"
    lines = path.read_bytes().splitlines()
    lines[1] = line
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(DataError, match="line 2"):
        lamp.History.from_lines(path)
    with pytest.raises(DataError, match="cannot be read"):
        lamp.History.from_lines(tmp_path / "nowhere")


def test_resuming_cuts_lines_that_are_not_trained_yet(tmp_path):
    trained(tmp_path, every_epochs=4, epochs=10)
    whole = (tmp_path / "history.jsonl").read_text().splitlines()
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"epoch": 11, "sec')
    first = lamp.Checkpoint(tmp_path).saved()[0]
    assert first.name == "epoch-000004-step-000000020"
    trained(tmp_path, resume=first, epochs=6)
    again = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(again) == 6
    assert again[:4] == whole[:4]
    assert [{**json.loads(line), "seconds": 0} for line in again] == [
        {**json.loads(line), "seconds": 0} for line in whole[:6]
    ]


def test_a_line_that_does_not_fit_on_the_disk(tmp_path, monkeypatch):
    """The half-written line is removed, and the error says what to do."""
    written = checkpointer_file.Checkpointer.record

    def record(self, history):
        if history.epochs == 3:
            lines = self._lines

            class Full:
                def __getattr__(self, name):
                    return getattr(lines, name)

                def write(self, data):
                    return lines.write(data[: len(data) // 2])

            self._lines = Full()
        written(self, history)

    monkeypatch.setattr(checkpointer_file.Checkpointer, "record", record)
    with pytest.raises(CheckpointError, match="No space left"):
        trained(tmp_path)
    data = (tmp_path / "history.jsonl").read_bytes()
    assert data.count(b"\n") == 2
    assert data.endswith(b"\n")


def test_without_a_folder_nobody_keeps_anything(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("a checkpointer was made")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lamp.training.checkpointer.Checkpointer.__init__", never)
    lamp.fit(**build("list_of_batches, eager"))
    assert not list(tmp_path.iterdir())
