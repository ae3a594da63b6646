"""`OnnxGraph`: an ONNX graph under construction, with one rule per kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.graph import Graph, Op
from lamp.interop.expressions import COMPOSED, Expression, formula_of, in_order, members_of
from lamp.interop.predictor import Predictor, matrix, offsets, per_channel
from lamp.module import Module
from lamp.nn import CELU, ELU, SELU, Hardsigmoid, Hardswish, LeakyReLU, PReLU, ReLU, Softplus, Softsign
from lamp.nn.activations import SELU_ALPHA, SELU_SCALE
from lamp.parameter import Buffer, Parameter

OPERATIONS = {  # operation of an Expression: operator of ONNX
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "lt": "Less", "le": "LessOrEqual",
    "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal", "and": "And", "or": "Or", "where": "Where", "clip": "Clip",
    "maximum": "Max", "minimum": "Min", "abs": "Abs", "sign": "Sign", "sqrt": "Sqrt", "exp": "Exp", "log": "Log",
    "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf",
}  # fmt: skip
NOT_IN_FLOAT64 = {"erf"}  # operators that onnxruntime has only in float32

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


class OnnxGraph:
    """Nodes and constants in order, each with a unique name.

    make_node    onnx.helper.make_node
    make_tensor  onnx.numpy_helper.from_array
    """

    def __init__(self, plan: Predictor, make_node: Callable[..., Any], make_tensor: Callable[..., Any]) -> None:
        self.plan, self._make_node, self._make_tensor = plan, make_node, make_tensor
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: set[str] = set()
        self._held: dict[object, str] = {}  # the name of each constant added so far

    def reserve(self, name: str) -> str:
        """Reserve a name for an input or output, and return it."""
        self._names.add(name)
        return name

    def _new(self, name: str) -> str:
        unique, k = name, 2
        while unique in self._names:
            unique, k = f"{name}_{k}", k + 1
        return self.reserve(unique)

    # ---- constants ---------------------------------------------------------------------------------------------------
    def parameter(self, name: str, parameter: Parameter | Buffer, form: Tensor | None = None) -> str:
        """The name of a constant with a parameter, or with `form` in its place. A shared parameter is added once."""
        array = (parameter.data if form is None else form).contiguous().numpy()
        return self._hold((parameter, form is None, array.shape), array, name)

    def numbers(self, name: str, tensor: Tensor) -> str:
        """The name of a constant array, in the network's precision."""
        return self._hold(object(), tensor.to(self.plan.dtype).numpy(), name)

    def integers(self, name: str, *values: int) -> str:
        """The name of a constant with integers, such as axes or sizes."""
        return self._hold(values, np.array(values, dtype=np.int64), name)

    def number(self, value: float) -> str:
        """The name of a constant ()."""
        array = torch.tensor(value, dtype=self.plan.dtype).numpy()
        return self._hold(repr(value), array, f"number_{value:.9g}")

    def _hold(self, key: object, array: Any, name: str) -> str:
        if key not in self._held:
            self._held[key] = self._new(name)
            self.constants.append(self._make_tensor(array, self._held[key]))
        return self._held[key]

    # ---- nodes -------------------------------------------------------------------------------------------------------
    def node(self, operator: str, *inputs: str, at: str, **attributes: Any) -> str:
        """Add an operator with these inputs, and return the name of its output."""
        output = self._new(f"{at}{operator}")
        self.nodes.append(self._make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def finish(self, values: Sequence[str], outputs: Sequence[str]) -> None:
        """Rename the final values to the outputs' names."""
        if len(values) == 1 and self.nodes and self.nodes[-1].output[0] == values[0]:
            self.nodes[-1].output[0] = outputs[0]
            return
        for x, output in zip(values, outputs, strict=True):  # an input, or a value that other nodes use too
            self.nodes.append(self._make_node("Identity", [x], [output], name=self._new("Identity")))

    def operation(self, graph: Graph, op: Op, path: str, inputs: list[str]) -> str:
        """Add the nodes of an operation of the network, and return the name of its output."""
        at = f"{path}." if path and not path.endswith(".") else path
        if op.kind == "Concat" and len(alike := self.plan.alike(graph).intersection(op.inputs)) < len(op.inputs):
            shape = [self.plan.members or 1, *[1] * (1 + len(op.output.shape))]  # (K, 1, 1...)
            inputs = [
                self.node("Expand", x, self.integers(f"{at}replicas", *shape), at=at) if value in alike else x
                for x, value in zip(inputs, op.inputs, strict=True)
            ]
        return RULES[op.kind](self, op, at, *inputs)

    def formula(self, result: Expression, known: dict[str, str], at: str) -> str:
        """Add the nodes of an expression, and return the name of its value. `known` maps its names to values."""
        made: dict[int, str] = {}
        for each in in_order(result):
            if each.operation == "name":
                made[id(each)] = known[each.operands[0]]
                continue
            operands = [made[id(x)] if isinstance(x, Expression) else self.number(x) for x in each.operands]
            made[id(each)] = self._operation(each.operation, operands, at)
        return made[id(result)]

    def _operation(self, operation: str, operands: list[str], at: str) -> str:
        if operation == "ne":
            return self.node("Not", self.node("Equal", *operands, at=at), at=at)
        if operation not in OPERATIONS or (self.plan.dtype is torch.float64 and operation in NOT_IN_FLOAT64):
            (x,) = Expression.named("x")
            return self.formula(COMPOSED[operation](x), {"x": operands[0]}, at)
        return self.node(OPERATIONS[operation], *operands, at=at)


# ---- a rule per kind of operation ---------------------------------------------------------------------------------
def affine(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    bias, weight = offsets(op), op.parameters["weight"]
    if graph.plan.members is None and len(op.inputs[0].shape) == 1:  # x (n, in)
        parameters = [graph.parameter(f"{at}weight", weight)]
        if bias is not None:
            parameters.append(graph.parameter(f"{at}bias", op.parameters["bias"], bias))
        return graph.node("Gemm", x, *parameters, at=at, transB=1)
    # In float64 a node without effect (the sum of one value) separates factors from the product, because onnxruntime
    # would fuse the two into one node whose factor is float32.
    apart = graph.plan.dtype is torch.float64
    x = graph.node("Sum", x, at=at) if apart else x
    y = graph.node("MatMul", x, graph.parameter(f"{at}weight", weight, matrix(op)), at=at)
    if bias is not None:
        return graph.node("Add", y, graph.parameter(f"{at}bias", op.parameters["bias"], bias), at=at)
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
    operator = "LogSoftmax" if op.attributes["log"] else "Softmax"
    return graph.node(operator, x, at=at, axis=graph.plan.axis(op.attributes["axis"]))


def reshape(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    lead = [] if graph.plan.members is None else [0]  # as it is
    return graph.node("Reshape", x, graph.integers(f"{at}shape", *lead, -1, *op.output.shape), at=at)


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
    "BatchNorm": elementwise,
}
