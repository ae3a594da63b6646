"""Calls the rules of stages for a block of columns: forward from the first stage to the last, backward in reverse.

Part of the lowering pass: a ColumnBlock with the inputs of the stages stored comes in, code that computes outputs and
gradients is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules import RULES, weighted_rule_of
from lamp.compiler.rules.chain import apply_chain, chain_backward_of_all
from lamp.compiler.rules.rule import ChunkRule, CouplingRule
from lamp.compiler.stages import Plan, Stage


def take_input(block: ColumnBlock, unit: Index, column: Index, x: Lane) -> None:
    """Apply the input stage's chain to an input of the network, and store the result."""
    apply_chain(block, block.plan.stages[0], unit, column, x)


@dataclass
class Segment:
    """Stages that run one after another.

    head  a stage that is computed for a whole chunk of samples at once, before the others; None without one
    rest  stages that are computed for some columns at a time
    """

    head: Stage | None
    rest: list[Stage]


def segments(plan: Plan, heads: Collection[Stage]) -> list[Segment]:
    """The stages after the input: one segment, and one more for each of these heads."""
    found = [Segment(None, [])]
    for stage in plan.stages[1:]:
        if stage in heads:
            found.append(Segment(stage, []))
        else:
            found[-1].rest.append(stage)
    return found


def listed(plan: Plan, heads: Mapping[Stage, ChunkRule | CouplingRule]) -> str:
    """The segments of a plan, a line each: which stages are computed for a whole chunk, and which in blocks."""
    name = {stage: f"s{k}" for k, stage in enumerate(plan.stages)}
    lines = []
    for segment in segments(plan, heads):
        head = [] if segment.head is None else [f"{name[segment.head]} by {type(heads[segment.head]).__name__}"]
        rest = ", ".join(name[stage] for stage in segment.rest)
        parts = [*head, *([f"{rest} in blocks"] if rest else [])]
        if parts:
            lines.append("segment: " + "; ".join(parts))
    return "\n".join(lines)


def forward(block: ColumnBlock, stages: Sequence[Stage]) -> None:
    """Compute these stages from their stored inputs."""
    for stage in stages:
        RULES[stage.kind].forward(block, stage)


def backward(block: ColumnBlock, stages: Sequence[Stage]) -> None:
    """Compute the gradients of these stages' inputs, and in replica lanes of their parameters, from the stored
    gradients of their outputs."""
    for stage in reversed(stages):
        if not stage.learns:
            continue
        chain_backward_of_all(block, stage)
        RULES[stage.kind].backward(block, stage)
        if stage.parameters and not block.one_network:
            weighted_rule_of(stage).weight_gradient(block, stage)
