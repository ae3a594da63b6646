"""What follows a source, element by element: numbers through it while they are in registers, and gradients back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.elementwise import Formula, Slopes
from lamp.compiler.rules.mask import Mask
from lamp.compiler.rules.rule import ElementRule
from lamp.compiler.stages import Element, Stage
from lamp.compiler.stand_ins import NotCompiled
from lamp.graph import Op
from lamp.paths import describe

ELEMENTS: tuple[ElementRule, ...] = (Formula(), Slopes(), Mask())
IN_CHAINS = {rule.kind for rule in ELEMENTS}  # kinds of operations that join the stage before them

INLINE = 10  # instructions of a chain up to which it is written out for every output of a tile


def rule_of(op: Op | Element) -> ElementRule:
    """The rule of an operation that is done to each number for itself. Raises NotCompiled where there is none."""
    for rule in ELEMENTS:
        if rule.kind == op.kind and isinstance(op.module, rule.module):
            return rule
    raise NotCompiled(f"{describe(op.module)} is not compiled: lamp.compile says which modules are")


def keeps_zero(stage: Stage) -> bool:
    """Whether what follows the source makes 0 of 0."""
    x = torch.zeros(1, dtype=torch.float64)
    for element in stage.chain:
        x = rule_of(element).of_number(element.module, x)
    return bool(x == 0)


def is_long(block: ColumnBlock, stage: Stage, backward: bool = False) -> bool:
    """Whether what follows the source is so much code that it had better stand there once, in a loop."""
    each = (rule_of(element).instructions(block, element.module, backward) for element in stage.chain)
    return sum(each) > INLINE


@contextmanager
def each_column(block: ColumnBlock, stage: Stage, backward: bool = False) -> Iterator[Sequence[Index]]:
    """The columns, written out one by one; or in a loop, where what is done for each is long."""
    if not is_long(block, stage, backward):
        yield range(block.columns)
        return
    with block.code.loop(0, block.columns) as s:
        yield [s]


# ---- forward -----------------------------------------------------------------------------------------------------
def through(block: ColumnBlock, stage: Stage, unit: Index, column: Index, y: Lane) -> None:
    """A number of the source through what follows it; what is needed again is kept."""
    code, last = block.code, len(stage.chain)
    for k, place in enumerate(stage.values):
        present = block.present(stage, unit) if k == last else None
        if present is not None:
            y = y.where(present, 0.0)
        if place is not None:
            block.keep_activation(code.plus(unit, place), column, y)
        if k < last:
            element = stage.chain[k]
            y = rule_of(element).forward(block, stage, element, unit, column, y)


def through_all(block: ColumnBlock, stage: Stage) -> None:
    """All numbers of the source, which are in their places, through what follows it."""
    code = block.code
    with code.loop(0, stage.units) as unit, code.loop(0, block.columns) as s:
        through(block, stage, unit, s, block.activation(code.plus(unit, stage.first_kept), s))


# ---- backward ----------------------------------------------------------------------------------------------------
def give(block: ColumnBlock, before: Stage, unit: Index, gradients: Mapping[Index, Lane]) -> None:
    """Hand a stage the gradients of its outputs, for some columns of one unit: the only ones, or to be added up."""
    if before.users == 1 and not is_long(block, before, backward=True):
        back_through(block, before, unit, gradients)
        return
    for s, dx in gradients.items():
        place = block.code.plus(unit, before.gradients)
        block.keep_gradient(place, s, dx if before not in block.given_gradients else dx + block.gradient(place, s))


def all_given(block: ColumnBlock, before: Stage) -> None:
    """Note that a stage has been handed the gradients of all its outputs."""
    block.given_gradients.add(before)
    if before.users == 1 and not is_long(block, before, backward=True):
        block.gone_back.add(before)


def back_through_all(block: ColumnBlock, stage: Stage) -> None:
    """Back through what follows a source, from gradients that are in their places."""
    code = block.code
    with code.loop(0, stage.units) as unit, code.loop(0, block.columns) as s:
        back_through(block, stage, unit, {s: block.gradient(code.plus(unit, stage.gradients), s)})


def back_through(block: ColumnBlock, stage: Stage, unit: Index, of_columns: Mapping[Index, Lane]) -> None:
    """Back through what follows a source, for some columns of one unit; leaves the gradients of the source."""
    code, columns, dys = block.code, list(of_columns), list(of_columns.values())
    for k in reversed(range(len(stage.chain))):
        element = stage.chain[k]
        x, y = (_kept(block, stage.values[at], unit, columns) for at in (k, k + 1))
        dys = rule_of(element).backward(block, stage, element, unit, columns, x, y, dys)
    for s, dy in zip(columns, dys, strict=True):
        block.keep_gradient(code.plus(unit, stage.gradients), s, dy)


def _kept(block: ColumnBlock, place: Any | None, unit: Index, columns: Sequence[Index]) -> list[Any]:
    return [None if place is None else block.activation(block.code.plus(unit, place), s) for s in columns]
