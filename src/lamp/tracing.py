"""Tracing: a network's modules say what they do, and a graph of it is written down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LampError, NotTraceable, ShapeError
from lamp.graph import Graph, Op, Shape, Value, single_shape, sizes
from lamp.module import Module
from lamp.overrides import overridden
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe, path_of
from lamp.signatures import called


class Tracer:
    """What a module's `trace` writes its operations to. Calling it with a module traces that module.

    training  whether the graph is that of training; in evaluation Dropout does nothing
    """

    def __init__(self, root: Module, training: bool) -> None:
        self.root, self.training = root, training
        self.ops: list[Op] = []
        self._count = 0
        self._stack: list[Module] = []

    def __call__(self, module: Module, *values: Value) -> Any:
        """The values that a module puts out for these. Raises NotTraceable, with the module's path."""
        with self._within(module):
            changed = overridden(module, only=("forward", "backward", "backward_parameters"))
            says = type(module).trace is not Module.trace
            if says and changed is not None and not _traces_itself(module):
                raise NotTraceable(
                    f"it has its own {changed}: lamp cannot read what that does",
                    expected="a module as lamp has it, or one with a trace(tracer, *values) beside its forward",
                    got=describe(module),
                    fix="write trace(self, tracer, x), or use the eager engine",
                )
            return module.trace(self, *values)

    @contextmanager
    def _within(self, module: Module) -> Iterator[None]:
        self._stack.append(module)
        try:
            yield
        except LampError as error:
            if error.where is None:
                error.where = path_of(module, self.root)
            raise
        finally:
            self._stack.pop()

    # ---- operations --------------------------------------------------------------------------------------------
    def value(self, shape: Sequence[int], dtype: torch.dtype) -> Value:
        """A new value."""
        self._count += 1
        return Value(self._count - 1, tuple(shape), dtype)

    def op(
        self,
        kind: str,
        module: Module,
        inputs: Sequence[Value],
        shape: Sequence[int],
        *,
        parameters: Mapping[str, Parameter] | None = None,
        buffers: Mapping[str, Buffer] | None = None,
        multiplications: int = 0,
        **attributes: Any,
    ) -> Value:
        """Any operation with one output, of this shape per sample."""
        output = self.value(shape, inputs[0].dtype)
        path = _path(module, self.root)
        held = parameters or {}
        op = Op(kind, tuple(inputs), (output,), module, path, held, buffers or {}, attributes, multiplications)
        self.ops.append(op)
        return output

    def affine(self, module: Module, x: Value, weight: Parameter, bias: Parameter | None) -> Value:
        """y = x W^T + b of the last axis."""
        outputs, inputs = single_shape(weight)
        if not x.shape or x.shape[-1] != inputs:
            raise ShapeError(
                "the last axis has another number of features than the weights",
                expected=f"(B..., {inputs})",
                got=f"(B, {', '.join(map(str, x.shape))})" if x.shape else "(B,)",
                fix=f"{type(module).__name__}({x.shape[-1]}, {outputs})" if x.shape else "a batch of samples",
            )
        held = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        shape = (*x.shape[:-1], outputs)
        return self.op("Affine", module, [x], shape, parameters=held, multiplications=math.prod(shape) * inputs)

    def elementwise(self, module: Module, x: Value, **parameters: Parameter) -> Value:
        """A function of each number for itself: the module's `sigma`."""
        return self.op("Elementwise", module, [x], x.shape, parameters=parameters)

    def mask(self, module: Module, x: Value) -> Value:
        """Some numbers set to zero at random; nothing in evaluation."""
        return self.op("Mask", module, [x], x.shape) if self.training else x

    def softmax(self, module: Module, x: Value, dim: int, log: bool) -> Value:
        """Scores into probabilities, or their logarithms, along an axis as the module numbers it."""
        return self.op("Softmax", module, [x], x.shape, axis=self.axis(x, dim), log=log)

    def reshape(self, module: Module, x: Value, shape: Sequence[int]) -> Value:
        """The same numbers in another shape per sample."""
        return x if tuple(shape) == x.shape else self.op("Reshape", module, [x], shape)

    def add(self, module: Module, *values: Value) -> Value:
        """The sum of values of one shape."""
        return self.op("Add", module, values, _common_shape(values))

    def multiply(self, module: Module, *values: Value) -> Value:
        """The product of values of one shape, element by element."""
        return self.op("Multiply", module, values, _common_shape(values))

    def concat(self, module: Module, *values: Value, dim: int = -1) -> Value:
        """Values one after another along an axis."""
        axis = self.axis(values[0], dim)
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self.op("Concat", module, values, shape, axis=axis)

    @staticmethod
    def axis(x: Value, dim: int) -> int:
        """Which axis of a sample a module means that numbers the axes of a batch."""
        rank = len(x.shape) + 1
        if not -rank <= dim < rank:
            raise ShapeError("there is no such axis", expected=f"{rank} axes, the batch's first", got=f"dim={dim}")
        if dim % rank == 0:
            raise NotTraceable(
                "it works along the axis of the batch",
                expected="an operation on each sample for itself",
                got=f"dim={dim}",
                fix="work on the axes after the first",
            )
        return dim % rank - 1


@called()
def trace(model: Module, *inputs: Any, training: bool = True) -> Graph:
    """The graph of a network; of a population that of one of its networks.

    inputs    batches, or the shapes of a batch such as (32, 784): only shapes and dtypes are looked at
    training  whether the graph is that of training (the default), or of evaluation, without Dropout

    Raises NotTraceable with the path of the module that cannot be traced and the reason, and ShapeError where shapes
    do not fit.
    """
    root = model.network if hasattr(model, "network") and model.replicas is not None else model
    tracer = Tracer(root, training)
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.get_default_dtype())
    values = tuple(tracer.value(*_sample(x, dtype)) for x in inputs)
    outputs = tracer(root, *values)
    return Graph(tuple(tracer.ops), values, outputs if isinstance(outputs, tuple) else (outputs,))


def guessed_shape(model: Module) -> Shape | None:
    """The shape of one sample's input as the first layer tells it that has a number of features; None without one."""
    for module in model.modules():
        features = getattr(module, "in_features", None)
        if isinstance(features, int):
            return (features,)
    return None


def _sample(x: Any, dtype: torch.dtype) -> tuple[Shape, torch.dtype]:
    """The shape of one sample and its dtype, of a batch or the shape of one."""
    if isinstance(x, Tensor):
        axis = 1 if getattr(x, "replicas", None) is None else 2
        if x.dim() >= axis:
            return tuple(x.shape[axis:]), x.dtype
    elif isinstance(x, tuple | list) and x and all(isinstance(n, int) and n > 0 for n in x):
        return tuple(x[1:]), dtype
    raise ArgumentError(
        "trace takes batches",
        expected="a tensor (B, ...), or its shape, such as (32, 784)",
        got=f"a tensor {tuple(x.shape)}" if isinstance(x, Tensor) else repr(x),
        fix="lamp.trace(model, x)",
    )


def _common_shape(values: Sequence[Value]) -> Shape:
    shapes = list(dict.fromkeys(value.shape for value in values))
    if len(shapes) != 1:
        raise ShapeError(
            "values of different shapes meet",
            expected=sizes(shapes[0]),
            got=", ".join(map(sizes, shapes[1:])),
            fix="bring all to one shape: nothing is broadcast",
        )
    return shapes[0]


def _path(module: Module, root: Module) -> str:
    return next((path for path, each in root.named_modules() if each is module), "")


def _traces_itself(module: Module) -> bool:
    """Whether the class that wrote this module's forward, or one after it, wrote its trace too."""
    places = [
        next(k for k, base in enumerate(type(module).__mro__) if name in vars(base)) for name in ("trace", "forward")
    ]
    return places[0] <= places[1] and "forward" not in vars(module) and "backward" not in vars(module)
