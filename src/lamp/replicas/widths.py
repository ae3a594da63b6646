"""Which widths of a network may differ from replica to replica of a population."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import torch
from torch import Tensor

from lamp.graph import Graph, Op, Value
from lamp.module import Module
from lamp.nn import Activation, Dropout, Linear, PReLU
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe

Thing = Value | Parameter | Buffer
Axis = tuple[Hashable, int]  # of a value, a parameter, or a module's features

# Operations in which each unit is for itself: one that puts out anything, and meets no weight but zeros, disturbs none.
PER_UNIT = ("Elementwise", "Mask", "Add", "Multiply")


class Widths:
    """The widths of a graph: which axes are equally long, and which of them may be of another length elsewhere.

    Free is a width of hidden units that only meet operations on each unit for itself and layers of lamp's, which keep
    the weights of units that are not there at zero. The network's inputs and outputs are fixed, and so is whatever
    another operation sees: what a Softmax adds up, what is joined to something else, what gets another shape. So is
    what puts out an infinity for a unit that is not there: no weight of zero would stop it.
    """

    def __init__(self, graph: Graph) -> None:
        self._same: dict[Axis, Axis] = {}
        self._fixed: dict[Axis, str] = {}  # and why
        self._number: dict[Axis, int] = {}
        self._absent: dict[Value, Tensor] = {}  # what a unit that is not there has for a value, (1,)
        self._graph = graph
        for value in graph.inputs:
            self._fix(value, "it is a width of the inputs")
        for op in graph.ops:
            if op.kind == "Affine" and type(op.module) is Linear:
                self._affine(op)
            elif not (op.kind in PER_UNIT and self._per_unit(op)):
                place = f"{op.path}: {describe(op.module)}" if op.path else describe(op.module)
                things: list[Thing] = [*op.inputs, *op.outputs, *op.parameters.values(), *op.buffers.values()]
                for each in things:
                    self._fix(each, f"a {op.kind} ({place}) needs one width in all networks")
        for value in graph.outputs:
            self._fix(value, "it is a width of the outputs")

    def _affine(self, op: Op) -> None:
        (x,), y, weight = op.inputs, op.output, op.parameters["weight"]
        last = len(x.shape) - 1
        self._join((x, last), (weight, 1))
        self._join((y, last), (weight, 0))
        if "bias" in op.parameters:
            self._join((op.parameters["bias"], 0), (weight, 0))
        for axis in range(last):
            self._join((x, axis), (y, axis))

    def _per_unit(self, op: Op) -> bool:
        """Join what is equally long in an operation on each unit; False where something else in it is not known."""
        if not self._is_known(op):
            return False
        for value in op.inputs:
            for axis in range(len(value.shape)):
                self._join((value, axis), (op.output, axis))
        for slopes in op.parameters.values():
            if slopes.size > 1:
                self._join((slopes, 0), (op.output, 0))
        if op.kind == "Mask" and op.output.shape:  # the module counts positions in rows of one width
            self._join((op.module, 0), (op.output, len(op.output.shape) - 1))
        return True

    def _is_known(self, op: Op) -> bool:
        """Whether it is lamp's operation, or a formula, and makes a finite number of what is not there."""
        module = op.module
        x, *others = [self._absent.get(value, torch.zeros(1, dtype=torch.float64)) for value in op.inputs]
        slope = x
        if op.kind == "Elementwise" and isinstance(module, Activation) and not op.parameters:
            x = torch.as_tensor(module.sigma(x))
            slope = torch.as_tensor(module.dsigma(slope, x))
        elif op.kind == "Elementwise":
            x = x.clamp(min=0.0)  # PReLU: its slope is zero there
        for other in others:
            x = x + other if op.kind == "Add" else x * other
        self._absent[op.output] = x
        known = type(module) is {"Mask": Dropout, "Elementwise": PReLU}.get(op.kind, type(module))
        finite = bool(x.isfinite().all() and slope.isfinite().all())
        return finite and (known or (isinstance(module, Activation) and not op.parameters))

    def _find(self, axis: Axis) -> Axis:
        while (above := self._same.setdefault(axis, axis)) != axis:
            axis = above
        return axis

    def _join(self, one: Axis, other: Axis) -> None:
        one, other = self._find(one), self._find(other)
        if one != other:
            self._same[one] = other
            if one in self._fixed:
                self._fixed.setdefault(other, self._fixed[one])

    def _fix(self, thing: Thing, why: str) -> None:
        for axis in range(len(_shape(thing))):
            self._fixed.setdefault(self._find((thing, axis)), why)

    def why(self, thing: Thing, axis: int) -> str | None:
        """Why this width is fixed; None where it is free."""
        if isinstance(thing, Value) or (thing, axis) in self._same:
            return self._fixed.get(self._find((thing, axis)))
        return "the graph does not say what it is for"

    def label(self, thing: Thing) -> tuple[Hashable, ...]:
        """A shape in which free widths are named, the same name for equal ones."""
        named = []
        for axis, size in enumerate(_shape(thing)):
            if self.why(thing, axis) is None:
                number = self._number.setdefault(self._find((thing, axis)), len(self._number))
                named.append(f"width {number}")
            else:
                named.append(str(size))
        return tuple(named)

    def entering(self) -> Iterator[tuple[int, Module]]:
        """The modules that must know how many features go into them, by number of operation: where that is free."""
        for k, op in enumerate(self._graph.ops):
            x = op.inputs[0]
            if op.kind in ("Affine", "Mask") and x.shape and self.why(x, len(x.shape) - 1) is None:
                yield k, op.module


def _shape(thing: Thing) -> tuple[int, ...]:
    return thing.shape if isinstance(thing, Value) else tuple(thing.data.shape)
