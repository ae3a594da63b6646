"""The passes from a network to a plan that can be lowered: trace, fuse, arrange.

`plan_of(model)` makes a `Plan`, or raises `NotCompiled` with the one line that says why it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamp.compiler.fusion import fused
from lamp.compiler.stages import Plan
from lamp.compiler.stand_ins import NotCompiled, look_for_overrides
from lamp.compiler.storage import arranged
from lamp.errors import NotTraceable, ShapeError
from lamp.module import Module
from lamp.nn import Activation, Dropout, Flatten, Identity, Linear, LogSoftmax, PReLU, Sequential, Softmax
from lamp.overrides import is_lamps
from lamp.parameter import Parameter, spans
from lamp.replicas import Population
from lamp.tracing import guessed_shape, trace

KNOWN = (Sequential, Linear, Flatten, Identity, Softmax, LogSoftmax, Activation, Dropout, PReLU)


def plan_of(model: Module, training: bool = True, shape: Sequence[int] | None = None) -> Plan:
    """The plan of a network, or of one network of a population; Dropout is left out if not training.

    shape  of one sample's input; None for what the first Linear takes

    Raises NotCompiled.
    """
    for module in model.modules():
        if is_lamps(type(module)) or isinstance(module, KNOWN):
            look_for_overrides(module)
    places, parameters = _places(model)
    shape = guessed_shape(model) if shape is None else shape
    if shape is None:
        raise NotCompiled("there is no Linear in the network")
    try:
        graph = trace(model, (1, *shape), training=training)
    except (NotTraceable, ShapeError) as error:
        raise NotCompiled(f"{error.where or type(model).__name__} is not compiled: {error.what}") from None
    plan = fused(graph, places, parameters)
    if len(set(plan.dropouts)) < len(plan.dropouts):
        raise NotCompiled("a Dropout is used twice")
    if isinstance(model, Population) and model.sizes is not None:
        plan.sizes = model.sizes.widths
        if not plan.is_row:  # a kernel finds the parameters of each size by counting
            raise NotCompiled("networks of several sizes are compiled where they are rows of Linear and activations")
    return arranged(plan)


def _places(model: Module) -> tuple[dict[Parameter, int], int]:
    """Where each parameter begins among a network's numbers, and how many those are: they lie as in memory."""
    places: dict[Parameter, int] = {}
    total = 0
    for span in spans(model.parameters()):
        for parameter in span.parameters:
            places[parameter] = total
            total += parameter.size
    return places, total
