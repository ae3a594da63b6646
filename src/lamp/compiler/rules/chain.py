"""Chains of elementwise operations: how a stage applies its chain to a number, and how gradients pass back through it.

The rules of sources call these functions with numbers that are still in registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules.elementwise import Exclude, Formula, Minus, Shift, Slopes
from lamp.compiler.rules.mask import AlphaMask, ChannelMask, Mask, MeanSlope, RandomSlope
from lamp.compiler.rules.powers import Power, Root
from lamp.compiler.rules.rule import ElementRule, ElementUnit
from lamp.compiler.stages import Element, Stage
from lamp.graph import Op

ELEMENTS: tuple[ElementRule, ...] = (
    Formula(),
    Slopes(),
    Mask(),
    ChannelMask(),
    AlphaMask(),
    RandomSlope(),
    MeanSlope(),
    Minus(),
    Shift(),
    Exclude(),
    Power(),
    Root(),
)
IN_CHAINS = {rule.kind for rule in ELEMENTS}  # the kinds of operations that can join the stage before them

INLINE = 10  # a chain of up to so many instructions is repeated for every output of a tile; a longer one is in a loop


def rule_of(op: Op | Element) -> ElementRule:
    """The rule of an elementwise operation. Raises NotCompiled if there is none."""
    for rule in ELEMENTS:
        if rule.kind == op.kind and isinstance(op.module, rule.module):
            return rule
    known = " or ".join(rule.module.__name__ for rule in ELEMENTS if rule.kind == op.kind)
    raise NotCompiled(f"is not compiled: its {op.kind} is not that of an {known}", module=op.module)


def keeps_zero(stage: Stage) -> bool:
    """Whether the chain maps 0 to 0."""
    x = torch.zeros(1, dtype=torch.float64)
    for element in stage.chain:
        x = rule_of(element).of_number(element.module, x)
    return bool(x == 0)


def is_long(block: ColumnBlock, stage: Stage, backward: bool = False) -> bool:
    """Whether the chain is so long that its code should appear only once, in a loop."""
    each = (rule_of(element).instructions(block, element.module, backward) for element in stage.chain)
    return sum(each) > INLINE


@contextmanager
def each_column(block: ColumnBlock, stage: Stage, backward: bool = False) -> Iterator[Sequence[Index]]:
    """The columns to write code for: all of them, or a loop with a single one if the chain is long."""
    if not is_long(block, stage, backward):
        yield range(block.columns)
        return
    with block.code.loop(0, block.columns) as s:
        yield [s]


# ---- forward -----------------------------------------------------------------------------------------------------
def apply_chain(block: ColumnBlock, stage: Stage, unit: Index, column: Index, y: Lane) -> None:
    """Apply the chain to y, the source's value of one unit and column, and store the values that are needed again."""
    code, last = block.code, len(stage.chain)
    for k, place in enumerate(stage.value_offsets):
        present = block.present(stage, unit) if k == last else None
        if present is not None:
            y = y.where(present, 0.0)
        if place is not None:
            block.keep_activation(code.plus(unit, place), column, y)
        if k < last:
            element = stage.chain[k]
            y = rule_of(element).forward(ElementUnit(block, stage, element, unit), column, y)


def keep_source(block: ColumnBlock, stage: Stage, unit: Index, column: Index, y: Lane, long: bool) -> None:
    """Apply the chain to y, the source's value of one unit and column; a long one is left to `apply_chain_to_all`."""
    if long:
        block.keep_activation(block.code.plus(unit, stage.source_offset), column, y)
    else:
        apply_chain(block, stage, unit, column, y)


def apply_chain_to_all(block: ColumnBlock, stage: Stage, columns: Index | None = None) -> None:
    """Apply the chain to all values of the source, which are stored, in a loop over so many columns (those of the
    block)."""
    code = block.code
    with code.loop(0, stage.units) as unit, code.loop(0, block.columns if columns is None else columns) as s:
        apply_chain(block, stage, unit, s, block.activation(code.plus(unit, stage.source_offset), s))


# ---- backward ----------------------------------------------------------------------------------------------------
def give_gradients(
    block: ColumnBlock, before: Stage, unit: Index, gradients: Mapping[Index, Lane], *, whole: bool = True
) -> None:
    """Give a stage the gradients of one unit's outputs, by column.

    They pass through its chain at once if this is the only user of the stage; else they are added to those that other
    users have given.

    whole  whether this user gives gradients of all units; else `begin_gradients` comes first
    """
    if whole and before.users == 1 and not is_long(block, before, backward=True):
        chain_backward(block, before, unit, gradients)
        return
    keep_gradients(block, before, unit, gradients, add=before in block.given_gradients)


def keep_gradients(
    block: ColumnBlock, before: Stage, unit: Index, gradients: Mapping[Index, Lane], *, add: bool
) -> None:
    """Store the gradients of one unit's outputs, by column, or add them to those that are stored."""
    place = block.code.plus(unit, before.gradient_offset)
    for s, dx in gradients.items():
        block.keep_gradient(place, s, dx + block.gradient(place, s) if add else dx)


def begin_gradients(block: ColumnBlock, before: Stage) -> None:
    """Set the gradients of a stage's outputs to 0, unless a user has given some: then others can be added."""
    if before not in block.given_gradients:
        with block.code.loop(0, before.units) as unit, block.code.loop(0, block.columns) as s:
            block.keep_gradient(block.code.plus(unit, before.gradient_offset), s, block.code.lane(0.0))
        block.given_gradients.add(before)


def note_all_given(block: ColumnBlock, before: Stage) -> None:
    """Note that one user of a stage has given the gradients of all its units."""
    block.given_gradients.add(before)
    if before.users == 1 and not is_long(block, before, backward=True):
        block.gone_back.add(before)


def chain_backward_of_all(block: ColumnBlock, stage: Stage, columns: Index | None = None) -> None:
    """Turn the stored gradients of a stage's outputs into those of its source, in a loop over so many columns (those of
    the block), unless that has been done already."""
    if not stage.chain or stage in block.gone_back:
        return
    code = block.code
    with code.loop(0, stage.units) as unit, code.loop(0, block.columns if columns is None else columns) as s:
        chain_backward(block, stage, unit, {s: block.gradient(code.plus(unit, stage.gradient_offset), s)})


def chain_backward(block: ColumnBlock, stage: Stage, unit: Index, of_columns: Mapping[Index, Lane]) -> None:
    """Turn the gradients of one unit's outputs, by column, into those of the source, and store these."""
    code, columns, dys = block.code, list(of_columns), list(of_columns.values())
    for k in reversed(range(len(stage.chain))):
        element = stage.chain[k]
        x, y = (_kept(block, stage.value_offsets[at], unit, columns) for at in (k, k + 1))
        dys = rule_of(element).backward(ElementUnit(block, stage, element, unit), columns, x, y, dys)
    for s, dy in zip(columns, dys, strict=True):
        block.keep_gradient(code.plus(unit, stage.gradient_offset), s, dy)


def _kept(block: ColumnBlock, place: Any | None, unit: Index, columns: Sequence[Index]) -> list[Any]:
    return [None if place is None else block.activation(block.code.plus(unit, place), s) for s in columns]
