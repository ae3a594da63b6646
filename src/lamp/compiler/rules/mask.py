"""The rules for modules that are random: Dropout, on its own, in attention, or between the layers of RNN, LSTM and GRU,
its variants, and RReLU. Their numbers are those that the eager engine draws, bit for bit; backward draws them again
instead of storing them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.rule import ElementRule, ElementUnit
from lamp.compiler.stages import Element
from lamp.graph import Op
from lamp.module import Module
from lamp.nn import MultiheadAttention
from lamp.nn.dropout import Dropout, RandomMask, RReLU
from lamp.nn.recurrent_base import RNNBase
from lamp.parameter import Parameter
from lamp.randomness import below, between

LONG = 1000  # instructions, so that the code that draws random numbers appears once, in a loop


class Mask(ElementRule):
    """y = m x, dx = m dy. The mask m is 0 or 1 / (1 - p)."""

    kind, module = "Mask", RandomMask

    def element(self, op: Op, offsets: Mapping[Parameter, int]) -> Element:
        (x,) = op.inputs
        of_attention = isinstance(op.module, MultiheadAttention)  # its masks have the batch first
        lead = 1 if of_attention else math.prod(x.shape[: x.batch])
        return replace(super().element(op, offsets), lead=lead)

    def instructions(self, block: ColumnBlock, module: RandomMask, backward: bool) -> int:
        return LONG if probability(module) else 0

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        module = at.element.module
        if not probability(module):
            return x
        mask = self._mask(at, column)
        y: Lane = module._masked(x, mask) if isinstance(module, Dropout) else x * mask
        return y

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        if not probability(at.element.module):
            return list(dy)
        return [each * self._mask(at, s) for s, each in zip(columns, dy, strict=True)]

    @staticmethod
    def _mask(at: ElementUnit, column: Index) -> Lane:
        module, p = at.element.module, probability(at.element.module)
        drawn = at.block.random_bits(at.element, at.stage, at.unit, column)
        kept = below(drawn, round((1.0 - p) * 2**31)).is_true()
        scale = module.scale if isinstance(module, Dropout) else 1.0 / (1.0 - p) if p < 1 else 1.0
        return at.block.code.lane(scale).where(kept, 0.0)


class ChannelMask(Mask):
    """A mask with one number per channel."""

    kind = "ChannelMask"

    def element(self, op: Op, offsets: Mapping[Parameter, int]) -> Element:
        return replace(super().element(op, offsets), neighbours=math.prod(op.inputs[0].shape[1:]))


class AlphaMask(Mask):
    """y = m (x - low) + c, dx = m dy: AlphaDropout."""

    kind = "AlphaMask"


class RandomSlope(ElementRule):
    """RReLU: y = x where x > 0, else a x, with a random slope a; dx = dy where x > 0, else a dy."""

    kind, module = "RandomSlope", RReLU

    def needs(self, module: RReLU) -> str:
        return "x"

    def instructions(self, block: ColumnBlock, module: RReLU, backward: bool) -> int:
        return LONG

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        return x * self._slope(at, column, x)

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        slopes = [self._slope(at, s, x_s) for s, x_s in zip(columns, x, strict=True)]
        return [each * slope for each, slope in zip(dy, slopes, strict=True)]

    @staticmethod
    def _slope(at: ElementUnit, column: Index, x: Lane) -> Lane:
        module, drawn = vars(at.element.module), at.block.random_bits(at.element, at.stage, at.unit, column)
        slope = between((drawn >> 8).as_numbers(), module["lower"], module["upper"])
        return at.block.code.lane(1.0).where(x > 0.0, slope)


class MeanSlope(ElementRule):
    """RReLU in eval mode, where the slope is the mean of its bounds."""

    kind, module = "Elementwise", RReLU

    def needs(self, module: RReLU) -> str:
        return "x"

    def of_number(self, module: RReLU, x: Any) -> Any:
        return module.sigma(x)

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        y: Lane = at.element.module.sigma(x)  # type: ignore[attr-defined]
        return y

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        one, (lower, upper) = at.block.code.lane(1.0), (vars(at.element.module)[name] for name in RReLU.options)
        return [each * one.where(x_s > 0.0, (lower + upper) / 2) for each, x_s in zip(dy, x, strict=True)]


def probability(module: Module) -> float:
    """The probability with which a module sets an element to zero."""
    p: float = vars(module)["dropout" if isinstance(module, MultiheadAttention | RNNBase) else "p"]
    return p
