"""The rules for a power and the root of a mean, the elements of chains that make a pool of means one of p-norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.rule import ElementRule, ElementUnit
from lamp.compiler.stages import Element
from lamp.nn.average_pooling import NormPooling
from lamp.nn.pooling_module import volume

LOG_AND_EXP = 40  # instructions of a logarithm and an exponential, about


class Power(ElementRule):
    """y = x^p. Backward  dx = p x^(p - 1) dy"""

    kind, module = "Power", NormPooling

    def needs(self, module: NormPooling) -> str:
        return "x"

    def of_number(self, module: NormPooling, x: Any) -> Any:
        return _power(x, int(module.norm_type))

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        y: Lane = _power(x, _p(at.element))
        return y

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        p = _p(at.element)
        return [each * (_power(of_column, p - 1) * float(p)) for each, of_column in zip(dy, x, strict=True)]


class Root(ElementRule):
    """y = (n m)^(1/p) of a mean m. Backward  dm = n / p (n m)^(1/p - 1) dy = n / p y^(1 - p) dy"""

    kind, module = "Root", NormPooling

    def needs(self, module: NormPooling) -> str:
        return "y"

    def instructions(self, block: ColumnBlock, module: NormPooling, backward: bool) -> int:
        return 0 if backward or module.norm_type <= 2 else LOG_AND_EXP

    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        total, p = x * float(_places(at.element)), _p(at.element)
        if p <= 2:
            return total if p == 1 else total.sqrt()
        y: Lane = (total.log() * (1.0 / p)).exp()
        return y

    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        p = _p(at.element)
        factor = _places(at.element) / p
        return [each * factor / _power(of_column, p - 1) for each, of_column in zip(dy, y, strict=True)]


def _p(element: Element) -> int:
    assert isinstance(element.module, NormPooling)
    return int(element.module.norm_type)


def _places(element: Element) -> int:
    """The number of places of a whole window."""
    module = element.module
    assert isinstance(module, NormPooling)
    return volume(module.per_axis(module.kernel_size))


def _power(x: Any, p: int) -> Any:
    """x^p as products; 1 for p = 0."""
    if p == 0:
        return x * 0.0 + 1.0
    half = _power(x, p // 2) if p > 1 else x
    if p == 1:
        return x
    return half * half * x if p % 2 else half * half
