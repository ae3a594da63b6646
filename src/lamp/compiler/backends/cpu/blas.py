"""Two libraries of matrix products: the addresses of their functions, and how kernels call them for wide layers.

MKL       Intel's, inside torch's builds for x86-64
OpenBLAS  inside the builds of NumPy that pip installs

Kernels call MKL, but on AMD's processors OpenBLAS, which is up to a third faster there. Where one is missing, they call
the other. Where both are, they compute all products themselves. The environment variable LAMP_BLAS chooses: mkl,
openblas, or off.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import llvmlite.binding as llvm
import numpy
import torch

from lamp.compiler.backends.cpu.builder import DOUBLE, FLOAT, I8, POINTER, VOID, Builder, Value, whole
from lamp.compiler.switches import is_off
from lamp.errors import ArgumentError
from lamp.workers import when_forked

SWITCH = "LAMP_BLAS"
OF_TORCH = ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll")
MKL_THREADS = "MKL_Set_Num_Threads_Local"  # (threads) -> before: how many threads MKL uses when this thread calls it
OPENBLAS_THREADS = "scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"  # for all its callers


@dataclass(frozen=True)
class Library:
    """A library of matrix products.

    products   the name of its product for each dtype
    bits       of its integers
    addresses  of its functions, by name
    """

    products: dict[torch.dtype, str]
    bits: int
    addresses: dict[str, int]


MKL = {torch.float32: "sgemm_", torch.float64: "dgemm_"}
OPENBLAS = {torch.float32: "scipy_sgemm_64_", torch.float64: "scipy_dgemm_64_"}


@cache
def libraries() -> dict[str, Library]:
    """The libraries that are here, by name."""
    found = {
        "mkl": Library(MKL, 32, functions_of_torch(*MKL.values(), MKL_THREADS)),
        "openblas": Library(OPENBLAS, 64, _functions_of_numpy(*OPENBLAS.values(), *OPENBLAS_THREADS)),
    }
    return {name: library for name, library in found.items() if library.addresses}


def chosen() -> str:
    """The name of the library that kernels call; empty if there is none, or if BLAS is switched off.

    Raises ArgumentError if LAMP_BLAS names a library that is not here.
    """
    if is_off(SWITCH):
        return ""
    wish = os.environ.get(SWITCH, "").lower()
    if wish and wish not in libraries():
        raise ArgumentError(
            f"{SWITCH} in the environment names no library of matrix products that is here",
            expected=" or ".join([*libraries(), "off"]),
            got=wish,
            fix=f"no {SWITCH} in the environment, for the faster one",
        )
    best_first = ("openblas", "mkl") if "znver" in llvm.get_host_cpu_name() else ("mkl", "openblas")
    return wish or next((name for name in best_first if name in libraries()), "")


def functions_of_torch(*names: str) -> dict[str, int]:
    """The addresses of functions in torch's library and those that it needs; empty if one of them is missing."""
    files = [Path(torch.__file__).parent / "lib" / file for file in OF_TORCH]
    return next((_addresses(str(path), names) for path in files if path.exists()), {})


def _functions_of_numpy(*names: str) -> dict[str, int]:
    """The addresses of functions in the library that NumPy's products call; empty if one of them is missing."""
    files = [
        path
        for ending in EXTENSION_SUFFIXES
        for path in Path(numpy.__file__).parent.glob(f"*core/_multiarray_umath{ending}")
    ]
    return next((_addresses(str(path), names) for path in files), {})


def _addresses(file: str, names: Sequence[str]) -> dict[str, int]:
    """The addresses of functions in a library, which the process has loaded already, and in those that it needs."""
    library = ctypes.CDLL(file)
    if not all(hasattr(library, name) for name in names):
        return {}
    return {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names}


class OneThread:
    """A context in which OpenBLAS computes every product on the thread that asks for it, as kernels need it.

    The setting is the process's. So contexts of several threads overlap: the first one to begin makes the setting, and
    the last one to end undoes it. Meanwhile NumPy's own products run on one thread too.
    """

    def __init__(self) -> None:
        self._lock, self._open, self._before = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if self._open == 0:
                self._before = _openblas_threads()[0]()
                _openblas_threads()[1](1)
            self._open += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0:
                _openblas_threads()[1](self._before)

    def after_fork(self) -> None:
        """Undo the setting in the child, where none of the threads that made it is."""
        self._lock = threading.Lock()
        if self._open:
            self._open = 0
            _openblas_threads()[1](self._before)


one_thread = OneThread()
when_forked(one_thread.after_fork)


def calling(name: str) -> AbstractContextManager[None]:
    """The context in which kernels that call this library run."""
    return one_thread if name == "openblas" else nullcontext()


@cache
def _openblas_threads() -> tuple[Callable[[], int], Callable[[int], None]]:
    """OpenBLAS's functions that return and set the number of its threads."""
    get, put = (libraries()["openblas"].addresses[name] for name in OPENBLAS_THREADS)
    return ctypes.CFUNCTYPE(ctypes.c_int)(get), ctypes.CFUNCTYPE(None, ctypes.c_int)(put)


def write_product(
    b: Builder,
    library: Library,
    dtype: torch.dtype,
    transposed: Sequence[bool],
    sizes: Sequence[Value],
    matrices: Sequence[tuple[Value, Value]],
    add: bool,
) -> None:
    """Write a call of a library's gemm, c = a b, or c += a b with `add`. All its arguments are addresses.

    transposed  whether a and b are
    sizes       int32: the rows of c, its columns, and the numbers of a row of a
    matrices    the address and the leading dimension (int32) of a, b and c
    """
    integer, real = f"i{library.bits}", FLOAT if dtype is torch.float32 else DOUBLE
    letters = [whole(I8, ord("NT"[each])) for each in transposed]
    (a, of_a), (y, of_b), (c, of_c) = matrices
    sizes, (of_a, of_b, of_c) = (
        [b.converted("sext", each, integer) for each in some] for some in (sizes, (of_a, of_b, of_c))
    )
    given = [*letters, *sizes, Value(real, "1.0"), a, of_a, y, of_b, Value(real, str(float(add))), c, of_c]
    b.call(VOID, library.products[dtype], [each if each.type == POINTER else b.on_stack(each) for each in given])
