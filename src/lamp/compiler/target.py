"""The machine that code is made for: how many numbers a vector of its CPU holds, and LLVM's ways to it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import torch

from lamp.compiler.kept import Kept
from lamp.errors import ArgumentError

VECTOR_BITS = (512, 256, 128)
NARROWEST = VECTOR_BITS[-1]
FORCED = "LAMP_VECTOR_BITS"  # an environment variable: a narrower vector than the CPU has, for tests


@dataclass(frozen=True)
class Target:
    """A CPU as LLVM names it, and the width of the vectors that code for it uses."""

    triple: str
    cpu: str
    features: str
    bits: int
    registers: int  # vectors that it holds at once

    def lanes(self, dtype: torch.dtype) -> int:
        """How many numbers of this dtype a vector holds."""
        return self.bits // (8 * dtype.itemsize)


def host(bits: int | None = None) -> Target:
    """This machine; `bits` (or the environment variable LAMP_VECTOR_BITS) forces narrower vectors than it has.

    Raises ArgumentError for a width that it does not have.
    """
    if bits is None and (forced := os.environ.get(FORCED)):
        bits = int(forced) if forced.isdecimal() else 0
    return _host(bits)


@lru_cache(maxsize=8)
def _host(bits: int | None) -> Target:
    _initialise()
    has = llvm.get_host_cpu_features()
    widest = 512 if has.get("avx512f") else 256 if has.get("avx2") else 128
    if bits is not None and (bits not in VECTOR_BITS or bits > widest):
        raise ArgumentError(
            "no such vectors",
            expected=f"one of {[b for b in VECTOR_BITS if b <= widest]} bits",
            got=bits,
            fix=f"bits=None, or no {FORCED} in the environment",
        )
    features = has.flatten()
    if widest == 512:  # LLVM would halve them, for the sake of other programs
        features += ",-prefer-256-bit"
    many = has.get("avx512vl") or not llvm.get_process_triple().startswith(("x86_64", "i686"))
    return Target(llvm.get_process_triple(), llvm.get_host_cpu_name(), features, bits or widest, 32 if many else 16)


@lru_cache(maxsize=1)
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


texts = Kept()  # what was made of texts alone


def machine_code(llvm_ir: str, target: Target) -> MachineCode:
    """The machine code of a text, compiled once in a process while it is kept."""
    key = hashlib.sha256(llvm_ir.encode()).digest(), target
    known = texts.get(key)
    if known is None:
        made = _machine(target).emit_object(_optimised(llvm_ir, target))
        known = texts.keep(key, MachineCode(made, target, llvm_ir))
    return known


def assembly_of(llvm_ir: str, target: Target) -> str:
    """What becomes of a text, as the CPU's assembly."""
    return str(_machine(target).emit_assembly(_optimised(llvm_ir, target)))


def _machine(target: Target) -> Any:
    _initialise()
    return llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features, opt=2)


def _optimised(llvm_ir: str, target: Target) -> Any:
    """A module of LLVM IR, parsed and optimised."""
    _initialise()
    parsed = llvm.parse_assembly(llvm_ir, llvm.create_context())  # one that goes with it, and its constants
    parsed.verify()
    # What is written here is in registers and in the order it should run: of LLVM's passes only the one that finds
    # what is computed twice makes it faster. All of them take three times as long to compile for the same speed.
    passes = llvm.create_new_module_pass_manager()
    passes.add_new_gvn_pass()
    passes.run(parsed, llvm.create_pass_builder(_machine(target), llvm.create_pipeline_tuning_options()))
    return parsed


class MachineCode:
    """Machine code that is loaded: `function(name)` is called with pointers and int64s.

    code      an object file, as LLVM made it
    llvm_ir   the IR as it was written, if it was made here; assembly: what became of it
    """

    def __init__(self, code: bytes, target: Target, llvm_ir: str = "") -> None:
        self.code, self._target, self._text = code, target, zlib.compress(llvm_ir.encode(), 1)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(target))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    @property
    def llvm_ir(self) -> str:
        return zlib.decompress(self._text).decode()

    @property
    def assembly(self) -> str:
        """The machine code as the CPU's assembly."""
        return assembly_of(self.llvm_ir, self._target)

    def address(self, name: str) -> int:
        """Where the function of this name begins."""
        return int(self._engine.get_function_address(name))

    def function(self, name: str, arguments: int) -> Any:
        """The function of this name, of so many arguments, pointers and int64 alike. It runs without Python's lock."""
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(self.address(name))
        function.engine = self._engine  # type: ignore[attr-defined]  # lives as long as it
        return function
