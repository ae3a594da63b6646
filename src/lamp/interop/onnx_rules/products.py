"""The rules for values multiplied or compared: MatMul, Negative, Gate, Bilinear, CosineSimilarity and Distance."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lamp.graph import Op
from lamp.interop.arrays import bilinear_matrix, offsets
from lamp.interop.onnx_graph import OnnxGraph


def matmul(graph: OnnxGraph, op: Op, at: str, x: str, y: str) -> str:
    if op.attributes.get("transposed"):
        last = len(op.output.shape) + (0 if graph.plan.members is None else 1)
        y = graph.node("Transpose", y, at=at, perm=[*range(last - 1), last, last - 1])
    z = graph.node("MatMul", x, y, at=at)
    if "scale" not in op.attributes:
        return z
    z = graph.node("Sum", z, at=at) if graph.plan.dtype is torch.float64 else z  # see Affine: it keeps them apart
    return graph.node("Mul", z, graph.number(op.attributes["scale"]), at=at)


def negative(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    return graph.node("Neg", x, at=at)


def gate(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    axis, half = op.attributes["axis"], op.output.shape[op.attributes["axis"]]
    graph.check_fixed(op, "it divides the axis in two", graph.sizes(op)[axis : axis + 1])
    place = graph.integers(f"{at}axis", graph.plan.axis(axis))
    ends = [graph.integers(f"{at}ends", k) for k in (0, half, 2 * half)]
    a, b = (graph.node("Slice", x, *pair, place, at=at) for pair in (ends[:2], ends[1:]))
    return graph.node("Mul", a, graph.node("Sigmoid", b, at=at), at=at)


def bilinear(graph: OnnxGraph, op: Op, at: str, x1: str, x2: str) -> str:
    """All products of a sample in one row, times the weight as a matrix."""
    weight, before = op.parameters["weight"], graph.sizes(op, 1)[:-1]
    column = graph.node("Unsqueeze", x1, graph.integers("last", -1), at=at)
    row = graph.node("Unsqueeze", x2, graph.integers("last but one", -2), at=at)
    ends = graph.shape(op, "row", graph.lead, [*before, (math.prod(weight.shape[-2:]),)], at)
    z = graph.node("Reshape", graph.node("Mul", column, row, at=at), ends, at=at)
    y = graph.node("MatMul", z, graph.parameter(f"{at}weight", weight, bilinear_matrix(op)), at=at)
    bias = offsets(op)
    return y if bias is None else graph.node("Add", y, graph.parameter(f"{at}bias", op.parameters["bias"], bias), at=at)


def cosine_similarity(graph: OnnxGraph, op: Op, at: str, x1: str, x2: str) -> str:
    axis, eps = graph.plan.axis(op.attributes["axis"]), graph.number(op.attributes["eps"])
    units = []
    for x in (x1, x2):
        squares = graph.node("ReduceSum", graph.node("Mul", x, x, at=at), graph.integers(f"{at}axis", axis), at=at)
        length = graph.node("Max", graph.node("Sqrt", squares, at=at), eps, at=at)
        units.append(graph.node("Div", x, length, at=at))
    share = graph.node("Mul", *units, at=at)
    return graph.node("ReduceSum", share, graph.integers(f"{at}axis", axis), at=at, keepdims=0)


def distance(graph: OnnxGraph, op: Op, at: str, x1: str, x2: str) -> str:
    p, keep = op.attributes["p"], int(op.attributes["keepdim"])
    d = graph.node("Add", graph.node("Sub", x1, x2, at=at), graph.number(op.attributes["eps"]), at=at)
    d, last = graph.node("Abs", d, at=at), graph.integers("last", -1)
    if math.isinf(p):
        return graph.node("ReduceMax" if p > 0 else "ReduceMin", d, at=at, axes=[-1], keepdims=keep)
    if p == 0:
        return graph.node("ReduceSum", graph.node("Sign", d, at=at), last, at=at, keepdims=keep)
    total = graph.node("ReduceSum", graph.node("Pow", d, graph.number(p), at=at), last, at=at, keepdims=keep)
    return graph.node("Pow", total, graph.number(1.0 / p), at=at)


RULES: dict[str, Callable[..., str]] = {
    "MatMul": matmul,
    "Negative": negative,
    "Gate": gate,
    "Bilinear": bilinear,
    "CosineSimilarity": cosine_similarity,
    "Distance": distance,
}
