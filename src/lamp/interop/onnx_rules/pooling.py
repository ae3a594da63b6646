"""The rules for MaxPool, MaxPlaces, MaxUnpool, AvgPool, LPPool, AdaptiveAvgPool and AdaptiveMaxPool."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lamp.graph import Op
from lamp.interop.arrays import counts_of_windows, places_of_adaptive
from lamp.interop.lengths import refused, varies
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn.average_pooling import averages


def max_pool(graph: OnnxGraph, op: Op, at: str, x: str, places: bool = False) -> str:
    options = op.attributes
    kernel, stride, padding = (options[name] for name in ("kernel_size", "stride", "padding"))
    more = {"dilations": options["dilation"], "ceil_mode": int(options["ceil_mode"])}
    if places:
        return _pooled(graph, op, at, x, "MaxPool", kernel, stride, padding, places=True, **more)
    return _with_nan(graph, at, x, lambda x: _pooled(graph, op, at, x, "MaxPool", kernel, stride, padding, **more))


def _with_nan(graph: OnnxGraph, at: str, x: str, largest: Callable[[str], str]) -> str:
    """The largest number of each window, and NaN where one is NaN: onnxruntime's MaxPool and ReduceMax pass over it."""
    zero = graph.number(0.0)
    found = largest(graph.node("CastLike", graph.node("IsNaN", x, at=at), zero, at=at))
    return graph.node("Where", graph.node("Greater", found, zero, at=at), graph.number(math.nan), largest(x), at=at)


def max_places(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """ONNX counts places through all planes of the batch."""
    graph.check_fixed(op, "it counts the places of its planes")
    plane = math.prod(op.inputs[0].shape[1:])
    return graph.node("Mod", max_pool(graph, op, at, x, places=True), graph.integers(f"{at}plane", plane), at=at)


def max_unpool(graph: OnnxGraph, op: Op, at: str, x: str, indices: str) -> str:
    """Numbers written over flat planes of zeros."""
    graph.check_fixed(op, "it counts the places of its planes")
    channels, *sizes = op.inputs[0].shape
    flat = graph.integers(f"{at}flat", *graph.lead, channels, math.prod(sizes))
    x, indices = (graph.node("Reshape", each, flat, at=at) for each in (x, indices))
    lead = graph.integers(f"{at}lead", *range(len(graph.lead) + 1))
    planes = graph.node("Gather", graph.node("Shape", x, at=at), lead, at=at, axis=0)
    plane = graph.integers(f"{at}plane", math.prod(op.output.shape[1:]))
    zeros = graph.node("Expand", graph.number(0.0), graph.node("Concat", planes, plane, at=at, axis=0), at=at)
    y = graph.node("ScatterElements", zeros, indices, x, at=at, axis=len(graph.lead) + 1)
    return graph.node("Reshape", y, graph.integers(f"{at}shape", *graph.lead, *op.output.shape), at=at)


def average_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    options = op.attributes
    if not options["ceil_mode"] and options["divisor_override"] is None:
        counted = int(options["count_include_pad"])
        return _averages(graph, op, at, x, options["padding"], count_include_pad=counted)
    return graph.node("Mul", *_sums(graph, op, at, x, 1.0), at=at)


def norm_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """n times the mean of x^p, and the root of that."""
    p, n = float(op.attributes["p"]), float(torch.Size(op.attributes["kernel_size"]).numel())
    power = graph.node("Pow", x, graph.number(p), at=at)
    if op.attributes["ceil_mode"]:
        total = graph.node("Mul", *_sums(graph, op, at, power, n), at=at)
    else:
        mean = _averages(graph, op, at, power, op.attributes["padding"])
        total = graph.node("Mul", mean, graph.number(n), at=at)
    return graph.node("Pow", total, graph.number(1.0 / p), at=at)


def _sums(graph: OnnxGraph, op: Op, at: str, x: str, factor: float) -> tuple[str, str]:
    """The mean of each window with zeros beyond the edges, and what to multiply it by: factor n / count.

    onnxruntime counts the places of a window that reaches beyond the padding in another way than torch.
    """
    graph.check_fixed(op, "it counts the places of its last windows")
    kernel, stride, padding = (op.attributes[name] for name in ("kernel_size", "stride", "padding"))
    each = zip(op.inputs[0].shape[1:], op.output.shape[1:], kernel, stride, padding, strict=True)
    after = [max(0, (m - 1) * s + k - n - p) for n, m, k, s, p in each]
    mean = _averages(graph, op, at, x, padding, after, count_include_pad=1)
    counts = torch.as_tensor(counts_of_windows(op), dtype=torch.float64)
    return mean, graph.numbers(f"{at}counts", factor * torch.Size(kernel).numel() / counts)


def _averages(
    graph: OnnxGraph, op: Op, at: str, x: str, padding: Sequence[int], after: Sequence[int] | None = None, **more: Any
) -> str:
    graph.check_in_float32(op, "AveragePool")
    kernel, stride = op.attributes["kernel_size"], op.attributes["stride"]
    return _pooled(graph, op, at, x, "AveragePool", kernel, stride, padding, after, **more)


def adaptive_average_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """A product with a matrix along each axis."""
    sizes, outputs = op.inputs[0].shape[1:], op.output.shape[1:]
    lead = len(op.inputs[0].shape) - len(sizes) + (1 if graph.plan.members is None else 2)
    axes = lead + len(sizes)
    if any(map(varies, graph.sizes(op, 0))):
        return _over_all(graph, op, at, x, "ReduceMean")
    for k, (n, m) in enumerate(zip(sizes, outputs, strict=True)):
        order = [axis for axis in range(axes) if axis != lead + k] + [lead + k]
        back = [order.index(axis) for axis in range(axes)]
        matrix = graph.numbers(f"{at}averages", averages(n, m, torch.empty(0, dtype=torch.float64)).mT.contiguous())
        x = graph.node("Transpose", x, at=at, perm=order)
        x = graph.node("Transpose", graph.node("MatMul", x, matrix, at=at), at=at, perm=back)
    return x


def adaptive_max_pool(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    return _with_nan(graph, at, x, lambda x: _adaptive_largest(graph, op, at, x))


def _adaptive_largest(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    sizes, outputs = op.inputs[0].shape[1:], op.output.shape[1:]
    if any(map(varies, graph.sizes(op, 0))):
        return _over_all(graph, op, at, x, "ReduceMax")
    if any(n % m for n, m in zip(sizes, outputs, strict=True)):  # windows of several sizes: their places are gathered
        first = graph.plan.axis(1)
        for k, (n, m) in enumerate(zip(sizes, outputs, strict=True)):
            places = graph.numbers(f"{at}windows", places_of_adaptive(n, m))
            windows = graph.node("Gather", x, places, at=at, axis=first + k)
            x = graph.node("ReduceMax", windows, at=at, axes=[first + k + 1], keepdims=0)
        return x
    kernel = [n // m for n, m in zip(sizes, outputs, strict=True)]
    return _pooled(graph, op, at, x, "MaxPool", kernel, kernel, [0] * len(kernel))


def _over_all(graph: OnnxGraph, op: Op, at: str, x: str, operator: str) -> str:
    """One window that covers each axis, whatever its size."""
    axes = range(len(graph.lead) + 1, len(graph.lead) + len(op.output.shape))
    if set(op.output.shape[1:]) != {1}:
        raise refused(op, "the sizes of its windows depend on it")
    return graph.node(operator, x, at=at, axes=list(axes), keepdims=1)


def _pooled(
    graph: OnnxGraph,
    op: Op,
    at: str,
    x: str,
    operator: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    after: Sequence[int] | None = None,
    places: bool = False,
    **more: Any,
) -> str:
    """The operator, with so many places before each axis and after it; replicas are further samples of one batch.

    places  whether to return where the numbers stood, the second output of the operator
    """
    replicas = graph.plan.members
    if replicas is not None:  # (K, n, C, ...), or (1, n, C, ...) where all replicas share the value
        x = graph.node("Reshape", x, graph.shape(op, "in_one_batch", [-1], graph.sizes(op, 0), at), at=at)
    pads = [*padding, *(padding if after is None else after)]
    options = {"kernel_shape": list(kernel), "strides": list(stride), "pads": pads, **more}
    y = graph.several(operator, 1 + places, x, at=at, **options)[-1]
    if replicas is None:
        return y
    alike = any(op.output in values for values in (graph.plan.alike(each) for _, each in graph.plan.graphs))
    lead = 1 if alike else replicas
    graph.note(y, graph.sizes(op), lead=1)
    return graph.node("Reshape", y, graph.shape(op, "of_replicas", [lead, -1], graph.sizes(op), at), at=at)


RULES: dict[str, Callable[..., str]] = {
    "MaxPool": max_pool,
    "MaxPlaces": max_places,
    "MaxUnpool": max_unpool,
    "AvgPool": average_pool,
    "LPPool": norm_pool,
    "AdaptiveAvgPool": adaptive_average_pool,
    "AdaptiveMaxPool": adaptive_max_pool,
}
