"""From a graph to stages: what acts element by element joins the stage whose output it alone takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from lamp.compiler.stages import (
    ADD,
    AFFINE,
    CONCAT,
    ELEMENTWISE,
    INPUT,
    MULTIPLY,
    SOFTMAX,
    Stage,
)
from lamp.compiler.stand_ins import NotCompiled
from lamp.graph import Graph, Op, Value
from lamp.nn import Activation, Dropout, PReLU
from lamp.parameter import Parameter
from lamp.paths import describe

POINTWISE = {"Add": ADD, "Multiply": MULTIPLY}
IN_CHAINS = {"Elementwise": (Activation, PReLU), "Mask": (Dropout,)}


def fused(graph: Graph, places: Mapping[Parameter, int]) -> list[Stage]:
    """The stages of a graph, its input first and the one that is its output last. Raises NotCompiled."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise NotCompiled("the network takes several inputs, or puts several outputs out")
    same = _aliases(graph)
    uses = Counter(same[value.number] for op in graph.ops if op.kind != "Reshape" for value in op.inputs)
    uses.update(same[value.number] for value in graph.outputs)
    (given,) = graph.inputs
    stages = [Stage(INPUT, [], math.prod(given.shape))]
    stage_of = {given.number: stages[0]}
    for op in graph.ops:
        if op.kind == "Reshape":
            continue
        inputs = [stage_of[same[value.number]] for value in op.inputs]
        chained = IN_CHAINS.get(op.kind)
        if chained is not None:
            if not isinstance(op.module, chained):
                raise NotCompiled(f"{describe(op.module)} is not compiled: lamp.compile says which modules are")
            stage = inputs[0]
            joins = uses[same[op.inputs[0].number]] == 1 and not (stage.kind == INPUT and op.parameters)
            if not joins:
                stage = Stage(ELEMENTWISE, inputs, inputs[0].units)
                stages.append(stage)
            if op.parameters:
                stage.slopes[len(stage.chain)] = _slopes(op, places)
            stage.chain.append(op.module)
        else:
            stage = _source(op, inputs, places, sum(each.kind == AFFINE for each in stages))
            stages.append(stage)
        stage_of[op.output.number] = stage
    return _used(stages, stage_of[same[graph.outputs[0].number]])


def _aliases(graph: Graph) -> dict[int, int]:
    """The value that each value's numbers are those of: another shape is the same numbers in the same order."""
    same = {value.number: value.number for value in graph.inputs}
    for op in graph.ops:
        for value in op.outputs:
            same[value.number] = same[op.inputs[0].number] if op.kind == "Reshape" else value.number
    return same


def _source(op: Op, inputs: list[Stage], places: Mapping[Parameter, int], layer: int) -> Stage:
    """A stage that begins with this operation."""
    units = math.prod(op.output.shape)
    if op.kind == "Affine":
        _one_axis(op, op.inputs[0])
        bias = op.parameters.get("bias")
        weight = places[op.parameters["weight"]]
        return Stage(AFFINE, inputs, units, layer, weight, None if bias is None else places[bias])
    if op.kind == "Softmax":
        _one_axis(op, op.inputs[0])
        return Stage(SOFTMAX, inputs, units, log=bool(op.attributes["log"]))
    if op.kind == "Concat":
        _one_axis(op, op.inputs[0])
        return Stage(CONCAT, inputs, units)
    if op.kind in POINTWISE:
        return Stage(POINTWISE[op.kind], inputs, units)
    raise NotCompiled(f"{describe(op.module)} is not compiled: lamp.compile says which modules are")


def _one_axis(op: Op, value: Value) -> None:
    if len(value.shape) != 1:
        raise NotCompiled(f"{describe(op.module)} is compiled for samples of one axis, and gets {value.shape}")


def _slopes(op: Op, places: Mapping[Parameter, int]) -> int:
    """Where the slopes of a PReLU begin."""
    (weight,) = op.parameters.values()
    if weight.size > 1:
        _one_axis(op, op.inputs[0])
    return places[weight]


def _used(stages: list[Stage], output: Stage) -> list[Stage]:
    """Those stages that the output needs, it last, and what each of them is to the others."""
    wanted = {id(output)}
    for stage in reversed(stages):
        if id(stage) in wanted:
            wanted |= {id(each) for each in stage.inputs}
    kept = [stage for stage in stages if id(stage) in wanted and stage is not output] + [output]
    without_input = kept[0] is not stages[0] or output is stages[0]
    if without_input or not any(stage.kind == AFFINE for stage in kept):
        raise NotCompiled("there is no Linear in the network")
    for stage in kept:
        stage.users += stage is output
        for each in stage.inputs:
            each.users += 1
        stage.learns = stage.kind == AFFINE or bool(stage.slopes) or any(each.learns for each in stage.inputs)
    return kept
