"""Checkpoints on disk: their content, that every changed byte is noticed, and what a signal does.

By default every 41st byte of a checkpoint is changed; LAMP_EVERY_BYTE=1 changes each in turn.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch

import lamp
from lamp.errors import CheckpointError
from lamp.saving.trees import pack, unpack
from lamp.training.checkpoints import FORMAT, KIND, read_checkpoint
from lamp.training.interrupt import Interruptible
from tests.cases.resumes import build

STRIDE = 1 if os.environ.get("LAMP_EVERY_BYTE") else 41
FILES = ["manifest.json", "model.safetensors", "state.json", "state.safetensors"]


@pytest.fixture
def saved(tmp_path, monkeypatch) -> Path:
    """A small checkpoint."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    lamp.fit(**build("list_of_batches, eager") | {"epochs": 1}, checkpoint=tmp_path / "run")
    return lamp.Checkpoint(tmp_path / "run").saved()[-1]


def test_a_checkpoint_is_safetensors_and_json(saved):
    assert saved.name == "epoch-000001-step-000000005"
    assert sorted(path.name for path in saved.iterdir()) == FILES
    model = build("list_of_batches, eager")["model"]
    assert set(safetensors.torch.load_file(saved / "model.safetensors")) == set(model.state_dict())
    safetensors.torch.load_file(saved / "state.safetensors")
    state = json.loads((saved / "state.json").read_text())["state"]
    assert (state["epoch"], state["step"], state["history"]["engine"]) == (1, 5, "eager")
    lamp.load(model, saved)  # the weights alone
    assert torch.equal(model.parameters()[0].data, read_checkpoint(saved).weights["0.weight"])


@pytest.mark.parametrize("name", FILES)
def test_every_changed_byte_is_noticed(name, saved):
    path = saved / name
    data = path.read_bytes()
    for k in range(0, len(data), STRIDE):
        path.write_bytes(data[:k] + bytes([data[k] ^ (0xFF if k % 2 else 0x01)]) + data[k + 1 :])
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(saved)
        assert str(saved) in str(error.value)
    for k in {0, 1, len(data) // 2, len(data) - 1}:
        path.write_bytes(data[:k])
        with pytest.raises(CheckpointError):
            read_checkpoint(saved)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(saved)
    path.write_bytes(data)
    read_checkpoint(saved)


def test_exchanged_files_are_noticed(saved, tmp_path):
    arguments = build("list_of_batches, eager") | {"epochs": 1}
    arguments["model"].parameters()[0].data += 1.0
    lamp.fit(**arguments, checkpoint=tmp_path / "other")
    other = lamp.Checkpoint(tmp_path / "other").saved()[-1]
    read_checkpoint(other)
    for name in FILES:
        kept = (saved / name).read_bytes()
        if kept == (other / name).read_bytes():
            assert name == "state.json"  # the file without numbers of the networks
            continue
        shutil.copy(other / name, saved / name)
        with pytest.raises(CheckpointError):
            read_checkpoint(saved)
        (saved / name).write_bytes(kept)
    one, two = (saved / name for name in ("model.safetensors", "state.safetensors"))
    one.rename(saved / "between")
    two.rename(one)
    (saved / "between").rename(two)
    with pytest.raises(CheckpointError):
        read_checkpoint(saved)


def test_a_folder_of_something_else(saved, tmp_path):
    from lamp.saving import sealed_folder

    with sealed_folder(tmp_path / "other", {"kind": "a cake"}) as folder:
        (folder / "recipe").touch()
    with pytest.raises(CheckpointError, match="a cake"):
        read_checkpoint(tmp_path / "other")
    with sealed_folder(tmp_path / "less", {"kind": KIND, "format": FORMAT}) as folder:
        (folder / "state.json").touch()
    with pytest.raises(CheckpointError, match="lacks files"):
        read_checkpoint(tmp_path / "less")
    with sealed_folder(tmp_path / "later", {"kind": KIND, "format": FORMAT + 1}):
        pass
    with pytest.raises(CheckpointError, match=f"format {FORMAT + 1}"):
        read_checkpoint(tmp_path / "later")


# ---- trees -----------------------------------------------------------------------------------------------------------
def test_trees_come_back_as_they_were():
    generator, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)
    torch.rand(3, generator=generator)
    tree = {
        "plain": [None, True, 2**70, -0.0, 1e-310, 0.1, "ü", ["nested", []]],
        "odd floats": (float("nan"), float("inf"), -float("inf")),
        "tuple": ((), (1, (2,))),
        "keys": {3: torch.arange(2), "3": torch.arange(3), (1, "x"): {}, "$tensor": "no tensor"},
        "generators": [generator, other, {"again": generator}],
        "half": torch.tensor(1.5, dtype=torch.bfloat16),
        "numpy": [__import__("numpy").float64(0.5), __import__("numpy").arange(3, dtype="uint32")],
    }
    packed, tensors = pack(tree)
    back = unpack(json.loads(json.dumps(packed)), tensors)
    assert back["plain"] == tree["plain"]
    assert str(back["plain"][3]) == "-0.0"
    assert str(back["odd floats"]) == "(nan, inf, -inf)"
    assert back["tuple"] == tree["tuple"]
    assert list(back["keys"]) == [3, "3", (1, "x"), "$tensor"]
    assert back["keys"][3].tolist() == [0, 1]
    assert back["keys"]["3"].tolist() == [0, 1, 2]
    assert back["keys"]["$tensor"] == "no tensor"
    assert back["generators"][0] is back["generators"][2]["again"]
    assert back["generators"][0] is not back["generators"][1]
    for own, theirs in zip(back["generators"][:2], (generator, other), strict=True):
        assert torch.equal(torch.rand(5, generator=own), torch.rand(5, generator=theirs))
    assert back["half"].dtype is torch.bfloat16
    assert back["numpy"][0] == 0.5
    assert back["numpy"][1].dtype == "uint32"
    with pytest.raises(CheckpointError, match="do not fit"):
        unpack(packed, {})


# ---- signals ---------------------------------------------------------------------------------------------------------
class Signals(lamp.Callback):
    """Sends signals after some steps, and records the handler of SIGTERM."""

    def __init__(self, *numbers, at=7):
        self.numbers, self.at = numbers, at

    def on_batch(self, training, loss):
        self.listens = signal.getsignal(signal.SIGTERM)
        if training.step == self.at:
            for number in self.numbers:
                signal.raise_signal(number)


def test_sigterm_saves_and_leaves(tmp_path):
    arguments = build("list_of_batches, eager")
    with pytest.raises(SystemExit) as left:
        lamp.fit(**arguments, callbacks=[Signals(signal.SIGTERM)], checkpoint=tmp_path)
    assert left.value.code == 143
    assert [path.name for path in lamp.Checkpoint(tmp_path).saved()] == ["epoch-000001-step-000000007"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    whole = build("list_of_batches, eager")
    lamp.fit(**whole)
    resumed = build("list_of_batches, eager")
    lamp.fit(**resumed, checkpoint=tmp_path, resume=True)
    for one, other in zip(whole["model"].parameters(), resumed["model"].parameters(), strict=True):
        assert torch.equal(one.data, other.data)


def test_sigterm_is_passed_on_to_who_listened(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        arguments = build("list_of_batches, eager")
        history = lamp.fit(**arguments, callbacks=[Signals(signal.SIGTERM)], checkpoint=tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert history.stopped == "interrupted in epoch 2, after 7 steps"
    assert len(lamp.Checkpoint(tmp_path).saved()) == 1


def test_without_a_folder_sigterm_is_left_alone():
    watching = Signals()
    lamp.fit(**build("list_of_batches, eager"), callbacks=[watching])
    assert watching.listens is signal.SIG_DFL


@pytest.mark.parametrize("numbers", [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")])
def test_a_second_signal_leaves_at_once(numbers, tmp_path):
    chosen = [getattr(signal, name) for name in numbers]
    ends = KeyboardInterrupt if numbers[1] == "SIGINT" else SystemExit
    before = [signal.getsignal(number) for number in chosen]
    with pytest.raises(ends):
        lamp.fit(**build("list_of_batches, eager"), callbacks=[Signals(*chosen)], checkpoint=tmp_path)
    assert not lamp.Checkpoint(tmp_path).saved()
    assert [signal.getsignal(number) for number in chosen] == before


def test_in_another_thread_signals_are_left_alone():
    found = []

    def look():
        with Interruptible(terminate=True):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


def test_a_failed_loss_keeps_what_was_saved(tmp_path):
    """The error is the training's. Checkpoints and history lines of the epochs before remain."""
    arguments = build("list_of_batches, eager")
    x, y = arguments["data"][-1]

    class Poison(lamp.Callback):
        def on_epoch(self, training):
            if training.epoch == 2:
                arguments["data"][-1] = (x * float("nan"), y)

    with pytest.raises(lamp.NonFiniteError):
        lamp.fit(**arguments, callbacks=[Poison()], checkpoint=lamp.Checkpoint(tmp_path, every_epochs=1))
    assert [path.name[:12] for path in lamp.Checkpoint(tmp_path).saved()] == [f"epoch-00000{k}" for k in (1, 2, 3)]
    assert lamp.History.from_lines(tmp_path / "history.jsonl").epochs == 3
