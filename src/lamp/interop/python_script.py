"""`Script`: a Python file under construction. The rules for kinds of operations are in `lamp.interop.python_rules`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.graph import Graph, Op, Value
from lamp.installation import VERSION
from lamp.interop.arrays import without_batch
from lamp.interop.expressions import COMPOSED, Expression
from lamp.interop.predictor import Predictor
from lamp.interop.python_text import (
    array_text,
    docstring,
    expression_text,
    functions_used,
    identifier,
    returning,
)
from lamp.parameter import Buffer, Parameter

STORED = '''def stored(text, *shape):
    """An array of this shape from the base64 text of its little-endian bytes."""
    return np.frombuffer(base64.b64decode(text), "<f{size}").astype(np.{dtype}).reshape(shape)'''
VARIABLES = ("x", "y", "z", "u", "v", "w")  # names of variables in predict
RESERVED = (
    *("base64", "np", "predict", "stored", "erf", "sigmoid", "softmax", "log_softmax", "standardised", "over_rms"),
    *("gated", "pairs", "cosine", "distance", "recurrence", "parts", "convolved", "spread", "pooled", "along"),
    *("largest", "gathered", "placed", "unpooled", "masked_softmax"),
    *VARIABLES,
)


class Script:
    """The file under construction: its arrays and functions by name, and the lines of predict.

    rules     per kind of operation a function (script, op, path, *inputs) that returns the text of its output
    function  the name of the function that predicts
    reserved  further names that the file has for something else
    beside    the script of another network in the same file, whose arrays and functions this one uses and adds to
    """

    def __init__(
        self,
        plan: Predictor,
        name: str,
        rules: Mapping[str, Callable[..., str]],
        function: str = "predict",
        reserved: Collection[str] = (),
        beside: Script | None = None,
    ) -> None:
        self.plan, self.name, self._rules = plan, name if name.isidentifier() else "this_file", rules
        self.dtype = "float32" if plan.dtype is torch.float32 else "float64"
        self._function = function
        self.arrays: dict[str, str] = {} if beside is None else beside.arrays
        self.functions: dict[str, str] = {} if beside is None else beside.functions
        self.lines: list[str] = []
        self.inputs = ["x"] if len(plan.inputs) == 1 else [f"x{k + 1}" for k in range(len(plan.inputs))]
        self.outputs: list[str] = []
        self._taken: set[str] = {*RESERVED, *self.inputs, *reserved} if beside is None else beside._taken
        self._free = [name for name in VARIABLES if name not in self.inputs]  # variables that are not in use
        self._held: dict[object, str] = {}  # the name of each array and function written so far

    def text(self) -> str:
        """The whole file."""
        predict, definitions = self.definition(), self.definitions()
        opening = [docstring(self._opening()), "", "import numpy as np"]
        if "stored" in self.functions:
            opening.insert(2, "import base64\n")
        return "\n\n\n".join(["\n".join(opening), *definitions, predict]) + "\n"

    def definition(self) -> str:
        """The text of the function that predicts."""
        self._write_lines()
        return self._predict()

    def definitions(self) -> list[str]:
        """The texts of all functions and arrays that `definition` used, also in the scripts beside this one."""
        if any("stored(" in text for text in self.arrays.values()):
            self.functions["stored"] = STORED.format(size=self.plan.dtype.itemsize, dtype=self.dtype)
        functions = dict(sorted(self.functions.items(), key=lambda item: item[0] != "stored"))
        arrays = "\n".join(f"{name} = {text}" for name, text in self.arrays.items())
        return [*functions.values(), *([arrays] if arrays else [])]

    def _opening(self) -> str:
        plan = self.plan
        what = "A neural network" if plan.members is None else f"The mean of {plan.members} neural networks"
        network = repr(plan.model).replace("\n", "\n    ")
        call = f"{', '.join(self._output_names())} = predict({', '.join(self.inputs)})"
        return (
            f"{what} that needs only numpy.\n\n    from {self.name} import predict\n\n"
            f"    {call}  # {self._arrays_in_words()}\n\n"
            f"Written by lamp {VERSION} from\n\n    {network}\n"
        )

    def _arrays_in_words(self) -> str:
        plan = self.plan
        inputs = [f"{name} {_shape(value.layout('n'))}" for name, value in zip(self.inputs, plan.inputs, strict=True)]
        shapes = [_shape(value.layout(_rows(value))) for value in plan.outputs]
        outputs = [f"{name} {shape}" for name, shape in zip(self._output_names(), shapes, strict=True)]
        return f"{', '.join(inputs)} -> {', '.join(outputs)}, {self.dtype}"

    def _output_names(self) -> list[str]:
        several = len(self.plan.outputs) > 1
        return [f"y{k + 1}" for k in range(len(self.plan.outputs))] if several else ["y"]

    def _predict(self) -> str:
        what = "outputs" if len(self.plan.outputs) > 1 or len(self.inputs) > 1 else "outputs y for inputs x"
        body = [docstring(f"The {what}: {self._arrays_in_words()}.")]
        for name, value in zip(self.inputs, self.plan.inputs, strict=True):
            body += [
                *self._converted(name, value),
                f"if {name}.ndim != {len(value.shape) + 1} or {_samples(name, value)} != {value.shape}:",
                f'    raise ValueError(f"expected inputs of shape {_shape(value.layout("n"))}, got {{{name}.shape}}")',
            ]
        body += [*self.lines, f"return {', '.join(self.outputs)}"]
        return "\n".join([f"def {self._function}({', '.join(self.inputs)}):", *(f"    {line}" for line in body)])

    def _converted(self, name: str, value: Value) -> list[str]:
        """The lines that make an array of an input."""
        if value.dtype.is_floating_point:
            return [f"{name} = np.asarray({name}, dtype=np.{self.dtype})"]
        if value.dtype is torch.bool:
            return [f"{name} = np.asarray({name}, dtype=np.bool_)"]
        return [
            f"{name} = np.asarray({name})",
            f'if {name}.dtype.kind not in "iu":',
            f'    raise TypeError(f"expected integers, the rows of a table, got {{{name}.dtype}}")',
        ]

    # ---- the lines of predict ----------------------------------------------------------------------------------------
    def _write_lines(self) -> None:
        plan = self.plan
        for x, standard, value in zip(self.inputs, plan.standard, plan.inputs, strict=True):
            if value.batch:
                self._line(x, f"{x}.swapaxes(0, 1)", _shape("n", value.shape))
            if standard is not None:
                mean, scale = self.array("input_mean", standard.mean), self.array("input_scale", standard.scale)
                self._line(x, f"({x} - {mean}) / {scale}")
            if plan.members is not None:
                self._line(x, f"{x}[np.newaxis]", "(1, n, ...): all networks take the same input")
        self.outputs = plan.written(self.inputs, self._operation)
        for k, own in enumerate(plan.own):
            y = self.outputs[k]
            if self.outputs.count(y) > 1 and (plan.members is not None or own is not None):  # one value, two outputs
                self.outputs[k] = self._variable()
            if plan.members is not None:
                self._line(self.outputs[k], f"{y}.mean(axis=0)", f"of all {plan.members} networks")
                y = self.outputs[k]
            if own is not None:
                scale, mean = self.array("output_scale", own.scale), self.array("output_mean", own.mean)
                self._line(self.outputs[k], f"{y} * {scale} + {mean}")
            if plan.outputs[k].batch:
                y = self.outputs[k]
                self.outputs[k] = self._variable() if self.outputs.count(y) > 1 else y
                self._line(self.outputs[k], f"{y}.swapaxes(0, 1)", _shape(plan.outputs[k].layout("n")))

    def _line(self, name: str, computed: str, comment: str = "") -> None:
        self.lines.append(f"{name} = {computed}" + (f"  # {comment}" if comment else ""))

    def _operation(self, graph: Graph, op: Op, path: str, inputs: list[str]) -> Any:
        """Write the line of an operation. Returns the variable of its output, if possible one that is free again; a
        tuple of several."""
        computed = self._rules[op.kind](self, op, path, *self._of_each_sample(graph, op, inputs))
        later = graph.ops[graph.ops.index(op) + 1 :]
        needed = {value for each in later for value in each.inputs}.union(graph.outputs)
        done = list(dict.fromkeys(x for x, value in zip(inputs, op.inputs, strict=True) if value not in needed))
        names = [done.pop(0) if done else self._variable() for _ in op.outputs]
        self._free = done + self._free
        lead = [] if self.plan.members is None else [self.plan.members]
        stays = [value.shape for value in op.inputs[:1]] == [value.shape for value in op.outputs]
        same = without_batch(graph)
        shapes = [_shape(*lead, "1" if value in same else _rows(value), value.shape) for value in op.outputs]
        self._line(", ".join(names), computed, "" if stays else ", ".join(shapes))
        self._free = [name for name, value in zip(names, op.outputs, strict=True) if value not in needed] + self._free
        return names[0] if len(names) == 1 else tuple(names)

    def _variable(self) -> str:
        return self._free.pop(0) if self._free else identifier("x", self._taken)

    def _of_each_sample(self, graph: Graph, op: Op, inputs: list[str]) -> list[str]:
        """The inputs of an operation. A Concat's inputs that all replicas or samples share are broadcast, if others
        are not."""
        if op.kind != "Concat":
            return inputs
        given, plan = set(op.inputs), self.plan
        alike, same = (given & each for each in (plan.alike(graph), without_batch(graph)))
        alike, same = (each if each != given else set() for each in (alike, same))  # no others to go by
        other = next(x for x, value in zip(inputs, op.inputs, strict=True) if value not in same)
        sizes = f"len({other})" if plan.members is None else f"{plan.members}, {other}.shape[1]"
        lead = 1 if plan.members is None else 2
        return [
            f"np.broadcast_to({x}, ({sizes}, *{x}.shape[{lead}:]))" if value in alike | same else x
            for x, value in zip(inputs, op.inputs, strict=True)
        ]

    def array(self, name: str, tensor: Tensor, parameter: Parameter | Buffer | None = None, part: object = None) -> str:
        """The name of an array; a parameter that several modules share, or a part of it, has one name."""
        key = object() if parameter is None else (parameter, tuple(tensor.shape), part)
        if key not in self._held:
            self._held[key] = name = identifier(name, self._taken)
            given = tensor.to(self.plan.dtype) if tensor.is_floating_point() else tensor
            self.arrays[name] = array_text(given.numpy(), self.dtype)
        return self._held[key]

    def listed(self, name: str, entries: list[str]) -> str:
        """The name of a list, with an entry per line."""
        name = identifier(name, self._taken)
        self.arrays[name] = "\n".join(["[", *(f"    {entry}," for entry in entries), "]"])
        return name

    def function(self, name: str, result: Expression, doc: str, arguments: str = "x") -> str:
        """The name of a function that computes the expression. Equal functions are written once."""
        lines, returned = expression_text(result)
        for each in sorted(functions_used(result)):
            self.composed(each)
        return self.written(name, arguments, doc, lines, returned)

    def written(self, name: str, arguments: str, doc: str, lines: list[str], returned: str) -> str:
        """The name of a function with these lines. Equal functions are written once."""
        key = ("function", name, *lines, returned)
        if key not in self._held:
            self._held[key] = name = identifier(name, self._taken)
            body = [docstring(doc), *lines, *returning(returned)]
            self.functions[name] = "\n".join([f"def {name}({arguments}):", *(f"    {line}" for line in body)])
        return self._held[key]

    def composed(self, name: str) -> None:
        """Add a function that numpy lacks to the file."""
        if name in self.functions:
            return
        (x,) = Expression.named("x")
        lines, returned = expression_text(COMPOSED[name](x))
        doc = inspect.getdoc(COMPOSED[name]) or ""
        body = [*docstring(doc + ("\n" if "\n" in doc else "")).split("\n"), *lines, *returning(returned)]
        self.functions[name] = "\n".join([f"def {name}(x):", *(f"    {line}" if line else "" for line in body)])


def _samples(name: str, value: Value) -> str:
    """The text of an input's shape without the axis of the batch."""
    return f"({name}.shape[0], *{name}.shape[2:])" if value.batch else f"{name}.shape[1:]"


def _rows(value: Value) -> str:
    """How many rows a value has, in a word: n, or another number."""
    return "n" if value.rows == 1 else "m"


def _shape(*axes: object) -> str:
    """Axes as people write them: (n, 4)."""
    sizes = [str(n) for axis in axes for n in (axis if isinstance(axis, tuple) else (axis,))]
    return f"({', '.join(sizes)})" if len(sizes) > 1 else f"({sizes[0]},)"
