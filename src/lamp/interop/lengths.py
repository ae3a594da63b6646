"""Axes of any length: a network's graph at several lengths, and what in it depends on them.

A name in the place of a size, as in ("length", 16), stands for any length. The network is traced at several lengths.
What is the same in all graphs is fixed; a size that differs has to be read off the input when the exported file runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lamp.errors import ArgumentError
from lamp.graph import Graph, Op, Shape, Value
from lamp.paths import describe

Sizes = tuple[int, ...]  # the sizes of one axis, one per length that was traced
Named = tuple[int | str, ...]  # the shape of a sample, with names in the place of sizes

TRACED = (16, 4, 1, 64, 256, 1024)  # the network is traced at multiples of the first of these that it takes
LONGER, LONGEST = 40, 2048  # and at so many times its first lengths, where these are not too long and it takes them
# Lengths at which the file is compared, if the network takes them. A long one is first: what is fixed beyond some
# distance, such as the window of a mask, shows there alone.
TRIED = (1100, 1, 7, 300, 2, 50, 3, 128, 33, 16)
DEPENDS = {("Scan", "steps"), ("Constant", "numbers"), ("Select", "index")}  # options that may depend on a length
FIX = "numbers in the place of names in input_shape: a file for each length"


@dataclass(frozen=True)
class Lengths:
    """The graphs of a network at several lengths, in the same order for each of its parts.

    names   the names of the lengths, and their values: the first ones, and others in which one is longer
    graphs  for each part of the network its graphs; the operations of all of them correspond to each other
    """

    names: tuple[str, ...]
    values: tuple[dict[str, int], ...]
    graphs: tuple[tuple[Graph, ...], ...]
    _of: dict[Op, tuple[Op, ...]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for graphs in self.graphs:
            _check_alike(graphs)
            self._of.update((ops[0], ops) for ops in zip(*(graph.ops for graph in graphs), strict=True))

    def of(self, op: Op) -> tuple[Op, ...]:
        """The operation at each of the lengths."""
        return self._of[op]

    def inputs(self) -> Iterator[list[Value]]:
        """For each input of the network its value at each of the lengths."""
        return map(list, zip(*(graph.inputs for graph in self.graphs[0]), strict=True))

    def outputs(self) -> Iterator[list[Value]]:
        """For each output likewise."""
        return map(list, zip(*(graph.outputs for graph in self.graphs[-1]), strict=True))

    def name(self, sizes: Sizes) -> str | None:
        """The name of the length that has these sizes."""
        return next((name for name in self.names if sizes == tuple(each[name] for each in self.values)), None)

    def tried(self) -> list[dict[str, int]]:
        """Lengths to compare the file at. Those of several names differ."""
        count = len(TRIED)
        return [{name: TRIED[(k + 2 * n) % count] for n, name in enumerate(self.names)} for k in range(count)]


def values_of(names: Sequence[str], unit: int) -> tuple[dict[str, int], ...]:
    """The lengths that a network is traced at: one for each name, then one name longer at a time; all differ."""
    first = {name: unit * (k + 1) for k, name in enumerate(names)}
    return first, *({**first, name: first[name] + unit * (len(names) + k + 1)} for k, name in enumerate(names))


def much_longer(lengths: dict[str, int]) -> dict[str, int] | None:
    """Lengths at which constants show what is fixed beyond some distance; None if they were too long to hold."""
    found = {name: LONGER * n for name, n in lengths.items()}
    return found if max(found.values()) <= LONGEST else None


def names_in(shapes: Sequence[Named | None]) -> tuple[str, ...]:
    """Each name once."""
    return tuple(dict.fromkeys(n for shape in shapes if shape is not None for n in shape if isinstance(n, str)))


def with_lengths(shape: Named, values: dict[str, int]) -> Shape:
    """The shape with lengths in the place of their names."""
    return tuple(values[n] if isinstance(n, str) else n for n in shape)


def varies(sizes: Sizes) -> bool:
    """Whether an axis has several sizes."""
    return len(set(sizes)) > 1


def axes_of(shapes: Sequence[Shape]) -> list[Sizes]:
    """For each axis its size in each of these shapes."""
    return list(zip(*shapes, strict=True))


def refused(op: Op, why: str) -> ArgumentError:
    """The error for an operation that cannot be written for any length."""
    return ArgumentError(
        f"this module cannot be exported for any length: {why}",
        expected="operations that are the same at each length",
        got=f"{op.kind} of {describe(op.module)}",
        fix=FIX,
        where=f"{op.path}: {describe(op.module)}" if op.path else describe(op.module),
    )


def _check_alike(graphs: Sequence[Graph]) -> None:
    """Raise ArgumentError unless the graphs have the same operations, on the same values, with the same options."""
    first, *others = graphs
    for other in others:
        for one, two in zip(first.ops, other.ops, strict=False):
            linked = [[value.number for value in (*op.inputs, *op.outputs)] for op in (one, two)]
            if one.kind != two.kind or one.module is not two.module or linked[0] != linked[1]:
                raise refused(one, f"at another length there is a {two.kind} in the place of its {one.kind}")
            for name in one.attributes.keys() | two.attributes.keys():
                here, there = (op.attributes.get(name) for op in (one, two))
                if repr(here) != repr(there) and (one.kind, name) not in DEPENDS:
                    raise refused(one, f"its {name} is {here} at one length and {there} at another")
        if len(first.ops) != len(other.ops):
            longer = max(first.ops, other.ops, key=len)
            raise refused(longer[min(len(first.ops), len(other.ops))], "it is there at some lengths only")
