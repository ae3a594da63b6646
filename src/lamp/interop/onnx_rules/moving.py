"""The rules for elements that change places or sizes (Permute, Resize, Expand), and for a Constant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamp.graph import Op
from lamp.interop.arrays import by_distance, constant
from lamp.interop.expressions import members_of
from lamp.interop.lengths import Sizes, refused, varies
from lamp.interop.onnx_graph import OnnxGraph
from lamp.interop.predictor import Held
from lamp.nn import Upsample


def permute(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    lead = range(1 if graph.plan.members is None else 2)
    order = [*lead, *(graph.plan.axis(axis) for axis in op.attributes["axes"])]
    return graph.node("Transpose", x, at=at, perm=order)


def resize(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    """Each axis times its matrix. ONNX's own Resize rounds places in another way, and lacks float64."""
    assert isinstance(op.module, Upsample)
    graph.check_fixed(op, "each of its sizes has a matrix of its own")
    lead = [] if graph.plan.members is None else [0]  # as it is
    shape, sizes = list(op.inputs[0].shape), op.output.shape[1:]
    for axis in reversed(range(len(sizes))):
        m = op.module.matrix(axis, shape[axis + 1], sizes, op.attributes["scales"], graph.plan.dtype)
        matrix = graph.numbers(f"{at}axis_{axis}", m)  # (m, n)
        flat = graph.integers(f"{at}rows", *lead, -1, *shape[: axis + 2], math.prod(shape[axis + 2 :]))
        x = graph.node("MatMul", matrix, graph.node("Reshape", x, flat, at=at), at=at)
        shape[axis + 1] = sizes[axis]
    return graph.node("Reshape", x, graph.integers(f"{at}shape", *lead, -1, *shape), at=at)


def expand(graph: OnnxGraph, op: Op, at: str, x: str) -> str:
    own, sizes = graph.sizes(op, 0), graph.sizes(op)
    lead = [1] * len(graph.lead)  # as it is
    if len(own) < len(sizes):  # new axes, after those of replicas and batch
        new = graph.integers("new", *range(len(lead), len(lead) + len(sizes) - len(own)))
        x = graph.node("Unsqueeze", x, new, at=at)
    before = [None] * (len(sizes) - len(own)) + own
    target = [(1,) if varies(each) and each == old else each for old, each in zip(before, sizes, strict=True)]
    return graph.node("Expand", x, graph.shape(op, "sizes", lead, target, at, infer=False), at=at)


def constant_(graph: OnnxGraph, op: Op, at: str) -> str:
    if any(map(varies, graph.sizes(op))):
        return _of_any_length(graph, op, at)
    numbers = constant(op, graph.plan.dtype, graph.plan.members)
    for name, each in members_of(op).items():
        return graph.parameter(f"{at}{name}", each, numbers)
    return graph.numbers(f"{at}constant", numbers)


def _of_any_length(graph: OnnxGraph, op: Op, at: str) -> str:
    """Numbers that follow from the length: one number everywhere; 0, 1, 2, ...; a square whose numbers follow from the
    distance between row and column, such as a causal mask; or the beginning of a table that a module holds."""
    variants, sizes = graph.plan.variants(op), graph.sizes(op)
    data = [each.attributes["numbers"].data for each in variants if "numbers" in each.attributes]
    if not data:
        raise refused(op, "its size depends on the length")
    if torch.cat([each.flatten() for each in data]).unique().numel() == 1:
        shape = graph.shape(op, "sizes", [1] * len(graph.lead), sizes, at, infer=False)
        number = data[0].flatten()[:1]
        return graph.node("Expand", graph.numbers(f"{at}constant", number), shape, at=at)
    length = graph.length(sizes[0], at)
    if length is not None and all(each.dim() == 1 and each.equal(torch.arange(len(each)).to(each)) for each in data):
        found = _counted(graph, length, at)
        found = graph.node("CastLike", found, graph.number(0.0), at=at) if data[0].is_floating_point() else found
    elif length is not None and (of_distance := by_distance(data)) is not None:
        found = _of_distances(graph, length, at, of_distance)
    elif (table := _beginning_of(graph, data)) is not None:
        found = _beginning(graph, op, at, table, sizes)
    else:
        why = (
            "0, 1, 2, ... nor numbers of distances, as a causal mask, nor the beginning of a table that a module holds"
        )
        raise refused(op, f"its numbers depend on the length, and are neither {why}")
    return graph.node("Unsqueeze", found, graph.integers("lead", *range(len(graph.lead))), at=at)


def _counted(graph: OnnxGraph, length: str, at: str) -> str:
    """The integers 0, 1, 2, ... below a length."""
    zero, one = (graph.numbers(f"{at}{k}", torch.tensor(k)) for k in range(2))
    return graph.node("Range", zero, graph.node("Squeeze", length, at=at), one, at=at)


def _of_distances(graph: OnnxGraph, length: str, at: str, numbers: Tensor) -> str:
    """A square whose numbers are those of the distances between column and row; beyond the first and last, these."""
    places, reach = _counted(graph, length, at), len(numbers) // 2
    row, column = (graph.node("Unsqueeze", places, graph.integers("axis", axis), at=at) for axis in (1, 0))
    ends = [graph.numbers(f"{at}{k}", torch.tensor(k)) for k in (-reach, reach)]
    distance = graph.node("Clip", graph.node("Sub", column, row, at=at), *ends, at=at)
    index = graph.node("Add", distance, graph.integers("reach", reach), at=at)
    return graph.node("Gather", graph.numbers(f"{at}of_distances", numbers), index, at=at, axis=0)


def _beginning_of(graph: OnnxGraph, data: Sequence[Tensor]) -> Held | None:
    """What the network holds whose first numbers along each axis these are, at each length."""

    def begins_with(whole: Tensor, part: Tensor) -> bool:
        fits = whole.dim() == part.dim() and all(n <= m for n, m in zip(part.shape, whole.shape, strict=True))
        return fits and torch.equal(whole[tuple(map(slice, part.shape))].to(part.dtype), part)

    return next((each for each in graph.plan.held() if all(begins_with(each.data, part) for part in data)), None)


def _beginning(graph: OnnxGraph, op: Op, at: str, whole: Held, sizes: Sequence[Sizes]) -> str:
    """The first numbers along each axis that has any length. A longer one is an error of the runtime."""
    name = f"{at}table"
    x = graph.numbers(name, whole) if isinstance(whole, Tensor) else graph.parameter(name, whole)
    for axis, each in enumerate(sizes):
        if varies(each):
            if (length := graph.length(each, at)) is None:
                raise refused(op, "the size of one of its axes cannot be read off another value")
            begin, place = graph.integers("begin", 0), graph.integers("axis", axis)
            x = graph.node("Slice", x, begin, length, place, at=at)
        elif each[0] != whole.data.shape[axis]:
            x = graph.node("Slice", x, *(graph.integers("ends", n) for n in (0, each[0], axis)), at=at)
    return x


RULES: dict[str, Callable[..., str]] = {
    "Permute": permute,
    "Resize": resize,
    "Expand": expand,
    "Constant": constant_,
}
