"""The rule for Bilinear, as two stages: all products of the two inputs, and an affine map of these."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lamp.compiler.rules.affine import Affine
from lamp.compiler.rules.views import View
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter


class Bilinear(Affine):
    """y_o = x1^T W_o x2 + b_o, for each place of the inputs' first axes: an affine map of the products x1_i x2_j."""

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        (*places, first), (*_, second) = (value.shape for value in op.inputs)
        attributes = {
            "x": View.of((*places, first, 1)),
            "y": View.of((*places, second, 1)),
            "out": View.of((*places, first, second)),
            "scale": 1.0,
        }
        units = math.prod((*places, first, second))
        return [Stage("MatMul", inputs, units, attributes=attributes, multiplications=units)]

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        (products,), (*places, outputs) = inputs, op.output.shape
        parameters = {name: offsets[each] for name, each in op.parameters.items()}
        attributes = {"places": math.prod(places)} if places else {}
        work = products.units * outputs
        return Stage("Affine", inputs, math.prod(op.output.shape), parameters, attributes, work)
