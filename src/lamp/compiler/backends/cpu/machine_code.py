"""Texts of LLVM's intermediate representation made into machine code of this CPU."""

from __future__ import annotations

import ctypes
import zlib
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from lamp.compiler.backends.cpu.target import CPU, initialise

VERSION: str = llvmlite.__version__  # what makes the code, as a part of what a kernel on disk depends on


class MachineCode:
    """Machine code that is loaded: `function(name)` is called with pointers and int64s.

    code      an object file, as LLVM made it
    llvm_ir   the IR as it was written, if it was made here; assembly: what became of it
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
        """Where the function of this name begins."""
        return int(self._engine.get_function_address(name))

    def function(self, name: str, arguments: int) -> Any:
        """The function of this name, of so many arguments, pointers and int64 alike. It runs without Python's lock."""
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(self.address(name))
        function.engine = self._engine  # type: ignore[attr-defined]  # lives as long as it
        return function


def compiled(llvm_ir: str, target: CPU) -> MachineCode:
    """The machine code of a text."""
    return MachineCode(_machine(target).emit_object(_optimised(llvm_ir, target)), target, llvm_ir)


def assembly_of(llvm_ir: str, target: CPU) -> str:
    """What becomes of a text, as the CPU's assembly."""
    return str(_machine(target).emit_assembly(_optimised(llvm_ir, target)))


def _machine(target: CPU) -> Any:
    initialise()
    return llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features, opt=2)


def _optimised(llvm_ir: str, target: CPU) -> Any:
    """A module of LLVM IR, parsed and optimised."""
    initialise()
    parsed = llvm.parse_assembly(llvm_ir, llvm.create_context())  # one that goes with it, and its constants
    parsed.verify()
    # What is written here is in registers and in the order it should run: of LLVM's passes only the one that finds
    # what is computed twice makes it faster. All of them take three times as long to compile for the same speed.
    passes = llvm.create_new_module_pass_manager()
    passes.add_new_gvn_pass()
    passes.run(parsed, llvm.create_pass_builder(_machine(target), llvm.create_pipeline_tuning_options()))
    return parsed
