"""The rules for Gather, Reduce, Select, and the recurrent kinds Scan and Cell, which are written step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lamp.graph import Op
from lamp.interop.arrays import table
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn.recurrence import Elman, Equations, LongShortTerm, Weights
from lamp.parameter import Parameter


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
    lead = 0 if graph.plan.members is None else 1
    axis = lead if op.inputs[0].batch else graph.plan.axis(op.attributes["axis"])
    one = graph.node("Gather", x, graph.integers("index", op.attributes["index"]), at=at, axis=axis)
    return graph.node("Squeeze", one, graph.integers("axis", axis), at=at)


def scan(graph: OnnxGraph, op: Op, at: str, x: str) -> tuple[str, ...]:
    """All layers of an RNN, LSTM or GRU along x (..., n, T, features)."""
    module: Any = op.module
    last: list[list[str]] = []
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(2 if module.bidirectional else 1):
            weights = module._weights(layer, direction)
            parts = _of_input(graph, module._equations, at, x, weights)
            steps = graph.split(parts, *[1] * op.attributes["steps"], axis=-2, at=at)
            states: list[str] | None = None
            of_steps = []
            for part in steps[::-1] if direction else steps:
                states = _step(graph, module._equations, at, part, states, weights)
                of_steps.append(states[0])
            ordered = of_steps[::-1] if direction else of_steps
            outputs.append(graph.node("Concat", *ordered, at=at, axis=-2))
            last.append(states or [])
        x = outputs[0] if len(outputs) == 1 else graph.node("Concat", *outputs, at=at, axis=-1)
    return x, *(_stacked(graph, at, list(each)) for each in zip(*last, strict=True))


def cell(graph: OnnxGraph, op: Op, at: str, x: str, *states: str) -> tuple[str, ...] | str:
    """One step of RNNCell, LSTMCell or GRUCell, for x (..., n, features)."""
    module: Any = op.module
    axis = graph.integers("step", -2)
    x, *before = (graph.node("Unsqueeze", each, axis, at=at) for each in (x, *states))
    weights = module._weights()
    parts = _of_input(graph, module._equations, at, x, weights)
    after = _step(graph, module._equations, at, parts, before or None, weights)
    found = [graph.node("Squeeze", each, axis, at=at) for each in after]
    return found[0] if len(found) == 1 else tuple(found)


def _of_input(graph: OnnxGraph, equations: Equations, at: str, x: str, weights: Weights) -> str:
    """The input's part of the gates, (..., n, T, gates H)."""
    parts = graph.node("MatMul", x, _matrix(graph, at, weights.ih), at=at)
    if weights.bias_ih is not None and weights.bias_hh is not None:
        bias = weights.bias_ih.data if equations.apart else weights.bias_ih.data + weights.bias_hh.data
        parts = graph.node("Add", parts, _row(graph, at, weights.bias_ih, bias), at=at)
    return parts


def _step(
    graph: OnnxGraph, equations: Equations, at: str, part: str, states: list[str] | None, weights: Weights
) -> list[str]:
    """The states (..., n, 1, H) after a step; `states` is None where they are zero."""

    def node(operator: str, *inputs: str) -> str:
        return graph.node(operator, *inputs, at=at)

    hidden = weights.hh.shape[-2] // equations.gates
    of_state = None if states is None else node("MatMul", states[0], _matrix(graph, at, weights.hh))
    if isinstance(equations, Elman):
        total = part if of_state is None else node("Add", part, of_state)
        return [node("Tanh" if equations.nonlinearity == "tanh" else "Relu", total)]
    if isinstance(equations, LongShortTerm):
        total = part if of_state is None else node("Add", part, of_state)
        i, f, u, o = graph.split(total, *[hidden] * 4, axis=-1, at=at)
        c = node("Mul", node("Sigmoid", i), node("Tanh", u))
        if states is not None:
            c = node("Add", c, node("Mul", node("Sigmoid", f), states[1]))
        h = node("Mul", node("Sigmoid", o), node("Tanh", c))
        return [h if weights.hr is None else node("MatMul", h, _matrix(graph, at, weights.hr)), c]
    if weights.bias_hh is not None:
        bias = _row(graph, at, weights.bias_hh, weights.bias_hh.data)
        of_state = bias if of_state is None else node("Add", of_state, bias)
    a_r, a_z, a_n = graph.split(part, *[hidden] * 3, axis=-1, at=at)
    if of_state is not None:
        s_r, s_z, s_n = graph.split(of_state, *[hidden] * 3, axis=-1, at=at)
        a_r, a_z = node("Add", a_r, s_r), node("Add", a_z, s_z)
        a_n = node("Add", a_n, node("Mul", node("Sigmoid", a_r), s_n))
    z, n = node("Sigmoid", a_z), node("Tanh", a_n)
    if states is None:
        return [node("Sub", n, node("Mul", z, n))]
    return [node("Add", n, node("Mul", z, node("Sub", states[0], n)))]


def _stacked(graph: OnnxGraph, at: str, states: list[str]) -> str:
    """The last states of all layers, (..., n, 1, H) each, as (..., L, n, H)."""
    lead = 0 if graph.plan.members is None else 1
    order = [*range(lead), lead + 1, lead, lead + 2]
    rows = [graph.node("Transpose", state, at=at, perm=order) for state in states]
    return rows[0] if len(rows) == 1 else graph.node("Concat", *rows, at=at, axis=lead)


def _matrix(graph: OnnxGraph, at: str, weight: Parameter) -> str:
    """A weight to multiply (..., n, T, in) by: (in, out), or (K, 1, in, out)."""
    matrix = weight.data.mT
    return graph.parameter(f"{at}weight", weight, matrix if weight.replicas is None else matrix.unsqueeze(1))


def _row(graph: OnnxGraph, at: str, bias: Parameter, values: Tensor) -> str:
    """A bias to add to (..., n, T, out): (out), or (K, 1, 1, out)."""
    return graph.parameter(f"{at}bias", bias, values.clone() if bias.replicas is None else values[:, None, None])


RULES: dict[str, Callable[..., str | tuple[str, ...]]] = {
    "Gather": gather,
    "Reduce": reduce,
    "Select": select,
    "Scan": scan,
    "Cell": cell,
}
