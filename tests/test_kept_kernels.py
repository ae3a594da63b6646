"""Kernels that a process keeps: a limited number of bytes, the last used ones, and no reference to networks."""

import gc
import weakref

import pytest
import torch

import lamp
from lamp.compiler import kernel
from lamp.compiler.backends.cpu.kept import APIECE, Kept

X = torch.randn(20, 3)
Y = (X.sum(1) > 0).long()


class Code:
    def __init__(self, size):
        self.code = b"x" * size


def test_what_was_used_longest_ago_goes_first():
    kept = Kept(most=3 * (APIECE + 10))
    codes = {key: kept.keep(key, Code(10)) for key in "abc"}
    assert kept.get("a") is codes["a"]
    kept.keep("d", Code(10))
    assert [kept.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert kept.bytes == 3 * (APIECE + 10)


def test_bytes_are_what_is_bounded():
    kept = Kept(most=4 * APIECE)
    for key in range(3):
        kept.keep(key, Code(0))
    kept.keep("large", Code(3 * APIECE))
    assert len(kept) == 1
    kept.keep("larger than all", Code(9 * APIECE))
    assert kept.get("larger than all") is not None
    kept.keep("larger than all", Code(1))
    assert kept.bytes == APIECE + 1
    kept.clear()
    assert (len(kept), kept.bytes, kept.get("large")) == (0, 0, None)


def trained(width, *between):
    model = lamp.Sequential(lamp.Linear(3, width), *(between or [lamp.Tanh()]), lamp.Linear(width, 2))
    compiled = lamp.compile(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), 0.1), 10)
    compiled(X, Y)
    return model, compiled


@pytest.mark.parametrize("from_disk", [False, True])
def test_no_network_is_kept(from_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMP_CACHE_DIR", str(tmp_path))
    kernel.forget()
    if from_disk:
        trained(9)
        kernel.forget()
    model, compiled = trained(9)
    assert "define void" in compiled.llvm_ir
    gone = weakref.ref(model), weakref.ref(compiled.optimizer)
    del model, compiled
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_a_kernel_in_use_lives_on(monkeypatch):
    monkeypatch.setattr(kernel.known, "most", 1)
    first = trained(5)
    trained(6)
    assert len(kernel.known) == 1
    gc.collect()
    assert first[1](X, Y).isfinite().all()


def test_populations_of_any_number_share_a_kernel():
    kernel.forget()
    single = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))
    for count in (40, 64):
        model = lamp.population(single, range(count))
        lamp.compile(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), 0.1), 10)(X, Y)
    kinds = {key[1] for key in kernel.known._codes}
    assert len(kernel.known) == len(kinds)
