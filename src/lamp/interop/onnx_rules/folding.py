"""The rules for Unfold and Fold. Both gather numbers by their places in the flat input, which has a 0 in front."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from lamp.graph import Op
from lamp.interop.arrays import places_of_fold, places_of_unfold
from lamp.interop.onnx_graph import OnnxGraph


def unfold(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    graph.check_fixed(op, "its windows are gathered by their places")
    return _gathered(graph, op, at, x, places_of_unfold(op))


def fold(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    graph.check_fixed(op, "its windows are gathered by their places")
    y = _gathered(graph, op, at, x, places_of_fold(op))
    return graph.node("ReduceSum", y, graph.integers(f"{at}axis", graph.plan.axis(0)), at=at, keepdims=0)


def _gathered(graph: OnnxGraph, op: Op, at: str, x: str, places: Tensor) -> str:
    """The numbers of each sample at these places."""
    lead = [0] if graph.plan.members is None else [0, 0]  # as they are
    size = math.prod(op.inputs[0].shape)
    x = graph.node("Reshape", x, graph.integers(f"{at}flat", *lead, size), at=at)
    x = graph.node("Pad", x, graph.integers(f"{at}front", *lead, 1, *lead, 0), at=at)
    index = graph.integers(f"{at}places", *places.flatten().tolist())
    x = graph.node("Gather", x, index, at=at, axis=len(lead))
    return graph.node("Reshape", x, graph.integers(f"{at}shape", *lead, *places.shape), at=at)


RULES: dict[str, Callable[..., str]] = {"Unfold": unfold, "Fold": fold}
