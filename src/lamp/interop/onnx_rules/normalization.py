"""The rules for Norm, BatchNorm and ResponseNorm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamp.graph import Op
from lamp.interop.arrays import per_channel, per_last_axes, windows
from lamp.interop.onnx_graph import OnnxGraph
from lamp.interop.onnx_rules.basic import elementwise
from lamp.parameter import Parameter


def norm(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    axes, eps, plan = op.attributes["axes"], op.attributes["eps"], graph.plan
    form: Callable[[Op, Parameter], Tensor] = per_last_axes
    if "groups" in op.attributes:
        into = graph.integers(f"{at}groups", *graph.lead, op.attributes["groups"], -1)
        back = graph.shape(op, "shape", graph.lead, graph.sizes(op), at)
        x = standardised(graph, at, graph.node("Reshape", x, into, at=at), [-1], eps, centred=True)
        x, form = graph.node("Reshape", x, back, at=at), per_channel
    elif op.attributes["centred"] and plan.members is None and plan.dtype is torch.float32:  # its epsilon is float32
        ones = torch.ones([op.output.shape[axis] for axis in axes])
        own = [graph.parameter(f"{at}{name}", each, per_last_axes(op, each)) for name, each in op.parameters.items()]
        own = own or [graph.numbers(f"{at}ones", ones)]
        return graph.node("LayerNormalization", x, *own, at=at, axis=-len(axes), epsilon=eps)
    else:
        x = standardised(graph, at, x, [plan.axis(axis) for axis in axes], eps, op.attributes["centred"])
    for operator, name in (("Mul", "weight"), ("Add", "bias")):
        if (each := op.parameters.get(name)) is not None:
            x = graph.node(operator, x, graph.parameter(f"{at}{name}", each, form(op, each)), at=at)
    return x


def standardised(graph: OnnxGraph, at: str, x: str, axes: Sequence[int], eps: float, centred: bool) -> str:
    """Add the nodes of (x - mean) / sqrt(var + eps), or of x / sqrt(mean of x^2 + eps), along these axes."""
    if centred:
        x = graph.node("Sub", x, graph.node("ReduceMean", x, at=at, axes=axes), at=at)
    var = graph.node("ReduceMean", graph.node("Mul", x, x, at=at), at=at, axes=axes)
    return graph.node("Div", x, graph.node("Sqrt", graph.node("Add", var, graph.number(eps), at=at), at=at), at=at)


def response_norm(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """x / (k + alpha (mean of x^2 in the window))^beta; ONNX's LRN has another window for even sizes."""
    flat = graph.integers(f"{at}channels", *graph.lead, op.output.shape[0], -1)
    squares = graph.node("Reshape", graph.node("Mul", x, x, at=at), flat, at=at)
    d = graph.node("MatMul", graph.numbers(f"{at}windows", windows(op)), squares, at=at)
    d = graph.node("Add", d, graph.number(op.attributes["k"]), at=at)
    d = graph.node("Pow", d, graph.number(-op.attributes["beta"]), at=at)
    d = graph.node("Reshape", d, graph.shape(op, "shape", graph.lead, graph.sizes(op), at), at=at)
    return graph.node("Mul", x, d, at=at)


RULES: dict[str, Callable[..., str]] = {"Norm": norm, "BatchNorm": elementwise, "ResponseNorm": response_norm}
