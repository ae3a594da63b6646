"""What a network is made of, layer by layer, in a table: `print(lamp.summary(model, x))`."""

from __future__ import annotations

import re
from typing import Any

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.errors import ArgumentError, NotTraceable, ShapeError
from lamp.graph import Graph, Op, sizes
from lamp.module import Module
from lamp.paths import describe
from lamp.signatures import called
from lamp.tabular import Table
from lamp.tracing import guessed_shape, trace

SIGNS = {"Add": "+", "Multiply": "*"}


class Summary:
    """A network's layers: what each is, the shape that it puts out, its parameters and multiplications.

    graph            what was traced; None where that failed, and `reason` says which module was why
    parameters       of one network, each counted once; `trained`, those that are not frozen
    multiplications  of one sample's forward; None without a graph
    compiled         whether the compiled engine knows the network; `reason` says why not

    It prints as a table, and a notebook shows it as one.
    """

    def __init__(self, model: Module, inputs: tuple[Any, ...]) -> None:
        self.model = model
        self.graph: Graph | None = None
        self.reason: str | None = None
        every = list(model.parameters())
        self.parameters = sum(parameter.size for parameter in every)
        self.trained = sum(parameter.size for parameter in every if not parameter.frozen)
        try:
            self.graph = trace(model, *inputs)
        except NotTraceable as error:
            self.reason = f"not traced: {error.where}: {error.what}" if error.where else f"not traced: {error.what}"
        try:
            if self.graph is not None and len(self.graph.inputs) > 1:
                raise NotCompiled("the network takes several inputs")
            plan_of(model, shape=None if self.graph is None else self.graph.inputs[0].shape)
        except NotCompiled as error:
            self.reason = self.reason or f"not compiled: {error}"
        self.compiled = self.reason is None

    @property
    def multiplications(self) -> int | None:
        return None if self.graph is None else self.graph.multiplications

    def table(self) -> Table:
        """The layers as rows of text."""
        rows = self._modules() if self.graph is None else [self._row(self.graph, op) for op in self.graph.ops]
        replicas = "" if self.model.replicas is None else f" each of {self.model.replicas} replicas"
        frozen = f" ({self.parameters - self.trained:,} frozen)" if self.trained < self.parameters else ""
        work = "" if self.multiplications is None else f", {self.multiplications:,} multiplications per sample"
        headline = f"{type(self.model).__name__}: {self.parameters:,} parameters{frozen}{work}{replicas}"
        footer = "compiled engine: yes" if self.compiled else f"compiled engine: no, {self.reason}"
        columns = ("path", "layer", "output", "parameters", "multiplications")
        return Table(headline, columns, rows, left=("path", "layer", "output"), footer=footer, together=2)

    def _row(self, graph: Graph, op: Op) -> list[str]:
        """An operation; parameters that an earlier one has as well count there."""
        earlier = {each for other in graph.ops[: graph.ops.index(op)] for each in other.parameters.values()}
        own = [each for each in op.parameters.values() if each not in earlier]
        count = f"{sum(each.size for each in own):,}" if own else "shared" if op.parameters else ""
        shapes = ", ".join(sizes(("B", *value.shape)) for value in op.outputs)
        layer = type(op.module).__name__ if op.module.extra_repr() == "" else describe(op.module)
        joins = len(op.inputs) > 1 and op.body is None
        work = f"{op.multiplications:,}" if op.multiplications else ""
        return [op.path, SIGNS.get(op.kind, op.kind) if joins else _short(layer), shapes, count, work]

    def _modules(self) -> list[list[str]]:
        """The modules without children, where nothing could be traced."""
        network = getattr(self.model, "network", self.model)
        leaves = [(path, each) for path, each in network.named_modules() if not any(True for _ in each.children())]
        counts = [sum(parameter.size for parameter in each.parameters()) for _, each in leaves]
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


def _short(layer: str) -> str:
    """A layer's repr without the names of its arguments: Linear(784, 128)."""
    return re.sub(r"\b[a-z_]+=", "", re.sub(r", [a-z_]+=True\b", "", layer))


@called()
def summary(model: Module, *inputs: Any) -> Summary:
    """What a network is made of: layers, output shapes, parameters, multiplications, and whether it compiles.

    inputs  batches, or their shapes such as (32, 784); none of them where the first Linear tells it

    Raises ArgumentError for what is no module or no batch, and ShapeError where shapes do not fit.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "summary is of a network", expected="a lamp module", got=type(model).__name__, fix="lamp.summary(model, x)"
        )
    if not inputs:
        shape = guessed_shape(model)
        if shape is None:
            raise ArgumentError(
                "nothing tells the shape of this network's inputs",
                expected="a batch, or its shape",
                got="a network without a Linear",
                fix="lamp.summary(model, x), or lamp.summary(model, (32, 1, 28, 28))",
            )
        try:
            return Summary(model, ((1, *shape),))
        except ShapeError as error:
            error.add_note("a batch for the first Linear was tried: lamp.summary(model, x) takes another")
            raise
    return Summary(model, inputs)
