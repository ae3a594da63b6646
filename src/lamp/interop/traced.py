"""The graphs of what is exported: traced in eval mode, at several lengths where axes of the inputs may have any."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import torch

from lamp.errors import ArgumentError, LampError, NotTraceable, ShapeError
from lamp.graph import Graph, Op, Value
from lamp.interop.expressions import formula_of
from lamp.interop.lengths import FIX, TRACED, Lengths, Named, much_longer, names_in, values_of, with_lengths
from lamp.module import Module
from lamp.paths import path_of
from lamp.replicas import Population
from lamp.tracing import trace


def traced(
    parts: list[Module], kinds: Collection[str], shapes: Sequence[Named | None], dtypes: Sequence[torch.dtype]
) -> tuple[list[Graph], Lengths | None]:
    """The graph of each part; with names in the shapes, at several lengths."""
    names = names_in(shapes)
    error: LampError | None = None  # of the first lengths, if the network does not take them
    if not names:
        return _graphs(parts, kinds, shapes, dtypes, {}), None
    for unit in TRACED:
        values = values_of(names, unit)
        try:
            found = [_graphs(parts, kinds, shapes, dtypes, each) for each in values]
        except (ShapeError, ArgumentError) as at_these:
            error = error or at_these
            continue
        with contextlib.suppress(LampError, IndexError, RuntimeError):  # some networks have a longest length
            if (longer := much_longer(values[0])) is not None:
                found.append(_graphs(parts, kinds, shapes, dtypes, longer))
                values = (*values, longer)
        return found[0], Lengths(names, values, tuple(zip(*found, strict=True)))
    assert error is not None
    if isinstance(error, ArgumentError):
        raise error
    raise ArgumentError(
        f"this module cannot be exported for any length: {error.what}",
        expected=error.expected,
        got=error.got,
        fix=FIX,
        where=error.where,
    )


def _graphs(
    parts: list[Module],
    kinds: Collection[str],
    shapes: Sequence[Named | None],
    dtypes: Sequence[torch.dtype],
    lengths: dict[str, int],
) -> list[Graph]:
    """The graph of each part at these lengths."""
    given = [
        None if shape is None else Value(0, with_lengths(shape, lengths), dtype)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    graphs = [_graph(parts[0], kinds, given)]
    if graphs[0].index_limits.keys() & set(graphs[0].inputs):
        inputs = iter(graphs[0].inputs)
        given = [
            x if x is None or next(inputs) not in graphs[0].index_limits else replace(x, dtype=torch.int64)
            for x in given
        ]
        graphs = [_graph(parts[0], kinds, given)]
    for part in parts[1:]:
        graphs.append(_graph(part, kinds, graphs[0].outputs))
    return graphs


def _graph(model: Module, kinds: Collection[str], inputs: Iterable[Value | None]) -> Graph:
    """The graph of evaluation. Raises ArgumentError, with the module, if it cannot be traced or exported."""
    try:
        graph = trace(model, *inputs, training=False, across=True)
    except NotTraceable as error:
        raise ArgumentError(
            f"this module cannot be exported: {error.what}",
            expected=error.expected,
            got=error.got,
            fix=error.fix,
            where=error.where,
        ) from None
    root = model.network if isinstance(model, Population) else model
    for op in graph.ops:
        if op.kind in ("Elementwise", "BatchNorm"):
            _check_formula(op, root)
        elif op.kind not in kinds or op.body is not None:
            raise ArgumentError(
                f"this module cannot be exported: it does a {op.kind}",
                expected=f"a network of {', '.join(kinds)}",
                got=f"{op.kind} of {', '.join(str(value.shape) for value in op.inputs)}",
                fix="print(lamp.trace(model, x)) shows a network's operations",
                where=path_of(op.module, root),
            )
    return graph


def _check_formula(op: Op, root: Module) -> None:
    try:
        formula_of(op)
    except ArgumentError as error:
        error.where = path_of(op.module, root)
        raise
