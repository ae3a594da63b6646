"""`Tracer`: what a module's `trace` writes its operations to."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from traceback import extract_tb
from typing import Any

import torch

from lamp.errors import LampError, NotTraceable, ShapeError
from lamp.graph import BATCH, NEEDED, Graph, Op, Shape, Value, single_shape, sizes
from lamp.module import Module
from lamp.overrides import overridden
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe, path_of
from lamp.trees import flat

PACKAGE = os.path.dirname(__file__)
# What a wrong trace may raise. NotImplementedError and RecursionError are RuntimeErrors.
FAILURES = ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
METHODS = ("__call__", "forward", "backward", "backward_parameters")  # what a module runs; in eval mode the first two


class Tracer:
    """The object that a module's `trace` writes its operations to. Calling it with a module traces that module.

    training  whether the graph is that of training; in evaluation Dropout does nothing
    across    whether operations across the samples of a batch are allowed
    """

    def __init__(self, root: Module, training: bool, across: bool = False) -> None:
        self.root, self.training, self.across = root, training, across
        self.ops: list[Op] = []
        self._paths = {module: path for path, module in root.named_modules()}
        self._count = 0

    def __call__(self, module: Module, *values: Any) -> Any:
        """The module's output values for these inputs: one, or a tuple in the form of its forward's output.

        Raises NotTraceable, with the module's path.
        """
        with self._within(module):
            runs = METHODS if self.training else METHODS[:2]
            changed = overridden(module, only=runs)
            has_trace = type(module).trace is not Module.trace
            if has_trace and changed is not None and not _traces_itself(module, runs):
                raise NotTraceable(
                    f"it has its own {changed}: lamp cannot read what that does",
                    expected="an unchanged module of lamp's, or a class with trace(tracer, *values) beside its forward",
                    got=describe(module),
                    fix="write trace(self, tracer, x); without a graph only the eager engine can train it",
                )
            try:
                outputs = module.trace(self, *values)
            except LampError:
                raise
            except FAILURES as error:
                _check_inputs(module, values)
                shapes = ", ".join(sizes(("B", *value.shape)) for value in flat(values))
                frames = extract_tb(error.__traceback__)
                frame = next((each for each in reversed(frames) if not each.filename.startswith(PACKAGE)), frames[-1])
                raise NotTraceable(
                    f"its trace fails for {shapes}: {type(error).__name__}: {error}",
                    expected="a trace for the values that its forward takes",
                    got=f"an error in {frame.filename}, line {frame.lineno}",
                    fix="correct its trace, or trace the network with inputs of its shape: lamp.trace(model, x)",
                ) from None
            if not all(isinstance(each, Value) for each in flat(outputs)):
                raise NotTraceable(
                    "its trace returns something other than values of the graph",
                    expected="what the tracer's operations return, or a tuple of such values",
                    got=type(outputs).__name__,
                    fix="for example, return tracer.elementwise(self, x)",
                )
            return outputs

    @contextmanager
    def _within(self, module: Module) -> Iterator[None]:
        try:
            yield
        except LampError as error:
            if error.where is None:
                error.where = path_of(module, self.root)
            raise

    # ---- operations --------------------------------------------------------------------------------------------
    def value(self, shape: Sequence[int], dtype: torch.dtype, rows: int = 1) -> Value:
        """A new value."""
        return Value(self._next(), tuple(shape), dtype, rows)

    def _next(self) -> int:
        self._count += 1
        return self._count - 1

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
        dtype: torch.dtype | None = None,
        rows: int | None = None,
        **attributes: Any,
    ) -> Value:
        """The output value of a new operation of any kind.

        shape        of the output, per sample
        dtype, rows  of the output; None for those of the first input
        attributes   options of the kind, such as axis=0
        """
        _check_arguments(kind, module, inputs)
        given = {**attributes, **(parameters or {})}
        if not inputs or any(name not in given for name in NEEDED.get(kind, ())):
            raise NotTraceable(
                f"an operation of the kind {kind} lacks something",
                expected=f"inputs, and {', '.join(NEEDED.get(kind, ())) or 'what the kind needs'}",
                got=f"{len(inputs)} inputs, {', '.join(given) or 'nothing else'}",
                fix=f"use tracer.{kind.lower()}(...), which sets all of it" if kind in NEEDED else "pass its inputs",
            )
        first = inputs[0]
        if first.batch:
            raise NotTraceable(
                "it takes the states of all layers, whose batch is on the second axis",
                expected="the state of one layer: tracer.select(self, state, 0, -1)",
                got=f"{kind} of a state",
                fix="select a layer's state first, as in h[-1]",
            )
        output = self.value(shape, first.dtype if dtype is None else dtype, first.rows if rows is None else rows)
        path, held = self._paths.get(module, ""), parameters or {}
        op = Op(kind, tuple(inputs), (output,), module, path, held, buffers or {}, attributes, multiplications)
        self.ops.append(op)
        return output

    def affine(self, module: Module, x: Value, weight: Parameter, bias: Parameter | None) -> Value:
        """y = x W^T + b along the last axis."""
        outputs, inputs = single_shape(weight)
        if not x.shape:
            raise NotTraceable(
                "it works along the axis of the batch",
                expected=f"inputs (B..., {inputs}), where B can be any size",
                got="(B,)",
                fix="give each sample an axis of features",
            )
        if x.shape[-1] != inputs:
            raise ShapeError(
                "the last axis has another number of features than the weights",
                expected=f"(B..., {inputs})",
                got=f"(B, {', '.join(map(str, x.shape))})",
                fix=f"{type(module).__name__}({x.shape[-1]}, {outputs})",
            )
        held = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        shape = (*x.shape[:-1], outputs)
        return self.op("Affine", module, [x], shape, parameters=held, multiplications=math.prod(shape) * inputs)

    def gather(self, module: Module, x: Value, weight: Parameter) -> Value:
        """Rows of the table `weight`, by the indices x."""
        shape = (*x.shape, single_shape(weight)[1])
        return self.op("Gather", module, [x], shape, parameters={"weight": weight}, dtype=weight.dtype)

    def elementwise(self, module: Module, x: Value, **parameters: Parameter) -> Value:
        """The module's `sigma`, applied to each element."""
        return self.op("Elementwise", module, [x], x.shape, parameters=parameters)

    def select(self, module: Module, x: Value, dim: int, index: int) -> Value:
        """The place `index` on the axis `dim` of a batch, without that axis, as in y[:, -1] or h[-1]."""
        if x.batch and dim == 0:  # (L, B, H) becomes (B, H)
            axis, output = 0, replace(x, shape=x.shape[1:], batch=0)
        else:
            axis = self.axis(x, dim)
            output = replace(x, shape=(*x.shape[:axis], *x.shape[axis + 1 :]))
        if not -x.shape[axis] <= index < x.shape[axis]:
            raise ShapeError(
                "there is no such place on this axis",
                expected=f"an index from {-x.shape[axis]} to {x.shape[axis] - 1}",
                got=index,
                fix="index=-1 is the last one",
            )
        place = {"axis": axis, "index": index % x.shape[axis]}
        return self.several("Select", module, [x], [replace(output, number=self._next())], **place)[0]

    def several(
        self,
        kind: str,
        module: Module,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        *,
        multiplications: int = 0,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """The output values of an operation with several, which has all parameters of the module."""
        _check_arguments(kind, module, inputs)
        held = {} if kind == "Select" else dict(module._members(Parameter))
        path = self._paths.get(module, "")
        self.ops.append(Op(kind, tuple(inputs), tuple(outputs), module, path, held, {}, attributes, multiplications))
        return tuple(outputs)

    def mask(self, module: Module, x: Value) -> Value:
        """Random elements set to zero; in evaluation x itself."""
        return self.op("Mask", module, [x], x.shape) if self.training else x

    def softmax(self, module: Module, x: Value, dim: int, log: bool) -> Value:
        """Probabilities from scores, or their logarithms, along the axis `dim` of a batch."""
        axis = BATCH if self._works_across(x, dim) else self.axis(x, dim)
        return self.op("Softmax", module, [x], x.shape, axis=axis, log=log)

    def reshape(self, module: Module, x: Value, shape: Sequence[int]) -> Value:
        """The same elements in another shape per sample."""
        if math.prod(shape) != math.prod(x.shape):
            raise ShapeError(
                "a reshape keeps the number of elements",
                expected=f"{math.prod(x.shape)} elements, as {sizes(x.shape)} has",
                got=sizes(shape),
                fix="pass the shape of one sample, without the axis of the batch",
            )
        return x if tuple(shape) == x.shape else self.op("Reshape", module, [x], shape)

    def flatten(self, module: Module, x: Value, start_dim: int, end_dim: int) -> Value:
        """The axes `start_dim` to `end_dim` of a batch merged into one; if `across`, from the batch's axis on."""
        if self._works_across(x, start_dim):
            first, last = 0, -1 if self._works_across(x, end_dim) else self.axis(x, end_dim)
            rows = x.rows * math.prod(x.shape[: last + 1])
            return x if last < 0 else self.op("Reshape", module, [x], x.shape[last + 1 :], rows=rows)
        first, last = self.axis(x, start_dim), self.axis(x, end_dim)
        if first > last:
            raise ShapeError(
                "the axes end before they begin",
                expected="start_dim before end_dim",
                got=f"{x.shape}",
                fix="Flatten(start_dim, end_dim)",
            )
        return self.reshape(module, x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))

    def add(self, module: Module, *values: Value) -> Value:
        """The sum of values of one shape."""
        return self.op("Add", module, values, _common_shape("Add", module, values))

    def multiply(self, module: Module, *values: Value) -> Value:
        """The product of values of one shape, element by element."""
        return self.op("Multiply", module, values, _common_shape("Multiply", module, values))

    def concat(self, module: Module, *values: Value, dim: int = -1) -> Value:
        """Values concatenated along the axis `dim` of a batch."""
        _check_arguments("Concat", module, values)
        axis = self.axis(values[0], dim) if values else 0
        others = [replace(value, shape=(*value.shape[:axis], *value.shape[axis + 1 :])) for value in values]
        _common_shape("Concat", module, others)
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self.op("Concat", module, values, shape, axis=axis)

    def scan(self, module: Module, cell: Module, x: Value, *state: Value | Sequence[int]) -> tuple[Value, ...]:
        """A cell run along the first axis of x, step by step. Returns (the outputs of all steps, *the last state).

        cell   takes (one step of x, *state) and returns the new state; the first part of the state is the step's output
        state  the initial state: values, or shapes for an initial state of zeros
        """
        if not x.shape or not state:
            raise ShapeError(
                "a scan goes along an axis of a sample, with a state",
                expected="(B, T, ...) and at least one state, a value or a shape",
                got=f"{sizes(('B', *x.shape))} and {len(state)} states",
                fix="tracer.scan(module, x, cell, (hidden,))",
            )
        steps, *shape = x.shape
        shapes = [each.shape if isinstance(each, Value) else tuple(each) for each in state]
        outputs = [self.value(each, x.dtype, x.rows) for each in ((steps, *shapes[0]), *shapes)]
        given = [self.value(each, x.dtype) for each in (shape, *shapes)]
        outside, self.ops = self.ops, []
        body_outputs = self(cell, *given)
        body = Graph(tuple(self.ops), tuple(given), flat(body_outputs))
        self.ops = outside
        if [value.shape for value in body.outputs] != shapes:
            raise ShapeError(
                "a step does not return a state such as it took",
                expected=", ".join(map(sizes, shapes)),
                got=", ".join(sizes(value.shape) for value in body.outputs),
                fix="return the new state from the cell",
            )
        path = self._paths.get(module, "")
        held = {
            f"{self._paths.get(op.module, '')}.{name}".removeprefix(f"{path}.").strip("."): each
            for op in body.ops
            for name, each in op.parameters.items()
        }
        zeros = [sizes(tuple(each)) for each in state if not isinstance(each, Value)]
        options = {"steps": steps, **({"zeros": ", ".join(zeros)} if zeros else {})}
        inputs = (x, *(each for each in state if isinstance(each, Value)))
        work = steps * body.multiplications
        self.ops.append(Op("Scan", inputs, tuple(outputs), module, path, held, {}, options, work, body))
        return tuple(outputs)

    def _works_across(self, x: Value, dim: int) -> bool:
        """Whether this axis is the batch's, and operations across samples are allowed."""
        rank = len(x.shape) + 1
        return self.across and -rank <= dim < rank and dim % rank == 0

    @staticmethod
    def axis(x: Value, dim: int) -> int:
        """The axis of a sample that is the axis `dim` of a batch. Raises ShapeError or NotTraceable for a wrong one."""
        rank = len(x.shape) + 1
        if not -rank <= dim < rank:
            raise ShapeError(
                "there is no such axis",
                expected=f"{rank} axes, with the batch's axis first",
                got=f"dim={dim}",
                fix="dim=-1 is the last axis",
            )
        if dim % rank == 0:
            raise NotTraceable(
                "it works along the axis of the batch",
                expected="an operation on each sample alone, which takes batches of any size",
                got=f"dim={dim}",
                fix="use another axis than the first",
            )
        return dim % rank - 1


def _check_arguments(kind: str, module: Module, values: Sequence[Value]) -> None:
    """Raise NotTraceable unless an operation was given a module, then values of the graph."""
    right = [isinstance(module, Module), *(isinstance(each, Value) for each in values)]
    if not all(right):
        raise NotTraceable(
            f"an operation of the kind {kind} takes the module, then values of the graph",
            expected=f"tracer.{kind.lower()}(self, x, ...), where x is what trace was given or an operation returned",
            got=f"a {type((module, *values)[right.index(False)]).__name__}",
            fix="pass self first; write constant numbers into the sigma of an activation",
        )


def _common_shape(kind: str, module: Module, values: Sequence[Value]) -> Shape:
    """The one shape of all values. Raises ShapeError for several shapes, and for no values."""
    _check_arguments(kind, module, values)
    if not values:
        raise ShapeError(
            "there is nothing to add, multiply or concatenate",
            expected="at least one value",
            got="none",
            fix="for example, tracer.add(self, x, y)",
        )
    shapes = list(dict.fromkeys((*value.shape, *((f"{value.rows} rows",) * (value.rows > 1))) for value in values))
    if len(shapes) != 1:
        raise ShapeError(
            "values of different shapes meet",
            expected=sizes(shapes[0]),
            got=", ".join(map(sizes, shapes[1:])),
            fix="reshape them to one shape: nothing is broadcast",
        )
    return values[0].shape


def _check_inputs(module: Module, values: tuple[Value, ...]) -> None:
    """Raise NotTraceable if a module's trace does not take so many values."""
    signature = inspect.signature(module.trace)
    try:
        signature.bind(None, *values)
    except TypeError as error:
        raise NotTraceable(
            f"its trace takes other inputs: {error}",
            expected=f"{type(module).__name__}.trace({', '.join(signature.parameters)})",
            got=f"{len(values)} values" if len(values) != 1 else "one value",
            fix="pass the inputs that its forward takes: lamp.trace(model, x)",
        ) from None


def _traces_itself(module: Module, runs: Sequence[str]) -> bool:
    """Whether the class's `trace` was written with or after these methods, so that it describes them."""
    bases = type(module).__mro__
    trace_at, *runs_at = [next(k for k, base in enumerate(bases) if name in vars(base)) for name in ("trace", *runs)]
    return trace_at <= min(runs_at) and not set(runs) & vars(module).keys()
