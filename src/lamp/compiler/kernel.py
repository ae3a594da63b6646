"""Compiled kernels: made once in a process and, where that can be told, once on a machine."""

from __future__ import annotations

from collections.abc import Hashable

from lamp.compiler import disk_cache
from lamp.compiler.arguments import KernelArguments
from lamp.compiler.backends.cpu.code import CPUCode
from lamp.compiler.backends.cpu.kept import Kept, machine_code, texts
from lamp.compiler.backends.cpu.machine_code import VERSION, MachineCode, assembly_of
from lamp.compiler.backends.cpu.target import CPU
from lamp.compiler.kernel_builder import KernelBuilder
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.tiling import tiled


class Kernel:
    """The machine code of a job: `run` is the function. It holds nothing of the networks it was made for."""

    def __init__(self, spec: KernelSpec, machine: CPU) -> None:
        self.machine, self.tiling, self.machine_code = machine, tiled(spec, machine), _code_for(spec, machine)
        self.run = self.machine_code.function("train", len(KernelArguments._fields))

    def llvm_ir(self, spec: KernelSpec) -> str:
        """What it was made of, written once more: code from the disk has no text."""
        return text_of(spec, self.machine)

    def assembly(self, spec: KernelSpec) -> str:
        """What LLVM made of that."""
        return assembly_of(self.llvm_ir(spec), self.machine)


def text_of(spec: KernelSpec, machine: CPU) -> str:
    """A kernel in LLVM's intermediate representation."""
    return KernelBuilder(spec, machine, CPUCode).text


known = Kept()  # the kernels of jobs that can be told apart


def _code_for(spec: KernelSpec, machine: CPU) -> MachineCode:
    """Made once in a process, while it is kept, for all jobs that differ in nothing that is written into code."""
    key = spec.key
    if key is None:
        return machine_code(text_of(spec, machine), machine)
    kept = known.get((key, machine))
    return kept if kept is not None else known.keep((key, machine), _loaded_or_made(spec, machine, key))


def _loaded_or_made(spec: KernelSpec, machine: CPU, key: Hashable) -> MachineCode:
    """Machine code from the disk, where an earlier process kept it for this, or else made now and kept."""
    name = disk_cache.name_of(key, (machine, VERSION))
    kept = None if name is None else disk_cache.load(name)
    if kept is not None:
        return MachineCode(kept, machine)
    made = machine_code(text_of(spec, machine), machine)
    if name is not None:
        disk_cache.store(name, made.code)
    return made


def forget() -> None:
    """Let go of all kernels, so that the next one is compiled anew: to measure how long that takes."""
    known.clear()
    texts.clear()
