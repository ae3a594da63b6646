"""The rules for MaxPool, AvgPool, LPPool, AdaptiveAvgPool and AdaptiveMaxPool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from lamp.errors import ArgumentError
from lamp.graph import Op
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn.average_pooling import averages
from lamp.paths import describe


def max_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    options = op.attributes
    more = {"dilations": options["dilation"], "ceil_mode": int(options["ceil_mode"])}
    return _pooled(graph, op, at, x, "MaxPool", options["kernel_size"], options["stride"], options["padding"], **more)


def average_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    options = op.attributes
    if options["ceil_mode"] or options["divisor_override"] is not None:
        raise _refused(op, "onnxruntime counts the places of its windows in another way", "ceil_mode=False, no divisor")
    more = {"count_include_pad": int(options["count_include_pad"])}
    graph.check_in_float32(op, "AveragePool")
    return _pooled(
        graph, op, at, x, "AveragePool", options["kernel_size"], options["stride"], options["padding"], **more
    )


def norm_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """n times the mean of x^p, and the root of that."""
    options = op.attributes
    if options["ceil_mode"]:
        raise _refused(op, "onnxruntime counts the places of its windows in another way", "ceil_mode=False")
    graph.check_in_float32(op, "AveragePool")
    p, n = float(options["p"]), float(torch.Size(options["kernel_size"]).numel())
    power = graph.node("Pow", x, graph.number(p), at=at)
    mean = _pooled(graph, op, at, power, "AveragePool", options["kernel_size"], options["stride"], options["padding"])
    return graph.node("Pow", graph.node("Mul", mean, graph.number(n), at=at), graph.number(1.0 / p), at=at)


def adaptive_average_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """A product with a matrix along each axis."""
    sizes, outputs = op.inputs[0].shape[1:], op.output.shape[1:]
    lead = len(op.inputs[0].shape) - len(sizes) + (1 if graph.plan.members is None else 2)
    axes = lead + len(sizes)
    for k, (n, m) in enumerate(zip(sizes, outputs, strict=True)):
        order = [axis for axis in range(axes) if axis != lead + k] + [lead + k]
        back = [order.index(axis) for axis in range(axes)]
        matrix = graph.numbers(f"{at}averages", averages(n, m, torch.empty(0, dtype=torch.float64)).mT.contiguous())
        x = graph.node("Transpose", x, at=at, perm=order)
        x = graph.node("Transpose", graph.node("MatMul", x, matrix, at=at), at=at, perm=back)
    return x


def adaptive_max_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    sizes, outputs = op.inputs[0].shape[1:], op.output.shape[1:]
    if any(n % m for n, m in zip(sizes, outputs, strict=True)):
        raise _refused(op, "ONNX has no pool with windows of several sizes", f"an output_size that divides {sizes}")
    kernel = [n // m for n, m in zip(sizes, outputs, strict=True)]
    return _pooled(graph, op, at, x, "MaxPool", kernel, kernel, [0] * len(kernel))


def _pooled(
    graph: OnnxGraph,
    op: Op,
    at: str,
    x: str,
    operator: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    **more: Any,
) -> str:
    """The operator; the replicas of a population are further samples of one batch."""
    replicas = graph.plan.members
    if replicas is not None:  # (K, n, C, ...), or (1, n, C, ...) where all replicas share the value
        x = graph.node("Reshape", x, graph.integers(f"{at}in_one_batch", -1, *op.inputs[0].shape), at=at)
    y = graph.node(
        operator, x, at=at, kernel_shape=list(kernel), strides=list(stride), pads=[*padding, *padding], **more
    )
    if replicas is None:
        return y
    alike = any(op.output in values for values in (graph.plan.alike(each) for _, each in graph.plan.graphs))
    lead = 1 if alike else replicas
    return graph.node("Reshape", y, graph.integers(f"{at}of_replicas", lead, -1, *op.output.shape), at=at)


def _refused(op: Op, why: str, expected: str) -> ArgumentError:
    return ArgumentError(
        f"this module cannot be exported: {why}",
        expected=expected,
        got=describe(op.module),
        fix="choose sizes that leave no rest",
        where=f"{op.path}: {describe(op.module)}" if op.path else describe(op.module),
    )


RULES: dict[str, Callable[..., str]] = {
    "MaxPool": max_pool,
    "AvgPool": average_pool,
    "LPPool": norm_pool,
    "AdaptiveAvgPool": adaptive_average_pool,
    "AdaptiveMaxPool": adaptive_max_pool,
}
