"""Kernels: from a KernelSpec to a function that can be called.

A kernel is compiled once per process. If its cache key is the same in every process, it is compiled once per machine,
because the machine code is kept on disk.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from lamp.compiler.arguments import KernelArguments
from lamp.compiler.backends.cpu import blas
from lamp.compiler.backends.cpu.kept import Kept, loaded_or_made, machine_code, texts
from lamp.compiler.backends.cpu.machine_code import MachineCode, assembly_of
from lamp.compiler.backends.cpu.target import CPU
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.tiling import tiled


class Kernel:
    """A compiled KernelSpec. It keeps no reference to the networks it was compiled for.

    run      calls the function
    calling  the context in which the function must be called, where that is done by its address; for most kernels one
             that does nothing
    """

    def __init__(self, spec: KernelSpec, machine: CPU) -> None:
        self.machine, self.tiling, self.machine_code = machine, tiled(spec, machine), _code_for(spec, machine)
        self.calling = blas.calling(machine.products if self.tiling.has_products else "")
        function = self.machine_code.function("train", len(KernelArguments._fields))
        self.run = function if isinstance(self.calling, nullcontext) else partial(_call, self.calling, function)

    def llvm_ir(self, spec: KernelSpec) -> str:
        """Its LLVM IR. The text is written anew, because machine code from the disk has none."""
        return text_of(spec, self.machine)

    def assembly(self, spec: KernelSpec) -> str:
        """Its assembly for this processor."""
        return assembly_of(self.llvm_ir(spec), self.machine)


def _call(calling: AbstractContextManager[None], function: Callable[..., None], *arguments: int) -> None:
    with calling:
        function(*arguments)


def text_of(spec: KernelSpec, machine: CPU) -> str:
    """A kernel in LLVM's intermediate representation."""
    from lamp.compiler.backends.cpu.code import CPUCode  # what writes kernels is not needed for one from the disk
    from lamp.compiler.kernel_builder import KernelBuilder

    with _no_collection():
        return KernelBuilder(spec, machine, CPUCode).text


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause Python's garbage collector, which the many new objects of a kernel would start.

    It looks through all objects of the process, which takes as long as writing the kernel does.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


known = Kept()  # machine code by cache key


def _code_for(spec: KernelSpec, machine: CPU) -> MachineCode:
    """The machine code for a spec: from memory, from the disk, or compiled now."""
    key = spec.key
    if key is None:
        return machine_code(text_of(spec, machine), machine)
    kept = known.get((key, machine))
    return (
        kept
        if kept is not None
        else known.keep((key, machine), loaded_or_made(key, partial(text_of, spec, machine), machine))
    )


def forget() -> None:
    """Drop all kernels from memory, so that the next one is loaded from the disk or compiled anew (for
    measurements)."""
    known.clear()
    texts.clear()
