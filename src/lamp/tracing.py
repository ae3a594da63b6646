"""`trace`, which makes the graph of a network."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NotTraceable
from lamp.graph import Graph, Shape, Value
from lamp.module import Module
from lamp.parameter import Parameter
from lamp.signatures import called
from lamp.tracer import Tracer
from lamp.trees import flat
from lamp.values import a_switch, kind_of


@called()
def trace(model: Module, *inputs: Any, training: bool = True, across: bool = False, **options: Any) -> Graph:
    """The graph of a network; for a population, that of one of its networks.

    inputs    batches, or their shapes such as (32, 784); only shapes and dtypes are used. A tuple of batches for an
              input that is a tuple, None for an argument that is left out. The first axis is the batch's; the second,
              for modules that have it there, such as attention and recurrent layers without batch_first
    training  True for the graph of training, False for that of evaluation, without Dropout
    across    whether operations across the samples of a batch, such as Softmax(0), are allowed in the graph
    options   further arguments of the network that are no batches, such as attn_mask=mask or need_weights=False

    Raises NotTraceable with the path of the module that cannot be traced and the reason, and ShapeError for shapes that
    do not fit.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "trace takes a network",
            expected="a lamp module",
            got=kind_of(model),
            fix="lamp.trace(model, x); lamp.from_torch(...) converts a torch.nn.Module",
        )
    root = model if model.replicas is None else getattr(model, "network", model)
    training, across = a_switch(training, "training"), a_switch(across, "across")
    parameters = (each for module in root.modules() for _, each in module._members(Parameter))
    dtype = next((parameter.dtype for parameter in parameters), torch.get_default_dtype())
    if inputs and all(x is None for x in inputs):
        raise _no_batch(None)
    second: set[int] = set()  # numbers of the inputs that have their batch on the second axis
    while True:
        tracer = Tracer(root, training, across)
        try:
            values = [_given(tracer, x, dtype, second) for x in inputs]
            outputs = tracer(root, *values, **options)
            given, found = (tuple(each for each in flat(tree) if each is not None) for tree in (values, outputs))
            return Graph(tuple(tracer.ops), given, found)
        except NotTraceable as error:
            moved = _sources(tracer, error.value) - second
            if not moved:
                raise
            second |= moved


def holds_inputs(x: Any) -> bool:
    """Whether an input is a tuple of inputs, and neither a batch nor its shape."""
    return isinstance(x, tuple | list) and bool(x) and not any(isinstance(n, int) for n in x)


def takes_one_input(model: Module) -> bool:
    """Whether a network can be traced with a single input."""
    network = model if model.replicas is None else getattr(model, "network", model)
    try:
        inspect.signature(network.trace).bind(None, None)
    except TypeError:
        return False
    return True


def takes_any_size(module: Module) -> bool:
    """Whether a module works along axes of any size: a convolution, a pool, a recurrence, an embedding or attention."""
    known = ("kernel_size", "output_size", "hidden_size", "num_embeddings", "num_heads")
    return not vars(module).keys().isdisjoint(known)


def guessed_shape(model: Module) -> Shape | None:
    """The shape of a sample, from the first module with `in_features`; None if that does not take the input."""
    for module in model.modules():
        if takes_any_size(module):
            return None  # indices, or numbers along axes: as many as there are
        features = vars(module).get("in_features")  # getattr would search for similar names
        if isinstance(features, int):
            return (features,)
    return None


def _sources(tracer: Tracer, value: Value | None) -> set[int]:
    """The numbers of the network's inputs that a value depends on."""
    found = set() if value is None else {value.number}
    for op in reversed(tracer.ops):
        if not found.isdisjoint(each.number for each in op.outputs):
            found.update(each.number for each in op.inputs)
    return found - {each.number for op in tracer.ops for each in op.outputs}


def _given(tracer: Tracer, x: Any, dtype: torch.dtype, second: set[int]) -> Any:
    """The value for an input, or a tuple of values for a tuple of inputs; None for an argument that is left out."""
    if x is None:
        return None
    if holds_inputs(x):
        return tuple(_given(tracer, each, dtype, second) for each in x)
    number = tracer.value((), dtype).number
    if isinstance(x, Value):
        return replace(x, number=number, batch=1 if number in second else x.batch)
    batch = 1 if number in second else 0
    return Value(number, *_sample(x, dtype, batch), batch=batch)


def _sample(x: Any, dtype: torch.dtype, batch: int) -> tuple[Shape, torch.dtype]:
    """The shape of one sample and its dtype, from a batch or the shape of one, with the batch on this axis."""
    if isinstance(x, Tensor):
        lead = 0 if getattr(x, "replicas", None) is None else 1
        if x.dim() > lead + batch:
            return (*x.shape[lead : lead + batch], *x.shape[lead + batch + 1 :]), x.dtype
    elif isinstance(x, tuple | list) and len(x) > batch and all(isinstance(n, int) and n > 0 for n in x):
        return (*x[:batch], *x[batch + 1 :]), dtype
    raise _no_batch(x)


def _no_batch(x: Any) -> ArgumentError:
    return ArgumentError(
        "trace takes batches",
        expected="a tensor (B, ...), or its shape, such as (32, 784)",
        got=f"a tensor {tuple(x.shape)}"
        if isinstance(x, Tensor)
        else repr(x)
        if isinstance(x, tuple | list | str | int)
        else f"a {type(x).__name__}",
        fix="lamp.trace(model, x) or lamp.summary(model, x); torch.as_tensor(x) converts an array",
    )
