"""`to_python`: exports a network as a Python file that needs only numpy, to read or to use without torch."""

from __future__ import annotations

import inspect
import os
import runpy
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from lamp.graph import Graph, Op, Value
from lamp.installation import VERSION
from lamp.interop.agreement import check_agreement
from lamp.interop.expressions import COMPOSED, Expression, formula_of, members_of
from lamp.interop.predictor import Predictor, matrix, offsets, per_channel, per_last_axes, predictor, table, windows
from lamp.interop.python_text import (
    array_text,
    docstring,
    expression_text,
    functions_used,
    identifier,
    is_one_operation,
    returning,
)
from lamp.module import Module
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe
from lamp.saving import write_file
from lamp.signatures import called
from lamp.studies import Ensemble
from lamp.values import as_path

SOFTMAX = '''def softmax(x, axis):
    """Probabilities, which sum to 1 along the axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)'''
LOG_SOFTMAX = '''def log_softmax(x, axis):
    """The logarithm of softmax, without overflow."""
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))'''
STANDARDISED = '''def standardised(x, axes, eps):
    """x with mean 0 and variance 1 along the axes."""
    x = x - x.mean(axes, keepdims=True)
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps)'''
OVER_RMS = '''def over_rms(x, axes, eps):
    """x divided by its root mean square along the axes."""
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps)'''
GATED = '''def gated(x, axis):
    """The first half times the sigmoid of the second."""
    a, b = np.split(x, 2, axis)
    return a * sigmoid(b)'''
STORED = '''def stored(text, *shape):
    """An array of this shape from the base64 text of its little-endian bytes."""
    return np.frombuffer(base64.b64decode(text), "<f{size}").astype(np.{dtype}).reshape(shape)'''
DOES_NOT_RUN = (SyntaxError, NameError, AttributeError, TypeError, ValueError, IndexError)  # exceptions of a wrong file
VARIABLES = ("x", "y", "z", "u", "v", "w")  # names of variables in predict
RESERVED = (
    "base64",
    "erf",
    "log_softmax",
    "np",
    "over_rms",
    "predict",
    "sigmoid",
    "softmax",
    "standardised",
    "stored",
    *VARIABLES,
)


@called()
def to_python(
    model: Module | Ensemble,
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int, ...] | Sequence[tuple[int, ...]] | None = None,
    input_scaling: Any = None,
    output_scaling: Any = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a network to a Python file that needs only numpy and has a function predict(x). Returns the path.

    model           a network, which is exported as it is in eval mode, without its final loss; a population, for the
                    mean of its networks' outputs; or a lamp.Ensemble, for the mean of their probabilities, as in
                    `to_python(lamp.Ensemble(population, probabilities=lamp.Softmax(-1)), path)`
    input_shape     the shape of one sample, without the batch; needed only if no Linear takes the input, as with
                    Flatten
    input_scaling   (mean, scale): predict takes x, and passes (x - mean) / scale to the network
    output_scaling  (mean, scale): the network returns z, and predict returns z scale + mean
    dtype           torch.float32 or torch.float64; by default that of the parameters, or float32 without parameters

    predict takes an array (n, *input_shape), or anything that numpy converts to one, and returns an array (n, ...).
    With several inputs, input_shape is a list of shapes and predict takes several arrays; several outputs are a tuple.

    The file contains the operations that `lamp.trace` shows, also those of your own modules with a `trace`. An
    activation is a function with its formula. This holds for your own activations too, if their `sigma` uses only the
    operations of lamp.formulas. Small arrays are written out, larger ones as base64.

    Before the file replaces an older one, it is run on batches of three sizes, and its outputs must be the model's up
    to rounding.

    Raises ExportError if the outputs differ; ArgumentError for a module that cannot be exported, with its path;
    DTypeError for other precisions; CheckpointError if the file cannot be written.
    """
    plan = predictor(model, RULES, input_shape, input_scaling, output_scaling, dtype)
    text = _Script(plan, as_path(path).stem).text()

    def write(file: IO[bytes]) -> None:
        file.write(text.encode("utf-8"))
        file.flush()
        run = cache(runpy.run_path)  # runs the file once, in a namespace of its own
        check_agreement(plan, lambda *arrays: run(file.name)["predict"](*arrays), path, DOES_NOT_RUN)

    write_file(path, write)
    return as_path(path)


class _Script:
    """The file under construction: its arrays and functions by name, and the lines of predict."""

    def __init__(self, plan: Predictor, name: str) -> None:
        self.plan, self.name = plan, name if name.isidentifier() else "this_file"
        self.dtype = "float32" if plan.dtype is torch.float32 else "float64"
        self.arrays: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.lines: list[str] = []
        self.inputs = ["x"] if len(plan.inputs) == 1 else [f"x{k + 1}" for k in range(len(plan.inputs))]
        self.outputs: list[str] = []
        self._taken = {*RESERVED, *self.inputs}
        self._free = [name for name in VARIABLES if name not in self.inputs]  # variables that are not in use
        self._held: dict[object, str] = {}  # the name of each array and function written so far

    def text(self) -> str:
        """The whole file."""
        self._write_lines()
        opening = [docstring(self._opening()), "", "import numpy as np"]
        if any("stored(" in text for text in self.arrays.values()):
            opening.insert(2, "import base64\n")
            self.functions["stored"] = STORED.format(size=self.plan.dtype.itemsize, dtype=self.dtype)
        functions = dict(sorted(self.functions.items(), key=lambda item: item[0] != "stored"))
        blocks = ["\n".join(opening), *functions.values()]
        blocks.append("\n".join(f"{name} = {text}" for name, text in self.arrays.items()))
        return "\n\n\n".join([block for block in blocks if block] + [self._predict()]) + "\n"

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
        inputs = [f"{name} {_shape('n', value.shape)}" for name, value in zip(self.inputs, plan.inputs, strict=True)]
        shapes = [_shape(_rows(value), value.shape) for value in plan.outputs]
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
                f"if {name}.ndim != {len(value.shape) + 1} or {name}.shape[1:] != {value.shape}:",
                f'    raise ValueError(f"expected inputs of shape {_shape("n", value.shape)}, got {{{name}.shape}}")',
            ]
        body += [*self.lines, f"return {', '.join(self.outputs)}"]
        return "\n".join([f"def predict({', '.join(self.inputs)}):", *(f"    {line}" for line in body)])

    def _converted(self, name: str, value: Value) -> list[str]:
        """The lines that make an array of an input."""
        if value.dtype.is_floating_point:
            return [f"{name} = np.asarray({name}, dtype=np.{self.dtype})"]
        return [
            f"{name} = np.asarray({name})",
            f'if {name}.dtype.kind not in "iu":',
            f'    raise TypeError(f"expected integers, the rows of a table, got {{{name}.dtype}}")',
        ]

    # ---- the lines of predict ----------------------------------------------------------------------------------------
    def _write_lines(self) -> None:
        plan = self.plan
        for x, standard in zip(self.inputs, plan.standard, strict=True):
            if standard is not None:
                mean, scale = self._array("input_mean", standard.mean), self._array("input_scale", standard.scale)
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
                scale, mean = self._array("output_scale", own.scale), self._array("output_mean", own.mean)
                self._line(self.outputs[k], f"{y} * {scale} + {mean}")

    def _line(self, name: str, computed: str, comment: str = "") -> None:
        self.lines.append(f"{name} = {computed}" + (f"  # {comment}" if comment else ""))

    def _operation(self, graph: Graph, op: Op, path: str, inputs: list[str]) -> str:
        """Write the line of an operation. Returns the variable of its output, if possible one that is free again."""
        computed = RULES[op.kind](self, op, path, *self._of_each_replica(graph, op, inputs))
        later = graph.ops[graph.ops.index(op) + 1 :]
        needed = {value for each in later for value in each.inputs}.union(graph.outputs)
        done = list(dict.fromkeys(x for x, value in zip(inputs, op.inputs, strict=True) if value not in needed))
        self._free = done[1:] + self._free
        name = done[0] if done else self._variable()
        lead = [] if self.plan.members is None else [self.plan.members]
        stays = op.inputs[0].shape == op.output.shape
        self._line(name, computed, "" if stays else _shape(*lead, _rows(op.output), op.output.shape))
        if op.output not in needed:
            self._free.insert(0, name)
        return name

    def _variable(self) -> str:
        return self._free.pop(0) if self._free else identifier("x", self._taken)

    def _of_each_replica(self, graph: Graph, op: Op, inputs: list[str]) -> list[str]:
        """The inputs of an operation. A Concat's inputs that all replicas share are broadcast if others are not."""
        alike = self.plan.alike(graph).intersection(op.inputs) if op.kind == "Concat" else set()
        if len(alike) == len(op.inputs):
            return inputs
        return [
            f"np.broadcast_to({x}, ({self.plan.members}, *{x}.shape[1:]))" if value in alike else x
            for x, value in zip(inputs, op.inputs, strict=True)
        ]

    def _array(self, name: str, tensor: Tensor, parameter: Parameter | Buffer | None = None) -> str:
        """The name of an array; a parameter that several modules share has one name."""
        key = object() if parameter is None else (parameter, tuple(tensor.shape))
        if key not in self._held:
            self._held[key] = name = identifier(name, self._taken)
            self.arrays[name] = array_text(tensor.to(self.plan.dtype).numpy(), self.dtype)
        return self._held[key]

    def _function(self, name: str, result: Expression, doc: str, arguments: str = "x") -> str:
        """The name of a function that computes the expression. Equal functions are written once."""
        lines, returned = expression_text(result)
        for each in sorted(functions_used(result)):
            self._composed(each)
        key = ("function", name, *lines, returned)
        if key not in self._held:
            self._held[key] = name = identifier(name, self._taken)
            body = [docstring(doc), *lines, *returning(returned)]
            self.functions[name] = "\n".join([f"def {name}({arguments}):", *(f"    {line}" for line in body)])
        return self._held[key]

    def _composed(self, name: str) -> None:
        """Add a function that numpy lacks to the file."""
        if name in self.functions:
            return
        (x,) = Expression.named("x")
        lines, returned = expression_text(COMPOSED[name](x))
        doc = inspect.getdoc(COMPOSED[name]) or ""
        body = [*docstring(doc + ("\n" if "\n" in doc else "")).split("\n"), *lines, *returning(returned)]
        self.functions[name] = "\n".join([f"def {name}(x):", *(f"    {line}" if line else "" for line in body)])

    # ---- a rule per kind of operation --------------------------------------------------------------------------------
    def affine(self, op: Op, path: str, x: str) -> str:
        product = f"{x} @ {self._array(f'weight_{path}', matrix(op), op.parameters['weight'])}"
        bias = offsets(op)
        return product if bias is None else f"{product} + {self._array(f'bias_{path}', bias, op.parameters['bias'])}"

    def gather(self, op: Op, path: str, x: str) -> str:
        weight = self._array(f"weight_{path}", table(op), op.parameters["weight"])
        return f"{weight}[{x}]" if self.plan.members is None else f"{weight}[:, {x}[0]]"

    def reduce(self, op: Op, path: str, x: str) -> str:
        return f"{x}.{op.attributes['mode']}(axis={self.plan.axis(op.attributes['axis'])})"

    def elementwise(self, op: Op, path: str, x: str) -> str:
        kind, members = type(op.module), members_of(op)
        result = formula_of(op)
        if is_one_operation(result) and not members:
            for each in functions_used(result):
                self._composed(each)
            return expression_text(formula_of(op, x))[1]
        doc = (inspect.getdoc(kind) or "").partition("\n")[0] if members else describe(op.module)
        function = self._function(kind.__name__, result, doc, ", ".join(["x", *members]))
        own = [self._array(f"{name}_{path}", per_channel(op, each), each) for name, each in members.items()]
        return f"{function}({', '.join([x, *own])})"

    def softmax(self, op: Op, path: str, x: str) -> str:
        name, text = ("log_softmax", LOG_SOFTMAX) if op.attributes["log"] else ("softmax", SOFTMAX)
        self.functions[name] = text
        return f"{name}({x}, axis={self.plan.axis(op.attributes['axis'])})"

    def norm(self, op: Op, path: str, x: str) -> str:
        name, text = ("standardised", STANDARDISED) if op.attributes["centred"] else ("over_rms", OVER_RMS)
        self.functions[name] = text
        eps = repr(op.attributes["eps"])
        if "groups" in op.attributes:
            lead = f"{x}.shape[: {1 if self.plan.members is None else 2}]"
            y = f"{name}({x}.reshape(*{lead}, {op.attributes['groups']}, -1), -1, {eps}).reshape({x}.shape)"
        else:
            y = f"{name}({x}, {tuple(self.plan.axis(axis) for axis in op.attributes['axes'])}, {eps})"
        for sign, member in (("*", "weight"), ("+", "bias")):
            if (each := op.parameters.get(member)) is not None:
                form = per_channel(op, each) if "groups" in op.attributes else per_last_axes(op, each)
                y = f"{y} {sign} {self._array(f'{member}_{path}', form, each)}"
        return y

    def response_norm(self, op: Op, path: str, x: str) -> str:
        windows_, beta = self._array(f"windows_{path}", windows(op)), op.attributes["beta"]
        flat = f"{x}.reshape(*{x}.shape[: {2 if self.plan.members is None else 3}], -1)"
        return f"{x} * ({windows_} @ {flat} ** 2 + {op.attributes['k']!r}).reshape({x}.shape) ** -{beta!r}"

    def negative(self, op: Op, path: str, x: str) -> str:
        return f"-{x}"

    def gate(self, op: Op, path: str, x: str) -> str:
        self._composed("sigmoid")
        self.functions["gated"] = GATED
        return f"gated({x}, axis={self.plan.axis(op.attributes['axis'])})"

    def permute(self, op: Op, path: str, x: str) -> str:
        lead = range(1 if self.plan.members is None else 2)
        return (
            f"{x}.transpose({', '.join(map(str, [*lead, *(self.plan.axis(axis) for axis in op.attributes['axes'])]))})"
        )

    def reshape(self, op: Op, path: str, x: str) -> str:
        lead = "" if self.plan.members is None else f"len({x}), "
        return f"{x}.reshape({lead}{', '.join(map(str, (-1, *op.output.shape)))})"

    def add(self, op: Op, path: str, *inputs: str) -> str:
        return " + ".join(inputs)

    def multiply(self, op: Op, path: str, *inputs: str) -> str:
        return " * ".join(inputs)

    def concat(self, op: Op, path: str, *inputs: str) -> str:
        return f"np.concatenate([{', '.join(inputs)}], axis={self.plan.axis(op.attributes['axis'])})"


RULES: dict[str, Callable[..., str]] = {
    "Affine": _Script.affine,
    "Gather": _Script.gather,
    "Reduce": _Script.reduce,
    "Elementwise": _Script.elementwise,
    "Softmax": _Script.softmax,
    "Reshape": _Script.reshape,
    "Add": _Script.add,
    "Multiply": _Script.multiply,
    "Concat": _Script.concat,
    "Norm": _Script.norm,
    "BatchNorm": _Script.elementwise,
    "ResponseNorm": _Script.response_norm,
    "Negative": _Script.negative,
    "Gate": _Script.gate,
    "Permute": _Script.permute,
}


def _rows(value: Value) -> str:
    """How many rows a value has, in a word: n, or another number."""
    return "n" if value.rows == 1 else "m"


def _shape(*axes: object) -> str:
    """Axes as people write them: (n, 4)."""
    sizes = [str(n) for axis in axes for n in (axis if isinstance(axis, tuple) else (axis,))]
    return f"({', '.join(sizes)})" if len(sizes) > 1 else f"({sizes[0]},)"
