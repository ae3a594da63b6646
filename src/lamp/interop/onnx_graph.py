"""`OnnxGraph`: an ONNX graph under construction. The rules for kinds of operations are in `lamp.interop.onnx_rules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.graph import Graph, Op, Value
from lamp.interop.arrays import without_batch
from lamp.interop.expressions import COMPOSED, Expression, in_order
from lamp.interop.lengths import Sizes, axes_of, refused, varies
from lamp.interop.predictor import Predictor
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe

OPERATIONS = {  # operation of an Expression: operator of ONNX
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "lt": "Less", "le": "LessOrEqual",
    "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal", "and": "And", "or": "Or", "where": "Where", "clip": "Clip",
    "maximum": "Max", "minimum": "Min", "abs": "Abs", "sign": "Sign", "sqrt": "Sqrt", "exp": "Exp", "log": "Log",
    "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf",
}  # fmt: skip
NOT_IN_FLOAT64 = {"erf"}  # operators that onnxruntime has only in float32

WITH_ALL_REPLICAS = ("Concat", "Conv", "ConvTranspose", "MaxUnpool", "Scan")  # kinds whose inputs are not broadcast


class OnnxGraph:
    """Nodes and constants in order, each with a unique name.

    make_node    onnx.helper.make_node
    make_tensor  onnx.numpy_helper.from_array
    rules        per kind of operation a function (graph, op, at, *inputs) that adds its nodes, and returns the name of
                 its output or a tuple of names; `at` is what names of nodes begin with
    """

    def __init__(
        self,
        plan: Predictor,
        make_node: Callable[..., Any],
        make_tensor: Callable[..., Any],
        rules: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.plan, self._make_node, self._make_tensor, self._rules = plan, make_node, make_tensor, rules
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: set[str] = set()
        self._held: dict[object, str] = {}  # the name of each constant added so far
        self._places: dict[Sizes, tuple[str, int]] = {}  # where sizes that vary stand: a value's name, and its axis
        self._lengths: dict[Sizes, str] = {}  # the name of each of these sizes, as an integer (1,)

    def reserve(self, name: str) -> str:
        """Reserve a name for an input or output, and return it."""
        self._names.add(name)
        return name

    def _new(self, name: str) -> str:
        unique, k = name, 2
        while unique in self._names:
            unique, k = f"{name}_{k}", k + 1
        return self.reserve(unique)

    # ---- constants ---------------------------------------------------------------------------------------------------
    def parameter(
        self, name: str, parameter: Parameter | Buffer, form: Tensor | None = None, part: object = None
    ) -> str:
        """The name of a constant with a parameter, or with `form` in its place. A shared parameter is added once.

        part  which part of the parameter is in the form, if it is not all
        """
        array = (parameter.data if form is None else form).contiguous().numpy()
        return self._hold((parameter, form is None, array.shape, part), array, name)

    def numbers(self, name: str, tensor: Tensor) -> str:
        """The name of a constant array, in the network's precision unless it holds integers."""
        given = tensor.to(self.plan.dtype) if tensor.is_floating_point() else tensor
        return self._hold(object(), given.numpy(), name)

    def integers(self, name: str, *values: int) -> str:
        """The name of a constant with integers, such as axes or sizes."""
        return self._hold(values, np.array(values, dtype=np.int64), name)

    def number(self, value: float) -> str:
        """The name of a constant ()."""
        array = torch.tensor(value, dtype=self.plan.dtype).numpy()
        return self._hold(repr(value), array, f"number_{value:.9g}")

    def _hold(self, key: object, array: Any, name: str) -> str:
        if key not in self._held:
            self._held[key] = self._new(name)
            self.constants.append(self._make_tensor(array, self._held[key]))
        return self._held[key]

    # ---- nodes -------------------------------------------------------------------------------------------------------
    def node(self, operator: str, *inputs: str, at: str, **attributes: Any) -> str:
        """Add an operator with these inputs, and return the name of its output."""
        output = self._new(f"{at}{operator}")
        self.nodes.append(self._make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def swapped(self, x: str, value: Value, at: str) -> str:
        """An input or output with its first two axes swapped, if the network has the batch on the second one."""
        axes = range(2, len(value.shape) + 1)
        return self.node("Transpose", x, at=at, perm=[1, 0, *axes]) if value.batch else x

    def split(self, x: str, *sizes: int, axis: int, at: str) -> list[str]:
        """Cut a value along an axis into parts of these sizes, and return the names of the parts."""
        if len(sizes) == 1:
            return [x]
        return self.several("Split", len(sizes), x, self.integers("sizes", *sizes), at=at, axis=axis)

    def several(self, operator: str, count: int, *inputs: str, at: str, **attributes: Any) -> list[str]:
        """Add an operator with so many outputs, and return their names."""
        outputs = [self._new(f"{at}{operator}") for _ in range(count)]
        self.nodes.append(self._make_node(operator, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs

    # ---- sizes that vary with the length of a sequence ---------------------------------------------------------------
    def sizes(self, op: Op, of_input: int | None = None) -> list[Sizes]:
        """For each axis of the operation's output, or of an input, its sizes at the lengths that were traced."""
        values = [(each.outputs[0] if of_input is None else each.inputs[of_input]) for each in self.plan.variants(op)]
        return axes_of([value.shape for value in values])

    def note(self, x: str, sizes: Sequence[Sizes], lead: int | None = None) -> None:
        """Note that sizes that vary can be read off a value, which has so many axes before those of a sample."""
        lead = len(self.lead) if lead is None else lead
        for axis, each in enumerate(sizes):
            if varies(each):
                self._places.setdefault(each, (x, lead + axis))

    def length(self, sizes: Sizes, at: str) -> str | None:
        """The name of a size that varies, as an integer (1,); None if no value so far has such an axis."""
        if sizes not in self._lengths and sizes in self._places:
            x, axis = self._places[sizes]
            place = self.integers("axis", axis)
            self._lengths[sizes] = self.node("Gather", self.node("Shape", x, at=at), place, at=at, axis=0)
        return self._lengths.get(sizes)

    @property
    def lead(self) -> list[int]:
        """The axes before those of a sample, of the batch or of replicas and batch, in a Reshape that keeps them."""
        return [0] if self.plan.members is None else [0, 0]

    def shape(self, op: Op, name: str, lead: Sequence[int], sizes: Sequence[Sizes], at: str, infer: bool = True) -> str:
        """The name of a shape: the axes `lead`, then axes of these sizes.

        infer  whether one axis may be left to be found out, as in a Reshape
        """
        vary, free = sum(map(varies, sizes)), int(infer) - lead.count(-1)
        if not vary or vary <= free:
            return self.integers(f"{at}{name}", *lead, *(-1 if varies(each) else each[0] for each in sizes))
        parts = [self.integers(f"{at}{name}", *lead)]
        for each in sizes:
            found = self.length(each, at) if varies(each) else self.integers(f"{at}{name}", each[0])
            free -= found is None
            parts.append(self.integers(f"{at}{name}", -1) if found is None else found)
        if free < 0:
            raise refused(op, "the size of one of its axes cannot be read off another value")
        return self.node("Concat", *parts, at=at, axis=0)

    def check_fixed(self, op: Op, why: str, sizes: Sequence[Sizes] | None = None) -> None:
        """Raise ArgumentError if the sizes of the operation's first input, or these, vary."""
        if any(map(varies, self.sizes(op, 0) if sizes is None else sizes)):
            raise refused(op, why)

    def finish(self, values: Sequence[str], outputs: Sequence[str]) -> None:
        """Rename the final values to the outputs' names."""
        if len(values) == 1 and self.nodes and self.nodes[-1].output[0] == values[0]:
            self.nodes[-1].output[0] = outputs[0]
            return
        for x, output in zip(values, outputs, strict=True):  # an input, or a value that other nodes use too
            self.nodes.append(self._make_node("Identity", [x], [output], name=self._new("Identity")))

    def operation(self, graph: Graph, op: Op, path: str, inputs: list[str]) -> Any:
        """Add the nodes of an operation of the network, and return the name of its output, or a tuple of several."""
        at = f"{path}." if path and not path.endswith(".") else path
        inputs = self._with_batch(graph, op, at, inputs) if op.kind == "Concat" else inputs
        alike = self.plan.alike(graph).intersection(op.inputs) if op.kind in WITH_ALL_REPLICAS else set()
        if alike and (op.kind != "Concat" or len(alike) < len(op.inputs)):
            shape = [self.plan.members or 1, *[1] * (1 + len(op.inputs[0].shape))]  # (K, 1, 1...)
            inputs = [
                self.node("Expand", x, self.integers(f"{at}replicas", *shape), at=at) if value in alike else x
                for x, value in zip(inputs, op.inputs, strict=True)
            ]
        found = self._rules[op.kind](self, op, at, *inputs)
        outputs = zip(*(each.outputs for each in self.plan.variants(op)), strict=True)
        for x, values in zip([found] if isinstance(found, str) else found, outputs, strict=True):
            self.note(x, axes_of([value.shape for value in values]))
        return found

    def _with_batch(self, graph: Graph, op: Op, at: str, inputs: list[str]) -> list[str]:
        """The inputs of a Concat, with those that are the same for every sample repeated for the batch."""
        same = without_batch(graph)
        other = next((x for x, value in zip(inputs, op.inputs, strict=True) if value not in same), None)
        if other is None or same.isdisjoint(op.inputs):
            return inputs
        lead = self.integers("lead", *range(1 if self.plan.members is None else 2))
        shape = self.node("Gather", self.node("Shape", other, at=at), lead, at=at)  # (n), or (K, n)
        shape = self.node("Concat", shape, self.integers("ones", *[1] * len(op.output.shape)), at=at, axis=0)
        pairs = zip(inputs, op.inputs, strict=True)
        return [self.node("Expand", x, shape, at=at) if value in same else x for x, value in pairs]

    def check_in_float32(self, op: Op, operator: str) -> None:
        """Raise ArgumentError for an operator that onnxruntime has in float32 only, if the graph is in float64."""
        if self.plan.dtype is not torch.float32:
            raise ArgumentError(
                f"this module cannot be exported in {self.plan.dtype}: onnxruntime has {operator} only in float32",
                expected="torch.float32",
                got=self.plan.dtype,
                fix="lamp.to_onnx(..., dtype=torch.float32)",
                where=f"{op.path}: {describe(op.module)}" if op.path else describe(op.module),
            )

    def formula(self, result: Expression, known: dict[str, str], at: str) -> str:
        """Add the nodes of an expression, and return the name of its value. `known` maps its names to values."""
        made: dict[int, str] = {}
        for each in in_order(result):
            if each.operation == "name":
                made[id(each)] = known[each.operands[0]]
                continue
            operands = [made[id(x)] if isinstance(x, Expression) else self.number(x) for x in each.operands]
            made[id(each)] = self._operation(each.operation, operands, at)
        return made[id(result)]

    def _operation(self, operation: str, operands: list[str], at: str) -> str:
        if operation == "ne":
            return self.node("Not", self.node("Equal", *operands, at=at), at=at)
        if operation not in OPERATIONS or (self.plan.dtype is torch.float64 and operation in NOT_IN_FLOAT64):
            (x,) = Expression.named("x")
            return self.formula(COMPOSED[operation](x), {"x": operands[0]}, at)
        return self.node(OPERATIONS[operation], *operands, at=at)
