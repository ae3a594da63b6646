"""`GraphBuilder`: calls the `trace` of modules, and keeps the operations that they write. `Tracer` has the kinds."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from traceback import extract_tb
from typing import Any

import torch

from lamp.errors import LampError, NotTraceable, ShapeError
from lamp.graph import ANYWHERE, NEEDED, Op, Shape, Value, sizes
from lamp.module import Module
from lamp.overrides import names_called, overridden, users_method
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe, path_of
from lamp.trees import flat

PACKAGE = os.path.dirname(__file__)
# What a wrong trace may raise. NotImplementedError and RecursionError are RuntimeErrors.
FAILURES = ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
METHODS = ("__call__", "forward", "backward", "backward_parameters")  # what a module runs; in eval mode the first two


class GraphBuilder:
    """Operations in the order in which modules write them. Calling it with a module traces that module.

    training  whether the graph is that of training; in evaluation Dropout does nothing
    across    whether operations across the samples of a batch are allowed
    """

    def __init__(self, root: Module, training: bool, across: bool = False) -> None:
        self.root, self.training, self.across = root, training, across
        self.ops: list[Op] = []
        self._paths = {module: path for path, module in root.named_modules()}
        self._count = self._call = self._calls = 0

    def __call__(self, module: Module, *values: Any, **options: Any) -> Any:
        """The module's output values for these inputs: one, or a tuple in the form of its forward's output.

        Whatever is no value (None, a flag, a tensor that is the same for every sample) goes to its trace as it is.
        Raises NotTraceable, with the module's path.
        """
        with self._within(module):
            runs = METHODS if self.training else METHODS[:2]
            changed = overridden(module, only=runs)
            has_trace = type(module).trace is not Module.trace
            if has_trace and changed is not None and (later := not_in_trace(module, runs)) is not None:
                own = changed if later in runs else f"{later}, which its trace does not know"
                raise NotTraceable(
                    f"it has its own {own}: lamp cannot read what that does",
                    expected="an unchanged module of lamp's, or a class with trace(tracer, *values) beside its forward",
                    got=describe(module),
                    fix="write trace(self, tracer, x); without a graph only the eager engine can train it",
                )
            try:
                outputs = module.trace(self, *values, **options)
            except LampError:
                raise
            except FAILURES as error:
                check_inputs(module, values, options)
                given = [each for each in flat(values) if isinstance(each, Value)]
                shapes = ", ".join(sizes(("B", *value.shape)) for value in given)
                frames = extract_tb(error.__traceback__)
                frame = next((each for each in reversed(frames) if not each.filename.startswith(PACKAGE)), frames[-1])
                raise NotTraceable(
                    f"its trace fails for {shapes}: {type(error).__name__}: {error}",
                    expected="a trace for the values that its forward takes",
                    got=f"an error in {frame.filename}, line {frame.lineno}",
                    fix="correct its trace, or trace the network with inputs of its shape: lamp.trace(model, x)",
                ) from None
            if outputs is None or not all(isinstance(each, Value | None) for each in flat(outputs)):
                raise NotTraceable(
                    "its trace returns something other than values of the graph",
                    expected="what the tracer's operations return, or a tuple of such values",
                    got=type(outputs).__name__,
                    fix="for example, return tracer.elementwise(self, x)",
                )
            return outputs

    @contextmanager
    def _within(self, module: Module) -> Iterator[None]:
        outer, self._calls = self._call, self._calls + 1
        self._call = self._calls
        try:
            yield
        except LampError as error:
            if error.where is None:
                error.where = path_of(module, self.root)
            raise
        finally:
            self._call = outer

    def _add(self, kind: str, inputs: Sequence[Value], outputs: Sequence[Value], module: Module, **fields: Any) -> None:
        path = self._paths.get(module, "")
        self.ops.append(Op(kind, tuple(inputs), tuple(outputs), module, path, **fields, call=self._call))

    def value(self, shape: Sequence[int], dtype: torch.dtype, rows: int = 1, batch: int = 0) -> Value:
        """A new value."""
        return Value(self._next(), tuple(shape), dtype, rows, batch)

    @staticmethod
    def batch_at(x: Value, axis: int) -> Value:
        """The same value, with the batch on another axis in the module's forward, as after x.movedim(0, axis)."""
        return replace(x, batch=axis)

    @staticmethod
    def sequences(x: Value, batch_first: bool) -> Value:
        """The sequences that a module with `batch_first` takes, with the batch first.

        Raises NotTraceable if they have it on the other axis.
        """
        if x.batch == (0 if batch_first else 1):
            return replace(x, batch=0)
        error = NotTraceable(
            f"its sequences have the batch on the {'first' if x.batch == 0 else 'second'} axis",
            expected=f"the batch on the {'first' if batch_first else 'second'} axis, for batch_first={batch_first}",
            got=sizes(x.layout()),
            fix=f"batch_first={not batch_first}, or a module of your own that moves the axis: tracer.batch_at(x, axis)",
        )
        error.value = None if batch_first else x
        raise error

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
        check_arguments(kind, module, inputs)
        given = {**attributes, **(parameters or {})}
        if not inputs or any(name not in given for name in NEEDED.get(kind, ())):
            raise NotTraceable(
                f"an operation of the kind {kind} lacks something",
                expected=f"inputs, and {', '.join(NEEDED.get(kind, ())) or 'what the kind needs'}",
                got=f"{len(inputs)} inputs, {', '.join(given) or 'nothing else'}",
                fix=f"use tracer.{kind.lower()}(...), which sets all of it" if kind in NEEDED else "pass its inputs",
            )
        first = inputs[0]
        if any(value.batch for value in inputs) and kind not in ANYWHERE:
            raise NotTraceable(
                "it takes a value whose batch is on the second axis",
                expected="the batch first; of the states of all layers, one: tracer.select(self, state, 0, -1)",
                got=f"{kind} of {', '.join(sizes(value.layout()) for value in inputs)}",
                fix="batch_first=True for sequences; h[-1] for states",
            )
        dtype, rows = first.dtype if dtype is None else dtype, first.rows if rows is None else rows
        output = self.value(shape, dtype, rows, first.batch)
        held: dict[str, Any] = {"parameters": parameters or {}, "buffers": buffers or {}}
        self._add(kind, inputs, (output,), module, **held, attributes=attributes, multiplications=multiplications)
        return output

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
        check_arguments(kind, module, inputs)
        held = {} if kind == "Select" else dict(module._members(Parameter))
        options: dict[str, Any] = {"attributes": attributes, "multiplications": multiplications}
        self._add(kind, inputs, outputs, module, parameters=held, **options)
        return tuple(outputs)

    def works_across(self, x: Value, dim: int) -> bool:
        """Whether this axis is the batch's, and operations across samples are allowed."""
        rank = len(x.shape) + 1
        return self.across and -rank <= dim < rank and dim % rank == x.batch

    @staticmethod
    def axis(x: Value, dim: int) -> int:
        """The axis of a sample that is the axis `dim` of a batch. Raises ShapeError or NotTraceable for a wrong one."""
        rank = len(x.shape) + 1
        if not -rank <= dim < rank:
            raise ShapeError(
                "there is no such axis",
                expected=f"one of the {rank} axes, the batch's among them",
                got=f"dim={dim}",
                fix="dim=-1 is the last axis",
            )
        if dim % rank == x.batch:
            raise NotTraceable(
                "it works along the axis of the batch",
                expected="an operation on each sample alone, which takes batches of any size",
                got=f"dim={dim}",
                fix="use another axis than the first",
            )
        return dim % rank - (dim % rank > x.batch)


def check_arguments(kind: str, module: Module, values: Sequence[Value]) -> None:
    """Raise NotTraceable unless an operation was given a module, then values of the graph."""
    right = [isinstance(module, Module), *(isinstance(each, Value) for each in values)]
    if not all(right):
        raise NotTraceable(
            f"an operation of the kind {kind} takes the module, then values of the graph",
            expected=f"tracer.{kind.lower()}(self, x, ...), where x is what trace was given or an operation returned",
            got=f"a {type((module, *values)[right.index(False)]).__name__}",
            fix="pass self first; write constant numbers into the sigma of an activation",
        )


def common_shape(kind: str, module: Module, values: Sequence[Value]) -> Shape:
    """The one shape of all values. Raises ShapeError for several shapes, and for no values."""
    check_arguments(kind, module, values)
    if not values:
        raise ShapeError(
            "there is nothing to add, multiply or concatenate",
            expected="at least one value",
            got="none",
            fix="for example, tracer.add(self, x, y)",
        )
    if len({value.batch for value in values}) > 1:
        raise NotTraceable(
            "values meet whose batch is on different axes",
            expected="the same axis",
            got=", ".join(sizes(value.layout()) for value in values),
            fix="batch_first=True, or tracer.batch_at(x, axis) where forward moves the axis",
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


def check_inputs(module: Module, values: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Raise NotTraceable if a module's trace does not take so many values, or not these options."""
    signature = inspect.signature(module.trace)
    try:
        signature.bind(None, *values, **options)
    except TypeError as error:
        raise NotTraceable(
            f"its trace takes other inputs: {error}",
            expected=f"{type(module).__name__}.trace({', '.join(signature.parameters)})",
            got=f"{len(values)} values" if len(values) != 1 else "one value",
            fix="pass the inputs that its forward takes: lamp.trace(model, x)",
        ) from None


def not_in_trace(module: Module, runs: Sequence[str]) -> str | None:
    """One of these methods, or of those that they call, that the class's `trace` does not describe.

    That is one that was written later than `trace`, or set on the module; but not one that `trace` itself calls.
    """
    bases = type(module).__mro__
    helpers = names_called(module, runs) - names_called(module, ["trace"])
    methods = (*runs, *sorted(name for name in helpers if users_method(module, name) is not None))
    places = {name: next((k for k, base in enumerate(bases) if name in vars(base)), 0) for name in methods}
    trace_at = next(k for k, base in enumerate(bases) if "trace" in vars(base))
    return next((name for name in methods if places[name] < trace_at or name in vars(module)), None)
