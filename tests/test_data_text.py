"""Windows of texts, and tiny Shakespeare's file."""

import os
from pathlib import Path

import pytest
import torch

import lamp
from lamp.data import characters, tiny_shakespeare
from lamp.errors import ArgumentError, DataError

TEXT = "the rain in Spain, é 🌧\n" * 9


def spelled(dataset, indices):
    return "".join(dataset.classes[index] for index in indices.tolist())


def test_a_window_begins_at_each_character_and_its_targets_are_one_further():
    windows = characters(TEXT, 5)
    assert windows.classes == tuple(sorted(set(TEXT)))
    assert len(windows) == len(TEXT) - 5
    for k in (0, 17, len(windows) - 1):
        inputs, targets = windows[k]
        assert (spelled(windows, inputs), spelled(windows, targets)) == (TEXT[k : k + 5], TEXT[k + 1 : k + 6])
    assert (windows.inputs.dtype, windows.targets.dtype) == (torch.int64, torch.int64)


def test_the_windows_take_no_memory_of_their_own():
    windows = characters(TEXT, 5)
    assert windows.inputs.untyped_storage().nbytes() == 8 * len(TEXT)
    assert windows.inputs.untyped_storage().data_ptr() == windows.targets.untyped_storage().data_ptr()


def test_the_parts_are_the_first_nine_tenths_and_the_rest_and_share_their_classes():
    text = "a" * 90 + "b" * 10
    train, rest = characters(text, 4, train=True), characters(text, 4, train=False)
    assert train.classes == rest.classes == ("a", "b")
    assert (len(train), len(rest)) == (90 - 4, 10 - 4)
    assert not train.targets.any()
    assert rest.inputs.all()


def test_windows_come_in_batches_and_train():
    windows = characters(TEXT, 5)
    model = lamp.Sequential(
        lamp.Embedding(len(windows.classes), 8), lamp.Flatten(), lamp.Linear(40, len(windows.classes))
    )
    last = lamp.Dataset(windows.inputs, windows.targets[:, -1])
    history = lamp.fit(model, lamp.CrossEntropyLoss(), lamp.Adam(model.parameters(), lr=0.01), last, epochs=5)
    assert history["loss"][-1] < history["loss"][0]
    batch = next(iter(lamp.DataLoader(windows, 7, shuffle=True, seed=0)))
    assert [each.shape for each in batch] == [(7, 5), (7, 5)]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: characters(b"bytes", 5), ArgumentError, ["takes a text", "bytes"]),
        (lambda: characters(["a"], 5), ArgumentError, ["takes a text", "list"]),
        (lambda: characters("abc", 0), ArgumentError, ["context"]),
        (lambda: characters("abc", 2.5), ArgumentError, ["context"]),
        (lambda: characters("abc", 3), DataError, ["too short", "context + 1 = 4"]),
        (lambda: characters("", 3), DataError, ["too short"]),
        (lambda: characters("abcdefghij" * 3, 4, train=False), DataError, ["too short", "in this part"]),
        (lambda: characters(TEXT, 5, train="test"), ArgumentError, ["train does not name a part"]),
    ],
)
def test_what_is_no_text_or_too_short_gets_an_error(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert all(word in str(raised.value) for word in [*words, "expected", "got", "fix"]), str(raised.value)


@pytest.mark.parametrize("below", ["tinyshakespeare/input.txt", "tinyshakespeare.txt", "input.txt"])
def test_the_file_is_found_in_a_folder(tmp_path, monkeypatch, below):
    path = tmp_path / below
    path.parent.mkdir(exist_ok=True)
    path.write_text(TEXT, encoding="utf-8")
    monkeypatch.setenv("LAMP_DATA", str(tmp_path))
    expected = characters(TEXT, 6)
    for found in (
        tiny_shakespeare(context=6),
        tiny_shakespeare(tmp_path, context=6),
        tiny_shakespeare(path, context=6),
    ):
        assert torch.equal(found.inputs, expected.inputs)
        assert found.classes == expected.classes


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("LAMP_DATA", raising=False)
    with pytest.raises(DataError, match="LAMP_DATA is not set"):
        tiny_shakespeare()
    with pytest.raises(DataError, match="none of these"):
        tiny_shakespeare(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        tiny_shakespeare(tmp_path / "nowhere")
    (tmp_path / "input.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"input\.txt is no text in UTF-8"):
        tiny_shakespeare(tmp_path)


# ---- the real file ---------------------------------------------------------------------------------------------------
@pytest.mark.skipif(
    not Path(os.environ.get("LAMP_DATA", ""), "tinyshakespeare", "input.txt").is_file(),
    reason="tiny Shakespeare's file is not here: set LAMP_DATA",
)
def test_tiny_shakespeare():
    train, rest = tiny_shakespeare(train=True), tiny_shakespeare(train=False)
    assert len(train) + len(rest) + 2 * 64 == 1_115_394
    assert len(train.classes) == 65
    assert spelled(train, train.inputs[0]).startswith("First Citizen:\nBefore we proceed")
