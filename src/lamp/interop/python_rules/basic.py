"""The rules of the Python export for affine maps, activations, norms, embeddings, and for elements that move."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from lamp.graph import Op
from lamp.interop.arrays import constant, matrix, offsets, per_channel, per_last_axes, table, windows
from lamp.interop.expressions import formula_of, members_of
from lamp.interop.python_script import Script
from lamp.interop.python_text import expression_text, functions_used, is_one_operation
from lamp.paths import describe

NUMPY_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
SOFTMAX = '''def softmax(x, axis):
    """Probabilities, which sum to 1 along the axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)'''
MASKED_SOFTMAX = '''def masked_softmax(x, axis):
    """Probabilities, which sum to 1 along the axis; all 0 if all of x is -inf."""
    e = np.exp(x - np.maximum(x.max(axis, keepdims=True), np.finfo(x.dtype).min))
    return e / np.maximum(e.sum(axis, keepdims=True), 1)'''
LOG_SOFTMAX = '''def log_softmax(x, axis):
    """The logarithm of softmax, without overflow."""
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))'''
STANDARDISED = '''def standardised(x, axes, eps):
    """x with mean 0 and variance 1 along the axes."""
    x = x - x.mean(axes, keepdims=True)
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps)'''
OVER_RMS = '''def over_rms(x, axes, eps):
    """x divided by its root mean square along the axes."""
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps)'''


def affine(script: Script, op: Op, path: str, x: str) -> str:
    part = op.attributes.get("part")
    product = f"{x} @ {script.array(f'weight_{path}', matrix(op), op.parameters['weight'], part)}"
    bias = offsets(op)
    if bias is None:
        return product
    return f"{product} + {script.array(f'bias_{path}', bias, op.parameters['bias'], part)}"


def constant_(script: Script, op: Op, path: str) -> str:
    numbers = constant(op, script.plan.dtype, script.plan.members)
    for name, each in members_of(op).items():
        return script.array(f"{name}_{path}", numbers, each)
    return script.array(f"constant_{path}", numbers)


def expand(script: Script, op: Op, path: str, x: str) -> str:
    own, shape = op.inputs[0].shape, op.output.shape
    lead = 1 if script.plan.members is None else 2
    axes = [":"] * lead + ["np.newaxis"] * (len(shape) - len(own))
    wider = x if len(own) == len(shape) else f"{x}[{', '.join(axes)}]"
    sizes = ", ".join(map(str, shape))
    return f"np.broadcast_to({wider}, (*{x}.shape[:{lead}], {sizes}))"


def select(script: Script, op: Op, path: str, x: str) -> str:
    return f"{x}.take({op.attributes['index']}, axis={script.plan.axis(op.attributes['axis'])})"


def pad(script: Script, op: Op, path: str, x: str) -> str:
    mode, pads = op.attributes["mode"], op.attributes["pads"]
    sides = list(zip(pads[-2::-2], pads[-1::-2], strict=True))  # of the last axes, in order
    places = [f"{max(0, -a) or ''}:{-max(0, -b) or ''}" for a, b in sides]
    cropped = f"[..., {', '.join(places)}]" if min(pads) < 0 else ""
    added = [(max(0, a), max(0, b)) for a, b in sides]
    lead = len(op.output.shape) + (1 if script.plan.members is None else 2) - len(added)
    value = f", constant_values={op.attributes['value']!r}" if op.attributes.get("value") else ""
    first, last = (cropped, "") if mode == "circular" else ("", cropped)
    return f'np.pad({x}{first}, {[(0, 0)] * lead + added}, "{NUMPY_MODES[mode]}"{value}){last}'


def gather(script: Script, op: Op, path: str, x: str) -> str:
    weight = script.array(f"weight_{path}", table(op), op.parameters["weight"])
    return f"{weight}[{x}]" if script.plan.members is None else f"{weight}[:, {x}[0]]"


def exclude(script: Script, op: Op, path: str, x: str) -> str:
    """-inf where a mask of booleans is true, else 0."""
    return f"np.where({x}, -np.inf, 0.0).astype(np.{script.dtype})"


def reduce(script: Script, op: Op, path: str, x: str) -> str:
    return f"{x}.{op.attributes['mode']}(axis={script.plan.axis(op.attributes['axis'])})"


def elementwise(script: Script, op: Op, path: str, x: str) -> str:
    kind, members = type(op.module), members_of(op)
    result = formula_of(op)
    if is_one_operation(result) and not members:
        for each in functions_used(result):
            script.composed(each)
        return expression_text(formula_of(op, x))[1]
    doc = (inspect.getdoc(kind) or "").partition("\n")[0] if members else describe(op.module)
    function = script.function(kind.__name__, result, doc, ", ".join(["x", *members]))
    own = [script.array(f"{name}_{path}", per_channel(op, each), each) for name, each in members.items()]
    return f"{function}({', '.join([x, *own])})"


def softmax(script: Script, op: Op, path: str, x: str) -> str:
    name, text = ("log_softmax", LOG_SOFTMAX) if op.attributes["log"] else ("softmax", SOFTMAX)
    if op.attributes.get("masked"):
        name, text = "masked_softmax", MASKED_SOFTMAX
    script.functions[name] = text
    return f"{name}({x}, axis={script.plan.axis(op.attributes['axis'])})"


def norm(script: Script, op: Op, path: str, x: str) -> str:
    name, text = ("standardised", STANDARDISED) if op.attributes["centred"] else ("over_rms", OVER_RMS)
    script.functions[name] = text
    eps = repr(op.attributes["eps"])
    if "groups" in op.attributes:
        lead = f"{x}.shape[: {1 if script.plan.members is None else 2}]"
        y = f"{name}({x}.reshape(*{lead}, {op.attributes['groups']}, -1), -1, {eps}).reshape({x}.shape)"
    else:
        y = f"{name}({x}, {tuple(script.plan.axis(axis) for axis in op.attributes['axes'])}, {eps})"
    for sign, member in (("*", "weight"), ("+", "bias")):
        if (each := op.parameters.get(member)) is not None:
            form = per_channel(op, each) if "groups" in op.attributes else per_last_axes(op, each)
            y = f"{y} {sign} {script.array(f'{member}_{path}', form, each)}"
    return y


def response_norm(script: Script, op: Op, path: str, x: str) -> str:
    windows_, beta = script.array(f"windows_{path}", windows(op)), op.attributes["beta"]
    flat = f"{x}.reshape(*{x}.shape[: {2 if script.plan.members is None else 3}], -1)"
    return f"{x} * ({windows_} @ {flat} ** 2 + {op.attributes['k']!r}).reshape({x}.shape) ** -{beta!r}"


def permute(script: Script, op: Op, path: str, x: str) -> str:
    lead = range(1 if script.plan.members is None else 2)
    return f"{x}.transpose({', '.join(map(str, [*lead, *(script.plan.axis(axis) for axis in op.attributes['axes'])]))})"


def reshape(script: Script, op: Op, path: str, x: str) -> str:
    lead = "" if script.plan.members is None else f"len({x}), "
    return f"{x}.reshape({lead}{', '.join(map(str, (-1, *op.output.shape)))})"


def add(script: Script, op: Op, path: str, *inputs: str) -> str:
    return " + ".join(inputs)


def multiply(script: Script, op: Op, path: str, *inputs: str) -> str:
    return " * ".join(inputs)


def concat(script: Script, op: Op, path: str, *inputs: str) -> str:
    return f"np.concatenate([{', '.join(inputs)}], axis={script.plan.axis(op.attributes['axis'])})"


RULES: dict[str, Callable[..., str]] = {
    "Affine": affine,
    "Gather": gather,
    "Exclude": exclude,
    "Reduce": reduce,
    "Select": select,
    "Constant": constant_,
    "Expand": expand,
    "Pad": pad,
    "Elementwise": elementwise,
    "Softmax": softmax,
    "Reshape": reshape,
    "Add": add,
    "Multiply": multiply,
    "Concat": concat,
    "Norm": norm,
    "BatchNorm": elementwise,
    "ResponseNorm": response_norm,
    "Permute": permute,
}
