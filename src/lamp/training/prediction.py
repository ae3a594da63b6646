"""`predict`: the outputs of a network for data, computed batch by batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.axes import marked, replicas_of
from lamp.data import as_column, is_batched
from lamp.errors import DataError
from lamp.module import Module
from lamp.nn.module_row import ModuleRow
from lamp.passes import evaluating
from lamp.replicas import Population
from lamp.signatures import called
from lamp.training.arguments import EVALUATION_BATCH, check_model
from lamp.trees import first_leaf, joined, leaves, mapped
from lamp.values import natural


@called({"x": "inputs", "X": "inputs", "input": "inputs", "data": "inputs"})
def predict(model: Module, inputs: Any, *, batch_size: int = EVALUATION_BATCH) -> Any:
    """The network's outputs for all inputs (n, ...), computed in eval mode, batch by batch. The model's mode is kept.

    inputs      a tensor; or an array, a DataFrame or a list of numbers, which are converted to the network's dtype; or
                a tuple of these, for a network with several inputs
    batch_size  samples per batch

    Returns a tensor (n, ...), or a tuple of them if the network has several outputs; of a population (K, n, ...). Pass
    inputs that differ between replicas as `population.per_replica(inputs)`.

    Raises ArgumentError for a model that is not a lamp module and a batch_size below 1, DataError for inputs that are
    not numbers or differ in length.
    """
    check_model(model, "predict")
    size = natural(batch_size, "batch_size", least=1)
    given = _as_inputs(inputs, model)
    with evaluating():
        outputs = [model(*batch) for batch in _split(given, size)]
    return joined(outputs, 0 if model.replicas is None else 1)


def _as_inputs(inputs: Any, model: Module) -> tuple[Any, ...]:
    """The inputs as a tuple of tensors. Tensors are unchanged; anything else gets the parameters' dtype and device.

    Raises DataError for another number of inputs than the network takes, and for inputs that differ in length.
    """
    if not isinstance(inputs, tuple):
        return (_as_input(inputs, model),)
    if not takes_inputs(model, len(inputs)):
        raise _not_inputs(inputs)
    columns = _each_as_input(inputs, model)
    lengths = {_length(x) for _, x in leaves(columns)}
    if len(lengths) > 1:
        raise DataError(
            "the inputs differ in length",
            expected="as many samples in each",
            got=", ".join(str(tuple(x.shape)) for _, x in leaves(columns)),
            fix="select the same samples in all of them",
        )
    return columns


def _each_as_input(inputs: tuple[Any, ...], model: Module) -> tuple[Any, ...]:
    return tuple(_each_as_input(x, model) if isinstance(x, tuple) else _as_input(x, model) for x in inputs)


def takes_inputs(model: Module, count: int) -> bool:
    """Whether a network takes so many inputs."""
    network = model.network if isinstance(model, Population) else model
    if isinstance(network, ModuleRow):  # its second argument is a target
        return count == 1
    try:
        inspect.signature(network.forward).bind(*range(count))
    except TypeError:
        return False
    return count > 0


def _as_input(inputs: Any, model: Module) -> Tensor:
    if isinstance(inputs, Tensor):
        dense = inputs.layout is torch.strided and not inputs.is_nested and inputs.dim()
        return inputs if dense else as_column(inputs)  # raises the error for a single number
    if isinstance(inputs, list) and inputs and all(isinstance(each, Tensor) for each in inputs):
        inputs = torch.stack(inputs)
    elif isinstance(inputs, list) and inputs and all(isinstance(each, np.ndarray) for each in inputs):
        inputs = np.stack(inputs)
    elif isinstance(inputs, tuple) or is_batched(inputs):
        raise _not_inputs(inputs)
    column, parameter = as_column(inputs), next(iter(model.parameters()), None)
    if parameter is None:
        return column
    return column.to(parameter.device, parameter.dtype if column.is_floating_point() else None)


def _not_inputs(inputs: Any) -> DataError:
    return DataError(
        "predict takes inputs alone",
        expected="a tensor or an array (n, ...), or a tuple of them for a network of as many inputs",
        got=f"a {type(inputs).__name__}" + (f" of {len(inputs)}" if isinstance(inputs, tuple) else ""),
        fix="pass the inputs without targets; of batches: torch.cat([lamp.predict(model, x) for x, _ in batches])",
    )


def _split(inputs: tuple[Any, ...], size: int) -> Iterator[tuple[Any, ...]]:
    """The inputs in batches of so many samples. Inputs marked as per replica stay marked."""
    for start in range(0, max(_length(first_leaf(inputs)), 1), size):
        rows = slice(start, start + size)

        def taken(x: Tensor, rows: slice = rows) -> Tensor:
            replicas = replicas_of(x)
            return x[rows] if replicas is None else marked(x[:, rows], replicas)

        yield mapped(inputs, taken)


def _length(x: Tensor) -> int:
    """The number of samples."""
    return x.shape[0 if replicas_of(x) is None else 1]
