"""The rules for Affine, Elementwise, Softmax, Reshape, Add, Multiply and Concat."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from lamp.graph import Op
from lamp.interop.arrays import matrix, offsets, per_channel
from lamp.interop.expressions import formula_of, members_of
from lamp.interop.onnx_graph import OnnxGraph
from lamp.module import Module
from lamp.nn import CELU, ELU, SELU, Hardsigmoid, Hardswish, LeakyReLU, PReLU, ReLU, Softplus, Softsign
from lamp.nn.activations import SELU_ALPHA, SELU_SCALE

# Activations that are a single operator of ONNX. They are used only in float32, because their options are float32 in
# any graph, and onnxruntime has few of them in float64. All others, and a user's activations, are written as formulas.
# ONNX's Shrink is not used, because it turns NaN into numbers.
IN_FLOAT32: dict[type[Module], Callable[[Any], tuple[str, dict[str, float]] | None]] = {
    ReLU: lambda module: ("Relu", {}),
    LeakyReLU: lambda module: ("LeakyRelu", {"alpha": module.negative_slope}),
    ELU: lambda module: ("Elu", {"alpha": module.alpha}),
    CELU: lambda module: ("Celu", {"alpha": module.alpha}),
    SELU: lambda module: ("Selu", {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),
    Softsign: lambda module: ("Softsign", {}),
    Softplus: lambda module: ("Softplus", {}) if module.beta == 1 and module.threshold >= 20 else None,
    Hardsigmoid: lambda module: ("HardSigmoid", {"alpha": 1.0 / 6.0, "beta": 0.5}),
    Hardswish: lambda module: ("HardSwish", {}),
}


def affine(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    bias, weight, part = offsets(op), op.parameters["weight"], op.attributes.get("part")
    if graph.plan.members is None and len(op.inputs[0].shape) == 1 and part is None:  # x (n, in)
        parameters = [graph.parameter(f"{at}weight", weight)]
        if bias is not None:
            parameters.append(graph.parameter(f"{at}bias", op.parameters["bias"], bias))
        return graph.node("Gemm", x, *parameters, at=at, transB=1)
    # In float64 a node without effect (the sum of one value) separates factors from the product, because onnxruntime
    # would fuse the two into one node whose factor is float32.
    apart = graph.plan.dtype is torch.float64
    x = graph.node("Sum", x, at=at) if apart else x
    y = graph.node("MatMul", x, graph.parameter(f"{at}weight", weight, matrix(op), part), at=at)
    if bias is not None:
        return graph.node("Add", y, graph.parameter(f"{at}bias", op.parameters["bias"], bias, part), at=at)
    return graph.node("Sum", y, at=at) if apart else y


def elementwise(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    module = op.module
    operator = IN_FLOAT32.get(type(module)) if graph.plan.dtype is torch.float32 else None
    found = None if operator is None else operator(module)
    if found is not None:
        return graph.node(found[0], x, at=at, **{name: float(value) for name, value in found[1].items()})
    known = {"x": x}
    for name, member in members_of(op).items():
        known[name] = graph.parameter(f"{at}{name}", member, per_channel(op, member))
    if isinstance(module, PReLU) and graph.plan.members is None:
        return graph.node("PRelu", *known.values(), at=at)
    return graph.formula(formula_of(op), known, at)


def softmax(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    log, axis = op.attributes["log"], graph.plan.axis(op.attributes["axis"])
    if log and graph.plan.dtype is torch.float64:  # onnxruntime's operator makes other numbers of a row with NaN
        x = graph.node("Sub", x, graph.node("ReduceMax", x, at=at, axes=[axis]), at=at)
        total = graph.node("ReduceSum", graph.node("Exp", x, at=at), graph.integers(f"{at}axis", axis), at=at)
        return graph.node("Sub", x, graph.node("Log", total, at=at), at=at)
    y = graph.node("LogSoftmax" if log else "Softmax", x, at=at, axis=axis)
    if not op.attributes.get("masked"):
        return y
    zero, one, nowhere = graph.number(0.0), graph.number(1.0), graph.number(-math.inf)
    seen = graph.node("Where", graph.node("Equal", x, nowhere, at=at), zero, one, at=at)
    seen = graph.node("ReduceSum", seen, graph.integers(f"{at}axis", axis), at=at)
    return graph.node("Where", graph.node("Equal", seen, zero, at=at), zero, y, at=at)  # of scores that are all -inf


def reshape(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    lead = graph.lead if op.inputs[0].rows == op.output.rows else [*graph.lead[1:], -1]
    return graph.node("Reshape", x, graph.shape(op, "shape", lead, graph.sizes(op), at), at=at)


def add(graph: OnnxGraph, op: Op, at: str, first: str, *others: str) -> str:
    for other in others:
        first = graph.node("Add", first, other, at=at)
    return first


def multiply(graph: OnnxGraph, op: Op, at: str, first: str, *others: str) -> str:
    for other in others:
        first = graph.node("Mul", first, other, at=at)
    return first


def concat(graph: OnnxGraph, op: Op, at: str, *parts: str) -> str:
    return graph.node("Concat", *parts, at=at, axis=graph.plan.axis(op.attributes["axis"]))


RULES: dict[str, Callable[..., str]] = {
    "Affine": affine,
    "Elementwise": elementwise,
    "Softmax": softmax,
    "Reshape": reshape,
    "Add": add,
    "Multiply": multiply,
    "Concat": concat,
}
