"""Running statistics: the buffers that a training kernel changes, as numbers behind the parameters of a network.

A kernel updates them as it computes, so they are loaded, kept and stored together with the parameters. A count of
batches is an integer, which float32 holds exactly only up to 2^24: it takes two numbers, its multiple of WHOLE and the
rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.graph import Graph
from lamp.parameter import Buffer
from lamp.state import ALL

WHOLE = 2**20


def statistics_of(graph: Graph, replicas: int | None) -> tuple[dict[Buffer, int], int]:
    """The offset of each running statistic in a graph among those of one network, and how many numbers they are."""
    offsets: dict[Buffer, int] = {}
    total = 0
    for op in graph.ops:
        for buffer in op.buffers.values() if op.kind in ("BatchNorm", "Norm") else ():
            if buffer not in offsets:
                offsets[buffer] = total
                total += _count(buffer) // (replicas or 1)
    return offsets, total


def numbers_of(buffers: Iterable[Buffer], replicas: int | None, dtype: torch.dtype) -> Tensor:
    """The statistics as numbers (K, S), one row per replica; (1, S) for one network."""
    rows = replicas or 1
    return torch.cat([_as_numbers(buffer.data.view(rows, -1)).to(dtype) for buffer in buffers], 1)


def store(numbers: Tensor, offsets: Mapping[Buffer, int], replicas: int | None, rows: Any = ALL) -> None:
    """Copy numbers (K, S) into the buffers; or those of some replicas into their rows."""
    for buffer, start in offsets.items():
        width = _count(buffer) // (replicas or 1)
        values = _as_buffer(numbers[..., start : start + width], buffer.data.dtype)
        target = buffer.data[rows]
        target.copy_(values.reshape(target.shape))


def _count(buffer: Buffer) -> int:
    """How many numbers a buffer takes, those of all replicas."""
    return buffer.data.numel() * (1 if buffer.data.is_floating_point() else 2)


def _as_numbers(data: Tensor) -> Tensor:
    return data if data.is_floating_point() else torch.cat([data // WHOLE, data % WHOLE], -1)


def _as_buffer(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return numbers
    wholes, rest = numbers.chunk(2, -1)
    return wholes.to(dtype) * WHOLE + rest.to(dtype)
