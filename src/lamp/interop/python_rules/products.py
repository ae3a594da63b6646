"""The rules of the Python export for values multiplied or compared: MatMul, Gate, Bilinear, and distances."""

from __future__ import annotations

import math
from collections.abc import Callable

from lamp.graph import Op
from lamp.interop.arrays import bilinear_matrix, offsets
from lamp.interop.python_script import Script

GATED = '''def gated(x, axis):
    """The first half times the sigmoid of the second."""
    a, b = np.split(x, 2, axis)
    return a * sigmoid(b)'''
PAIRS = '''def pairs(a, b):
    """All products of a number of a and one of b, along one axis."""
    products = a[..., :, np.newaxis] * b[..., np.newaxis, :]
    return products.reshape(*products.shape[:-2], -1)'''
COSINE = '''def cosine(a, b, axis, eps):
    """The cosine of the angle between a and b along the axis."""
    a, b = (x / np.maximum(np.sqrt((x * x).sum(axis, keepdims=True)), eps) for x in (a, b))
    return (a * b).sum(axis)'''
DISTANCE = '''def distance(a, b, p, eps, keepdims):
    """The p-norm of a - b + eps along the last axis."""
    d = np.abs(a - b + eps)
    if p == 0 or np.isinf(p):
        return np.sign(d).sum(-1, keepdims=keepdims) if p == 0 else (d.max if p > 0 else d.min)(-1, keepdims=keepdims)
    return (d**p).sum(-1, keepdims=keepdims) ** (1.0 / p)'''


def matmul(script: Script, op: Op, path: str, x: str, y: str) -> str:
    product = f"{x} @ {f'{y}.swapaxes(-1, -2)' if op.attributes.get('transposed') else y}"
    return f"{product} * {op.attributes['scale']!r}" if "scale" in op.attributes else product


def negative(script: Script, op: Op, path: str, x: str) -> str:
    return f"-{x}"


def gate(script: Script, op: Op, path: str, x: str) -> str:
    script.composed("sigmoid")
    script.functions["gated"] = GATED
    return f"gated({x}, axis={script.plan.axis(op.attributes['axis'])})"


def bilinear(script: Script, op: Op, path: str, x1: str, x2: str) -> str:
    script.functions["pairs"], weight = PAIRS, op.parameters["weight"]
    y = f"pairs({x1}, {x2}) @ {script.array(f'weight_{path}', bilinear_matrix(op), weight)}"
    bias = offsets(op)
    return y if bias is None else f"{y} + {script.array(f'bias_{path}', bias, op.parameters['bias'])}"


def cosine_similarity(script: Script, op: Op, path: str, x1: str, x2: str) -> str:
    script.functions["cosine"] = COSINE
    return f"cosine({x1}, {x2}, {script.plan.axis(op.attributes['axis'])}, {op.attributes['eps']!r})"


def distance(script: Script, op: Op, path: str, x1: str, x2: str) -> str:
    script.functions["distance"] = DISTANCE
    p = op.attributes["p"]
    shown = f"{'-' if p < 0 else ''}np.inf" if math.isinf(p) else repr(p)
    return f"distance({x1}, {x2}, {shown}, {op.attributes['eps']!r}, {bool(op.attributes['keepdim'])})"


RULES: dict[str, Callable[..., str]] = {
    "MatMul": matmul,
    "Negative": negative,
    "Gate": gate,
    "Bilinear": bilinear,
    "CosineSimilarity": cosine_similarity,
    "Distance": distance,
}
