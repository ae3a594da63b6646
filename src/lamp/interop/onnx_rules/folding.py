"""The rules for Unfold and Fold. Both gather numbers by their places in the flat input, which has a 0 in front."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lamp.graph import Op, Shape
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn.correlation import Windows
from lamp.nn.folding import windows_of


def unfold(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    return _gathered(graph, op, at, x, _places(op, op.inputs[0].shape))


def fold(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """Each number of the output is a sum over the places in a window; at each of them it is in one window or none."""
    channels = op.output.shape[0]
    places = _places(op, op.output.shape).view(channels, -1, op.inputs[0].shape[-1])  # (C, window, positions)
    window = places.shape[1]
    source = torch.zeros(window, math.prod(op.output.shape) + 1, dtype=torch.int64)
    columns = torch.arange(1, places.numel() + 1).view_as(places)
    source.scatter_(1, places.transpose(0, 1).flatten(1), columns.transpose(0, 1).flatten(1))
    y = _gathered(graph, op, at, x, source[:, 1:].view(window, *op.output.shape))
    axis = 1 if graph.plan.members is None else 2
    return graph.node("ReduceSum", y, graph.integers(f"{at}axis", axis), at=at, keepdims=0)


def _places(op: Op, image: Shape) -> Tensor:
    """For each number of the columns its place in the flat image, from 1 on; 0 for one outside of it."""
    options = op.attributes
    numbered = torch.arange(1.0, math.prod(image) + 1, dtype=torch.float64).view(1, *image)
    windows = Windows(options["stride"], options["padding"], options["dilation"], 1)
    return windows_of(numbered, options["kernel_size"], windows)[0].long()


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
