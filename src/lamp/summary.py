"""`lamp.summary`: a table of a network's layers, `print(lamp.summary(model, x))`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.errors import ArgumentError, NotTraceable, ShapeError
from lamp.graph import Graph, Op, sizes
from lamp.module import Module
from lamp.parameter import Parameter
from lamp.paths import describe
from lamp.signatures import called
from lamp.tabular import Table
from lamp.torch_habits import explains_attributes
from lamp.tracing import guessed_shape, holds_inputs, trace
from lamp.values import kind_of

SIGNS = {"Add": "+", "Multiply": "*"}
INSTEAD = {  # what users of torchinfo and Keras look for
    **dict.fromkeys(("total_params", "total", "params", "count_params", "num_parameters"), "summary.parameters"),
    **dict.fromkeys(("trainable_params", "trainable"), "summary.trained"),
    **dict.fromkeys(("total_mult_adds", "flops", "macs", "mult_adds"), "summary.multiplications, per sample"),
    **dict.fromkeys(("summary_list", "layers", "output_shape"), "summary.graph.ops, or print(summary)"),
}


@explains_attributes(INSTEAD)
class Summary:
    """The layers of a network, with their output shapes, parameters and multiplications. It prints as a table.

    graph            the traced graph; None if the network cannot be traced
    parameters       the number of parameters of one network, shared ones counted once
    trained          the number of those that are not frozen
    multiplications  per sample, in a forward; None without a graph
    compiled         whether the compiled engine can train the network
    reason           why there is no graph, or why the network does not compile; None if it compiles
    """

    def __init__(self, model: Module, inputs: tuple[Any, ...]) -> None:
        self.model = model
        self.graph: Graph | None = None
        self.reason: str | None = None
        every = list(model.parameters())
        self.parameters = sum(parameter.elements for parameter in every)
        self.trained = sum(parameter.elements for parameter in every if not parameter.frozen)
        try:
            self.graph = trace(model, *inputs)
        except NotTraceable as error:
            self.reason = f"not traced: {error.where}: {error.what}" if error.where else f"not traced: {error.what}"
        try:
            plan_of(model, shapes=None if self.graph is None else _shapes(self.graph, inputs))
        except NotCompiled as error:
            self.reason = self.reason or f"not compiled: {error}"
        self.compiled = self.reason is None

    @property
    def multiplications(self) -> int | None:
        return None if self.graph is None else self.graph.multiplications

    @called()
    def table(self) -> Table:
        """The layers as rows of text."""
        rows = self._modules() if self.graph is None else _rows(self.graph)
        replicas = "" if self.model.replicas is None else f" each of {self.model.replicas} replicas"
        frozen = f" ({self.parameters - self.trained:,} frozen)" if self.trained < self.parameters else ""
        work = "" if self.multiplications is None else f", {self.multiplications:,} multiplications per sample"
        headline = f"{type(self.model).__name__}: {self.parameters:,} parameters{frozen}{work}{replicas}"
        footer = "compiled engine: yes" if self.compiled else f"compiled engine: no, {self.reason}"
        columns = ("path", "layer", "output", "parameters", "multiplications")
        return Table(headline, columns, rows, left=("path", "layer", "output"), footer=footer, together=2)

    def _modules(self) -> list[list[str]]:
        """The rows for a network without a graph: its modules that contain no others."""
        network = getattr(self.model, "network", self.model)
        leaves = [(path, each) for path, each in network.named_modules() if not any(True for _ in each.children())]
        counts = [sum(parameter.elements for parameter in each.parameters()) for _, each in leaves]
        return [
            [path, _short(describe(each)), "?", f"{count:,}" if count else "", "?"]
            for (path, each), count in zip(leaves, counts, strict=True)
        ]

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __repr__(self) -> str:
        return f"Summary({self.parameters:,} parameters; compiled: {'yes' if self.compiled else self.reason})"


def _shapes(graph: Graph, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The shape of one sample of each input, or a Value for truth values, nested as the inputs are (see `plan_of`)."""
    values = iter(graph.inputs)

    def of(x: Any) -> Any:
        if holds_inputs(x):
            return tuple(map(of, x))
        value = next(values)
        return value if value.dtype is torch.bool else value.shape

    return tuple(map(of, inputs))


def _rows(graph: Graph) -> list[list[str]]:
    """A row for the operations of each call of a module, as long as no other call comes in between.

    Parameters that an earlier row uses too are counted there.
    """
    rows, earlier = [], set[Parameter]()
    for _, group in groupby(graph.ops, lambda op: op.call):
        ops = list(group)
        used = list(dict.fromkeys(each for op in ops for each in op.parameters.values()))
        own = [each for each in used if each not in earlier]
        earlier.update(own)
        count = f"{sum(each.elements for each in own):,}" if own else "shared" if used else ""
        shapes = ", ".join(sizes(value.layout()) for value in ops[-1].outputs)
        work = sum(op.multiplications for op in ops)
        rows.append([ops[-1].path, _layer(ops), shapes, count, f"{work:,}" if work else ""])
    return rows


def _layer(ops: list[Op]) -> str:
    """What the operations of one call are: the module, or the sign of a sum or product, which constants may go into."""
    module, kinds = ops[-1].module, [op for op in ops if op.kind not in ("Constant", "Expand")]
    if len(kinds) == 1 and len(kinds[0].inputs) > 1 and kinds[0].body is None:
        return SIGNS.get(kinds[0].kind, kinds[0].kind)
    return _short(type(module).__name__ if module.extra_repr() == "" else describe(module))


def _short(layer: str) -> str:
    """A layer's repr without the names of its arguments, such as "Linear(784, 128)"."""
    return re.sub(r"\b[a-z_]+=", "", re.sub(r", [a-z_]+=True\b", "", layer))


@called()
def summary(model: Module, *inputs: Any) -> Summary:
    """A table of a network's layers, output shapes, parameters and multiplications, and whether the network compiles.

    inputs  batches, or their shapes such as (32, 784). They may be left out for a network whose first Linear takes the
            input

    Raises ArgumentError for anything but a module and batches, and ShapeError for shapes that do not fit.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "summary takes a network", expected="a lamp module", got=kind_of(model), fix="lamp.summary(model, x)"
        )
    if not inputs:
        shape = guessed_shape(model)
        if shape is None:
            raise ArgumentError(
                "nothing tells the shape of this network's inputs",
                expected="a batch, or its shape",
                got="a network whose inputs no Linear takes",
                fix="lamp.summary(model, x), or lamp.summary(model, (32, 1, 28, 28))",
            )
        try:
            return Summary(model, ((1, *shape),))
        except ShapeError as error:
            error.add_note("lamp tried a batch that fits the first Linear; pass your own: lamp.summary(model, x)")
            raise
    return Summary(model, inputs)
