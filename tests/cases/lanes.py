"""Tiny functions over lanes, compiled and run on tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.arguments import COUNT, NUMBERS
from lamp.compiler.backends.cpu.builder import I32, POINTER, Value
from lamp.compiler.backends.cpu.code import CPUCode
from lamp.compiler.backends.cpu.kept import machine_code
from lamp.compiler.backends.cpu.target import VECTOR_BITS, host
from lamp.compiler.kernel_state import aligned
from lamp.compiler.lanes import Lane, Whole

FLOATS = (torch.float32, torch.float64)
WIDTHS = [bits for bits in VECTOR_BITS if bits <= host().bits]


def program(
    write: Callable[[CPUCode], None], names: list[str], dtype: torch.dtype, bits: int | None = None
) -> Callable[..., None]:
    """What `write` writes into a function of these arguments: called with tensors for those that end in _, and for
    others with tensors or whole numbers."""
    code = CPUCode("tiny", {name: NUMBERS if name[-1] == "_" else COUNT for name in names}, host(bits), dtype)
    write(code)
    function = machine_code(code.finish(), code.target).function("tiny", len(names))

    def run(*values: Any) -> None:
        function(*(value.data_ptr() if isinstance(value, Tensor) else value for value in values))

    return run


def width(dtype: torch.dtype, bits: int | None = None) -> int:
    return host(bits).lanes(dtype)


def laid(numbers: Tensor, bits: int | None = None) -> Tensor:
    """The numbers in aligned memory, padded with zeros to whole vectors."""
    lanes = width(numbers.dtype, bits)
    memory = aligned(-(-len(numbers) // lanes) * lanes, numbers.dtype)
    memory[: len(numbers)] = numbers
    return memory


def over(rule: Callable[..., Lane], *columns: Tensor, bits: int | None = None) -> Tensor:
    """The results of rule(lane, ...) for all numbers of tensors (n,)."""
    (dtype,) = {column.dtype for column in columns}
    inputs = [laid(column, bits) for column in columns]
    outputs = torch.full_like(inputs[0], 7.0)
    outputs = laid(outputs, bits)
    names = ["y_", *(f"x{k}_" for k in range(len(columns))), "n"]

    def write(code: CPUCode) -> None:
        with code.loop(0, code.arguments["n"]) as i:
            code.store(code.arguments["y_"], i, rule(*(code.load(code.arguments[name], i) for name in names[1:-1])))

    program(write, names, dtype, bits)(outputs, *inputs, len(outputs) // width(dtype, bits))
    return outputs[: len(columns[0])]


def integers(code: CPUCode, name: str) -> Value:
    """An argument as the address of int32."""
    return code.b.converted("inttoptr", code.arguments[name], POINTER)


def keep_wholes(code: CPUCode, name: str, at: Any, x: Whole) -> None:
    """Store a vector of W int32 numbers as number `at` of the vectors at an argument."""
    code.b.store(x.value, code.b.place(I32, integers(code, name), code.product(at, code.lanes)), 4)


@cache
def specials(dtype: torch.dtype) -> Tensor:
    """Zeros, infinities, NaN, and the largest and smallest numbers."""
    ends = torch.finfo(dtype)
    positive = [0.0, 1.0, 1.5, 2.0, ends.eps, ends.tiny, ends.tiny / 8, ends.max, float("inf")]
    return torch.tensor([*positive, *(-x for x in positive), float("nan")], dtype=dtype)


def pairs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """All pairs of special numbers, and some random pairs."""
    x, y = torch.cartesian_prod(specials(dtype), specials(dtype)).unbind(1)
    more = torch.randn(2, 101, dtype=dtype)
    return torch.cat([x, more[0]]), torch.cat([y, more[1]])


def same(got: Tensor, expected: Tensor) -> None:
    """Equal numbers, NaN where NaN is expected. Zeros of either sign are equal."""
    torch.testing.assert_close(got, expected, rtol=0.0, atol=0.0, equal_nan=True)
