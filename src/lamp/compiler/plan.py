"""The front of the compiler: `plan_of` turns a module into a Plan by tracing, fusing and allocating.

A Plan is everything that the later passes know of the network. What cannot be compiled raises NotCompiled, with one
line that says why.
"""

from __future__ import annotations

from typing import Any

from lamp.compiler.fusion import fused
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.override_checks import check_overrides
from lamp.compiler.stages import Plan
from lamp.compiler.statistics import statistics_of
from lamp.compiler.storage import allocated
from lamp.errors import NotTraceable, ShapeError
from lamp.graph import Value
from lamp.module import Module
from lamp.nn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Dropout,
    Flatten,
    Identity,
    Linear,
    LogSoftmax,
    PReLU,
    Sequential,
    Softmax,
)
from lamp.overrides import class_attribute, is_lamps
from lamp.parameter import Parameter, spans
from lamp.replicas import Population
from lamp.tracing import guessed_shape, trace

KNOWN = (Sequential, Linear, Flatten, Identity, Softmax, LogSoftmax, Activation, Dropout, PReLU, RNN, LSTM, GRU)


def plan_of(model: Module, training: bool = True, shapes: tuple[Any, ...] | None = None) -> Plan:
    """The plan of a network, or of one replica of a population.

    training  whether Dropout drops; else it is left out
    shapes    of one sample of each input, nested as the inputs are: ((3,), (8, 8)); None for one input, which the first
              Linear takes. A Value in place of a shape, for an input of truth values

    Raises NotCompiled for a network that the compiler does not support.
    """
    try:
        return _plan(model, training, shapes)
    except NotCompiled as reason:
        raise reason.within(model if model.replicas is None else getattr(model, "network", model)) from None


def may_differ_in_eval_mode(plan: Plan, model: Module) -> bool:
    """Whether this plan of training mode may not be that of eval mode. A trace of the user's may ask for the mode."""
    return bool(plan.masks or plan.statistics) or any(not is_lamps(type(module)) for module in model.modules())


def _is_traced_by_lamp(module: Module) -> bool:
    """Whether lamp's own class says what a user's subclass does as a graph."""
    return type(module).trace is not Module.trace and is_lamps(class_attribute(type(module), "trace"))


def _plan(model: Module, training: bool, shapes: tuple[Any, ...] | None) -> Plan:
    for module in model.modules():
        if is_lamps(type(module)) or isinstance(module, KNOWN) or _is_traced_by_lamp(module):
            check_overrides(module)
    offsets, parameters = _offsets(model)
    if shapes is None:
        guessed = guessed_shape(model)
        if guessed is None:
            raise NotCompiled("there is no Linear that takes its inputs, and nothing else tells their shape")
        shapes = (guessed,)
    try:
        graph = trace(model, *map(_of_a_batch, shapes), training=training)
    except (NotTraceable, ShapeError) as error:
        raise NotCompiled(f"{error.where or type(model).__name__} is not compiled: {error.what}") from None
    for op in graph.ops:
        if not offsets.keys() >= set(op.parameters.values()):
            raise NotCompiled("is where its network does not find it", module=op.module)
    statistics, count = statistics_of(graph, model.replicas)
    plan = fused(graph, offsets, parameters, statistics)
    plan.statistic_count, plan.shapes = count, shapes
    if len(set(plan.masks)) < len(plan.masks):
        raise NotCompiled("a Dropout is used twice")
    if isinstance(model, Population) and model.sizes is not None:
        plan.sizes = model.sizes.widths
        if not plan.is_row:  # a kernel computes the offsets of parameters from the widths
            raise NotCompiled("networks of several sizes are compiled only as rows of Linear and activations")
    return allocated(plan)


def _of_a_batch(shape: Any) -> Any:
    """The shape of a batch of one sample, from that of a sample; or from nested ones. A Value stays what it is."""
    if isinstance(shape, Value):
        return shape
    return (1, *shape) if all(isinstance(n, int) for n in shape) else tuple(map(_of_a_batch, shape))


def _offsets(model: Module) -> tuple[dict[Parameter, int], int]:
    """The offset of each parameter among a network's numbers, in the order of memory, and how many numbers there
    are."""
    offsets: dict[Parameter, int] = {}
    total = 0
    for span in spans(model.parameters()):
        for parameter in span.parameters:
            offsets[parameter] = total
            total += parameter.elements
    return offsets, total
