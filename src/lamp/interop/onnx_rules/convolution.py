"""The rules for Conv, ConvTranspose and Pad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lamp.graph import Op
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn.borders import padded

ONNX_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def convolution(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    return _windowed(graph, op, at, x, "Conv", (0,) * len(op.attributes["stride"]))


def transposed_convolution(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    added, lead = zip(op.attributes["output_padding"], op.attributes["stride"], strict=True), 2
    steps, rest = zip(*(divmod(n, s) for n, s in added), strict=True)
    if any(steps):  # onnxruntime takes less than a stride: a zero at the end of the input adds a stride to the output
        lead += graph.plan.members is not None
        zeros = graph.integers(f"{at}zeros", *[0] * (2 * lead + len(steps)), *steps)
        x = graph.node("Pad", x, zeros, at=at)
    return _windowed(graph, op, at, x, "ConvTranspose", steps, output_padding=rest)


def _windowed(graph: OnnxGraph, op: Op, at: str, x: str, operator: str, longer: tuple[int, ...], **more: Any) -> str:
    """The operator; in a population, of the channels of all replicas side by side, each replica a group.

    longer  by how much the axes of x are longer than those of the network's value
    """
    graph.check_in_float32(op, operator)
    replicas, options = graph.plan.members, op.attributes
    forms = {name: each.data if replicas is None else each.data.flatten(0, 1) for name, each in op.parameters.items()}
    if replicas is not None:  # (K, n, C, ...)
        (channels, *_), *of_value = graph.sizes(op, 0)
        sizes = [tuple(n + added for n in each) for each, added in zip(of_value, longer, strict=True)]
        x = graph.node("Transpose", x, at=at, perm=[1, 0, *range(2, len(sizes) + 3)])  # (n, K, C, ...)
        x = graph.node("Reshape", x, graph.shape(op, "side_by_side", [0, replicas * channels], sizes, at), at=at)
    y = graph.node(
        operator,
        x,
        *(graph.parameter(f"{at}{name}", each, forms[name]) for name, each in op.parameters.items()),
        at=at,
        kernel_shape=options["kernel_size"],
        strides=options["stride"],
        pads=options["padding"] * 2,
        dilations=options["dilation"],
        group=options["groups"] * (replicas or 1),
        **more,
    )
    if replicas is not None:
        y = graph.node("Reshape", y, graph.shape(op, "apart", [0, replicas], graph.sizes(op), at), at=at)
        y = graph.node("Transpose", y, at=at, perm=[1, 0, *range(2, len(op.output.shape) + 2)])  # (K, n, out, ...)
    return y


def pad(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    pads, mode, shape = op.attributes["pads"], op.attributes["mode"], op.inputs[0].shape
    lead = len(shape) + (1 if graph.plan.members is None else 2)  # axes in all
    if mode == "constant" or (mode in ONNX_MODES and min(pads) >= 0):
        zeros = [0] * (lead - len(pads) // 2)
        sides = graph.integers(f"{at}pads", *zeros, *pads[-2::-2], *zeros, *pads[-1::-2])
        value = [graph.number(op.attributes["value"])] if mode == "constant" else []
        return graph.node("Pad", x, sides, *value, at=at, mode=ONNX_MODES[mode])
    for k in range(len(pads) // 2):  # ONNX has no such border: the numbers are gathered by their places
        graph.check_fixed(op, f"its border of the mode {mode} is made of places", graph.sizes(op, 0)[-1 - k :][:1])
        places = padded(torch.arange(shape[-1 - k]), pads[2 * k : 2 * k + 2], mode)
        x = graph.node("Gather", x, graph.integers(f"{at}places", *places.tolist()), at=at, axis=lead - 1 - k)
    return x


RULES: dict[str, Callable[..., str]] = {
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Pad": pad,
}
