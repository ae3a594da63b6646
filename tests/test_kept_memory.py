"""The memory that a training step frees is there for the next step."""

import importlib
import platform
import subprocess
import sys

import pytest
import torch

import lamp

STEPS = """
import resource
import torch
from lamp.cpu_settings import keep_freed_memory

def step():
    remembered = [torch.ones(48, 1024) for _ in range(200)]  # 38 MB
    while remembered:
        remembered.pop()  # last first, as backward does

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
keep_freed_memory()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
step()
print(faults(), grown)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_pages_are_not_asked_for_again_in_each_step():
    out = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, timeout=120).stdout
    faults, grown = map(int, out.split())
    assert faults < 1_000  # without it often 47,000, of 4 kB, in five steps
    assert grown < 4096  # kB: the block that is freed takes no memory itself


def test_whoever_trains_keeps_it(monkeypatch):
    """Each training has an optimizer, also in a loop of the user's."""
    calls = []
    monkeypatch.setattr(importlib.import_module("lamp.optim.optimizer"), "keep_freed_memory", lambda: calls.append(1))
    for make in (lamp.SGD, lamp.Muon, lamp.LBFGS):
        make([lamp.Parameter(torch.ones(3, 2))])
    assert calls == [1, 1, 1]
