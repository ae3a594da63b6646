"""The BLAS inside torch: the addresses of its matrix products, and how kernels call them for wide layers.

torch's builds for x86-64 contain Intel's MKL and export its functions. Where they do not, kernels compute all products
themselves. The environment variable LAMP_BLAS=off has the same effect.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from llvmlite import ir

from lamp.compiler.switches import is_off

SWITCH = "LAMP_BLAS"
LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll")
PRODUCTS = {torch.float32: "sgemm_", torch.float64: "dgemm_"}
THREADS = "MKL_Set_Num_Threads_Local"  # (threads) -> before: how many threads MKL uses when this thread calls it


def addresses() -> dict[str, int]:
    """The address of each function, by name; empty if one is missing, or if BLAS is switched off."""
    return {} if is_off(SWITCH) else _found()


@cache
def _found() -> dict[str, int]:
    return functions_of_torch(*PRODUCTS.values(), THREADS)


def functions_of_torch(*names: str) -> dict[str, int]:
    """The addresses of functions in torch's library and those that it needs; empty if one of them is missing."""
    for file in LIBRARIES:
        path = Path(torch.__file__).parent / "lib" / file
        if path.exists():
            library = ctypes.CDLL(str(path))  # which torch has loaded already
            if all(hasattr(library, name) for name in names):
                return {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names}
    return {}


def write_product(
    b: ir.IRBuilder,
    external: Callable[[str, ir.Type, Sequence[ir.Type]], ir.Function],
    dtype: torch.dtype,
    transposed: Sequence[bool],
    sizes: Sequence[ir.Value],
    matrices: Sequence[tuple[ir.Value, ir.Value]],
    add: bool,
) -> None:
    """Write a call of gemm, c = a b, or c += a b with `add`. All its arguments are addresses.

    external    returns the function of this name, with this result and these arguments
    transposed  whether a and b are
    sizes       int32: the rows of c, its columns, and the numbers of a row of a
    matrices    the address and the leading dimension (int32) of a, b and c
    """
    byte = ir.IntType(8)
    real = ir.FloatType() if dtype is torch.float32 else ir.DoubleType()
    letters = [byte(ord("NT"[each])) for each in transposed]
    (a, of_a), (y, of_b), (c, of_c) = matrices
    given = [*letters, *sizes, real(1.0), a, of_a, y, of_b, real(float(add)), c, of_c]
    addresses = [each if isinstance(each.type, ir.PointerType) else _in_memory(b, each) for each in given]
    kinds = [each.type for each in addresses]
    b.call(external(PRODUCTS[dtype], ir.VoidType(), kinds), addresses)


def _in_memory(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The address of a value on the stack, in a place of its own that is made at the function's beginning."""
    with b.goto_entry_block():
        place = b.alloca(value.type)
    b.store(value, place)
    return place
