"""Malicious or broken files give a CheckpointError with the path, in bounded time and memory.

Changed files get correct digests again, so that the tests reach the code behind the digests.
"""

from __future__ import annotations

import builtins
import copy
import hashlib
import json
import os
import random
import resource
import signal
import socket
import struct
import warnings
from contextlib import contextmanager, suppress

import pytest

import lamp
from lamp.errors import CheckpointError, DataError
from lamp.saving import SealedFolder, check_folder, load_json, load_tensors, read_folder, sealed_folder
from lamp.saving.documents import MARK as JSON_MARK
from lamp.saving.seal import BLANK, seal
from lamp.saving.tensors import DIGESTS, HEADER_DIGEST, MARK
from lamp.training.checkpoints import read_checkpoint
from tests.cases.resumes import build

SECONDS = 20
ROOM = 2**31  # bytes beyond what the process has


@contextmanager
def bounded():
    """Fails a block that takes too long or too much memory."""

    def too_long(number, frame):
        raise AssertionError("too long")

    before = signal.signal(signal.SIGALRM, too_long)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (own + ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def sealed_json(text):
    """A text of JSON with its right digest. `text` holds BLANK where that goes."""
    return seal(text if isinstance(text, bytes) else text.encode(), JSON_MARK)


def document(value):
    return sealed_json(json.dumps({"sha256_of_this_file": BLANK.decode(), **value}))


def manifest_of(folder, **more):
    """The manifest that would be right for the files there."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
        if path.is_file() and path.name != "manifest.json"
    }
    return {**more, "files": files}


def reseal(folder, name=None, data=None):
    """Put a file's new bytes into a sealed folder, and a manifest that agrees."""
    if name is not None:
        (folder / name).write_bytes(data)
    about = {k: v for k, v in load_json(folder / "manifest.json").items() if k != "files"}
    (folder / "manifest.json").write_bytes(document(manifest_of(folder, **about)))


@pytest.fixture
def folder(tmp_path):
    with sealed_folder(tmp_path / "whole", {"kind": "test"}) as inside:
        (inside / "a").write_bytes(b"aaa")
        lamp.save(lamp.Linear(2, 3), inside / "model.safetensors")
    return tmp_path / "whole"


def says(folder, files):
    (folder / "manifest.json").write_bytes(document({"kind": "test", "files": files}))


# ---- manifests -------------------------------------------------------------------------------------------------------
NAMES = [
    "/dev/zero",
    "/etc/hostname",
    "../secret",
    "below/../../secret",
    "..",
    ".",
    "",
    "a\0b",
    "..\\secret",
    "C:\\secret",
    "C:secret",
    "\\\\host\\share",
    "out/secret",
    "link",
    "pipe",
    "socket",
    "below",
    "a" * 300,
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_manifest_that_names_what_is_no_file_of_the_folder(name, folder, monkeypatch):
    secret = folder.parent / "secret"
    secret.write_bytes(b"aaa")
    (folder / "below").mkdir()
    (folder / "out").symlink_to(folder.parent, target_is_directory=True)
    (folder / "link").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(folder)  # names of sockets must be short
    listening.bind("socket")
    os.chdir(here)
    entry = {"bytes": 3, "sha256": hashlib.sha256(b"aaa").hexdigest()}
    says(folder, {"a": entry, name: entry})
    opened = []
    really = builtins.open
    for reads in (check_folder, read_folder, lambda path: SealedFolder(path).read(name)):
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "open", lambda path, *args: opened.append(str(path)) or really(path, *args))  # type: ignore[func-returns-value]
            with bounded(), pytest.raises(CheckpointError) as error:
                reads(folder)
        assert str(folder) in str(error.value)
    assert {os.path.basename(path) for path in opened} <= {"manifest.json", "a", "statm"}
    listening.close()


@pytest.mark.parametrize("name", ["/dev/zero", "../x", "a\0b", "", "C:x", "\x1b[2Jx", "a\nb", "a\x9bb"], ids=repr)
def test_a_name_in_a_manifest_that_is_never_read(name, folder):
    says(folder, {"a": {"bytes": 3, "sha256": "0" * 64}, name: {"bytes": 3, "sha256": "0" * 64}})
    with pytest.raises(CheckpointError, match=r"names a file (outside the folder|with control characters)"):
        SealedFolder(folder)


@pytest.mark.parametrize("name", ["history.jsonl", ".lamp-lock", "checkpoints"])
def test_nothing_is_written_through_a_link_in_the_folder_of_a_training(name, tmp_path):
    """A folder from elsewhere may hold links to the reader's own files."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    lamp.fit(**build("callbacks, eager") | {"epochs": 1}, checkpoint=run)
    if name == "checkpoints":
        (run / name).rename(outside)
        before = sorted(each.name for each in outside.iterdir())
    else:
        (run / name).unlink(missing_ok=True)
        outside.write_text("mine")
    (run / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="is a symbolic link") as error:
        lamp.fit(**build("callbacks, eager") | {"epochs": 2}, checkpoint=run, resume=True)
    assert str(run / name) in str(error.value)
    assert str(outside) in str(error.value.got)
    if name == "checkpoints":
        assert sorted(each.name for each in outside.iterdir()) == before
    else:
        assert outside.read_text() == "mine"


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "state.json", "state.safetensors"])
def test_nothing_is_read_through_a_link_in_a_checkpoint(name, tmp_path):
    lamp.fit(**build("callbacks, eager") | {"epochs": 1}, checkpoint=tmp_path / "run")
    saved = lamp.Checkpoint(tmp_path / "run").saved()[-1]
    (saved / name).rename(tmp_path / name)
    (saved / name).symlink_to(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"not a regular file[\s\S]*a symbolic link"):
        read_checkpoint(saved)


def test_errors_show_control_characters_of_a_file_as_escapes(tmp_path):
    lamp.fit(**build("callbacks, eager") | {"epochs": 1}, checkpoint=tmp_path)
    saved = lamp.Checkpoint(tmp_path).saved()[-1]
    manifest = load_json(saved / "manifest.json")
    (saved / "manifest.json").write_bytes(document({**manifest, "kind": "\x1b[2Jx"}))
    with pytest.raises(CheckpointError, match="is not a checkpoint") as error:
        lamp.fit(**build("callbacks, eager"), checkpoint=tmp_path, resume=True)
    assert "got       \\x1b[2Jx, format" in str(error.value)
    each = lamp.LampError("\x1b1", expected="\x9b2\n", got=["\x7f3", "\u202e4"], fix="\r5", where="\a6")
    shown = str(each).splitlines()
    assert [line.isprintable() for line in shown] == [True] * len(shown)
    assert shown[0] == "\\x076: \\x1b1"
    assert shown[-1] == "  fix       \\r5"


def test_sizes_are_compared_before_anything_is_read(folder, monkeypatch):
    """A file of 8 TB that takes no room on the disk, and a manifest that says so, or not."""
    os.truncate(folder / "a", 2**43)
    says(folder, {"a": {"bytes": 3, "sha256": "0" * 64}})
    with bounded(), pytest.raises(CheckpointError, match="another size"):
        check_folder(folder)
    says(folder, {"a": {"bytes": 2**43, "sha256": "0" * 64}})
    with bounded(), pytest.raises(CheckpointError, match="does not fit into memory"):
        check_folder(folder)
    os.truncate(folder / "manifest.json", 2**43)
    with bounded(), pytest.raises(CheckpointError, match="too large"):
        check_folder(folder)


def test_what_is_needed_must_be_named(folder):
    entry = {"bytes": 3, "sha256": hashlib.sha256(b"aaa").hexdigest()}
    says(folder, {"a": entry})
    (folder / "stranger").write_bytes(b"passed over")
    check_folder(folder)
    with pytest.raises(CheckpointError, match=r"lacks files[\s\S]*model\.safetensors"):
        lamp.load(lamp.Linear(2, 3), folder)


@pytest.mark.parametrize("kind", ["pipe", "folder", "zero", "null"])
def test_a_file_that_is_none(kind, tmp_path):
    path = {"zero": "/dev/zero", "null": "/dev/null"}.get(kind, tmp_path / kind)
    if kind == "pipe":
        os.mkfifo(path)
    for reads in (lambda: load_json(path), lambda: load_tensors(path), lambda: lamp.load(lamp.Linear(1, 2), path)):
        with bounded(), pytest.raises(CheckpointError):
            reads()
    if kind != "folder":
        with bounded(), pytest.raises(CheckpointError, match="not a regular file"):
            lamp.save(lamp.Linear(1, 2), path)


# ---- JSON ------------------------------------------------------------------------------------------------------------
START = '{"sha256_of_this_file": "' + BLANK.decode() + '", '
TEXTS = {
    "deep": START + '"x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "deep objects": START + '"x": ' + '{"x":' * 900 + "1" + "}" * 901,
    "no UTF-8": (START + '"x": "').encode() + b'\xff\xfe"}',
    "UTF-16": b"\xff\xfe" + (START + '"x": 1}').encode(),
    "5,000 digits": START + '"x": ' + "1" * 5_000 + "}",
    "2,000 digits": START + '"x": ' + "1" * 2_000 + "}",
    "NaN": START + '"x": NaN}',
    "infinity": START + '"x": -Infinity}',
    "too large a float": START + '"x": 1e999}',
    "a name twice": START + '"x": 1, "x": 2}',
    "cut": START + '"x": ',
    "a list": "[" + START + '"x": 1}]',
    "something after": START + '"x": 1} 2',
}


@pytest.mark.parametrize("name", TEXTS)
def test_sealed_json_is_read_strictly(name, tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(sealed_json(TEXTS[name]))
    with bounded(), pytest.raises(CheckpointError) as error:
        load_json(path)
    assert str(path) in str(error.value)
    for part in ("expected", "got", "fix"):
        assert getattr(error.value, part)
    assert error.value.__suppress_context__


# ---- mutations -------------------------------------------------------------------------------------------------------
HUGE = [10**9, 10**400, -1, 2**63, 1e308]
STRANGE = [
    None,
    True,
    "",
    "x",
    "\ud800",
    "\x1b[31m",
    0,
    1,
    0.5,
    [],
    {},
    [[]],
    {"$tensor": "x"},
    {"$generator": 0},
    *HUGE,
]


def nodes(value, path=()):
    """Every place in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from nodes(item, (*path, key))


def changed(value, path, change):
    """A copy with one place changed: by another value, by its absence, or by what stands elsewhere."""
    value = copy.deepcopy(value)
    above = value
    for key in path[:-1]:
        above = above[key]
    if change == "absent":
        del above[path[-1]]
    elif change == "in a list":
        above[path[-1]] = [above[path[-1]]]
    elif change == "twice" and isinstance(above[path[-1]], list):
        above[path[-1]] = above[path[-1]] * 2
    else:
        above[path[-1]] = change
    return value


def mutants(value, count, seed):
    """`count` copies of a document, each changed in one place."""
    draw = random.Random(seed)
    places = [path for path in nodes(value) if path and path != ("sha256_of_this_file",)]
    for _ in range(count):
        place = draw.choice(places)
        change = draw.choice(["absent", "in a list", "twice", *STRANGE])
        yield place, change, changed(value, place, change)


def answers(act, path):
    """Run an act on a changed file: "" if it succeeds or raises a CheckpointError with the path, else the problem."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            act()
        except CheckpointError as error:
            return "" if str(path) in str(error) else f"without the path: {error}"
        except lamp.ArgumentError as error:  # fit says so of a checkpoint that is further than its epochs
            return "" if "more epochs than epochs" in str(error) or "engine" in str(error) else repr(error)
        except Exception as error:  # the point of the test
            return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


MUTANTS = 150 * (20 if os.environ.get("LAMP_EVERY_MUTANT") else 1)


@pytest.mark.parametrize(
    "name",
    [
        "list_of_batches, eager",
        "replicas_that_stop, compiled",
        "schedule_by_batch, eager",
        "streamed_metrics_of_lamp, eager",
        "streamed_metrics_of_numbers, eager",
    ],
)
def test_a_changed_state_gets_a_checkpoint_error(name, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda number: None)
    checkpoint = lamp.Checkpoint(tmp_path, every_steps=13, keep=9)
    lamp.fit(**build(name), checkpoint=checkpoint)
    saved = checkpoint.saved()[0 if "eager" in name else -2]
    text = (saved / "state.json").read_bytes()
    whole = json.loads(text)
    wrong = []
    for place, change, mutant in mutants(whole, MUTANTS, seed=len(name)):
        reseal(saved, "state.json", document({k: v for k, v in mutant.items() if k != "sha256_of_this_file"}))
        found = answers(lambda: lamp.fit(**build(name), resume=saved), saved)
        if found:
            wrong.append(f"{'.'.join(map(str, place))} -> {change!r}: {found}")
    assert not wrong, "\n".join(wrong)
    reseal(saved, "state.json", text)
    lamp.fit(**build(name), resume=saved)


def test_a_changed_manifest_gets_a_checkpoint_error(folder):
    whole = load_json(folder / "manifest.json")
    wrong = []
    for place, change, mutant in mutants(whole, 2 * MUTANTS, seed=3):
        (folder / "manifest.json").write_bytes(document(mutant))
        for act in (lambda: check_folder(folder), lambda: lamp.load(lamp.Linear(2, 3), folder)):
            with bounded():
                found = answers(act, folder)
            wrong += [f"{place} -> {change!r}: {found}"] if found else []
        with bounded():
            found = answers(lambda: read_checkpoint(folder), folder)
        wrong += [f"{place} -> {change!r}: {found}"] if found else []
    assert not wrong, "\n".join(wrong)


def test_a_changed_header_of_a_safetensors_file_gets_a_checkpoint_error(tmp_path):
    path = tmp_path / "model.safetensors"
    model = lamp.Sequential(lamp.Linear(2, 3), lamp.PReLU(), lamp.Linear(3, 2))
    lamp.save(model, path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    wrong = []
    for place, change, mutant in mutants(header, 4 * MUTANTS, seed=4):
        text = json.dumps(mutant, separators=(",", ":")).encode()
        about = mutant.get("__metadata__")
        if isinstance(about, dict) and isinstance(about.get(HEADER_DIGEST), str) and len(about[HEADER_DIGEST]) == 64:
            text = seal(text.replace(about[HEADER_DIGEST].encode(), BLANK), MARK)
        path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
        with bounded():
            found = answers(lambda: load_tensors(path, foreign=True), path)
        wrong += [f"{place} -> {change!r}: {found}"] if found else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62] * 100_000, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**62]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": []},
        {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]},
    ],
    ids=lambda entry: f"{str(entry['shape'])[:20]} {entry['data_offsets']}",
)
def test_sizes_that_cannot_be(entry, tmp_path):
    text = json.dumps({"a": entry}).encode()
    (tmp_path / "file").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    with bounded():
        found = answers(lambda: load_tensors(tmp_path / "file", foreign=True), tmp_path)
    assert not found


def test_digests_in_the_metadata_are_read_strictly(tmp_path):
    lamp.save(lamp.Linear(1, 2), tmp_path / "file")
    data = (tmp_path / "file").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    for digests in (None, "", "[]", "[" * 10**5, "{", '{"weight": 1}', '{"weight": [1]}', "1" * 5000):
        header["__metadata__"][HEADER_DIGEST] = BLANK.decode()
        header["__metadata__"][DIGESTS] = digests
        if digests is None:
            del header["__metadata__"][DIGESTS]
        text = seal(json.dumps(header, separators=(",", ":")).encode(), MARK)
        (tmp_path / "file").write_bytes(struct.pack("<Q", len(text)) + text + numbers)
        with bounded(), pytest.raises(CheckpointError, match="file"):
            load_tensors(tmp_path / "file")


# ---- the folder of a trained table -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two trained folders: classes and numbers."""
    pytest.importorskip("polars")
    pytest.importorskip("sklearn")
    from lamp.tables import train as work
    from lamp.tables.planning import Request, plan_training

    root = tmp_path_factory.mktemp("tables")
    draw = random.Random(0)
    rows = ["number,word,yes,day,class,value"]
    for k in range(150):
        x, word = draw.gauss(0, 1), draw.choice(["a", "b", "c"])
        day = f"2024-{1 + k % 12:02}-{1 + k % 28:02}"
        rows.append(f"{x:.3f},{word},{draw.choice(['yes', 'no'])},{day},{'p' if x > 0 else 'q'},{x * 2 + k / 100:.3f}")
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    for target in ("class", "value"):
        request = Request(root / "table.csv", target, members=2, seconds=2.0, with_peers=False)
        work.write(work.train(plan_training(request), progress=False), root / target, {})
    return root


def test_a_changed_folder_of_a_table_gets_a_checkpoint_error(tables, tmp_path):
    import shutil

    from lamp.cli import show_tables
    from lamp.tables import read_table
    from lamp.tables.folder import load_model, load_reports

    rows = read_table(tables / "table.csv").head(9)

    def uses(folder):
        model = load_model(folder)
        with suppress(DataError):  # of another way to write dates, say, which is as good as the one that was changed
            assert len(model.table_of(model.predict(rows))) == 9
        show_tables.summary(model, load_reports(folder), folder)

    wrong = []
    for target in ("class", "value"):
        folder = tmp_path / target
        shutil.copytree(tables / target, folder)
        uses(folder)
        for name in ("architecture.json", "preprocessing.json", "metrics.json", "config.json"):
            text = (folder / name).read_bytes()
            whole = {k: v for k, v in json.loads(text).items() if k != "sha256_of_this_file"}
            for place, change, mutant in mutants(whole, MUTANTS // 5, seed=5):
                reseal(folder, name, document(mutant))
                with bounded():
                    found = answers(lambda: uses(folder), folder)  # noqa: B023
                wrong += [f"{target}/{name}: {place} -> {change!r}: {found}"] if found else []
            reseal(folder, name, text)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("members", 10**9),
        ("members", 50_000),
        ("members", 2.5),
        ("depth", 10**7),
        ("depth", 900),
        ("depth", True),
        ("width", 10**6),
        ("width", "x"),
        ("inputs", 10**9),
        ("dropout", 7),
        ("temperature", 0),
        ("target", []),
    ],
)
def test_an_architecture_beyond_all_bounds(key, value, tables, tmp_path):
    import shutil

    from lamp.tables.folder import load_model

    folder = tmp_path / "model"
    shutil.copytree(tables / "class", folder)
    told = load_json(folder / "architecture.json")
    place = told if key in told else told["groups"][0]
    place[key] = value
    reseal(folder, "architecture.json", document(told))
    with bounded(), pytest.raises(CheckpointError, match=r"architecture\.json"):
        load_model(folder)
