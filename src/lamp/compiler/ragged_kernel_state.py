"""Networks of several sizes that one kernel trains: W of similar widths a group, each group as wide as its widest."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lamp.compiler.kernel import Kernel
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.kernel_state import KernelState
from lamp.compiler.rules.elementwise import slopes_of
from lamp.compiler.stages import Plan
from lamp.compiler.storage import of_widths


class RaggedKernelState(KernelState):
    """All replicas of a population of several sizes. The kernel reads how wide a group is when it runs.

    order  the replicas, as they lie in the lanes
    """

    def __init__(self, kernel: Kernel, spec: KernelSpec, rows: range) -> None:
        super().__init__(kernel, spec, rows)
        assert spec.plan.sizes is not None
        self.order = torch.cat(list(_alike(spec.plan.sizes, torch.arange(len(rows)), self.width)))
        self._back = self.order.argsort()
        own = self._in_lanes(spec.plan.sizes)  # (groups, hidden layers, W)
        group = own.amax(2, keepdim=True)
        self.sizes = torch.cat([group, own], 2).to(torch.int32).contiguous()
        self._plans = [of_widths(spec.plan, widths) for widths in group.squeeze(2).tolist()]
        self._widest = [_places(spec.plan, plan) for plan in self._plans]

    def _of_replicas(self, values: Tensor) -> Tensor:
        return values[self.order]

    def _of_lanes(self, memory: Tensor) -> Tensor:
        return super()._of_lanes(memory)[self._back]

    def _lay(self, memory: Tensor, k: int, values: Tensor) -> None:
        """Put numbers (all replicas, P) of the widest network into the k-th array of each group."""
        for g, places in enumerate(self._widest):
            rows = self._rows_of(g)
            filled = torch.cat([rows, rows[-1:].expand(self.width - len(rows))])  # spare lanes repeat the last
            laid = values.index_select(0, filled).t().contiguous()  # (P, W)
            torch.index_select(laid, 0, places, out=self._of_group(memory, g, k))

    def parameters(self, size: int, of: Tensor | None = None) -> Tensor:
        """(its replicas, P) of the widest network, zeros where a replica has none; `of` an earlier moment."""
        return self._spread(self.weights if of is None else of, 0, size)

    def state(self, k: int, size: int) -> Tensor:
        """State k of all parameters, (its replicas, P)."""
        return self._spread(self.optimizer_state, k, size)

    def _spread(self, memory: Tensor, k: int, size: int) -> Tensor:
        found = memory.new_empty(len(self.order), size)
        for g, places in enumerate(self._widest):
            laid = memory.new_zeros(size, self.width).index_copy_(0, places, self._of_group(memory, g, k))
            rows = self._rows_of(g)
            found.index_copy_(0, rows, laid.t()[: len(rows)].contiguous())
        return found

    def _rows_of(self, g: int) -> Tensor:
        """The replicas in a group's lanes."""
        return self.order[g * self.width : (g + 1) * self.width]

    def _of_group(self, memory: Tensor, g: int, k: int) -> Tensor:
        """The k-th array of a group's numbers, (P of the group, W)."""
        size = self._plans[g].parameters * self.width
        return memory[g, k * size : (k + 1) * size].view(-1, self.width)


def _alike(sizes: Tensor, rows: Tensor, width: int) -> Iterator[Tensor]:
    """Rows in such an order that every `width` of them are of similar sizes: halved, again and again, where they differ
    most."""
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
    """Where each parameter of a network stands among those of the widest."""
    found = torch.empty(plan.parameters, dtype=torch.int64)
    for own, of_widest in zip(plan.layers, widest.layers, strict=True):
        inputs, outputs = own.width
        j = torch.arange(outputs)
        weights = of_widest.weight + j.unsqueeze(1) * of_widest.width[0] + torch.arange(inputs)
        found[own.weight : own.weight + inputs * outputs] = weights.flatten()
        if own.bias is not None and of_widest.bias is not None:
            found[own.bias : own.bias + outputs] = of_widest.bias + j
        for element, widest_element in zip(own.chain, of_widest.chain, strict=True):
            for name, place in element.parameters.items():
                count = outputs if slopes_of(element) > 1 else 1
                found[place : place + count] = widest_element.parameters[name] + j[:count]
    return found
