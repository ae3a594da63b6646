"""What TensorBoard reads from the files that a training writes."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lamp
from lamp.errors import ArgumentError, CheckpointError
from tests.cases.resumes import REPLICAS, build


def scalars(folder):
    """tag to [(step, value), ...], as TensorBoard shows them."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_shows(shown, expected):
    assert [step for step, _ in shown] == list(range(1, len(expected) + 1))
    torch.testing.assert_close(torch.tensor([value for _, value in shown]), expected.float())


def test_curves_of_one_network(tmp_path):
    board = lamp.TensorBoard(tmp_path / "run")
    history = lamp.fit(**build("adam_with_everything, eager"), callbacks=[board])
    shown, held_out = scalars(tmp_path / "run"), scalars(tmp_path / "run" / "validation")
    assert set(shown) == {"loss", "accuracy", "mean_output", "lr", "seconds"}
    assert set(held_out) == {"loss", "accuracy", "mean_output"}
    for name in held_out:
        assert_shows(shown[name], history[name])
        assert_shows(held_out[name], history[f"validation_{name}"])
    assert_shows(shown["lr"], torch.full((12,), 0.03))


def test_learning_rates_of_groups(tmp_path):
    arguments = build("schedule_by_batch, compiled")
    lamp.fit(**arguments, callbacks=[lamp.TensorBoard(tmp_path)])
    shown = scalars(tmp_path)
    assert {"lr/0", "lr/1"} <= set(shown)
    assert shown["lr/0"][-1][1] == pytest.approx(arguments["optimizer"].param_groups[0]["lr"])
    assert shown["lr/1"][-1][1] == pytest.approx(arguments["optimizer"].param_groups[1]["lr"])


def test_curves_of_a_population(tmp_path):
    arguments = build("replicas_that_stop, compiled")
    arguments["callbacks"].append(lamp.TensorBoard(tmp_path))
    history = lamp.fit(**arguments)
    shown, held_out = scalars(tmp_path), scalars(tmp_path / "validation")
    assert_shows(shown["loss"], history.mean("loss"))
    spread = history.std("validation_accuracy")
    assert_shows(held_out["std/accuracy"], spread[~spread.isnan()])  # none where one replica is left
    replicas = [value for _, value in shown["replicas"]]
    assert replicas[0] == REPLICAS
    assert replicas == sorted(replicas, reverse=True)
    assert replicas[-1] < REPLICAS


def test_a_resumed_training_cuts_off_what_was_beyond(tmp_path):
    name = "list_of_batches, eager"
    board = tmp_path / "board"
    checkpoint = lamp.Checkpoint(tmp_path / "run", every_epochs=4, keep=9)
    lamp.fit(**build(name) | {"epochs": 10}, callbacks=[lamp.TensorBoard(board)], checkpoint=checkpoint)
    early = checkpoint.saved()[0]
    history = lamp.fit(**build(name) | {"epochs": 7}, callbacks=[lamp.TensorBoard(board)], resume=early)
    assert_shows(scalars(board)["loss"], history["loss"])


def test_compiled_training_still_trains_several_epochs_at_once(tmp_path):
    board = lamp.TensorBoard(tmp_path)
    assert not board.needs_model
    history = lamp.fit(**build("doubles_without_a_look, compiled"), callbacks=[board])
    assert_shows(scalars(tmp_path)["loss"], history["loss"])


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="could not be written"):
        lamp.fit(**build("list_of_batches, eager"), callbacks=[lamp.TensorBoard(tmp_path / "file")])


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    monkeypatch.delitem(sys.modules, "lamp.interop.tensorboard", raising=False)
    with pytest.raises(ArgumentError, match=r'pip install "tensorboard>=2.16"'):
        importlib.import_module("lamp.interop.tensorboard")
