"""The rule for Dropout, on its own, in attention, or between the layers of RNN, LSTM and GRU. The masks are those that
the eager engine draws, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.rule import ElementRule
from lamp.compiler.stages import Element, Stage
from lamp.graph import Op
from lamp.module import Module
from lamp.nn import MultiheadAttention
from lamp.nn.dropout import RandomMask
from lamp.nn.recurrent_base import RNNBase
from lamp.parameter import Parameter

LONG = 1000  # instructions, so that the code that draws a mask appears once, in a loop


class Mask(ElementRule):
    """y = m x, dx = m dy. The mask m is 0 or 1 / (1 - p); backward draws it again instead of storing it."""

    kind, module = "Mask", RandomMask

    def element(self, op: Op, offsets: Mapping[Parameter, int]) -> Element:
        (x,) = op.inputs
        of_attention = isinstance(op.module, MultiheadAttention)  # its masks have the batch first
        lead = 1 if of_attention else math.prod(x.shape[: x.batch])
        return replace(super().element(op, offsets), lead=lead)

    def instructions(self, block: ColumnBlock, module: RandomMask, backward: bool) -> int:
        return LONG if probability(module) else 0

    def forward(self, block: ColumnBlock, stage: Stage, element: Element, unit: Index, column: Index, x: Lane) -> Lane:
        return x * self._mask(block, stage, element, unit, column) if probability(element.module) else x

    def backward(
        self,
        block: ColumnBlock,
        stage: Stage,
        element: Element,
        unit: Index,
        columns: Sequence[Index],
        x: Sequence[Any],
        y: Sequence[Any],
        dy: Sequence[Lane],
    ) -> list[Lane]:
        if not probability(element.module):
            return list(dy)
        return [each * self._mask(block, stage, element, unit, s) for s, each in zip(columns, dy, strict=True)]

    @staticmethod
    def _mask(block: ColumnBlock, stage: Stage, element: Element, unit: Index, column: Index) -> Lane:
        return block.mask(element, stage, unit, column)


def probability(module: Module) -> float:
    """The probability with which a module sets an element to zero."""
    p: float = vars(module)["dropout" if isinstance(module, MultiheadAttention | RNNBase) else "p"]
    return p
