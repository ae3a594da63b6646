"""Compiles LLVM IR to machine code for this CPU, and loads machine code so that its functions can be called."""

from __future__ import annotations

import ctypes
import zlib
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from lamp.compiler.backends.cpu.target import CPU, initialise

VERSION: str = llvmlite.__version__  # part of the cache key of kernels on disk


class MachineCode:
    """Loaded machine code: `function(name, arguments)` returns one of its functions.

    code      an object file, as LLVM wrote it
    llvm_ir   the LLVM IR it was compiled from; empty if the code was loaded from the disk
    assembly  the assembly that the LLVM IR is compiled to
    """

    def __init__(self, code: bytes, target: CPU, llvm_ir: str = "") -> None:
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
        """The address of the function of this name."""
        return int(self._engine.get_function_address(name))

    def function(self, name: str, arguments: int) -> Any:
        """The function of this name, with so many arguments, each an address or an int64. Calls release Python's
        lock."""
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(self.address(name))
        function.engine = self._engine  # type: ignore[attr-defined]  # keeps the code alive with the function
        return function


def compiled(llvm_ir: str, target: CPU) -> MachineCode:
    """The machine code of some LLVM IR."""
    return MachineCode(_machine(target).emit_object(_optimised(llvm_ir, target)), target, llvm_ir)


def assembly_of(llvm_ir: str, target: CPU) -> str:
    """The assembly that some LLVM IR is compiled to."""
    return str(_machine(target).emit_assembly(_optimised(llvm_ir, target)))


def _machine(target: CPU) -> Any:
    initialise()
    return llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features, opt=2)


def _optimised(llvm_ir: str, target: CPU) -> Any:
    """The LLVM IR, parsed and optimised."""
    initialise()
    parsed = llvm.parse_assembly(llvm_ir, llvm.create_context())  # its own context, freed with it
    parsed.verify()
    # Kernels are written with values in registers and in the order in which they should run. The only one of LLVM's
    # passes that makes them faster is GVN, which removes repeated computations. All passes together take three times as
    # long to compile, for the same speed.
    passes = llvm.create_new_module_pass_manager()
    passes.add_new_gvn_pass()
    passes.run(parsed, llvm.create_pass_builder(_machine(target), llvm.create_pipeline_tuning_options()))
    return parsed
