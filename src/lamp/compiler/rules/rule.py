"""What the compiler must know of a kind of operation: how it is fused, what it keeps, forward and back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.stages import Element, Stage
from lamp.compiler.stand_ins import NotCompiled
from lamp.graph import Op, Value
from lamp.module import Module
from lamp.parameter import Parameter
from lamp.paths import describe


class Rule(ABC):
    """How operations of one kind are compiled: each becomes the source of a stage.

    keeps_source       whether backward needs the source's values
    gives_its_gradient whether the gradients of the inputs are the very numbers that those of the source are
    """

    keeps_source: ClassVar[bool] = False
    gives_its_gradient: ClassVar[bool] = False

    def stage(self, op: Op, inputs: list[Stage], places: Mapping[Parameter, int]) -> Stage:
        """The stage that begins with this operation; `places` says where parameters begin. Raises NotCompiled."""
        parameters = {name: places[parameter] for name, parameter in op.parameters.items()}
        units = math.prod(op.output.shape)
        return Stage(op.kind, inputs, units, parameters, op.attributes, op.multiplications)

    @abstractmethod
    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        """Compute the source for a block of columns, and pass each of its numbers through the chain."""

    @abstractmethod
    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        """Give each input that learns its gradients, from those of the source, which are in their places."""


class WeightedRule(Rule):
    """A rule for operations that have weights."""

    @abstractmethod
    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        """Replica lanes: add the gradients of its weights, summed over the block's columns."""

    @abstractmethod
    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        """Sample lanes: add the gradients of its weights, summed over all samples in so many vectors."""


class ElementRule(ABC):
    """How what is done to each number for itself is compiled: as a part of the stage that it follows.

    kind    of the operations
    module  the class of their modules
    """

    kind: ClassVar[str]
    module: ClassVar[type[Module]]

    def element(self, op: Op, places: Mapping[Parameter, int]) -> Element:
        """The operation as an element of a chain. Raises NotCompiled."""
        return Element(op.kind, op.module, {name: places[parameter] for name, parameter in op.parameters.items()})

    def needs(self, module: Any) -> str:
        """What backward needs: "x", the number that came in, "y", what became of it, both, or neither."""
        return ""

    def of_number(self, module: Any, x: Any) -> Any:
        """What becomes of a number whatever the parameters are; 0 becomes what a unit without inputs puts out."""
        return x

    def instructions(self, block: ColumnBlock, module: Any, backward: bool) -> int:
        """How many instructions it takes."""
        return 0

    @abstractmethod
    def forward(self, block: ColumnBlock, stage: Stage, element: Element, unit: Index, column: Index, x: Lane) -> Lane:
        """What becomes of a number of one unit."""

    @abstractmethod
    def backward(
        self,
        block: ColumnBlock,
        stage: Stage,
        element: Element,
        unit: Index,
        columns: Sequence[Index],
        x: Sequence[Any],
        y: Sequence[Any],
        dy: Sequence[Lane],
    ) -> list[Lane]:
        """The gradients of what came in, for some columns of one unit; those of parameters are added. x and y hold None
        where they are not needed."""


def one_axis(op: Op, value: Value) -> None:
    """Raise NotCompiled unless samples have one axis here."""
    if len(value.shape) != 1:
        raise NotCompiled(f"{describe(op.module)} is compiled for samples of one axis, and gets {value.shape}")


def total(lanes: Sequence[Lane]) -> Lane:
    """Their sum."""
    result = lanes[0]
    for lane in lanes[1:]:
        result = result + lane
    return result
