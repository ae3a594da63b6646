"""`Tracer`: what a module's `trace` writes its operations to, a method for each kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lamp.errors import NotTraceable, ShapeError
from lamp.graph import BATCH, Graph, Numbers, Value, single_shape, sizes
from lamp.graph_builder import GraphBuilder, check_arguments, common_shape
from lamp.module import Module
from lamp.parameter import Buffer, Parameter
from lamp.trees import flat


class Tracer(GraphBuilder):
    """The object that a module's `trace` writes its operations to. Calling it with a module traces that module."""

    def constant(self, module: Module, numbers: Parameter | Buffer | Tensor, batch: int = 0) -> Value:
        """A value that is the same for every sample: a parameter or buffer of the module, or fixed numbers.

        batch  the axis on which the values that it meets have their batch
        """
        held = {name: each for name, each in module._members(Parameter) if each is numbers}
        buffers = {name: each for name, each in module._members(Buffer) if each is numbers}
        if isinstance(numbers, Tensor):
            output = self.value(numbers.shape, numbers.dtype, 1, batch)
            options: dict[str, Any] = {"numbers": Numbers(numbers)}
        elif held or buffers:
            shape = numbers.data.shape[0 if module.replicas is None else 1 :]
            output = self.value(shape, numbers.data.dtype, 1, batch)
            options = {}
        else:
            raise NotTraceable(
                "a constant is a parameter or buffer of the module, or a tensor",
                expected="tracer.constant(self, self.positions)",
                got=f"a {type(numbers).__name__} that the module does not have",
                fix="pass the module that holds it first",
            )
        self._add("Constant", (), (output,), module, parameters=held, buffers=buffers, attributes=options)
        return output

    def affine(
        self,
        module: Module,
        x: Value,
        weight: Parameter,
        bias: Parameter | None,
        part: tuple[int, int] | None = None,
    ) -> Value:
        """y = x W^T + b along the last axis.

        part  the first row that is used, and the one after the last, of those of W and b that have more; None for all
        """
        outputs, inputs = single_shape(weight)
        outputs = outputs if part is None else part[1] - part[0]
        if x.batch == len(x.shape):
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
        options: dict[str, Any] = {} if part is None else {"part": part}
        work = math.prod(shape) * inputs
        return self.op("Affine", module, [x], shape, parameters=held, multiplications=work, **options)

    def matmul(self, module: Module, x: Value, y: Value, transposed: bool = False, scale: float = 1.0) -> Value:
        """x y over the last two axes, or x y^T if `transposed`, times a number."""
        check_arguments("MatMul", module, [x, y])
        columns, inner = (y.shape[-2:] if transposed else y.shape[:-3:-1]) if len(y.shape) > 1 else (0, 0)
        if len(x.shape) < 2 or x.shape[:-2] != y.shape[:-2] or x.shape[-1] != inner:
            raise ShapeError(
                "these two values cannot be multiplied as matrices",
                expected="(..., n, m) and (..., p, m)" if transposed else "(..., n, m) and (..., m, p)",
                got=f"{sizes(x.shape)} and {sizes(y.shape)}",
                fix="permute or expand them first: nothing is broadcast",
            )
        shape = (*x.shape[:-1], columns)
        work = math.prod(shape) * inner
        options: dict[str, Any] = {
            **({"transposed": True} if transposed else {}),
            **({"scale": scale} if scale != 1.0 else {}),
        }
        return self.op("MatMul", module, [x, y], shape, multiplications=work, **options)

    def permute(self, module: Module, x: Value, axes: Sequence[int]) -> Value:
        """The axes of a sample in another order."""
        return self.op("Permute", module, [x], [x.shape[axis] for axis in axes], axes=tuple(axes))

    def expand(self, module: Module, x: Value, shape: Sequence[int]) -> Value:
        """A value repeated along axes of size 1, and along new axes in front, to this shape per sample."""
        own = (1,) * (len(shape) - len(x.shape)) + x.shape
        if len(own) != len(shape) or any(n not in (1, wanted) for n, wanted in zip(own, shape, strict=True)):
            raise ShapeError(
                "a value is repeated only along axes of size 1",
                expected=f"sizes of 1, or of {sizes(shape)}",
                got=sizes(x.shape),
                fix="pass the shape of one sample, without the axis of the batch",
            )
        return x if x.shape == tuple(shape) else self.op("Expand", module, [x], shape)

    def gather(self, module: Module, x: Value, weight: Parameter) -> Value:
        """Rows of the table `weight`, by the indices x."""
        shape = (*x.shape, single_shape(weight)[1])
        return self.op("Gather", module, [x], shape, parameters={"weight": weight}, dtype=weight.dtype)

    def elementwise(self, module: Module, x: Value, **parameters: Parameter) -> Value:
        """The module's `sigma`, applied to each element; with parameters, one for each place on axis 1 of a batch."""
        if any(math.prod(single_shape(each)) > 1 for each in parameters.values()):
            self.axis(x, 1)
        return self.op("Elementwise", module, [x], x.shape, parameters=parameters)

    def select(self, module: Module, x: Value, dim: int, index: int) -> Value:
        """The place `index` on the axis `dim` of a batch, without that axis, as in y[:, -1] or h[-1]."""
        axis = self.axis(x, dim)
        output = replace(x, shape=(*x.shape[:axis], *x.shape[axis + 1 :]), batch=x.batch - (axis < x.batch))
        if not -x.shape[axis] <= index < x.shape[axis]:
            raise ShapeError(
                "there is no such place on this axis",
                expected=f"an index from {-x.shape[axis]} to {x.shape[axis] - 1}",
                got=index,
                fix="index=-1 is the last one",
            )
        place = {"axis": axis, "index": index % x.shape[axis]}
        return self.several("Select", module, [x], [replace(output, number=self._next())], **place)[0]

    def mask(self, module: Module, x: Value) -> Value:
        """Random elements set to zero; in evaluation x itself."""
        return self.op("Mask", module, [x], x.shape) if self.training else x

    def softmax(self, module: Module, x: Value, dim: int, log: bool, masked: bool = False) -> Value:
        """Probabilities from scores, or their logarithms, along the axis `dim` of a batch.

        masked  whether scores may all be -inf; then all probabilities are 0
        """
        axis = BATCH if self.works_across(x, dim) else self.axis(x, dim)
        options: dict[str, Any] = {"masked": True} if masked else {}
        return self.op("Softmax", module, [x], x.shape, axis=axis, log=log, **options)

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
        if self.works_across(x, start_dim):
            first, last = 0, -1 if self.works_across(x, end_dim) else self.axis(x, end_dim)
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
        return self.op("Add", module, values, common_shape("Add", module, values))

    def multiply(self, module: Module, *values: Value) -> Value:
        """The product of values of one shape, element by element."""
        return self.op("Multiply", module, values, common_shape("Multiply", module, values))

    def concat(self, module: Module, *values: Value, dim: int = -1) -> Value:
        """Values concatenated along the axis `dim` of a batch."""
        check_arguments("Concat", module, values)
        axis = self.axis(values[0], dim) if values else 0
        others = [replace(value, shape=(*value.shape[:axis], *value.shape[axis + 1 :])) for value in values]
        common_shape("Concat", module, others)
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
        self._add("Scan", inputs, outputs, module, parameters=held, attributes=options, multiplications=work, body=body)
        return tuple(outputs)
