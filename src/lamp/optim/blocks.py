"""Blocks: the tensors that an optimizer updates one at a time, slices of flat buffers, with the update rule's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lamp.axes import column
from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.parameter import FlatBuffer, Parameter, Span, spans, trained

# Elements that a thread updates at a time: few enough that values, gradients and state stay in its cache.
BLOCK = 65536

Shape = tuple[int, ...]
States = Mapping[Parameter, Mapping[str, Tensor]]  # the rule's state for each parameter, by name, in its shape


class Block:
    """Values, gradients and the rule's state: of a slice of a flat buffer, (p,), or (K, p) in a population; or of one
    whole parameter in its shape.
    """

    __slots__ = ("data", "grad", "state")

    def __init__(self, data: Tensor, grad: Tensor) -> None:
        self.data, self.grad = data, grad
        self.state: dict[str, Tensor] = {}


class ParameterBlocks:
    """The parameters of a group, cut into `blocks` of their flat buffers, with the rule's state.

    Frozen parameters have no blocks. State that they had before they were frozen is kept.

    begins  initial value of each state by name, a number or a column (K, 1), for parameters that `states` lacks
    states  state from before, such as that of earlier blocks or of a state dict
    """

    def __init__(self, parameters: list[Parameter], begins: Mapping[str, Number], states: States) -> None:
        self.names = tuple(begins)
        not_frozen = trained(parameters)
        self.in_rows = any(parameter.rows for parameter in not_frozen)  # a population: one row per replica
        self._spans = spans(not_frozen)
        self._frozen_states = {each: states[each] for each in parameters if each.frozen and states.get(each)}
        self._buffers = list(dict.fromkeys(span.buffer for span in spans(parameters)))
        self._versions = [buffer.version for buffer in self._buffers]
        self._changes = FlatBuffer.changes
        self.gradients = [span.grad for span in self._spans]
        self._blocks_per_span = [self._blocks(span, begins, states) for span in self._spans]
        self.blocks = [block for blocks in self._blocks_per_span for block in blocks]

    def _blocks(self, span: Span, begins: Mapping[str, Number], states: States) -> list[Block]:
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
            for block, part in zip(blocks, torch.split(torch.cat(parts, -1), width, -1), strict=True):
                block.state[name] = part
        return blocks

    @property
    def pieces(self) -> list[tuple[Span, list[Block]]]:
        """Each span of neighbouring parameters, and the blocks that it is cut into."""
        return list(zip(self._spans, self._blocks_per_span, strict=True))

    @property
    def is_current(self) -> bool:
        """Whether the blocks still show the parameters that are trained, where they are stored now."""
        if self._changes != FlatBuffer.changes:  # some buffer has changed; one of these?
            if [buffer.version for buffer in self._buffers] != self._versions:
                return False
            self._changes = FlatBuffer.changes
        return True

    def states(self) -> dict[Parameter, dict[str, Tensor]]:
        """The rule's state for each parameter, by name, in the parameter's shape."""
        found: dict[Parameter, dict[str, Tensor]] = {each: dict(state) for each, state in self._frozen_states.items()}
        for span, blocks in zip(self._spans, self._blocks_per_span, strict=True):
            sizes = [parameter.size for parameter in span.parameters]
            for name in self.names:
                whole = torch.cat([block.state[name] for block in blocks], -1)
                for parameter, part in zip(span.parameters, torch.split(whole, sizes, -1), strict=True):
                    found.setdefault(parameter, {})[name] = part.view(parameter.shape)
        return found


class WholeParameters(ParameterBlocks):
    """The parameters of a group, each as one block in its own shape, for rules that work on matrices.

    shape_of  returns the shape of this state, by its name, for a parameter of this shape in a single network, or None
              for a parameter without such a state. In a population both have the axis of replicas first
    """

    def __init__(
        self,
        parameters: list[Parameter],
        begins: Mapping[str, Number],
        states: States,
        shape_of: Callable[[str, Shape], Shape | None],
    ) -> None:
        self._shape_of = shape_of
        if any(parameter._buffer.padded for parameter in parameters):
            raise ArgumentError(
                "this optimizer looks at whole parameters, and these have zeros for the units that some replicas lack",
                expected="a population of networks of one size, or a rule for each number, such as lamp.Adam",
                got="a population of several sizes",
                fix="train networks of each size as a population of their own",
            )
        super().__init__(parameters, begins, states)

    def _blocks(self, span: Span, begins: Mapping[str, Number], states: States) -> list[Block]:
        sizes = [parameter.size for parameter in span.parameters]
        slices = zip(torch.split(span.data, sizes, -1), torch.split(span.grad, sizes, -1), strict=True)
        blocks = []
        for parameter, (data, grad) in zip(span.parameters, slices, strict=True):
            block = Block(data.view(parameter.shape), grad.view(parameter.shape))
            for name, begin in begins.items():
                shape = self._shape_of(name, tuple(parameter.shape[len(parameter.rows) :]))
                known = states.get(parameter, {}).get(name)
                if shape is not None and known is None:
                    zeros = data.new_zeros((*parameter.rows, *shape))
                    block.state[name] = zeros.add_(column(begin, zeros))
                elif shape is not None and known is not None:
                    block.state[name] = known.to(data).clone()
            blocks.append(block)
        return blocks

    def states(self) -> dict[Parameter, dict[str, Tensor]]:
        found: dict[Parameter, dict[str, Tensor]] = {each: dict(state) for each, state in self._frozen_states.items()}
        for span, blocks in zip(self._spans, self._blocks_per_span, strict=True):
            for parameter, block in zip(span.parameters, blocks, strict=True):
                found[parameter] = {name: state.clone() for name, state in block.state.items()}
        return found
