"""The peak memory of a training, measured in a process of its own.

Two measures, both from before the network is built to the end of a few steps, so parameters, gradients and the
optimizer's state count with everything that a step makes:

tensors   the largest sum of the tensors alive at once, as torch's allocator reports each of them to its profiler. It is
          exact, and the same in every run, but knows nothing of what libraries allocate for themselves
resident  the growth of the process's resident memory (VmHWM, which is reset before). It has everything in it, and also
          what the allocator keeps instead of giving it back

The process first makes the same training once and throws it away, so that code that is loaded at the first step, and
buffers that libraries keep, do not count. What compiles is not built twice: its tensors are measured alone, since the
compiler's memory would be most of the other figure.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from benchmarks.harness import Contender

STEPS = 4  # so many steps are measured: the first ones build the optimizer's state
MEGA = 1e6
WITHIN = 400.0  # seconds
CLEAR = Path("/proc/self/clear_refs")


def measure(module: str, work: str, contender: str, threads: int) -> tuple[float, float | None]:
    """The peaks of a contender's tensors and of its resident memory in MB, measured in a child process.

    The second is None where the system cannot tell it, and for a contender that compiles.

    module  the benchmark module whose ROW has this work, by its title, with this contender
    """
    # A process of its own: what an earlier training left in the allocator, and its threads, would count.
    command = [sys.executable, "-m", "benchmarks.memory", module, work, contender, str(threads)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN, cwd=root, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {contender} failed:\n{done.stderr[-2000:]}")
    peaks: tuple[float, float | None] = tuple(json.loads(done.stdout.splitlines()[-1]))
    return peaks


def _train(contender: Contender, threads: int) -> None:
    contender.prepare(threads).run(STEPS)


def tensors(contender: Contender, threads: int) -> float:
    """The peak of the tensors, in MB."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        _train(contender, threads)
    assert recorded.profiler is not None
    events = recorded.profiler.kineto_results.experimental_event_tree()
    alive = [each.extra_fields.total_allocated for each in _all(events) if hasattr(each.extra_fields, "alloc_size")]
    return max(alive) / MEGA  # type: ignore[no-any-return]


def _all(events: Iterable[Any]) -> Iterator[Any]:
    for each in events:
        yield each
        yield from _all(each.children)


def resident(contender: Contender, threads: int) -> float:
    """The growth of resident memory at its peak, in MB."""
    _train(contender, threads)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5")  # VmHWM becomes VmRSS
    before = _kilobytes("VmRSS")
    _train(contender, threads)
    return (_kilobytes("VmHWM") - before) * 1024 / MEGA


def _kilobytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")


def _main(module: str, title: str, name: str, threads: str) -> None:
    (work,) = (each for each in import_module(module).ROW.works if each.title == title)
    (contender,) = (each for each in work.contenders if each.name == name)
    torch.set_num_threads(int(threads))
    grown = resident(contender, int(threads)) if CLEAR.exists() and not contender.compiles else None
    print(json.dumps([tensors(contender, int(threads)), grown]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
