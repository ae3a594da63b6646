"""The allocation pass: assigns every stored value and every gradient its offset in scratch memory.

A Plan without offsets comes in, a copy with offsets goes out. Only values that are needed again are stored: outputs of
stages, and what backward reads. The outputs of a stage that backward does not read are needed until the last stage that
reads them; then other outputs of as many units take their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamp.compiler.rules import RULES
from lamp.compiler.rules.chain import rule_of as element_rule_of
from lamp.compiler.rules.elementwise import slopes_of
from lamp.compiler.stages import INPUT, Plan, Stage


def allocated(plan: Plan) -> Plan:
    """The plan with offsets for its values and gradients."""
    plan = plan.with_stages(plan.stages)
    last_user = {each: stage for stage in plan.stages for each in stage.inputs}
    activations: Any = 0
    free: dict[Any, list[Any]] = {}  # by number of units, the offsets of outputs that are not needed any more
    for stage in plan.stages:
        stage.value_offsets = []
        for needed in _needed(stage):
            place = None
            if needed:
                if free.get(stage.units):
                    place = free[stage.units].pop()
                else:
                    place, activations = activations, activations + stage.units
            stage.value_offsets.append(place)
        if stage.kind != INPUT and (kept := RULES[stage.kind].kept(stage)):
            stage.kept_offset, activations = activations, activations + kept
        for each in dict.fromkeys(stage.inputs):
            if last_user[each] is stage and not _is_read_by_backward(each, plan):
                free.setdefault(each.units, []).append(each.output_offset)
    gradients: Any = 0
    for stage in reversed(plan.stages[1:]):
        user = next((each for each in plan.stages if stage in each.inputs), None)
        if user is not None and stage.users == 1 and not stage.chain and user.learns and _gives_its_own(user):
            stage.gradient_offset = user.gradient_offset
        else:
            stage.gradient_offset, gradients = gradients, gradients + stage.units
    return replace(plan, activation_count=activations, gradient_count=gradients)


def _needed(stage: Stage) -> list[bool]:
    """Which values of a stage are needed again: that of the source, then that after each element of the chain."""
    return [*_read_by_its_backward(stage)[:-1], True]


def _read_by_its_backward(stage: Stage) -> list[bool]:
    """Which of these values the stage's own backward reads."""
    needed = [False] * (len(stage.chain) + 1)
    if stage.kind == INPUT:
        return needed  # no gradients pass through its chain
    needed[0] |= RULES[stage.kind].keeps_source
    for k, element in enumerate(stage.chain):
        needs = element_rule_of(element).needs(element.module)
        needed[k] |= "x" in needs
        needed[k + 1] |= "y" in needs
    return needed


def _is_read_by_backward(stage: Stage, plan: Plan) -> bool:
    """Whether backward reads the outputs of a stage: its own backward, or that of a stage that uses them."""
    own = _read_by_its_backward(stage)[-1]
    return own or any(RULES[user.kind].reads_inputs for user in plan.stages if stage in user.inputs)


def _gives_its_own(stage: Stage) -> bool:
    """Whether the gradients of its inputs equal its own, so that both can share memory."""
    return stage.kind != INPUT and RULES[stage.kind].gives_its_gradient


def with_widths(plan: Plan, hidden: Sequence[Any]) -> Plan:
    """A plan that is a row, with other widths of hidden layers. The parameters lie one after another.

    hidden  the widths: integers, or Counts that are known only when the kernel runs
    """
    stages = [replace(plan.stages[0])]
    place: Any = 0
    for stage, outputs in zip(plan.layers, [*hidden, plan.outputs], strict=True):
        inputs = stages[-1].units
        parameters, place = {"weight": place}, place + outputs * inputs
        if stage.bias_offset is not None:
            parameters["bias"], place = place, place + outputs
        chain = []
        for element in stage.chain:
            chain.append(replace(element, parameters=dict.fromkeys(element.parameters, place)))
            if element.parameters:
                place = place + (outputs if slopes_of(element) > 1 else 1)
        stages.append(replace(stage, inputs=[stages[-1]], units=outputs, parameters=parameters, chain=chain))
    return allocated(replace(plan, stages=stages, parameters=place))
