"""The OpenMP inside torch, whose threads compute torch's operations, and formulas on large tensors.

Other threads would compete with torch's own, which wait for the next operation for a while before they sleep.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from lamp.compiler.backends.cpu.blas import functions_of_torch

THREAD, THREADS = "omp_get_thread_num", "omp_get_num_threads"
PARALLEL = "GOMP_parallel"  # (function, its argument, threads, 0): calls it in so many threads at once


@cache
def addresses() -> dict[str, int]:
    """The address of each function, by name; empty if one is missing, as where torch has another compiler's OpenMP."""
    return functions_of_torch(THREAD, THREADS, PARALLEL)


def parallel() -> Any:
    """`PARALLEL` as a function of the address of a function, that of its argument, the threads, and 0. It releases
    Python's lock."""
    of = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    return of(addresses()[PARALLEL])
