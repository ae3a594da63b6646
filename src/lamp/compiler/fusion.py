"""The fusion pass: from a Graph to a Plan of stages.

An elementwise operation joins the stage before it if no other operation reads that stage's output. Each of the other
operations begins a stage of its own. A fused operation works on numbers that are still in registers.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import accumulate

import torch

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.rules import rule_of
from lamp.compiler.rules.chain import IN_CHAINS
from lamp.compiler.rules.chain import rule_of as element_rule_of
from lamp.compiler.rules.views import View
from lamp.compiler.stages import INPUT, Plan, Stage
from lamp.graph import Graph
from lamp.nn.module_row import commute
from lamp.parameter import Buffer, Parameter


def fused(graph: Graph, offsets: dict[Parameter, int], parameters: int, statistics: dict[Buffer, int]) -> Plan:
    """The stages of a graph, from its input to its output. Offsets of values are assigned by a later pass (storage).

    offsets      the offset of each parameter among the network's numbers
    parameters  P, how many numbers a network has
    statistics  the offset of each running statistic among the network's

    Raises NotCompiled for an operation that no rule compiles, and for several outputs.
    """
    if len(graph.outputs) != 1:
        raise NotCompiled("the network has several outputs, which no loss of formulas takes")
    if any(value.batch for value in (*graph.inputs, *graph.outputs)):
        raise NotCompiled("the network's batch is not on the first axis of its inputs and output")
    for value in graph.inputs:
        others = [op for op in graph.users(value) if op.kind != "Exclude"]
        if value.dtype is torch.bool and others:
            raise NotCompiled("truth values are compiled only as a mask of attention", module=others[0].module)
    same = _aliases(graph)
    uses = Counter(same[value.number] for op in graph.ops if op.kind != "Reshape" for value in op.inputs)
    uses.update(same[value.number] for value in graph.outputs)
    stages = _given(graph)
    stage_of = {value.number: stage for value, stage in zip(graph.inputs, stages[-len(graph.inputs) :], strict=True)}
    for op in graph.ops:
        if op.kind == "Reshape":
            continue
        inputs = [stage_of[same[value.number]] for value in op.inputs]
        if op.kind in IN_CHAINS:
            element = element_rule_of(op).element(op, offsets)
            (stage,) = inputs
            joins = uses[same[op.inputs[0].number]] == 1 and not (stage.kind == INPUT and element.parameters)
            joins = joins and not any(stage in each.inputs for each in stages)
            if not joins:
                stage = Stage("Elementwise", inputs, stage.units)
                stages.append(stage)
            stage.chain.append(element)
        else:
            alone = [
                uses[same[value.number]] == 1 and not any(stage in each.inputs for each in stages)
                for value, stage in zip(op.inputs, inputs, strict=True)
            ]
            if (merged := rule_of(op).merged(op, inputs, alone)) is not None:
                stage_of[op.output.number] = merged
                continue
            outputs = rule_of(op).outputs(op, inputs, offsets)
            for value, made in zip(op.outputs, outputs, strict=True):
                if uses[value.number] or len(outputs) == 1:
                    known = len(stages)
                    _append(stages, made)
                    for each in stages[known:]:
                        held = op.buffers.items()
                        each.statistics = {name: statistics[its] for name, its in held if its in statistics}
                    stage_of[value.number] = made
            before = inputs[0].chain if inputs else []
            if before and uses[same[op.inputs[0].number]] == 1 and commute(before[-1].module, op.module):
                stages[-1].chain.append(before.pop())  # after a max pool fewer numbers go through it
            continue
        stage_of[op.output.number] = stage
    kept = _used(stages, stage_of[same[graph.outputs[0].number]])
    found = [stage.attributes.get("numbers") for stage in kept]
    found += [element.numbers for stage in kept for element in stage.chain]
    numbers = [each for each in found if each is not None]
    return Plan(graph, kept, parameters, offsets, numbers=numbers, statistics=statistics)


def _given(graph: Graph) -> list[Stage]:
    """The stage of the data's rows; and for several inputs, which lie in a row one after another, a view of each."""
    units = [math.prod(value.shape) for value in graph.inputs]
    rows = Stage(INPUT, [], sum(units))
    if len(units) == 1:
        return [rows]
    views = [
        replace(View.of(value.shape), first=first)
        for value, first in zip(graph.inputs, accumulate(units, initial=0), strict=False)
    ]
    return [rows, *(Stage("View", [rows], n, attributes={"view": view}) for n, view in zip(units, views, strict=True))]


def _append(stages: list[Stage], stage: Stage) -> None:
    """Append a stage, after those of its inputs that are not there yet."""
    for each in stage.inputs:
        if each not in stages:
            _append(stages, each)
    if stage not in stages:
        stages.append(stage)


def _aliases(graph: Graph) -> dict[int, int]:
    """For each value, the value whose numbers it shares: a Reshape leaves the numbers and their order as they are."""
    same = {value.number: value.number for value in graph.inputs}
    for op in graph.ops:
        for value in op.outputs:
            same[value.number] = same[op.inputs[0].number] if op.kind == "Reshape" else value.number
    return same


def _used(stages: list[Stage], output: Stage) -> list[Stage]:
    """The stages that the output depends on, the output last; sets their `layer`, `users` and `learns`.

    Raises NotCompiled if none of them has weights.
    """
    wanted = {output}
    for stage in reversed(stages):
        if stage in wanted:
            wanted.update(stage.inputs)
    kept = [stage for stage in stages if stage in wanted and stage is not output] + [output]
    without_input = kept[0] is not stages[0] or output is stages[0]
    layers = [stage for stage in kept if stage.parameters]
    if without_input or not layers:
        raise NotCompiled("there is no Linear in the network")
    for k, stage in enumerate(layers):
        stage.layer = k
    for stage in kept:
        stage.users += stage is output
        for each in stage.inputs:
            each.users += 1
        own = bool(stage.parameters) or any(element.parameters for element in stage.chain)
        stage.learns = own or any(each.learns for each in stage.inputs)
    return kept
