"""Weights and JSON on disk: other programs can read them, every changed byte is noticed, and nothing is executed."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys

import pytest
import safetensors
import safetensors.torch
import torch

import lamp
from lamp.errors import ArgumentError, CheckpointError, StateDictError
from lamp.saving import (
    check_folder,
    load_json,
    load_tensors,
    read_folder,
    save_json,
    save_tensors,
    sealed_folder,
)
from lamp.saving.documents import parse_json
from lamp.saving.tensors import DTYPES, read_tensors

FLIPS = (0x01, 0x2A, 0x80, 0xFF)  # a bit at either end; a space to a new line; all bits


def network(hidden=5):
    return lamp.Sequential(lamp.Linear(3, hidden), lamp.PReLU(), lamp.Linear(hidden, 2))


def same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor.reshape(-1).view(torch.uint8), other[name].reshape(-1).view(torch.uint8)), name
        assert tensor.shape == other[name].shape


# ---- safetensors -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DTYPES)
def test_the_safetensors_package_reads_and_writes_the_same(name, tmp_path):
    dtype = DTYPES[name]
    noise = torch.randint(0, 256, (3 * 5 * dtype.itemsize,), dtype=torch.uint8)
    dense = (noise % 2).bool() if dtype is torch.bool else noise.view(dtype)
    tensors = {
        "a.weight": dense.view(3, 5),
        "b": dense[4],
        "empty": dense[:0].view(0, 7),
        "turned": dense.view(5, 3).t(),
    }
    save_tensors(tmp_path / "ours", tensors, {"note": 'says "x"', "ü": "é"})
    same(load_tensors(tmp_path / "ours"), tensors)
    same(safetensors.torch.load_file(tmp_path / "ours"), tensors)
    with safetensors.safe_open(tmp_path / "ours", "pt") as file:
        assert file.metadata()["note"] == 'says "x"'
        assert file.metadata()["ü"] == "é"
    dense_ones = {key: tensor.contiguous().clone() for key, tensor in tensors.items()}
    safetensors.torch.save_file(dense_ones, tmp_path / "theirs")
    same(load_tensors(tmp_path / "theirs", foreign=True), tensors)
    with pytest.raises(CheckpointError, match="did not write"):
        load_tensors(tmp_path / "theirs")


def test_one_number_of_a_column(tmp_path):
    """Which torch takes for dense, whatever lies beside it."""
    save_tensors(tmp_path / "one", {"x": torch.arange(16.0)[3::8][:1]})
    assert load_tensors(tmp_path / "one")["x"].tolist() == [3.0]


def test_special_numbers_keep_their_bits(tmp_path):
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 5e-324, 0x7FF0000000000001], dtype=torch.float64)
    odd[4] = torch.tensor([0x7FF8000000000123]).view(torch.float64)[0]
    save_tensors(tmp_path / "odd", {"x": odd})
    same(load_tensors(tmp_path / "odd"), {"x": odd})


def test_no_tensors_at_all(tmp_path):
    save_tensors(tmp_path / "none", {})
    assert load_tensors(tmp_path / "none") == {}
    assert safetensors.torch.load_file(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"x": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"x": torch.zeros(2).to_sparse()}, "sparse"),
        ({"__metadata__": torch.zeros(2)}, "__metadata__"),
        ({"x": [1.0]}, "list"),
    ],
)
def test_what_cannot_be_saved(tensors, said, tmp_path):
    with pytest.raises(CheckpointError, match=said):
        save_tensors(tmp_path / "file", tensors)
    assert not list(tmp_path.iterdir())


# ---- save and load ---------------------------------------------------------------------------------------------------
def test_weights_go_to_torch_and_back(tmp_path):
    model, path = network(), tmp_path / "folder" / "model.safetensors"
    lamp.save(model, path)
    peer = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.PReLU(), torch.nn.Linear(5, 2))
    peer.load_state_dict(safetensors.torch.load_file(path))
    x = torch.randn(7, 3)
    torch.testing.assert_close(peer(x).detach(), model.eval()(x))
    safetensors.torch.save_file(peer.state_dict(), path)
    other = network()
    assert lamp.load(other, path) == ([], [])
    assert torch.equal(other.eval()(x), model(x))


def test_populations_and_tied_weights(tmp_path):
    model = lamp.population(network(), range(4))
    lamp.save(model, tmp_path / "all")
    other = lamp.population(network(), range(10, 14))
    lamp.load(other, tmp_path / "all")
    assert all(
        torch.equal(*pair) for pair in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )
    layer = lamp.Linear(3, 3)
    tied = lamp.Sequential(layer, lamp.Tanh(), layer)
    lamp.save(tied, tmp_path / "tied")
    assert set(load_tensors(tmp_path / "tied")) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "model.safetensors"
    lamp.save(network(), path)
    other = network(hidden=6)
    before = [p.data.clone() for p in other.parameters()]
    with pytest.raises(StateDictError, match=r"model\.safetensors"):
        lamp.load(other, path)
    smaller = lamp.Sequential(lamp.Linear(3, 5))
    with pytest.raises(StateDictError):
        lamp.load(smaller, path)
    assert lamp.load(smaller, path, strict=False).unexpected_keys == ["1.weight", "2.weight", "2.bias"]
    assert all(torch.equal(p.data, b) for p, b in zip(other.parameters(), before, strict=True))


def test_arguments_of_save_and_load(tmp_path):
    for function in (lamp.save, lamp.load):
        with pytest.raises(ArgumentError):
            function({"x": torch.zeros(1)}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"is a folder[\s\S]*model\.safetensors"):
        lamp.save(network(), tmp_path)
    with pytest.raises(CheckpointError, match="not the folder of a checkpoint"):
        lamp.load(network(), tmp_path)
    (tmp_path / "one.txt").touch()
    with pytest.raises(CheckpointError, match=r"cannot be read: No such file[\s\S]*one\.txt"):
        lamp.load(network(), tmp_path / "missing")


def test_load_takes_the_folder_of_a_checkpoint(tmp_path):
    model = network()
    with sealed_folder(tmp_path / "whole") as folder:
        lamp.save(model, folder / "model.safetensors")
    other = network()
    lamp.load(other, tmp_path / "whole")
    assert torch.equal(other.parameters()[0].data, model.parameters()[0].data)


# ---- paths -----------------------------------------------------------------------------------------------------------
class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def test_every_kind_of_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    model, name = network(), str(tmp_path / "model")
    for k, path in enumerate(
        (name, tmp_path / "model", PathLike(name), os.fsencode(name), PathLike(os.fsencode(name)))
    ):
        model.parameters()[0].data.fill_(float(k))
        lamp.save(model, path)
        assert lamp.load(other := network(), path) == ([], [])
        assert torch.equal(other.parameters()[0].data, model.parameters()[0].data)
    lamp.save(model, "~/below/model")
    assert (tmp_path / "home" / "below" / "model").exists()
    lamp.load(network(), "~/below/model")
    assert lamp.Checkpoint("~/run").path_of(1, 2).parent.parent == tmp_path / "home" / "run"
    monkeypatch.chdir(tmp_path)
    lamp.save(model, "./~tilde")  # a name, and nobody's home
    assert (tmp_path / "~tilde").exists()


def test_names_that_are_no_utf8(tmp_path):
    """File names are bytes; errors about them can be printed on any console."""
    path = os.path.join(os.fsencode(tmp_path), b"m\xff\xe9\n\x1b[31m")
    model = network()
    lamp.save(model, path)
    lamp.load(network(), path)
    with pytest.raises(StateDictError) as error:
        lamp.load(network(hidden=6), path)
    str(error.value).encode("utf-8", "backslashreplace")
    save_json(path, {"a": 1, "path": os.fsdecode(path)})
    assert load_json(path)["path"] == os.fsdecode(path)
    with sealed_folder(path + b" folder") as folder:
        (folder / os.fsdecode(b"\xff")).write_bytes(b"a")
    check_folder(path + b" folder")


def test_a_link_stays_a_link(tmp_path):
    """The file that the link points to is replaced as a whole."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "model")
    for model in (network(), network()):
        lamp.save(model, tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        lamp.load(network(), tmp_path / "there" / "model")
    assert [each.name for each in (tmp_path / "there").iterdir()] == ["model"]


def test_a_device_is_not_replaced():
    with pytest.raises(CheckpointError, match="not a regular file"):
        lamp.save(network(), os.devnull)
    assert not os.path.isfile(os.devnull)


# ---- damage ----------------------------------------------------------------------------------------------------------
def test_every_changed_byte_of_a_file_is_noticed(tmp_path):
    lamp.save(lamp.Linear(3, 2), tmp_path / "file")
    data = (tmp_path / "file").read_bytes()
    for foreign in (False, True):
        for k in range(len(data)):
            for flip in FLIPS:
                with pytest.raises(CheckpointError):
                    read_tensors(data[:k] + bytes([data[k] ^ flip]) + data[k + 1 :], "file", foreign=foreign)
        for k in range(len(data)):
            with pytest.raises(CheckpointError):
                read_tensors(data[:k], "file", foreign=foreign)
        with pytest.raises(CheckpointError):
            read_tensors(data + b"\0", "file", foreign=foreign)


def test_every_changed_byte_of_json_is_noticed(tmp_path):
    path = tmp_path / "file.json"
    save_json(path, {"a": [1, 2.5, "ü"], "b": {"c": None}})
    assert load_json(path) == {"a": [1, 2.5, "ü"], "b": {"c": None}}
    json.loads(path.read_text())
    data = path.read_bytes()
    for k in range(len(data)):
        for flip in FLIPS:
            with pytest.raises(CheckpointError):
                parse_json(data[:k] + bytes([data[k] ^ flip]) + data[k + 1 :], path)
        with pytest.raises(CheckpointError):
            parse_json(data[:k], path)
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="file\\.json"):
        load_json(path)
    with pytest.raises(CheckpointError):
        save_json(path, {"x": float("nan")})
    with pytest.raises(CheckpointError):
        save_json(path, {"x": {1, 2}})


def header(entries, numbers=b"", cut=0):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) - cut) + text + numbers


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
FOREIGN = {
    "nothing": b"",
    "a short file": b"1234567",
    "a long header": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": header(b"\xff\xfe not json"),
    "a list": header([1, 2]),
    "deep": header(b"[" * 100_000),
    "a name twice": header(b'{"a":%b,"a":%b}' % ((json.dumps(ENTRY).encode(),) * 2), b"\0" * 8),
    "metadata that are no texts": header({"__metadata__": {"a": 1}}),
    "an entry that is none": header({"a": 5}),
    "another dtype": header({"a": ENTRY | {"dtype": "O8"}}, b"\0" * 8),
    "dtype in a list": header({"a": ENTRY | {"dtype": ["F32"]}}, b"\0" * 8),
    "a negative size": header({"a": ENTRY | {"shape": [-2]}}, b"\0" * 8),
    "sizes as texts": header({"a": ENTRY | {"shape": "2"}}, b"\0" * 8),
    "true as a size": header({"a": ENTRY | {"shape": [True, 2]}}, b"\0" * 8),
    "a huge size": header({"a": ENTRY | {"shape": [2**62, 2**62]}}, b"\0" * 8),
    "overlapping": header({"a": ENTRY, "b": ENTRY}, b"\0" * 8),
    "a gap": header({"a": ENTRY, "b": ENTRY | {"data_offsets": [9, 17]}}, b"\0" * 17),
    "beyond the end": header({"a": ENTRY}, b"\0" * 7),
    "something after": header({"a": ENTRY}, b"\0" * 9),
    "reversed": header({"a": ENTRY | {"data_offsets": [8, 0]}}, b"\0" * 8),
    "a zip archive": b"PK\x03\x04" + b"\0" * 200,
    "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_get_a_clear_error(name, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(CheckpointError) as error:
        lamp.load(lamp.Linear(1, 2), path)
    assert str(path) in str(error.value)
    assert "fix" in str(error.value)
    if name != "a name twice":  # of which the package takes the last
        with pytest.raises(safetensors.SafetensorError):
            safetensors.torch.load_file(path)


READING = ("open", "os.listdir", "os.scandir", "pathlib.", "object.__", "builtins.id")  # what reading files may do


class Trap:
    def __reduce__(self):
        return os.system, ("touch " + os.environ["TRAP"],)


def test_reading_a_hostile_file_runs_nothing(tmp_path, monkeypatch):
    """Reading compiles no code, imports no module and starts no process."""
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    (tmp_path / "trap").write_bytes(pickle.dumps(Trap()))
    torch.save({"x": Trap()}, tmp_path / "torch")
    trap = (tmp_path / "trap").read_bytes()
    (tmp_path / "in metadata").write_bytes(header({"__metadata__": {"pickle": trap.hex(), "__import__": "os"}}))
    entry = {"dtype": "U8", "shape": [len(trap)], "data_offsets": [0, len(trap)]}
    (tmp_path / "in numbers").write_bytes(header({"a": entry}, trap))
    (tmp_path / "manifest.json").write_bytes(trap)
    seen, watching = [], [False]

    def hook(event, arguments):
        if watching[0] and not event.startswith(READING):
            seen.append((event, arguments))

    def reads(function, *arguments):
        watching[0] = True
        try:
            function(*arguments)
        except lamp.LampError:
            pass
        finally:
            watching[0] = False

    sys.addaudithook(hook)
    from lamp.training.checkpoints import read_checkpoint

    model = lamp.Linear(1, 2)
    for name in ("trap", "torch", "in metadata", "in numbers"):
        reads(lamp.load, model, tmp_path / name)
        folder = tmp_path / f"folder of {name}"
        (folder / "checkpoints" / "epoch-000001-step-000000001").mkdir(parents=True)
        for each in ("model.safetensors", "state.safetensors", "state.json", "manifest.json"):
            for place in (folder, folder / "checkpoints" / "epoch-000001-step-000000001"):
                (place / each).write_bytes((tmp_path / name).read_bytes())
        for place in (folder, folder / "checkpoints" / "epoch-000001-step-000000001"):
            reads(lamp.load, model, place)
            reads(read_checkpoint, place)
    reads(check_folder, tmp_path)
    reads(read_folder, tmp_path)
    assert not seen
    assert not (tmp_path / "sprung").exists()
    watching[0] = True  # the hook does see what it is for
    pickle.loads(trap)
    watching[0] = False
    assert {"os.system", "pickle.find_class"} <= {event for event, _ in seen}


# ---- folders ---------------------------------------------------------------------------------------------------------
def test_a_sealed_folder_knows_its_files(tmp_path):
    folder = tmp_path / "whole"
    with sealed_folder(folder, {"kind": "test"}) as inside:
        (inside / "below").mkdir()
        for name in ("a", "below/b"):
            (inside / name).write_bytes(name.encode() * 3)
    assert check_folder(folder)["kind"] == "test"
    assert read_folder(folder)[1] == {"a": b"aaa", "below/b": b"below/bbelow/bbelow/b"}
    (folder / "a stranger").touch()
    check_folder(folder)
    (folder / "a").write_bytes(b"aab")
    with pytest.raises(CheckpointError, match="changed since it was written"):
        check_folder(folder)
    (folder / "a").write_bytes(b"aa")
    with pytest.raises(CheckpointError, match=r"3 bytes[\s\S]*2 bytes"):
        check_folder(folder)
    (folder / "a").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        check_folder(folder)
    with pytest.raises(CheckpointError, match="not a folder"):
        check_folder(tmp_path / "nowhere")
