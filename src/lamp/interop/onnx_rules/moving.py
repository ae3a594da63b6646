"""The rules for elements that change places or sizes (Permute, Resize, Expand), and for a Constant."""

from __future__ import annotations

import math
from collections.abc import Callable

from lamp.graph import Op
from lamp.interop.arrays import constant
from lamp.interop.expressions import members_of
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn import Upsample


def permute(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    lead = range(1 if graph.plan.members is None else 2)
    order = [*lead, *(graph.plan.axis(axis) for axis in op.attributes["axes"])]
    return graph.node("Transpose", x, at=at, perm=order)


def resize(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """Each axis times its matrix. ONNX's own Resize rounds places in another way, and lacks float64."""
    assert isinstance(op.module, Upsample)
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
    own, shape = op.inputs[0].shape, op.output.shape
    lead = [1] if graph.plan.members is None else [1, 1]  # as it is
    if len(own) < len(shape):  # new axes, after those of replicas and batch
        new = graph.integers("new", *range(len(lead), len(lead) + len(shape) - len(own)))
        x = graph.node("Unsqueeze", x, new, at=at)
    return graph.node("Expand", x, graph.integers(f"{at}sizes", *lead, *shape), at=at)


def constant_(graph: OnnxGraph, op: Op, at: str) -> str:
    numbers = constant(op, graph.plan.dtype, graph.plan.members)
    for name, each in members_of(op).items():
        return graph.parameter(f"{at}{name}", each, numbers)
    return graph.numbers(f"{at}constant", numbers)


RULES: dict[str, Callable[..., str]] = {
    "Permute": permute,
    "Resize": resize,
    "Expand": expand,
    "Constant": constant_,
}
