"""`Widths`: which widths of a network may differ between the replicas of a population."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import torch
from torch import Tensor

from lamp.graph import Graph, Op, Value
from lamp.module import Module
from lamp.nn import Activation, Dropout, Linear, PReLU
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe

Shaped = Value | Parameter | Buffer
Axis = tuple[Hashable, int]  # an axis of a value or a parameter; for a module, (module, 0) is the axis of its features

# Operations that compute each unit from that unit alone. A unit that a replica lacks meets only weights of zero behind
# them, so its value does not matter if it is finite.
PER_UNIT = ("Elementwise", "Mask", "Add", "Multiply")


class Widths:
    """The widths in a graph: which axes must be equally long, and which lengths may differ between replicas.

    A width of hidden units is *free*, so that it may differ, if only lamp's Linear and operations on single units use
    it. A replica with fewer units than the widest has zeros for the weights of the units that it lacks.

    A width is *fixed* if it belongs to the network's inputs or outputs, or if any other operation uses it: a Softmax
    sums over it, a Concat or a Reshape puts other numbers beside it. It is also fixed if an operation gives an infinite
    value or slope for an absent unit, because infinity times a weight of zero is NaN.
    """

    def __init__(self, graph: Graph) -> None:
        self._same: dict[Axis, Axis] = {}  # union-find: axes of one length have one root
        self._fixed: dict[Axis, str] = {}  # a root: the reason why its width is fixed
        self._number: dict[Axis, int] = {}  # a root: the number of a free width in `label`
        self._absent: dict[Value, Tensor] = {}  # the number that an absent unit has in this value, (1,)
        self._graph = graph
        for value in graph.inputs:
            self._fix(value, "it is a width of the inputs")
        for op in graph.ops:
            if op.kind == "Affine" and type(op.module) is Linear:
                self._join_affine(op)
            elif not (op.kind in PER_UNIT and self._join_per_unit(op)):
                place = f"{op.path}: {describe(op.module)}" if op.path else describe(op.module)
                used: list[Shaped] = [*op.inputs, *op.outputs, *op.parameters.values(), *op.buffers.values()]
                for each in used:
                    self._fix(each, f"a {op.kind} ({place}) needs one width in all networks")
        for value in graph.outputs:
            self._fix(value, "it is a width of the outputs")

    def _join_affine(self, op: Op) -> None:
        """Join the axes of a Linear that are equally long."""
        (x,), y, weight = op.inputs, op.output, op.parameters["weight"]
        last = len(x.shape) - 1
        self._join((x, last), (weight, 1))
        self._join((y, last), (weight, 0))
        if "bias" in op.parameters:
            self._join((op.parameters["bias"], 0), (weight, 0))
        for axis in range(last):
            self._join((x, axis), (y, axis))

    def _join_per_unit(self, op: Op) -> bool:
        """Join the axes of an operation on single units, and return True; False if its widths must stay fixed."""
        if not self._allows_absent_units(op):
            return False
        for value in op.inputs:
            for axis in range(len(value.shape)):
                self._join((value, axis), (op.output, axis))
        for slopes in op.parameters.values():
            if slopes.elements > 1:
                self._join((slopes, 0), (op.output, 0))
        if op.kind == "Mask" and op.output.shape:  # Dropout numbers its elements by rows of the width
            self._join((op.module, 0), (op.output, len(op.output.shape) - 1))
        return True

    def _allows_absent_units(self, op: Op) -> bool:
        """Whether the operation is lamp's or a formula, and has a finite value and slope for an absent unit."""
        module = op.module
        x, *others = [self._absent.get(value, torch.zeros(1, dtype=torch.float64)) for value in op.inputs]
        slope = x
        if op.kind == "Elementwise" and isinstance(module, Activation) and not op.parameters:
            x = torch.as_tensor(module.sigma(x))
            slope = torch.as_tensor(module.dsigma(slope, x))
        elif op.kind == "Elementwise":
            x = x.clamp(min=0.0)  # PReLU, whose slope is zero for an absent unit
        for other in others:
            x = x + other if op.kind == "Add" else x * other
        self._absent[op.output] = x
        known = type(module) is {"Mask": Dropout, "Elementwise": PReLU}.get(op.kind, type(module))
        finite = bool(x.isfinite().all() and slope.isfinite().all())
        return finite and (known or (isinstance(module, Activation) and not op.parameters))

    def _root(self, axis: Axis) -> Axis:
        while (above := self._same.setdefault(axis, axis)) != axis:
            axis = above
        return axis

    def _join(self, one: Axis, other: Axis) -> None:
        one, other = self._root(one), self._root(other)
        if one != other:
            self._same[one] = other
            if one in self._fixed:
                self._fixed.setdefault(other, self._fixed[one])

    def _fix(self, shaped: Shaped, reason: str) -> None:
        for axis in range(len(_shape(shaped))):
            self._fixed.setdefault(self._root((shaped, axis)), reason)

    def why_fixed(self, shaped: Shaped, axis: int) -> str | None:
        """The reason why this width is fixed; None if it is free."""
        if isinstance(shaped, Value) or (shaped, axis) in self._same:
            return self._fixed.get(self._root((shaped, axis)))
        return "the graph does not say what it is for"

    def label(self, shaped: Shaped) -> tuple[Hashable, ...]:
        """The shape, with a name in place of each free width. Widths that must be equal have the same name."""
        named = []
        for axis, size in enumerate(_shape(shaped)):
            if self.why_fixed(shaped, axis) is None:
                number = self._number.setdefault(self._root((shaped, axis)), len(self._number))
                named.append(f"width {number}")
            else:
                named.append(str(size))
        return tuple(named)

    def with_free_input(self) -> Iterator[tuple[int, Module]]:
        """The modules that must know how many features each replica has, each after the index of its operation.

        They are the Linear and Dropout modules whose input has a free width.
        """
        for k, op in enumerate(self._graph.ops):
            x = op.inputs[0] if op.kind in ("Affine", "Mask") else None
            if x is not None and x.shape and self.why_fixed(x, len(x.shape) - 1) is None:
                yield k, op.module


def _shape(shaped: Shaped) -> tuple[int, ...]:
    return shaped.shape if isinstance(shaped, Value) else tuple(shaped.data.shape)
