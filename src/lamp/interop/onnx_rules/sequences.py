"""The rules for Gather, Reduce, Select and Exclude."""

from __future__ import annotations

from collections.abc import Callable

from lamp.graph import Op
from lamp.interop.arrays import table
from lamp.interop.lengths import refused
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
    axis, index = graph.plan.axis(op.attributes["axis"]), op.attributes["index"]
    variants = graph.plan.variants(op)
    if len({each.attributes["index"] for each in variants}) > 1:  # a place that is counted from the end
        ends = {each.attributes["index"] - each.inputs[0].shape[op.attributes["axis"]] for each in variants}
        if len(ends) > 1:
            raise refused(op, "its place is neither counted from the beginning nor from the end")
        (index,) = ends
    one = graph.node("Gather", x, graph.integers("index", index), at=at, axis=axis)
    return graph.node("Squeeze", one, graph.integers("axis", axis), at=at)


def exclude(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """-inf where a mask of booleans is true, else 0."""
    return graph.node("Where", x, graph.number(float("-inf")), graph.number(0.0), at=at)


RULES: dict[str, Callable[..., str]] = {
    "Gather": gather,
    "Reduce": reduce,
    "Select": select,
    "Exclude": exclude,
}
