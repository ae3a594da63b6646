"""The memory of networks that differ in the widths of their hidden layers and are trained by one kernel.

W networks of similar widths form a group, which is as wide as its widest network. So the layout of a group's parameters
differs between groups, and this file maps it to rows of the population's widest network.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lamp.compiler.kernel import Kernel
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.kernel_state import KernelState
from lamp.compiler.rules.elementwise import slopes_of
from lamp.compiler.stages import Plan
from lamp.compiler.storage import with_widths


class RaggedKernelState(KernelState):
    """A KernelState for a population of several sizes. The kernel reads the widths of a group when it runs.

    order  the numbers of the replicas, in the order of the lanes
    """

    def __init__(self, kernel: Kernel, spec: KernelSpec, rows: range) -> None:
        super().__init__(kernel, spec, rows)
        assert spec.plan.sizes is not None
        self.order = torch.cat(list(_alike(spec.plan.sizes, torch.arange(len(rows)), self.width)))
        self._back = self.order.argsort()
        own = self._in_lanes(spec.plan.sizes)  # (groups, hidden layers, W)
        group = own.amax(2, keepdim=True)
        self.sizes = torch.cat([group, own], 2).to(torch.int32).contiguous()
        self._plans = [with_widths(spec.plan, widths) for widths in group.squeeze(2).tolist()]
        self._widest = [_places(spec.plan, plan) for plan in self._plans]

    def _of_replicas(self, values: Tensor) -> Tensor:
        return values[self.order]

    def _of_lanes(self, memory: Tensor) -> Tensor:
        return super()._of_lanes(memory)[self._back]

    def _lay(self, memory: Tensor, k: int, values: Tensor) -> None:
        """Copy numbers (all replicas, P of the widest network) into the k-th array of each group."""
        for g, places in enumerate(self._widest):
            rows = self._rows_of(g)
            filled = torch.cat([rows, rows[-1:].expand(self.width - len(rows))])  # unused lanes repeat the last
            laid = values.index_select(0, filled).t().contiguous()  # (P, W)
            torch.index_select(laid, 0, places, out=self._of_group(memory, g, k))

    def parameters(self, size: int, of: Tensor | None = None) -> Tensor:
        """The parameters (own replicas, P of the widest network), zeros for units that a replica lacks; read from `of`,
        a copy of `weights`, if given."""
        return self._spread(self.weights if of is None else of, 0, size)

    def state(self, k: int, size: int) -> Tensor:
        """The optimizer's k-th state, (own replicas, P of the widest network)."""
        return self._spread(self.optimizer_state, k, size)

    def _spread(self, memory: Tensor, k: int, size: int) -> Tensor:
        found = memory.new_empty(len(self.order), size)
        for g, places in enumerate(self._widest):
            laid = memory.new_zeros(size, self.width).index_copy_(0, places, self._of_group(memory, g, k))
            rows = self._rows_of(g)
            found.index_copy_(0, rows, laid.t()[: len(rows)].contiguous())
        return found

    def _rows_of(self, g: int) -> Tensor:
        """The numbers of the replicas in a group's lanes."""
        return self.order[g * self.width : (g + 1) * self.width]

    def _of_group(self, memory: Tensor, g: int, k: int) -> Tensor:
        """The k-th array of group g, (P of the group, W)."""
        size = self._plans[g].parameters * self.width
        return memory[g, k * size : (k + 1) * size].view(-1, self.width)


def _alike(sizes: Tensor, rows: Tensor, width: int) -> Iterator[Tensor]:
    """The rows, ordered so that each `width` consecutive ones have similar sizes: sorted by the layer in which they
    differ most, halved, and so on in each half."""
    if len(rows) <= width:
        yield rows
        return
    own = sizes[rows]  # (rows, hidden layers)
    if own.shape[1]:
        spread = (own.amax(0) - own.amin(0)) / own.amax(0)
        rows = rows[own[:, spread.argmax()].argsort(stable=True)]
    half = -(-len(rows) // (2 * width)) * width
    yield from _alike(sizes, rows[:half], width)
    yield from _alike(sizes, rows[half:], width)


def _places(widest: Plan, plan: Plan) -> Tensor:
    """The position of each of a network's parameters among those of the widest network, (P of the network,)."""
    found = torch.empty(plan.parameters, dtype=torch.int64)
    for own, of_widest in zip(plan.layers, widest.layers, strict=True):
        inputs, outputs = own.width
        j = torch.arange(outputs)
        weights = of_widest.weight_offset + j.unsqueeze(1) * of_widest.width[0] + torch.arange(inputs)
        found[own.weight_offset : own.weight_offset + inputs * outputs] = weights.flatten()
        if own.bias_offset is not None and of_widest.bias_offset is not None:
            found[own.bias_offset : own.bias_offset + outputs] = of_widest.bias_offset + j
        for element, widest_element in zip(own.chain, of_widest.chain, strict=True):
            for name, place in element.parameters.items():
                count = outputs if slopes_of(element) > 1 else 1
                found[place : place + count] = widest_element.parameters[name] + j[:count]
    return found
