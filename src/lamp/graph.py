"""`Graph`: a network as a list of operations, which tracing makes without computing anything.

    graph = lamp.trace(model, x)
    print(graph)

`Module.trace(tracer, *values)` says what a module does, in a few kinds of operations; a container traces its children.
The compiler, the exporters, `lamp.summary` and the stacking of networks read the graph, so they need not know the
classes of modules. The graph does not depend on them.

The kinds of operations, with their attributes:

    Affine       y = x W^T + b along the last axis;    Add, Multiply  values of one shape, element by element
                 part: with these rows of W and b      Concat         values joined along `axis`
    MatMul       of two values: scale x y, or          Expand         repeated along axes of size 1 or new ones
                 scale x y^T if `transposed`           Constant       the same for every sample: a parameter, a
                                                                      buffer or fixed numbers
    Conv         over windows: kernel_size, stride,    Reshape        the same elements in another shape
                 padding, dilation, groups; and        Pad            borders: pads, mode, value
                 ConvTranspose, Fold and Unfold
    Pool         one number per window                 Gather         rows of a table, by index (an embedding)
    Elementwise  the module's `sigma` per element      Reduce         one number per axis: mode, axis
    Mask         random elements set to zero           Norm           standardised per sample; BatchNorm: per batch
    Softmax      along `axis`; log; masked, if 0 where Scan           a cell along the first axis, step by step: body
                 all scores are -inf
    ResponseNorm divided by what is in the channels beside it; Resize and Permute: axes in other sizes, another order
    Gate         one half times the sigmoid of the other; Negative; Bilinear, CosineSimilarity, Distance: of two values
    Exclude      -inf where a condition is true, else 0; MaxUnpool: numbers at given places, 0 elsewhere;
                 MaxPlaces: the place in its plane of the largest number of each window
    Select       the place `index` on `axis`           Cell           one step of RNN, LSTM or GRU

The Scan of RNN, LSTM or GRU has no body, since the module says it all: layers, directions, equations.
A module may use another kind of operation. The graph can then be printed and summarised; the compiler and the exporters
refuse a kind that they do not know. Axes are those of a sample, numbered from 0; BATCH is the axis of the batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from lamp.module import Module
from lamp.overrides import is_lamps
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe

NEEDED = {
    "Affine": ("weight",),
    "Gather": ("weight",),
    "Softmax": ("axis", "log"),
    "Concat": ("axis",),
    "Permute": ("axes",),
}  # attributes that a kind requires
MOVES = ("Reshape", "Concat")  # kinds whose outputs have the elements of their inputs
ANYWHERE = {
    "Affine",
    "Gather",
    "Elementwise",
    "Mask",
    "Softmax",
    "Add",
    "Multiply",
    "Concat",
    "Negative",
}  # these kinds
# are the same wherever a module's forward has the batch
BATCH = "batch"  # the `axis` of an operation along the batch
STATE = {"training", "replicas", "step"}  # attributes of a module that do not affect what it computes
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A value that one operation passes to others.

    number  its number in the graph
    shape   the shape of one sample, without the axis of the batch
    rows    the number of rows per sample: 3 after (B, 3, 4) was flattened to (3 B, 4)
    batch   the axis of the batch in the module's forward: 1 in (steps, B, features), or in the last states of a
            recurrent layer, (layers, B, H); else 0. It says nothing about the graph, whose values have the batch first
    """

    number: int
    shape: Shape
    dtype: torch.dtype
    rows: int = 1
    batch: int = field(default=0, compare=False)

    def layout(self, batch: object = "B") -> tuple[object, ...]:
        """The axes in the module's forward."""
        return (*self.shape[: self.batch], batch, *self.shape[self.batch :])

    def __str__(self) -> str:
        return f"%{self.number}"


class Numbers:
    """The fixed numbers of a Constant. `repr` tells other numbers apart, and is the same in every process."""

    def __init__(self, data: Tensor) -> None:
        self.data = data.detach().to("cpu", copy=True).contiguous()

    @property
    def causal(self) -> bool:
        """Whether it is the mask with which no place looks at a later one: -inf above the diagonal, else 0."""
        data = self.data
        if data.dim() != 2 or data.shape[0] != data.shape[1] or not data.is_floating_point():
            return False
        return torch.equal(data, torch.full_like(data, float("-inf")).triu(1))

    def __repr__(self) -> str:
        numbers = self.data.flatten().view(torch.uint8).numpy().tobytes()
        return f"Numbers({hashlib.blake2b(numbers, digest_size=16).hexdigest()})"

    def __str__(self) -> str:
        low, high = (f"{float(each):.6g}" for each in self.data.aminmax()) if self.data.numel() else ("none", "none")
        return "causal" if self.causal else low if low == high else f"{low} to {high}"


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

    kind             see the list at the top of lamp.graph
    module, path     the module that it comes from, and that module's path; an Elementwise is the module's `sigma`
    parameters       by their names in the module; `buffers` likewise
    attributes       options of the kind, such as the axis of a Softmax
    multiplications  per sample, in a forward
    body             the graph of one step of a Scan, from (x, *state) to the new state; None for other kinds
    call             the number of the call of the module, in the network's forward
    """

    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    module: Module
    path: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    buffers: Mapping[str, Buffer] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    multiplications: int = 0
    body: Graph | None = None
    call: int = 0

    @property
    def output(self) -> Value:
        """The output of an operation that has only one."""
        (output,) = self.outputs
        return output


@dataclass(frozen=True, eq=False)
class Graph:
    """The operations of a network in the order in which they run, with its input and output values.

    It prints as a listing. Two graphs are equal, and have the same `digest`, if they differ only in the values of
    parameters: they have the same operations on values of the same shapes, and share parameters in the same way.
    """

    ops: tuple[Op, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Each parameter once, in the order of first use."""
        return list(dict.fromkeys(each for op in self.ops for each in op.parameters.values()))

    @property
    def multiplications(self) -> int:
        """The number of multiplications in the forward of one sample."""
        return sum(op.multiplications for op in self.ops)

    @cached_property
    def index_limits(self) -> dict[Value, int]:
        """For each value that is an index into tables: the number of rows of the smallest of them; places in planes."""
        limits: dict[Value, int] = {}
        for op in reversed(self.ops):
            places = op.inputs
            if op.kind == "Gather":
                found = single_shape(op.parameters["weight"])[0]
            elif op.kind == "MaxUnpool":
                found, places = math.prod(op.output.shape[1:]), op.inputs[1:]
            elif op.kind in MOVES and op.output in limits:
                found = limits[op.output]
            else:
                continue
            limits.update((value, min(found, limits.get(value, found))) for value in places)
        return limits

    def users(self, value: Value) -> list[Op]:
        """The operations that have this value as an input."""
        return [op for op in self.ops if value in op.inputs]

    @cached_property
    def digest(self) -> str:
        """A hash as text, which is the same for equal graphs, in every process."""
        number = {parameter: k for k, parameter in enumerate(self.parameters)}
        lines = [f"{value} {value.shape} {value.dtype}" for value in self.inputs]
        for op in self.ops:
            held = {name: (number[each], single_shape(each), each.dtype) for name, each in op.parameters.items()}
            states = {name: (_buffer_shape(op, each), each.data.dtype) for name, each in op.buffers.items()}
            outputs = [(value.number, value.shape, value.dtype, value.rows) for value in op.outputs]
            inputs = [value.number for value in op.inputs]
            body = "" if op.body is None else op.body.digest
            options = f"{dict(op.attributes)} {body}"
            lines.append(f"{op.kind} {inputs} {outputs} {held} {states} {options} {_formula(op.module)}")
        lines.append(f"{[value.number for value in self.outputs]}")
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        rows = self._rows({parameter: k for k, parameter in enumerate(self.parameters)}, "")
        widths = [max((len(row[k]) for row in rows if len(row) > 1), default=0) for k in range(3)]
        lines = ["  ".join([*map(str.ljust, row[:-1], widths), row[-1]]) for row in rows]
        return "\n".join(line.rstrip() for line in lines)

    def _rows(self, number: Mapping[Parameter, int], indent: str) -> list[list[str]]:
        """The cells of the listing: output values, the operation, their shapes, and the module with its parameters."""
        rows = [[f"{indent}{value}", "input", _shape(value), ""] for value in self.inputs]
        for op in self.ops:
            held = [
                f"{name} p{number[each]} {sizes(single_shape(each))}"
                for name, each in op.parameters.items()
                if op.body is None or each not in op.body.parameters
            ]
            held += [f"{name} {sizes(_buffer_shape(op, each))}" for name, each in op.buffers.items()]
            options = [f"{name}={value}" for name, value in op.attributes.items()]
            what = f"{op.kind}({', '.join([*map(str, op.inputs), *options])})"
            name = type(op.module).__name__ if op.parameters else describe(op.module)
            where = f"{op.path}: {name}" if op.path else name
            left, shapes = (", ".join(map(each, op.outputs)) for each in (str, _shape))
            rows.append([f"{indent}{left}", what, shapes, ", ".join([where, *held])])
            rows += [] if op.body is None else op.body._rows(number, f"{indent}    ")
        return [*rows, [f"{indent}return {', '.join(map(str, self.outputs))}"]]


def single_shape(parameter: Parameter) -> Shape:
    """The shape of a parameter in one network, without the axis of replicas."""
    return tuple(parameter.shape) if parameter.replicas is None else tuple(parameter.shape[1:])


def _buffer_shape(op: Op, buffer: Buffer) -> Shape:
    return tuple(buffer.data.shape) if op.module.replicas is None else tuple(buffer.data.shape[1:])


def sizes(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))})"


def _shape(value: Value) -> str:
    rows = "" if value.rows == 1 else f" x {value.rows} rows"
    return f"{sizes(value.layout() if value.batch else value.shape)}{rows}"


def _formula(module: Module) -> str:
    """A text for what the graph does not say: a module's class and options, and the code of a user's formulas."""
    plain = {
        name: value
        for name, value in sorted(vars(module).items())
        if isinstance(value, int | float | str | bool | None) and not name.startswith("_") and name not in STATE
    }
    kind = type(module)
    code: list[Any] = []
    if not is_lamps(kind):
        for name in ("sigma", "dsigma"):
            function: Callable[..., Any] | None = getattr(kind, name, None)
            if isinstance(function, FunctionType):
                own = function.__code__
                code.append((own.co_code.hex(), own.co_names, repr(own.co_consts), function.__closure__))
    return f"{kind.__module__}.{kind.__qualname__} {plain} {code}"
