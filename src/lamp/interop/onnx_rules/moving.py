"""The rules for elements that change places or sizes (Permute, Resize, Expand), and for a Constant."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lamp.graph import Op
from lamp.interop.arrays import constant
from lamp.interop.expressions import members_of
from lamp.interop.lengths import refused, varies
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn import Upsample


def permute(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    lead = range(1 if graph.plan.members is None else 2)
    order = [*lead, *(graph.plan.axis(axis) for axis in op.attributes["axes"])]
    return graph.node("Transpose", x, at=at, perm=order)


def resize(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """Each axis times its matrix. ONNX's own Resize rounds places in another way, and lacks float64."""
    assert isinstance(op.module, Upsample)
    graph.check_fixed(op, "each of its sizes has a matrix of its own")
    lead = [] if graph.plan.members is None else [0]  # as it is
    shape, sizes = list(op.inputs[0].shape), op.output.shape[1:]
    for axis in reversed(range(len(sizes))):
        m = op.module.matrix(axis, shape[axis + 1], sizes, op.attributes["scales"], graph.plan.dtype)
        matrix = graph.numbers(f"{at}axis_{axis}", m)  # (m, n)
        flat = graph.integers(f"{at}rows", *lead, -1, *shape[: axis + 2], math.prod(shape[axis + 2 :]))
        x = graph.node("MatMul", matrix, graph.node("Reshape", x, flat, at=at), at=at)
        shape[axis + 1] = sizes[axis]
    return graph.node("Reshape", x, graph.integers(f"{at}shape", *lead, -1, *shape), at=at)


def expand(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    own, sizes = graph.sizes(op, 0), graph.sizes(op)
    lead = [1] * len(graph.lead)  # as it is
    if len(own) < len(sizes):  # new axes, after those of replicas and batch
        new = graph.integers("new", *range(len(lead), len(lead) + len(sizes) - len(own)))
        x = graph.node("Unsqueeze", x, new, at=at)
    before = [None] * (len(sizes) - len(own)) + own
    target = [(1,) if varies(each) and each == old else each for old, each in zip(before, sizes, strict=True)]
    return graph.node("Expand", x, graph.shape(op, "sizes", lead, target, at, infer=False), at=at)


def constant_(graph: OnnxGraph, op: Op, at: str) -> str:
    if any(map(varies, graph.sizes(op))):
        return _of_any_length(graph, op, at)
    numbers = constant(op, graph.plan.dtype, graph.plan.members)
    for name, each in members_of(op).items():
        return graph.parameter(f"{at}{name}", each, numbers)
    return graph.numbers(f"{at}constant", numbers)


def _of_any_length(graph: OnnxGraph, op: Op, at: str) -> str:
    """Numbers that follow from the length: 0, 1, 2, ..., a causal mask, or the same number everywhere."""
    variants, sizes = graph.plan.variants(op), graph.sizes(op)
    held = [each.attributes["numbers"] for each in variants if "numbers" in each.attributes]
    data = [each.data for each in held]
    if data and torch.cat([each.flatten() for each in data]).unique().numel() == 1:
        shape = graph.shape(op, "sizes", [1] * len(graph.lead), sizes, at, infer=False)
        number = data[0].flatten()[:1]
        return graph.node("Expand", graph.numbers(f"{at}constant", number), shape, at=at)
    counted = all(each.dim() == 1 and each.equal(torch.arange(len(each)).to(each)) for each in data)
    causal, length = all(each.causal for each in held), graph.length(sizes[0], at)
    if length is None or not data or not (counted or causal):
        raise refused(op, "its numbers depend on the length, and are neither 0, 1, 2, ... nor a causal mask")
    zero, one = (graph.numbers(f"{at}{k}", torch.tensor(k)) for k in range(2))
    places = graph.node("Range", zero, graph.node("Squeeze", length, at=at), one, at=at)
    if causal:
        row, column = (graph.node("Unsqueeze", places, graph.integers("axis", axis), at=at) for axis in (0, 1))
        later = graph.node("Less", column, row, at=at)
        places = graph.node("Where", later, graph.number(float("-inf")), graph.number(0.0), at=at)
    elif op.output.dtype.is_floating_point:
        places = graph.node("CastLike", places, graph.number(0.0), at=at)
    return graph.node("Unsqueeze", places, graph.integers("lead", *range(len(graph.lead))), at=at)


RULES: dict[str, Callable[..., str]] = {
    "Permute": permute,
    "Resize": resize,
    "Expand": expand,
    "Constant": constant_,
}
