"""Large products of float32 matrices by oneDNN, where that is faster than MKL. torch contains both.

torch.mm calls MKL, which leaves half the width of an AMD processor's vectors unused: there its products take 2.2 times
as long as oneDNN's. The operator is the one that torch.compile calls for a Linear. Where torch has no such operator, on
other processors and for small products, torch.mm computes. So which of the two computes depends on the machine and on
the tensors' shapes alone.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FEWEST = 2**21  # multiplications in a part; a call of oneDNN takes 10 us more than one of MKL
NARROWEST, SMALLEST = 4, 4096  # the least size of an axis, and of the result
LONGEST = 256  # oneDNN adds up to 2,000 numbers one after the other, and would lose more digits than MKL
LARGEST = 2**18  # numbers of a sum's part that take memory for a moment
FEW_NUMBERS = 4096  # a factor with fewer numbers is not looked at further


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b + bias for matrices (m, k) and (k, n), and a bias (n)."""
    if a.numel() >= FEW_NUMBERS and (operator := onednn(a, b)) is not None:
        parts = _parts(a, b)
        y = _linear(operator, *next(parts), bias)
        for each in parts:
            y.add_(_linear(operator, *each))
        return y
    if bias is None:
        return a.mm(b)
    # On a CPU the fused operation first copies the bias into every row, and takes up to twice the time.
    return a.mm(b).add_(bias) if a.is_cpu else bias.addmm(a, b)


def accumulate(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """total += a b for matrices. Returns the total."""
    if a.numel() < FEW_NUMBERS or (operator := onednn(a, b)) is None:
        return total.addmm_(a, b)
    blocks = -(-total.numel() // LARGEST)
    for rows, of_rows in zip(total.chunk(blocks), a.chunk(blocks), strict=True):
        for each in _parts(of_rows, b):
            rows.add_(_linear(operator, *each))
    return total


def _linear(operator: Callable[..., Any], x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    y: Tensor = operator(x, w, bias, "none", [], "")  # x W^T + bias, and no activation
    return y


def _parts(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs x and W whose products x W^T add up to a b, each a sum of LONGEST numbers at most."""
    count = -(-a.shape[1] // LONGEST)
    return ((x, _dense(w)) for x, w in zip(a.chunk(count, 1), b.t().chunk(count, 1), strict=True))


def _dense(w: Tensor) -> Tensor:
    """The matrix, copied if its rows or columns do not follow each other: oneDNN takes 100 times as long for others."""
    return w if w.is_contiguous() or w.t().is_contiguous() else w.contiguous()


def onednn(a: Tensor, b: Tensor) -> Callable[..., Any] | None:
    """oneDNN's operator x W^T + bias, if it is the faster one for a product of these matrices; else None."""
    m, k = a.shape
    n = b.shape[-1]
    if m * n * min(k, LONGEST) < FEWEST or m * n < SMALLEST or min(m, n, k) < NARROWEST:
        return None
    return _operator() if a.is_cpu and b.is_cpu and a.dtype is b.dtype is torch.float32 and b.shape[0] == k else None


@lru_cache(maxsize=1)
def _operator() -> Callable[..., Any] | None:
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _is_amd() or not torch.backends.mkldnn.is_available():
        return None
    packet = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return getattr(packet, "default", None)


def _is_amd() -> bool:
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "AuthenticAMD" in platform.processor()  # on Windows
