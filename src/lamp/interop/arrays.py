"""The arrays of an exported file: parameters, buffers and constants in the shapes that its operations take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lamp.graph import Graph, Op, Shape, Value
from lamp.nn.average_pooling import AveragePooling
from lamp.nn.correlation import Windows
from lamp.nn.embedding import Lookup
from lamp.nn.folding import windows_of
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


def by_distance(matrices: Sequence[Tensor]) -> Tensor | None:
    """The numbers of square matrices that all follow from the distance, column minus row: (2 reach + 1,).

    They begin at the distance -reach; at further ones stands the first number, or the last. None for other matrices,
    and where the largest one is too small to show from which distance on the numbers stay the same.
    """
    largest = max(matrices, key=len)
    count = len(largest)
    if any(each.dim() != 2 or each.shape[0] != each.shape[1] for each in matrices):
        return None
    found = torch.cat([largest[:, 0].flip(0), largest[0, 1:]])  # from the distance 1 - count on
    for each in matrices:
        places = torch.arange(len(each))
        if not torch.equal(found[places - places.unsqueeze(1) + count - 1], each):
            return None
    changing = [k for k in range(1, count) if found[count - 1 + k] != found[-1] or found[count - 1 - k] != found[0]]
    reach = 1 + max(changing, default=0)
    return found[count - 1 - reach : count + reach] if 2 * reach < count else None


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


def bilinear_matrix(op: Op) -> Tensor:
    """A Bilinear's weight, to multiply all products of two inputs: (in1 in2, out), or (K, 1..., in1 in2, out)."""
    weight = op.parameters["weight"]
    matrix = weight.data.flatten(-2).mT
    if weight.replicas is None:
        return matrix.contiguous()
    return matrix.reshape(weight.replicas, *_ones(op.inputs[1].shape[:-1]), *matrix.shape[1:])


def counts_of_windows(op: Op) -> Tensor | float:
    """What an AvgPool or LPPool divides the sum of each window by: one number, or those of the output's places."""
    assert isinstance(op.module, AveragePooling)
    counts = op.module.counts(op.inputs[0].shape[1:], op.output.shape[1:], torch.empty(0, dtype=torch.float64))
    return counts if isinstance(counts, Tensor) else float(counts)


def places_of_adaptive(size: int, windows: int) -> Tensor:
    """The places in each window that covers a part of an axis, (windows, most places), the last one repeated."""
    ends = [(i * size // windows, -(-(i + 1) * size // windows)) for i in range(windows)]
    most = max(last - first for first, last in ends)
    return torch.tensor([[min(first + k, last - 1) for k in range(most)] for first, last in ends])


def places_of_unfold(op: Op) -> Tensor:
    """An Unfold's places: for each number of the columns that in the flat image, from 1 on; 0 for one outside of it."""
    return _places(op, op.inputs[0].shape).view(op.output.shape)


def places_of_fold(op: Op) -> Tensor:
    """A Fold's places: for each place in a window, and each number of the output, that in the flat columns, or 0.

    Each number of the output is a sum over the places in a window; at each of them it is in one window or none.
    """
    channels = op.output.shape[0]
    places = _places(op, op.output.shape).view(channels, -1, op.inputs[0].shape[-1])  # (C, window, positions)
    window = places.shape[1]
    source = torch.zeros(window, math.prod(op.output.shape) + 1, dtype=torch.int64)
    columns = torch.arange(1, places.numel() + 1).view_as(places)
    source.scatter_(1, places.transpose(0, 1).flatten(1), columns.transpose(0, 1).flatten(1))
    return source[:, 1:].view(window, *op.output.shape)


def _places(op: Op, image: Shape) -> Tensor:
    """For each number of the columns its place in the flat image, from 1 on; 0 for one outside of it."""
    options = op.attributes
    numbered = torch.arange(1.0, math.prod(image) + 1, dtype=torch.float64).view(1, *image)
    windows = Windows(options["stride"], options["padding"], options["dilation"], 1)
    return windows_of(numbered, options["kernel_size"], windows)[0].long()


def _ones(shape: Shape) -> Shape:
    return (1,) * len(shape)
