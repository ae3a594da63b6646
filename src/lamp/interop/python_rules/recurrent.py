"""The rules of the Python export for Scan and Cell: RNN, LSTM and GRU, with the formulas of one unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lamp.graph import Op
from lamp.interop.expressions import Expression
from lamp.interop.python_script import Script
from lamp.interop.python_text import expression_texts, functions_used
from lamp.nn.recurrence import Equations, Weights
from lamp.nn.recurrent_formulas import ElmanUnit, GatedRecurrentUnit
from lamp.parameter import Parameter

RECURRENCE = '''def recurrence(x, step, layers, states):
    """A recurrent network along x (..., steps, features): its outputs, and the last states of all layers.

    step    the equations of one step
    layers  for each layer the weights of each of its directions
    states  the initial states of all layers, (..., layers, units) each
    """
    last = []
    for directions in layers:
        outputs = []
        for weights, order in zip(directions, (1, -1)):
            state, steps = tuple(each[..., len(last), :] for each in states), []
            for t in range(x.shape[-2])[::order]:
                state = step(x[..., t, :], *state, *weights)
                steps.append(state[0])
            outputs.append(np.stack(steps[::order], -2))
            last.append(state)
        x = np.concatenate(outputs, -1)
    return (x, *(np.stack(each, -2) for each in zip(*last)))'''


def scan(script: Script, op: Op, path: str, x: str, *states: str) -> str:
    """All layers of an RNN, LSTM or GRU along x (..., n, T, features)."""
    module: Any = op.module
    script.functions["recurrence"] = RECURRENCE
    directions = range(2 if module.bidirectional else 1)
    of_layers = [[module._weights(layer, each) for each in directions] for layer in range(module.num_layers)]
    step = _step(script, module._equations, of_layers[0][0])
    held = [[f"({', '.join(_held(script, path, weights))})" for weights in each] for each in of_layers]
    layers = script.listed(f"layers_{path}", [f"[{', '.join(each)}]" for each in held])
    count = len(held) * len(directions)
    first = states or [_zeros(x, 2, (count, size)) for size in module._state_sizes()]
    return f"recurrence({x}, {step}, {layers}, [{', '.join(first)}])"


def cell(script: Script, op: Op, path: str, x: str, *states: str) -> str:
    """One step of RNNCell, LSTMCell or GRUCell, for x (..., n, features)."""
    module: Any = op.module
    weights = module._weights()
    step = _step(script, module._equations, weights)
    first = states or [_zeros(x, 1, (module.hidden_size,))] * module.states
    call = f"{step}({', '.join([x, *first, *_held(script, path, weights)])})"
    return call if module.states > 1 else f"{call}[0]"


def _zeros(x: str, last: int, shape: tuple[int, ...]) -> str:
    """Zeros of this shape, for each sample of x, whose last axes these are in the place of."""
    return f"np.zeros((*{x}.shape[:-{last}], {', '.join(map(str, shape))}), {x}.dtype)"


def _held(script: Script, path: str, weights: Weights) -> list[str]:
    """The names of the arrays of one direction of a layer."""
    found = []
    for name, each in weights._asdict().items():
        if each is not None:
            form = each.data.mT.contiguous() if name in ("ih", "hh", "hr") else _row(each)
            found.append(script.array(f"{name if 'bias' in name else f'weight_{name}'}_{path}", form, each))
    return found


def _row(bias: Parameter) -> Tensor:
    """A bias to add to (..., n, units): (units), or (K, 1, units)."""
    return bias.data if bias.replicas is None else bias.data.unsqueeze(1)


def _step(script: Script, equations: Equations, weights: Weights) -> str:
    """The name of the function of one step, which returns the new states."""
    unit, projected = equations.formulas, weights.hr is not None
    several = not isinstance(unit, (ElmanUnit, GatedRecurrentUnit))
    with_bias = weights.bias_ih is not None
    names = ["i", "f", "u", "o"] if several else ["r", "z", "n"][: unit.gates] if unit.gates > 1 else ["a"]
    states = ["h", "c"] if several else ["h"]
    arguments = ["x", *states, "w_x", "w_h", *(["b_x", "b_h"] if with_bias else []), *(["w_y"] if projected else [])]
    apart = unit.apart > 0
    of_x, of_h = ("x @ w_x + b_x", "h @ w_h + b_h") if with_bias else ("x @ w_x", "h @ w_h")
    if apart:
        lines = [f"{', '.join(names)} = np.split({of_x}, {unit.gates}, -1)"]
        lines.append(f"{', '.join(f'{name}_h' for name in names)} = np.split({of_h}, {unit.gates}, -1)")
        given = Expression.named(*names, *(f"{name}_h" for name in names), states[-1])
        of_input, of_state, state = given[: unit.gates], given[unit.gates : -1], given[-1]
        both = [one + two for one, two in zip(of_input[: -unit.apart], of_state, strict=False)]
        _, h, after = unit.forward([*both, *of_state[-unit.apart :]], of_input[-unit.apart :], state)
    else:
        whole = f"{of_x} + {of_h}"
        lines = [f"{', '.join(names)} = np.split({whole}, {unit.gates}, -1)" if several else f"{names[0]} = {whole}"]
        *gates, state = Expression.named(*names, states[-1])
        _, h, after = unit.forward(gates, [], state)
    results = [h, after] if several else [h]
    for each in sorted({name for result in results for name in functions_used(result)}):
        script.composed(each)
    more, returned = expression_texts(*results)
    texts = [f"({returned[0]}) @ w_y" if projected else returned[0], *returned[1:]]
    kind = "RNN" if isinstance(unit, ElmanUnit) else "LSTM" if several else "GRU"
    doc = f"The new state{'s' if several else ''} after a step of this {kind}, a tuple."
    return script.written(
        f"{kind.lower()}_step", ", ".join(arguments), doc, [*lines, *more], ", ".join(texts) + ("" if several else ",")
    )


RULES: dict[str, Callable[..., str]] = {"Scan": scan, "Cell": cell}
