"""The rule for one number per line along an axis: a mean, a sum, or the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.pooling import AdaptiveAvgPool
from lamp.compiler.rules.windows import Axis
from lamp.compiler.stages import Stage
from lamp.graph import Op
from lamp.parameter import Parameter

POOLS = {"mean": "AdaptiveAvgPool", "sum": "AvgPool", "max": "AdaptiveMaxPool"}


class Reduce(AdaptiveAvgPool):
    """The pool of this mode, with one window for each line along the axis."""

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        return inputs

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        mode, axis, shape = op.attributes["mode"], op.attributes["axis"], op.inputs[0].shape
        if mode not in POOLS:
            raise NotCompiled(f"is not compiled: its Reduce is none of {', '.join(POOLS)}", module=op.module)
        lead, n, rest = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        windows = (Axis(n, 1, n), Axis(rest, rest, 1))
        attributes = {"shape": (lead, n, rest), "windows": windows, "divisor_override": 1}
        return Stage(POOLS[mode], inputs, lead * rest, attributes=attributes)
