"""Kernels of single formulas, for the eager engine: a loop over the numbers of large tensors, on torch's threads.

Their machine code is kept on disk, as that of all kernels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.backends.cpu import openmp
from lamp.compiler.backends.cpu.kept import loaded_or_made
from lamp.compiler.backends.cpu.target import host

PART = 32768  # the fewest numbers that a thread of several computes, as in torch
NAME = "elementwise"


def compile_formula(
    key: Hashable, formula: Callable[..., Any], operands: tuple[Tensor | None, ...]
) -> Callable[..., Tensor] | None:
    """A function that computes the formula of operands like these; None if there can be none.

    key  says which formula it is: machine code is kept under it
    """
    like = next(each for each in operands if each is not None)
    dtype, given = like.dtype, [each is not None for each in operands]
    if type(like) is not Tensor or dtype not in (torch.float32, torch.float64) or not openmp.addresses():
        return None
    machine = host()

    def text() -> str:
        from lamp.compiler.backends.cpu.elementwise import text_of  # not needed for machine code from the disk

        return text_of(NAME, formula, given, dtype, machine)

    code = loaded_or_made((NAME, key), text, machine)
    table = ctypes.c_int64 * (2 + sum(given))
    alone, address, together = code.function(NAME, 1), code.address(NAME), openmp.parallel()

    def computed(*operands: Any) -> Tensor:
        result = torch.empty_like(operands[0])
        n = result.numel()
        arguments = table(n, result.data_ptr(), *[each.data_ptr() for each in operands if each is not None])
        threads = min(torch.get_num_threads(), n // PART)
        if threads > 1:
            together(address, ctypes.addressof(arguments), threads, 0)
        else:
            alone(ctypes.addressof(arguments))
        return result

    return computed
