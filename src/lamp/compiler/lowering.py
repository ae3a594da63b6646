"""The driver of the rules: a block's columns through all stages, and back again."""

from __future__ import annotations

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules import RULES, weighted_rule_of
from lamp.compiler.rules.chain import back_through_all, through, through_all
from lamp.compiler.stages import Stage


def take_input(block: ColumnBlock, unit: Index, column: Index, x: Lane) -> None:
    """Take an input of the network."""
    through(block, block.plan.stages[0], unit, column, x)


def forward(block: ColumnBlock, computed: Stage | None = None) -> None:
    """From the inputs, which are in their places, to the outputs of the last stage. `computed`: a stage whose source is
    in its places already."""
    for stage in block.plan.stages[1:]:
        if stage is computed:
            through_all(block, stage)
        else:
            RULES[stage.kind].forward(block, stage)


def backward(block: ColumnBlock) -> None:
    """From the gradients of the outputs, which are in their places, to those of all parameters."""
    block.given_gradients, block.gone_back = {block.plan.last}, set()
    for stage in block.plan.stages[:0:-1]:
        if not stage.learns:
            continue
        if stage.chain and stage not in block.gone_back:
            back_through_all(block, stage)
        if stage.parameters and not block.one_network:
            weighted_rule_of(stage).weight_gradient(block, stage)
        RULES[stage.kind].backward(block, stage)
