"""The rules for Scan and Cell: RNN, LSTM and GRU.

A layer is an operator of ONNX where onnxruntime has it: in float32, and without the projection of an LSTM. Else its
steps are written one by one, and so is a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.graph import Op
from lamp.interop.onnx_graph import OnnxGraph
from lamp.nn.recurrence import Elman, Equations, GatedRecurrent, LongShortTerm, Weights
from lamp.parameter import Parameter

GATES = {1: (0,), 3: (1, 0, 2), 4: (0, 3, 1, 2)}  # ONNX's order of the gates among those of torch, by their number
OPERATORS = {1: "RNN", 3: "GRU", 4: "LSTM"}


def scan(graph: OnnxGraph, op: Op, at: str, x: str, *first: str) -> tuple[str, ...]:
    """All layers of an RNN, LSTM or GRU along x (..., n, T, features), from states (..., n, layers, H) or zeros."""
    module: Any = op.module
    if graph.plan.dtype is not torch.float32 or module.proj_size:
        return _step_by_step(graph, op, at, x, first)
    if graph.plan.members is None:
        return _by_operators(graph, module, at, x, first, None)
    axis = graph.integers("first", 0)
    found = []
    parts = [graph.split(each, *[1] * graph.plan.members, axis=0, at=at) for each in (x, *first)]
    for k, of_replica in enumerate(zip(*parts, strict=True)):
        x, *states = (graph.node("Squeeze", each, axis, at=at) for each in of_replica)
        outputs = _by_operators(graph, module, at, x, states, k)
        found.append([graph.node("Unsqueeze", each, axis, at=at) for each in outputs])
    return tuple(graph.node("Concat", *each, at=at, axis=0) for each in zip(*found, strict=True))


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


# ---- operators -----------------------------------------------------------------------------------------------------
def _by_operators(
    graph: OnnxGraph, module: Any, at: str, x: str, first: Sequence[str], replica: int | None
) -> tuple[str, ...]:
    """The layers of one network, of replica number `replica` in a population, for x (n, T, features)."""
    directions, hidden = 2 if module.bidirectional else 1, module.hidden_size
    operator = OPERATORS[module._equations.gates]
    options: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
    if operator == "GRU":
        options["linear_before_reset"] = 1
    elif operator == "RNN":
        options["activations"] = [module.nonlinearity.capitalize()] * directions
    x = graph.node("Transpose", x, at=at, perm=[1, 0, 2])  # (T, n, features)
    states = [_of_layers(graph, at, each, module.num_layers, directions) for each in first]
    last = []
    for layer in range(module.num_layers):
        weights = [module._weights(layer, direction) for direction in range(directions)]
        inputs = [x, *_stacked_weights(graph, at, weights, replica), "", *(each[layer] for each in states)]
        y, *ends = graph.several(operator, 1 + len(module._state_sizes()), *inputs, at=at, **options)
        last.append(ends)
        if directions == 1:
            x = graph.node("Squeeze", y, graph.integers("direction", 1), at=at)  # (T, n, H)
        else:
            y = graph.node("Transpose", y, at=at, perm=[0, 2, 1, 3])  # (T, n, directions, H)
            x = graph.node("Reshape", y, graph.integers(f"{at}beside", 0, 0, directions * hidden), at=at)
    found = [x, *(_joined(graph, at, list(each), 0) for each in zip(*last, strict=True))]
    return tuple(graph.node("Transpose", each, at=at, perm=[1, 0, 2]) for each in found)


def _of_layers(graph: OnnxGraph, at: str, state: str, layers: int, directions: int) -> list[str]:
    """An initial state (n, layers directions, H) in parts (directions, n, H), one per layer."""
    rows = graph.node("Transpose", state, at=at, perm=[1, 0, 2])
    return graph.split(rows, *[directions] * layers, axis=0, at=at)


def _stacked_weights(graph: OnnxGraph, at: str, of_directions: list[Weights], replica: int | None) -> list[str]:
    """The operator's W, R and B, with an axis of directions first; "" in place of B without biases."""

    def in_order(parameters: Sequence[Parameter]) -> Tensor:
        each = [own.data if replica is None else own.data[replica] for own in parameters]
        gates = [numbers.unflatten(0, (len(order), -1))[order].flatten(0, 1) for numbers in each]
        return torch.stack(gates)

    rows, columns = of_directions[0].hh.shape[-2:]
    order = list(GATES[rows // columns])
    w, r = (in_order([getattr(each, name) for each in of_directions]) for name in ("ih", "hh"))
    found = [graph.numbers(f"{at}{name}", numbers) for name, numbers in (("weight_ih", w), ("weight_hh", r))]
    if of_directions[0].bias_ih is None:
        return [*found, ""]
    b = [in_order([getattr(each, name) for each in of_directions]) for name in ("bias_ih", "bias_hh")]
    return [*found, graph.numbers(f"{at}bias", torch.cat(b, 1))]


# ---- step by step --------------------------------------------------------------------------------------------------
def _step_by_step(graph: OnnxGraph, op: Op, at: str, x: str, first: Sequence[str]) -> tuple[str, ...]:
    """The layers along x (..., n, T, features), each step as nodes of its own."""
    module: Any = op.module
    graph.check_fixed(op, "onnxruntime has no operator for it in float64 or with proj_size, so each step is written")
    directions = 2 if module.bidirectional else 1
    initial = [graph.split(each, *[1] * (module.num_layers * directions), axis=-2, at=at) for each in first]
    last: list[list[str]] = []
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            weights = module._weights(layer, direction)
            parts = _of_input(graph, module._equations, at, x, weights)
            steps = graph.split(parts, *[1] * op.attributes["steps"], axis=-2, at=at)
            states = [each[layer * directions + direction] for each in initial] or None
            of_steps = []
            for part in steps[::-1] if direction else steps:
                states = _step(graph, module._equations, at, part, states, weights)
                of_steps.append(states[0])
            outputs.append(_joined(graph, at, of_steps[::-1] if direction else of_steps, -2))
            last.append(states or [])
        x = _joined(graph, at, outputs, -1)
    return x, *(_joined(graph, at, list(each), -2) for each in zip(*last, strict=True))


def _joined(graph: OnnxGraph, at: str, parts: list[str], axis: int) -> str:
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, at=at, axis=axis)


def _of_input(graph: OnnxGraph, equations: Equations, at: str, x: str, weights: Weights) -> str:
    """The input's part of the gates, (..., n, T, gates H)."""
    parts = graph.node("MatMul", x, _matrix(graph, at, weights.ih), at=at)
    if weights.bias_ih is not None and weights.bias_hh is not None:
        apart = isinstance(equations, GatedRecurrent)  # its b_hh is a part of s, in `_step`
        bias = weights.bias_ih.data if apart else weights.bias_ih.data + weights.bias_hh.data
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


def _matrix(graph: OnnxGraph, at: str, weight: Parameter) -> str:
    """A weight to multiply (..., n, T, in) by: (in, out), or (K, 1, in, out)."""
    matrix = weight.data.mT
    return graph.parameter(f"{at}weight", weight, matrix if weight.replicas is None else matrix.unsqueeze(1))


def _row(graph: OnnxGraph, at: str, bias: Parameter, values: Tensor) -> str:
    """A bias to add to (..., n, T, out): (out), or (K, 1, 1, out)."""
    return graph.parameter(f"{at}bias", bias, values.clone() if bias.replicas is None else values[:, None, None])


RULES: dict[str, Callable[..., str | tuple[str, ...]]] = {"Scan": scan, "Cell": cell}
