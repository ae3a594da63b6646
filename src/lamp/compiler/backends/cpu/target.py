"""The CPU that kernels are compiled for: the width and number of its vector registers, and its names for LLVM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import llvmlite.binding as llvm
import torch

from lamp.compiler.backends.cpu import blas, openmp
from lamp.compiler.code import Machine
from lamp.errors import ArgumentError

VECTOR_BITS = (512, 256, 128)
NARROWEST = VECTOR_BITS[-1]
FORCED = "LAMP_VECTOR_BITS"  # an environment variable that asks for narrower vectors than the CPU has, for tests


@dataclass(frozen=True)
class CPU(Machine):
    """A CPU: its LLVM names (triple, cpu, features), the bits of a vector, how many vector registers it has, and
    the library of matrix products that kernels call (`products`; empty for none)."""

    triple: str
    cpu: str
    features: str
    bits: int
    registers: int
    products: str = ""

    def lanes(self, dtype: torch.dtype) -> int:
        """How many numbers of this dtype a vector holds."""
        return self.bits // (8 * dtype.itemsize)


def host(bits: int | None = None) -> CPU:
    """The CPU of this machine. `bits`, or the environment variable LAMP_VECTOR_BITS, asks for narrower vectors.

    Raises ArgumentError for a width that the CPU does not have.
    """
    if bits is None and (forced := os.environ.get(FORCED)):
        bits = int(forced) if forced.isdecimal() else 0
    return _host(bits, blas.chosen())


@lru_cache(maxsize=16)
def _host(bits: int | None, products: str) -> CPU:
    initialise()
    has = llvm.get_host_cpu_features()
    widest = 512 if has.get("avx512f") else 256 if has.get("avx2") else 128
    if bits is not None and (bits not in VECTOR_BITS or bits > widest):
        raise ArgumentError(
            "this CPU has no vectors of that width",
            expected=f"one of {[b for b in VECTOR_BITS if b <= widest]} bits",
            got=bits,
            fix=f"bits=None, or no {FORCED} in the environment",
        )
    features = has.flatten()
    if widest == 512:  # LLVM would use 256 bits by default
        features += ",-prefer-256-bit"
    many = has.get("avx512vl") or not llvm.get_process_triple().startswith(("x86_64", "i686"))
    registers = 32 if many else 16
    return CPU(llvm.get_process_triple(), llvm.get_host_cpu_name(), features, bits or widest, registers, products)


@lru_cache(maxsize=1)
def initialise() -> None:
    """Initialise LLVM for this CPU, once per process, and tell it where the functions of BLAS and OpenMP are."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for library in blas.libraries().values():
        for name, address in library.addresses.items():
            llvm.add_symbol(name, address)
    for name, address in openmp.addresses().items():
        llvm.add_symbol(name, address)
