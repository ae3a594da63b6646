"""Networks as plain Python files that need numpy alone, for people to read and for machines without torch."""

from __future__ import annotations

import inspect
import os
import runpy
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from lamp.installation import VERSION
from lamp.interop.agreement import check_agreement
from lamp.interop.expressions import COMPOSED, Expression, formula_of
from lamp.interop.predictor import Predictor, Step, matrix, offsets, predictor, slopes
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
from lamp.nn import Activation, Linear, LogSoftmax, PReLU, Softmax
from lamp.nn.activations_piecewise import leaky
from lamp.paths import describe
from lamp.saving import write_file
from lamp.signatures import called
from lamp.studies import Ensemble

SOFTMAX = '''def softmax(x, axis):
    """Positive numbers that add up to one along an axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)'''
LOG_SOFTMAX = '''def log_softmax(x, axis):
    """The logarithm of softmax, without overflow."""
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))'''
STORED = '''def stored(text, *shape):
    """An array of which the text is the base64 of its bytes, little-endian."""
    return np.frombuffer(base64.b64decode(text), "<f{size}").astype(np.{dtype}).reshape(shape)'''
DOES_NOT_RUN = (SyntaxError, NameError, AttributeError, TypeError, ValueError, IndexError)  # what a wrong file raises
RESERVED = ("base64", "erf", "log_softmax", "np", "predict", "sigmoid", "softmax", "stored", "x")


@called()
def to_python(
    model: Module | Ensemble,
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int, ...] | None = None,
    input_scaling: Any = None,
    output_scaling: Any = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a network as a Python file that needs numpy alone, and has a function predict(x); returns its path.

    model           a network in any mode: what is written is what it computes in eval mode, without the loss it may end
                    in. Of a population it is the mean of the networks' outputs; of a lamp.Ensemble the mean of their
                    probabilities: `to_python(lamp.Ensemble(population, probabilities=lamp.Softmax(-1)), path)`
    input_shape     of one sample, without the batch; needed only where no Linear tells it: before a Flatten, say
    input_scaling   (mean, scale): predict takes x, and the network gets (x - mean) / scale
    output_scaling  (mean, scale): the network gives z, and predict gives z scale + mean
    dtype           torch.float32 or torch.float64: that of the parameters, unless given (float32 without parameters)

    predict takes an array (n, *input_shape), or what numpy makes one of, and gives (n, ...). Few numbers are written
    out, more as base64. Each activation is a function, its formula as lamp has it: so are those of your own whose sigma
    is written over numbers.

    Before the file takes its place it is run, and must give what the model gives, to rounding, on batches of three
    sizes. A file that was at `path` stays until then.

    Raises ExportError where the two differ; ArgumentError for a module that cannot be exported, naming it; DTypeError
    for other precisions; CheckpointError where the file cannot be written.
    """
    plan = predictor(model, input_shape, input_scaling, output_scaling, dtype)
    text = _Script(plan, Path(path).stem).text()

    def write(file: IO[bytes]) -> None:
        file.write(text.encode("utf-8"))
        file.flush()
        run = cache(runpy.run_path)  # in a namespace of its own
        check_agreement(plan, lambda x: run(file.name)["predict"](x), path, DOES_NOT_RUN)

    write_file(path, write)
    return Path(path)


class _Script:
    """The file under construction: its arrays and functions, by name, and the lines of predict."""

    def __init__(self, plan: Predictor, name: str) -> None:
        self.plan, self.name = plan, name if name.isidentifier() else "this_file"
        self.dtype = "float32" if plan.dtype is torch.float32 else "float64"
        self.arrays: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.lines: list[str] = []
        self._taken = set(RESERVED)
        self._held: dict[object, str] = {}  # which array or function has which name

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
        return (
            f"{what}, to be used with numpy alone.\n\n    from {self.name} import predict\n\n"
            f"    y = predict(x)  # {self._arrays_in_words()}\n\n"
            f"Written by lamp {VERSION} from\n\n    {network}\n"
        )

    def _arrays_in_words(self) -> str:
        rows = "m" if self.plan.across else "n"
        shapes = _shape("n", self.plan.input_shape), _shape(rows, self.plan.output_shape)
        return f"x {shapes[0]} -> y {shapes[1]}, {self.dtype}"

    def _predict(self) -> str:
        plan = self.plan
        body = [
            docstring(f"The outputs y for inputs x: {self._arrays_in_words()}."),
            f"x = np.asarray(x, dtype=np.{self.dtype})",
            f"if x.ndim != {len(plan.input_shape) + 1} or x.shape[1:] != {plan.input_shape}:",
            f'    raise ValueError(f"expected inputs of shape {_shape("n", plan.input_shape)}, got {{x.shape}}")',
            *self.lines,
            "return x",
        ]
        return "\n".join(["def predict(x):", *(f"    {line}" for line in body)])

    # ---- the lines of predict ----------------------------------------------------------------------------------------
    def _write_lines(self) -> None:
        plan = self.plan
        if plan.standard is not None:
            mean, scale = self._array("input_mean", plan.standard.mean), self._array("input_scale", plan.standard.scale)
            self._line(f"(x - {mean}) / {scale}")
        if plan.members is not None:
            self._line("x[np.newaxis]", "(1, n, ...): all networks take the same")
        for step in plan.steps:
            self._line(self._step(step), self._shape_after(step))
        if plan.members is not None:
            self._line("x.mean(axis=0)", f"of all {plan.members} networks")
        if plan.own is not None:
            scale, mean = self._array("output_scale", plan.own.scale), self._array("output_mean", plan.own.mean)
            self._line(f"x * {scale} + {mean}")

    def _line(self, computed: str, comment: str = "") -> None:
        self.lines.append(f"x = {computed}" + (f"  # {comment}" if comment else ""))

    def _shape_after(self, step: Step) -> str:
        if step.before == step.after:
            return ""
        lead = [] if self.plan.members is None else [self.plan.members]
        return _shape(*lead, "n", step.after)

    def _step(self, step: Step) -> str:
        """What is computed of x, as Python."""
        return next(rule for kinds, rule in RULES if isinstance(step.module, kinds))(self, step)

    def _array(self, name: str, tensor: Tensor, parameter: Tensor | None = None) -> str:
        """The name of an array, that of a parameter which several modules share being one."""
        key = object() if parameter is None else (parameter.data_ptr(), tuple(tensor.shape))
        if key not in self._held:
            self._held[key] = name = identifier(name, self._taken)
            self.arrays[name] = array_text(tensor.to(self.plan.dtype).numpy(), self.dtype)
        return self._held[key]

    def _function(self, name: str, result: Expression, told: str, arguments: str = "x") -> str:
        """The name of a function that computes the expression; of two that compute the same, one."""
        lines, returned = expression_text(result)
        for each in sorted(functions_used(result)):
            self._composed(each)
        key = ("function", name, *lines, returned)
        if key not in self._held:
            self._held[key] = name = identifier(name, self._taken)
            body = [docstring(told), *lines, *returning(returned)]
            self.functions[name] = "\n".join([f"def {name}({arguments}):", *(f"    {line}" for line in body)])
        return self._held[key]

    def _composed(self, name: str) -> None:
        """Write a function that numpy lacks."""
        if name in self.functions:
            return
        (x,) = Expression.named("x")
        lines, returned = expression_text(COMPOSED[name](x))
        told = inspect.getdoc(COMPOSED[name]) or ""
        body = [*docstring(told + ("\n" if "\n" in told else "")).split("\n"), *lines, *returning(returned)]
        self.functions[name] = "\n".join([f"def {name}(x):", *(f"    {line}" if line else "" for line in body)])

    # ---- a rule a module ---------------------------------------------------------------------------------------------
    def linear(self, step: Step) -> str:
        assert isinstance(step.module, Linear)
        product = f"x @ {self._array(f'weight_{step.path}', matrix(step), step.module.weight.data)}"
        bias = offsets(step)
        return product if bias is None else f"{product} + {self._array(f'bias_{step.path}', bias, bias)}"

    def prelu(self, step: Step) -> str:
        assert isinstance(step.module, PReLU)
        slope = self._array(f"slope_{step.path}", slopes(step), step.module.weight.data)
        formula = leaky(*Expression.named("x", "slope"))
        return f"{self._function('prelu', formula, 'x where it is positive, else slope x.', 'x, slope')}(x, {slope})"

    def softmax(self, step: Step) -> str:
        assert isinstance(step.module, Softmax | LogSoftmax)
        name, text = ("softmax", SOFTMAX) if isinstance(step.module, Softmax) else ("log_softmax", LOG_SOFTMAX)
        self.functions[name] = text
        return f"{name}(x, axis={self.plan.axis(step.module.dim)})"

    def activation(self, step: Step) -> str:
        assert isinstance(step.module, Activation)
        result = formula_of(step.module)
        if is_one_operation(result):
            for each in functions_used(result):
                self._composed(each)
            return expression_text(result)[1]
        return f"{self._function(type(step.module).__name__, result, describe(step.module))}(x)"

    def reshape(self, step: Step) -> str:
        lead = "" if self.plan.members is None else "len(x), "
        return f"x.reshape({lead}{', '.join(map(str, (-1, *step.after)))})"


RULES = (
    ((Linear,), _Script.linear),
    ((PReLU,), _Script.prelu),
    ((Softmax, LogSoftmax), _Script.softmax),
    ((Activation,), _Script.activation),
    ((Module,), _Script.reshape),
)


def _shape(*axes: object) -> str:
    """Axes as people write them: (n, 4)."""
    sizes = [str(n) for axis in axes for n in (axis if isinstance(axis, tuple) else (axis,))]
    return f"({', '.join(sizes)})" if len(sizes) > 1 else f"({sizes[0]},)"
