"""Where an optimizer works: a group's parameters in blocks of the flat buffers, the rule's state beside each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lamp.formulas import Number
from lamp.parameter import FlatBuffer, Parameter, Span, spans, trained

# Elements that a thread updates at a time, so that all that a rule reads and writes of them stays in its cache.
BLOCK = 65536

States = Mapping[Parameter, Mapping[str, Tensor]]  # what a rule keeps of each parameter, by name, in its shape


class Block:
    """A stretch of a flat buffer: values, gradients and the rule's state, all (p,), or (K, p) in a population."""

    __slots__ = ("data", "grad", "state")

    def __init__(self, data: Tensor, grad: Tensor) -> None:
        self.data, self.grad = data, grad
        self.state: dict[str, Tensor] = {}


class ParameterBlocks:
    """A group's parameters where they lie now, in `blocks`, with the states in `begins` laid beside them.

    Frozen parameters have no blocks; what was kept of them before they were frozen is kept.

    begins  name to number (or a column of K): what each state begins with, where `states` does not bring it
    """

    def __init__(self, parameters: list[Parameter], begins: Mapping[str, Number], states: States) -> None:
        self.names = tuple(begins)
        moving = trained(parameters)
        self.in_rows = any(parameter.rows for parameter in moving)  # a population's, a row a replica
        self._spans = spans(moving)
        self._resting = {each: states[each] for each in parameters if each.frozen and states.get(each)}
        self._homes = list(dict.fromkeys(span.home for span in spans(parameters)))
        self._departures = [home.departures for home in self._homes]
        self._moves = FlatBuffer.moves
        self.gradients = [span.grad for span in self._spans]
        self._blocks_of = [self._blocks(span, begins, states) for span in self._spans]
        self.blocks = [block for blocks in self._blocks_of for block in blocks]

    @staticmethod
    def _blocks(span: Span, begins: Mapping[str, Number], states: States) -> list[Block]:
        *rows, width = span.data.shape
        if span.data.device.type == "cpu":
            width = min(width, BLOCK * torch.get_num_threads() // (rows[0] if rows else 1))
        width = max(width, 1)
        views = zip(torch.split(span.data, width, -1), torch.split(span.grad, width, -1), strict=True)
        blocks = [Block(data, grad) for data, grad in views]
        for name, begin in begins.items():
            parts = []
            for parameter in span.parameters:
                known = states.get(parameter, {}).get(name)
                flat = (parameter.data if known is None else known.to(span.data)).reshape(*rows, -1)
                parts.append(torch.zeros_like(flat).add_(begin) if known is None else flat)
            for block, stretch in zip(blocks, torch.split(torch.cat(parts, -1), width, -1), strict=True):
                block.state[name] = stretch
        return blocks

    @property
    def pieces(self) -> list[tuple[Span, list[Block]]]:
        """Each run of neighbouring parameters, and the blocks that it is cut into."""
        return list(zip(self._spans, self._blocks_of, strict=True))

    @property
    def is_current(self) -> bool:
        """Whether the parameters still lie where the blocks are."""
        if self._moves != FlatBuffer.moves:  # some network has moved: this one?
            if [home.departures for home in self._homes] != self._departures:
                return False
            self._moves = FlatBuffer.moves
        return True

    def states(self) -> dict[Parameter, dict[str, Tensor]]:
        """The states of each parameter, in its shape."""
        found: dict[Parameter, dict[str, Tensor]] = {each: dict(state) for each, state in self._resting.items()}
        for span, blocks in zip(self._spans, self._blocks_of, strict=True):
            sizes = [parameter.size for parameter in span.parameters]
            for name in self.names:
                whole = torch.cat([block.state[name] for block in blocks], -1)
                for parameter, part in zip(span.parameters, torch.split(whole, sizes, -1), strict=True):
                    found.setdefault(parameter, {})[name] = part.view(parameter.shape)
        return found
