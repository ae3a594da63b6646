"""Blocks: the tensors that an optimizer updates one at a time, slices of flat buffers, with the update rule's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from lamp.axes import column
from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.optim.step_counts import StepCounts
from lamp.parameter import FlatBuffer, Parameter, Span, spans, trained
from lamp.tensor_like import lasting

# Elements that a thread updates at a time: few enough that values, gradients and state stay in its cache.
BLOCK = 65536

Shape = tuple[int, ...]
States = Mapping[Parameter, Mapping[str, Tensor]]  # the rule's state for each parameter, by name, in its shape


class Block:
    """Values, gradients and the rule's state: of a slice of a flat buffer, (p,), or (K, p) in a population; or of one
    whole parameter in its shape. The gradients are there from `ParameterBlocks.with_gradients` on. `missed` is the
    number of steps of their group that these parameters were not part of.
    """

    __slots__ = ("data", "grad", "missed", "state")
    grad: Tensor

    def __init__(self, data: Tensor, missed: int) -> None:
        self.data, self.missed = data, missed
        self.state: dict[str, Tensor] = {}


class Part(NamedTuple):
    """The numbers of a parameter from `start` to `stop`, as counted in one network."""

    parameter: Parameter
    start: int
    stop: int


class ParameterBlocks:
    """The parameters of a group, cut into `blocks` of their flat buffers, with the rule's state.

    Frozen parameters have no blocks. State that they had before they were frozen is kept.

    begins  initial value of each state by name, a number or a column (K, 1), for parameters that `states` lacks
    states  state from before, such as that of earlier blocks or of a state dict
    counts  how many steps each parameter has been part of
    """

    def __init__(
        self, parameters: list[Parameter], begins: Mapping[str, Number], states: States, counts: StepCounts
    ) -> None:
        self.names, self._begins = tuple(begins), dict(begins)
        not_frozen = trained(parameters)
        self.in_rows = any(parameter.rows for parameter in not_frozen)  # a population: one row per replica
        alike: dict[int, list[Parameter]] = {}
        for parameter in not_frozen:
            alike.setdefault(counts.missed(parameter), []).append(parameter)
        pieces = [(span, missed) for missed, each in alike.items() for span in spans(each)]
        self._spans = [span for span, _ in pieces]
        self.missed = tuple(alike) or (0,)  # the different numbers of steps that parameters have missed
        self._frozen_states = {each: states[each] for each in parameters if each.frozen and states.get(each)}
        self._buffers = list(dict.fromkeys(span.buffer for span in spans(parameters)))
        self._versions = [buffer.version for buffer in self._buffers]
        self._changes = FlatBuffer.changes
        self._gradients: list[Tensor] | None = None
        self._blocks_per_span = [self._blocks(span, missed, begins, states) for span, missed in pieces]
        self.blocks = [block for blocks in self._blocks_per_span for block in blocks]

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient of each span, (P,) or (K, P); allocated on first use."""
        if self._gradients is None:
            self._gradients = [span.grad for span in self._spans]
            for gradient, (span, blocks) in zip(self._gradients, self.pieces, strict=True):
                for block, part in zip(blocks, torch.split(gradient, _widths(span, blocks), -1), strict=True):
                    block.grad = part.view(block.data.shape)
        return self._gradients

    def with_gradients(self) -> list[Block]:
        """The blocks, with their gradients."""
        if self._gradients is None:
            _ = self.gradients
        return self.blocks

    def zero_gradients(self) -> None:
        """Set the gradients to zero; those that were never allocated are."""
        if self._gradients is not None or any(span.buffer.has_gradients for span in self._spans):
            for gradient in self.gradients:
                gradient.zero_()

    def _blocks(self, span: Span, missed: int, begins: Mapping[str, Number], states: States) -> list[Block]:
        *rows, width = span.data.shape
        if span.data.device.type == "cpu":
            width = min(width, BLOCK * torch.get_num_threads() // (rows[0] if rows else 1))
        width = max(width, 1)
        blocks = [Block(data, missed) for data in torch.split(span.data, width, -1)]
        for name, begin in begins.items():
            whole = lasting(torch.zeros_like(span.data).add_(begin))
            sizes = [parameter.elements for parameter in span.parameters]
            for parameter, part in zip(span.parameters, torch.split(whole, sizes, -1), strict=True):
                known = states.get(parameter, {}).get(name)
                if known is not None:
                    part.copy_(known.reshape(part.shape))
            for block, part in zip(blocks, torch.split(whole, width, -1), strict=True):
                block.state[name] = part
        return blocks

    def parts(self) -> Iterator[tuple[Block, list[Part]]]:
        """Each block with the parts of parameters that it consists of, in their order."""
        for span, blocks in self.pieces:
            begins = [0, *accumulate(parameter.elements for parameter in span.parameters)]
            bounds = list(zip(span.parameters, begins, begins[1:], strict=False))
            stop = 0
            for block, width in zip(blocks, _widths(span, blocks), strict=True):
                start, stop = stop, stop + width
                yield (
                    block,
                    [
                        Part(each, max(start - begin, 0), min(stop, end) - begin)
                        for each, begin, end in bounds
                        if begin < stop and start < end
                    ],
                )

    @property
    def pieces(self) -> list[tuple[Span, list[Block]]]:
        """Each span of neighbouring parameters, and the blocks that it is cut into."""
        return list(zip(self._spans, self._blocks_per_span, strict=True))

    def begins_with(self, begins: Mapping[str, Number]) -> bool:
        """Whether new state was made with these numbers."""
        same = begins.keys() == self._begins.keys()
        return same and all(_same(self._begins[name], number) for name, number in begins.items())

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
            sizes = [parameter.elements for parameter in span.parameters]
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
        counts: StepCounts,
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
        super().__init__(parameters, begins, states, counts)

    def _blocks(self, span: Span, missed: int, begins: Mapping[str, Number], states: States) -> list[Block]:
        sizes = [parameter.elements for parameter in span.parameters]
        blocks = []
        for parameter, data in zip(span.parameters, torch.split(span.data, sizes, -1), strict=True):
            block = Block(data.view(parameter.shape), missed)
            for name, begin in begins.items():
                shape = self._shape_of(name, tuple(parameter.shape[len(parameter.rows) :]))
                known = states.get(parameter, {}).get(name)
                if shape is not None and known is None:
                    zeros = lasting(data.new_zeros((*parameter.rows, *shape)))
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


def _widths(span: Span, blocks: Sequence[Block]) -> list[int]:
    """How many numbers of one network each block of a span has."""
    rows = span.data.numel() // span.data.shape[-1]
    return [block.data.numel() // rows for block in blocks]


def _same(one: Number, other: Number) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return not isinstance(one, Tensor) and not isinstance(other, Tensor) and one == other
