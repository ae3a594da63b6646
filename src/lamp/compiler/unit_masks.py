"""What differs from unit to unit in a step: which networks have it, where widths differ, and its random bits."""

from __future__ import annotations

from lamp.compiler.arguments import KernelArguments
from lamp.compiler.code import Code
from lamp.compiler.indices import Index
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Mask, Whole
from lamp.compiler.rules.chain import keeps_zero
from lamp.compiler.stages import Element, Stage
from lamp.randomness import bits, scatter


class UnitMasks:
    """The masks and random bits of a kernel's units in one step."""

    def __init__(self, code: Code, spec: KernelSpec, arguments: KernelArguments, step: Index) -> None:
        self.code, self.spec, self.arguments, self.step = code, spec, arguments, step
        self._numbers = {mask: k for k, mask in enumerate(spec.plan.masks)}

    def present(self, stage: Stage, unit: Index) -> Mask | None:
        """Which networks have this unit of a stage; None if all do, or if a missing unit outputs 0 anyway."""
        layer = self._hidden(stage)
        if layer is None or keeps_zero(stage):
            return None
        code = self.code
        return code.wholes(code.whole(unit)) < self._own_widths(layer)

    def bits(self, element: Element, stage: Stage, unit: Index, column: Index) -> Whole:
        """The random bits of a unit in a column of the batch: those that lamp.randomness draws for a tensor (B, units),
        or (lead, B, units / lead), or (B, channels) if the units of a channel share them."""
        code, spec, keys, units, layer = self.code, self.spec, self.arguments.keys, stage.units, self._hidden(stage)
        if element.neighbours > 1:
            unit, units = code.quotient(unit, element.neighbours), units // element.neighbours
        if element.lead > 1:
            units //= element.lead
            before = code.times(code.quotient(unit, units), code.times(self.arguments.batch, units))
            unit = code.plus(before, code.remainder(unit, units))
        number = self._numbers[element.module, element.number]  # type: ignore[index]
        at = code.times(code.plus(code.times(self.step, len(self._numbers)), number), 2)
        if spec.one_network:
            sample = code.times(column, code.lanes)
            scattered = scatter(code.arange(code.plus(code.times(sample, units), unit), units))
            pair = [code.wholes(code.load_whole(keys, code.plus(at, k))) for k in range(2)]
        else:
            if layer is None:
                scattered = code.wholes(scatter(code.whole(code.plus(code.times(column, units), unit))))
            else:
                rows = code.wholes(code.whole(column)) * self._own_widths(layer)
                scattered = scatter(rows + code.wholes(code.whole(unit)))
            pair = [code.load_wholes(keys, code.times(code.plus(at, k), code.lanes)) for k in range(2)]
        drawn: Whole = bits(scattered, *pair)
        return drawn

    def _hidden(self, stage: Stage) -> int | None:
        """The number of a stage's layer if its width differs between networks, else None."""
        plan = self.spec.plan
        differs = plan.sizes is not None and stage.layer is not None and stage.layer < len(plan.layers) - 1
        return stage.layer if differs else None

    def _own_widths(self, layer: int) -> Whole:
        """The width of a hidden layer in each network of the group."""
        return self.code.load_wholes(self.arguments.sizes, place_of_sizes(layer, self.code.lanes) + 1)


def place_of_sizes(layer: int, lanes: int) -> int:
    """The position of a hidden layer in `sizes`: first the group's largest width, then each network's."""
    return layer * (1 + lanes)
