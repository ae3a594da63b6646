"""The arrays of an exported file: parameters, buffers and constants in the shapes that its operations take."""

from __future__ import annotations

import torch
from torch import Tensor

from lamp.graph import Graph, Op, Shape, Value
from lamp.nn.embedding import Lookup
from lamp.parameter import Buffer, Parameter


def matrix(op: Op) -> Tensor:
    """An Affine's weight, to multiply inputs (n, ..., in) by: (in, out), or (K, 1..., in, out) in a population."""
    weight = op.parameters["weight"]
    used = _part(op, weight.data, -2).mT
    if weight.replicas is None:
        return used.contiguous()
    return used.reshape(weight.replicas, *_ones(op.inputs[0].shape[:-1]), *used.shape[1:])


def offsets(op: Op) -> Tensor | None:
    """An Affine's bias, to add to outputs (n, ..., out): (out,), or (K, 1, 1..., out) in a population."""
    bias = op.parameters.get("bias")
    if bias is None:
        return None
    used = _part(op, bias.data, -1)
    if bias.replicas is None:
        return used
    return used.reshape(bias.replicas, 1, *_ones(op.inputs[0].shape[:-1]), used.shape[-1])


def _part(op: Op, numbers: Tensor, axis: int) -> Tensor:
    """The part of a weight or bias that an Affine uses, along the axis of its rows."""
    rows = op.output.shape[-1] if op.kind == "Affine" else numbers.shape[axis]
    if numbers.shape[axis] == rows:
        return numbers
    begin, end = op.attributes["part"]
    return numbers.narrow(axis, begin, end - begin)


def constant(op: Op, dtype: torch.dtype, members: int | None) -> Tensor:
    """A Constant's numbers: (1, ...), or (1, 1, ...) in a population, or (K, 1, ...) for those of each replica."""
    held = next(iter((*op.parameters.values(), *op.buffers.values())), None)
    numbers = op.attributes["numbers"].data if held is None else held.data
    numbers = numbers.to(dtype) if numbers.is_floating_point() else numbers
    if members is None:
        return numbers.unsqueeze(0)
    return numbers[None, None] if held is None or op.module.replicas is None else numbers.unsqueeze(1)


def without_batch(graph: Graph) -> set[Value]:
    """The values that are the same for every sample, whose axis of the batch has length 1."""
    found: set[Value] = set()
    for op in graph.ops:
        if found.issuperset(op.inputs):
            found.update(op.outputs)
    return found


def per_channel(op: Op, member: Parameter | Buffer) -> Tensor:
    """A parameter or buffer (C,), to broadcast against inputs (n, C, ...): (C, 1...), or (K, 1, C, 1...).

    One number for all channels is (1,), or (K, 1, 1, 1...) in a population.
    """
    replicas, shape = op.module.replicas, op.inputs[0].shape
    number = member.data.numel() // (replicas or 1)
    if number == 1 and replicas is None:
        return member.data
    lead = () if replicas is None else (replicas, 1)
    return member.data.view(*lead, *(_ones(shape) if number == 1 else (number, *_ones(shape[1:]))))


def per_last_axes(op: Op, member: Parameter) -> Tensor:
    """A parameter of the sizes of the last axes, to broadcast against inputs (n, ...); (K, 1..., *sizes) for K."""
    if member.replicas is None:
        return member.data
    return member.data.view(member.replicas, *(1,) * (len(op.inputs[0].shape) + 2 - member.dim()), *member.shape[1:])


def windows(op: Op) -> Tensor:
    """A ResponseNorm's matrix (C, C), to multiply squares (..., C, positions) by: alpha / size within the window."""
    size, channels = op.attributes["size"], op.output.shape[0]
    away = torch.arange(channels) - torch.arange(channels).unsqueeze(1)  # from channel c (row) to j
    within: Tensor = (away >= -(size // 2)) & (away <= (size - 1) // 2)
    return within.double().mul_(op.attributes["alpha"] / size)


def table(op: Op) -> Tensor:
    """A Gather's table, with the rows as they are looked up: (rows, D), or (K, rows, D) in a population."""
    rows = op.parameters["weight"].data
    return op.module.shortened(rows) if isinstance(op.module, Lookup) else rows


def _ones(shape: Shape) -> Shape:
    return (1,) * len(shape)
