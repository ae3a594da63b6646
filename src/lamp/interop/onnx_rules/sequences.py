"""The rules for Gather, Reduce and Select."""

from __future__ import annotations

from collections.abc import Callable

from lamp.graph import Op
from lamp.interop.arrays import table
from lamp.interop.onnx_graph import OnnxGraph


def gather(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    weight = graph.parameter(f"{at}weight", op.parameters["weight"], table(op))
    if graph.plan.members is None:
        return graph.node("Gather", weight, x, at=at, axis=0)
    x = graph.node("Squeeze", x, graph.integers("first", 0), at=at)  # all replicas have the same indices: (n, ...)
    return graph.node("Gather", weight, x, at=at, axis=1)  # (K, n, ..., D)


def reduce(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """One number per axis: their sum, mean or maximum."""
    axis = graph.plan.axis(op.attributes["axis"])
    if op.attributes["mode"] == "sum":  # its axes are an input in this opset
        return graph.node("ReduceSum", x, graph.integers("axis", axis), at=at, keepdims=0)
    return graph.node(
        {"mean": "ReduceMean", "max": "ReduceMax"}[op.attributes["mode"]], x, at=at, axes=[axis], keepdims=0
    )


def select(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    axis = graph.plan.axis(op.attributes["axis"])
    one = graph.node("Gather", x, graph.integers("index", op.attributes["index"]), at=at, axis=axis)
    return graph.node("Squeeze", one, graph.integers("axis", axis), at=at)


RULES: dict[str, Callable[..., str]] = {
    "Gather": gather,
    "Reduce": reduce,
    "Select": select,
}
