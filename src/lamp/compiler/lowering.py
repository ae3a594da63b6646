"""Calls the rules of all stages for a block of columns: forward from the first stage to the last, backward in reverse.

Part of the lowering pass: a ColumnBlock with its inputs stored comes in, code that computes outputs and gradients is
written.
"""

from __future__ import annotations

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules import RULES, weighted_rule_of
from lamp.compiler.rules.chain import apply_chain, apply_chain_to_all, chain_backward_of_all
from lamp.compiler.stages import Stage


def take_input(block: ColumnBlock, unit: Index, column: Index, x: Lane) -> None:
    """Apply the input stage's chain to an input of the network, and store the result."""
    apply_chain(block, block.plan.stages[0], unit, column, x)


def forward(block: ColumnBlock, computed: Stage | None = None) -> None:
    """Compute all stages from the stored inputs. `computed` is a stage whose source is stored already."""
    for stage in block.plan.stages[1:]:
        if stage is computed:
            apply_chain_to_all(block, stage)
        else:
            RULES[stage.kind].forward(block, stage)


def backward(block: ColumnBlock) -> None:
    """Compute the gradients of all parameters from the stored gradients of the outputs."""
    block.given_gradients, block.gone_back = {block.plan.last}, set()
    for stage in block.plan.stages[:0:-1]:
        if not stage.learns:
            continue
        if stage.chain and stage not in block.gone_back:
            chain_backward_of_all(block, stage)
        if stage.parameters and not block.one_network:
            weighted_rule_of(stage).weight_gradient(block, stage)
        RULES[stage.kind].backward(block, stage)
