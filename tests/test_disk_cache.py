"""Kernels on disk: they are found again, not used when damaged, and never stop a run."""

import errno
import os
import subprocess
import sys
import textwrap

import pytest
import torch

import lamp
from lamp.compiler import disk_cache
from lamp.compiler.kernel import forget
from lamp.compiler.kernel_builder import KernelBuilder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty cache of its own."""
    monkeypatch.setenv("LAMP_CACHE_DIR", str(tmp_path / "kernels"))
    forget()
    yield tmp_path / "kernels"
    forget()


def losses(width=5, epochs=3):
    torch.manual_seed(0)
    model = lamp.Sequential(lamp.Linear(3, width), lamp.Tanh(), lamp.Linear(width, 2))
    data = torch.randn(20, 3), torch.randint(2, (20,))
    optimizer = lamp.Adam(model.parameters())
    options = dict(epochs=epochs, batch_size=5, seed=0, progress=False, engine="compiled")
    return lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, data, **options)["loss"].tolist()


def written(monkeypatch):
    """Counts kernels that are compiled, not loaded."""
    count = [0]
    emit = KernelBuilder._emit

    def counting(self):
        count[0] += 1
        emit(self)

    monkeypatch.setattr(KernelBuilder, "_emit", counting)
    return count


def test_what_was_compiled_is_found_again(place, monkeypatch):
    count = written(monkeypatch)
    first = losses()
    assert count == [1]
    assert len(disk_cache.entries()) == 1
    forget()
    assert losses() == first
    assert count == [1]
    assert losses(width=6) != first
    assert count == [2]


def test_code_from_the_cache_still_shows_itself(place):
    model = lamp.Sequential(lamp.Linear(3, 2))
    make = lambda: lamp.compile(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), 4)  # noqa: E731
    text, assembly = make().llvm_ir, make().assembly
    forget()
    again = make()
    again(torch.randn(8, 3), torch.randn(8, 2))
    assert again.llvm_ir == text
    assert again.assembly == assembly


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "emptied", "text", "folder", "pipe", "device", "nowhere", "terabyte"]
)
def test_a_damaged_entry_is_made_anew(place, damage):
    first = losses()
    (entry,) = disk_cache.entries()
    content = entry.path.read_bytes()
    if damage in ("folder", "pipe", "device", "nowhere"):
        entry.path.unlink()
    if damage == "folder":
        entry.path.mkdir()
    elif damage == "pipe":
        os.mkfifo(entry.path)
    elif damage in ("device", "nowhere"):
        entry.path.symlink_to("/dev/zero" if damage == "device" else place / "absent")
    elif damage == "terabyte":
        os.truncate(entry.path, 2**40)  # without blocks on the disk
    else:
        bad = {"cut": content[:-7], "flipped": content[:90] + b"~" + content[91:], "emptied": b"", "text": b"x" * 500}
        entry.path.write_bytes(bad[damage])
    forget()
    assert losses() == first
    forget()
    assert losses() == first


def test_without_a_cache(place, monkeypatch):
    monkeypatch.setenv("LAMP_CACHE_DIR", "off")
    losses()
    assert not place.exists()
    assert disk_cache.folder() is None


@pytest.mark.parametrize(
    "folder", ["file/kernels", "file", "loop", "~nobody_of_this_name/kernels", "a" * 300, "/proc/x"]
)
def test_a_folder_that_cannot_be_used(tmp_path, monkeypatch, folder):
    forget()
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("LAMP_CACHE_DIR", folder if folder[0] in "~/" else str(tmp_path / folder))
    first = losses()
    forget()
    assert losses() == first


def test_a_disk_without_space(place, monkeypatch):
    first = losses()
    disk_cache.clear()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left")

    for name in ("replace", "fdopen"):
        forget()
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            assert losses() == first
        assert list(place.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no such rights here")
def test_a_folder_that_others_may_write_to_is_left_alone(place):
    place.mkdir()
    place.chmod(0o777)
    losses()
    assert not list(place.iterdir())


def test_it_stays_within_its_bytes(place, monkeypatch):
    losses(4)
    (entry,) = disk_cache.entries()
    monkeypatch.setenv("LAMP_CACHE_BYTES", str(int(2.5 * entry.size)))
    os.utime(entry.path, (1.0, 1.0))
    losses(5)
    losses(6)
    assert len(disk_cache.entries()) <= 2
    assert entry.path not in [each.path for each in disk_cache.entries()]


def test_what_depends_on_this_process_alone_is_not_kept(place):
    class Own(lamp.Activation):
        def sigma(self, x):
            return x * 2.0

        def dsigma(self, x, y):
            return y * 0.0 + 2.0

    model = lamp.Sequential(lamp.Linear(3, 4), Own(), lamp.Linear(4, 2))
    compiled = lamp.compile(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), 4)
    compiled(torch.randn(8, 3), torch.randn(8, 2))
    assert disk_cache.entries() == []
    assert disk_cache.name_of(("a", object()), "cpu") is None


def test_several_processes_at_once(place):
    code = """
        import torch, lamp
        torch.manual_seed(0)
        model = lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), lamp.Linear(5, 2))
        data = torch.randn(20, 3), torch.randint(2, (20,))
        options = dict(epochs=3, batch_size=5, seed=0, progress=False, engine="compiled")
        history = lamp.fit(model, lamp.CrossEntropyLoss(), lamp.Adam(model.parameters()), data, **options)
        print(history["loss"].tolist())
    """
    started = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert {process.communicate()[0] for process in started} == {f"{losses()}\n"}
    assert len(disk_cache.entries()) == 1


def test_the_command(place):
    losses()
    environment = os.environ | {"LAMP_CACHE_DIR": str(place)}

    def run(*more):
        command = [sys.executable, "-m", "lamp", "cache", *more]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "1 kernels" in run()
    assert "1 kernels removed" in run("--clear")
    assert disk_cache.entries() == []
