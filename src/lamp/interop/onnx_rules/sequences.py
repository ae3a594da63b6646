"""The rule for Gather, an embedding."""

from __future__ import annotations

from collections.abc import Callable

from lamp.graph import Op
from lamp.interop.onnx_graph import OnnxGraph
from lamp.interop.predictor import table


def gather(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    weight = graph.parameter(f"{at}weight", op.parameters["weight"], table(op))
    if graph.plan.members is None:
        return graph.node("Gather", weight, x, at=at, axis=0)
    x = graph.node("Squeeze", x, graph.integers("first", 0), at=at)  # all replicas have the same indices: (n, ...)
    return graph.node("Gather", weight, x, at=at, axis=1)  # (K, n, ..., D)


RULES: dict[str, Callable[..., str]] = {"Gather": gather}
