"""The rule for axes in other sizes: Upsample, in every mode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.views import View, Viewed, viewed
from lamp.compiler.stages import Stage
from lamp.graph import Numbers, Op
from lamp.nn.upsampling import Upsample
from lamp.parameter import Parameter


class Resize(Viewed):
    """The elements repeated, to the nearest by whole factors. Else y = M x along one axis after the other: a product
    with the matrix that the module goes back through.

    Backward  dx = M^T dy
    """

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Sequence[Stage]:
        module, (channels, *given), (_, *sizes) = op.module, op.inputs[0].shape, op.output.shape
        factors = [m // n for n, m in zip(given, sizes, strict=True)]
        scales = op.attributes["scales"]
        asked = [m / n if scale is None else scale for n, m, scale in zip(given, sizes, scales, strict=True)]
        if op.attributes["mode"].startswith("nearest") and asked == factors:
            before, view = viewed(inputs[0], op.inputs[0].shape)
            view = view.repeated([1, *factors])
            return [Stage("View", [before], math.prod(op.output.shape), attributes={"view": view})]
        if not isinstance(module, Upsample):
            raise NotCompiled("is not compiled: it resizes, but is no Upsample", module=module)
        (x,), shape = inputs, [channels, *given]
        for axis, size in enumerate(sizes):
            matrix = module.matrix(axis, given[axis], tuple(sizes), scales, torch.float64)
            x = _along(x, tuple(shape), 1 + axis, Numbers(matrix))
            shape[1 + axis] = size
        return [x]


def _along(x: Stage, shape: tuple[int, ...], axis: int, matrix: Numbers) -> Stage:
    """M x along an axis of a value of this shape."""
    (size, n), lead, rest = matrix.data.shape, math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    constant = Stage("Constant", [], size * n, attributes={"numbers": matrix})
    attributes = {
        "x": View.of((size, n)).expanded((lead, size, n)),
        "y": View.of((lead, n, rest)).transposed,
        "out": View.of((lead, size, rest)),
        "scale": 1.0,
    }
    units = lead * size * rest
    return Stage("MatMul", [constant, x], units, attributes=attributes, multiplications=units * n)
