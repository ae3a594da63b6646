"""What the exporters are told of a network's inputs: their shapes, with names for axes of any length, and dtypes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from lamp.errors import ArgumentError, DTypeError
from lamp.graph import Shape
from lamp.interop.lengths import Named
from lamp.module import Module
from lamp.nn import Activation, Dropout, Identity, Linear, LogSoftmax, PReLU, Softmax
from lamp.replicas import Population

SHAPE_STAYS = (Activation, PReLU, Softmax, LogSoftmax, Dropout, Identity)
RESERVED = ("batch", "rows")  # the names of the first axis in an ONNX file


def guessed_shapes(model: Module) -> list[Shape]:
    """The shape of one input sample, from the first Linear. Raises ArgumentError if that does not determine it."""
    network = model.network if isinstance(model, Population) else model
    asked = [each for each in inspect.signature(network.trace).parameters.values() if each.default is each.empty]
    for module in network.modules() if len(asked) <= 2 else ():  # the tracer and one value
        if isinstance(module, Linear):
            return [(module.in_features,)]
        if not isinstance(module, SHAPE_STAYS) and not any(True for _ in module.children()):
            break
    raise ArgumentError(
        "the shape of the network's inputs is not known",
        expected="input_shape, the shape of one sample, without the batch",
        got="no Linear that takes the inputs" if len(asked) <= 2 else "a network of several inputs",
        fix="for example, input_shape=(28, 28), or [(3,), (5,)] for two inputs",
    )


def checked_shapes(given: Any) -> list[Named | None]:
    """The shape of each input; None for an argument that is left out."""

    def is_size(n: Any) -> bool:
        if isinstance(n, str):
            return n.isidentifier() and n not in RESERVED
        return isinstance(n, int) and not isinstance(n, bool) and n > 0

    def is_shape(shape: Any) -> bool:
        return isinstance(shape, tuple | list) and all(map(is_size, shape))

    if is_shape(given):
        return [tuple(given)]
    if isinstance(given, tuple | list) and all(each is None or is_shape(each) for each in given):
        return [None if each is None else tuple(each) for each in given]
    raise ArgumentError(
        "input_shape is not a shape",
        expected="the sizes of one sample's axes, without the batch, such as (28, 28); a list of such for many inputs",
        got=repr(given),
        fix='(784,) for 784 features: a tuple; ("length", 16) for sequences of any length',
    )


def checked_dtypes(given: Any, shapes: Sequence[Named | None], usual: torch.dtype) -> list[torch.dtype]:
    """The dtype of each input: what is asked for, or else that of the network. Raises DTypeError for any other."""
    asked = list(given) if isinstance(given, tuple | list) else [given] * (1 if len(shapes) == 1 else 0)
    asked = [None] * len(shapes) if given is None else asked
    takes = None, torch.bool, torch.int64, usual
    if len(asked) == len(shapes) and all(any(each is one for one in takes) for each in asked):
        return [usual if each is None else each for each in asked]
    raise DTypeError(
        "input_dtype does not fit",
        expected=f"None, torch.bool, torch.int64 or {usual}{'' if len(shapes) == 1 else ' for each input'}",
        got=repr(given),
        fix="input_dtype=[None, torch.bool] for numbers and a mask; leave it out without masks",
    )
