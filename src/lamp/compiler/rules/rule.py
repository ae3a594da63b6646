"""The interface of a rule: what the compiler must know about a kind of operation.

The fusion pass calls `stage` (or `element`), the allocation pass reads which values are kept, and the lowering pass
calls `forward` and `backward`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from lamp.compiler.code import Condition, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.stages import Element, Stage
from lamp.graph import Op
from lamp.module import Module
from lamp.parameter import Parameter


class Rule(ABC):
    """How operations of one kind are compiled. Each becomes the source of a stage.

    keeps_source        whether backward reads the source's values
    reads_inputs        whether backward reads the inputs, or gradients of weights are computed from them
    gives_its_gradient  whether the gradient of every input equals that of the source
    """

    keeps_source: ClassVar[bool] = False
    reads_inputs: ClassVar[bool] = True
    gives_its_gradient: ClassVar[bool] = False

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        """The stages that the operation reads, given those of its inputs: others where it needs its inputs padded.

        Raises NotCompiled for a variant of the operation that is not supported.
        """
        return inputs

    def merged(self, op: Op, inputs: list[Stage], alone: list[bool]) -> Stage | None:
        """The stage of an input, changed so that it computes this operation too; None if there is no such stage.

        alone  for each input, whether nothing else reads it
        """
        return None

    def stage(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Stage:
        """The stage whose source is this operation, and which reads these stages.

        offsets  the offset of each parameter among the network's numbers

        Raises NotCompiled for a variant of the operation that is not supported.
        """
        parameters = {name: offsets[parameter] for name, parameter in op.parameters.items()}
        units = math.prod(op.output.shape)
        return Stage(op.kind, inputs, units, parameters, op.attributes, op.multiplications)

    def outputs(self, op: Op, inputs: list[Stage], offsets: Mapping[Parameter, int]) -> Sequence[Stage]:
        """The stage of each output of the operation, given those of its inputs.

        Raises NotCompiled for a variant of the operation that is not supported.
        """
        return [self.stage(op, self.prepared(op, inputs), offsets)]

    def kept(self, stage: Stage) -> int:
        """How many values per sample it keeps for backward, beside its outputs."""
        return 0

    @abstractmethod
    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        """Write code that computes the source for a block of columns, and applies the chain to each of its values."""

    @abstractmethod
    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        """Write code that computes the gradients of each input that learns from the stored ones of the source."""


class WeightedRule(Rule):
    """A rule for operations with weights."""

    @abstractmethod
    def weight_gradient(self, block: ColumnBlock, stage: Stage) -> None:
        """In replica lanes, add the gradients of the weights, summed over the block's columns."""

    @abstractmethod
    def weight_gradient_of_samples(self, block: ColumnBlock, stage: Stage, vectors: Index) -> None:
        """In sample lanes, add the gradients of the weights, summed over all samples in so many vectors."""


Batch = Sequence[tuple[ColumnBlock, Index]]  # per part of the batch, a block with its first column, and their number


class Rows(NamedTuple):
    """The rows of the data that a chunk takes.

    array  the data
    first  from the number of a sample in the chunk to the position of its first feature in the array
    """

    array: Pointer
    first: Callable[[Index], Index]


class ChunkRule(ABC):
    """A way to compute a stage for all columns of a chunk at once, instead of some columns at a time. The first column
    of the block is that of the chunk.

    overwrites  whether it can store the gradients of weights without adding them to what is there
    """

    overwrites: ClassVar[bool] = False

    @abstractmethod
    def forward(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows) -> None:
        """Write code that computes the source for so many columns, and applies the chain to each of its values."""

    @abstractmethod
    def backward(self, block: ColumnBlock, stage: Stage, columns: Index) -> None:
        """Write code that turns the gradients of the outputs into those of the source, and these into those of the
        input, if it learns."""

    @abstractmethod
    def weight_gradient(self, block: ColumnBlock, stage: Stage, columns: Index, rows: Rows, add: bool) -> None:
        """Write code that adds the gradients of the weights, summed over all samples in so many columns; or, without
        `add`, stores them, if the rule `overwrites`."""


class CouplingRule(ABC):
    """A way to compute a stage whose samples depend on each other. Each part of the batch begins; when all parts have
    done so, each computes its own columns from what all have stored.

    Every method takes a block with the first column of the part, and the number of its columns, with those beyond the
    last sample that the last block reaches. `batch` has the same for all parts.
    """

    @abstractmethod
    def begin_forward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        """Write code that stores what other parts need of these columns for their forward."""

    @abstractmethod
    def forward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch, is_first: Condition) -> None:
        """Write code that computes the source, and applies the chain to each of its values.

        is_first  whether this part is the first one; None if there is only one
        """

    @abstractmethod
    def begin_backward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        """Write code that turns the gradients of the outputs into those of the source, and stores what other parts need
        of them."""

    @abstractmethod
    def backward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        """Write code that computes the gradients of the input, if it learns."""


class ElementUnit(NamedTuple):
    """An element of a stage's chain, and the unit that code is written for."""

    block: ColumnBlock
    stage: Stage
    element: Element
    unit: Index


class ElementRule(ABC):
    """How elementwise operations of one kind are compiled. Each becomes part of a stage's chain.

    kind    the kind of the operations
    module  the class of their modules
    """

    kind: ClassVar[str]
    module: type[Module]

    def element(self, op: Op, offsets: Mapping[Parameter, int]) -> Element:
        """The operation as an element of a chain. Raises NotCompiled for a variant that is not supported."""
        return Element(op.kind, op.module, {name: offsets[parameter] for name, parameter in op.parameters.items()})

    def needs(self, module: Any) -> str:
        """The values that backward reads: "x" (the operation's input), "y" (its output), "xy" or ""."""
        return ""

    def of_number(self, module: Any, x: Any) -> Any:
        """The operation applied to a number, if it does not depend on parameters. It tells what 0 is mapped to."""
        return x

    def instructions(self, block: ColumnBlock, module: Any, backward: bool) -> int:
        """The number of instructions of its code."""
        return 0

    @abstractmethod
    def forward(self, at: ElementUnit, column: Index, x: Lane) -> Lane:
        """The operation applied to x, a value of one unit and column."""

    @abstractmethod
    def backward(
        self, at: ElementUnit, columns: Sequence[Index], x: Sequence[Any], y: Sequence[Any], dy: Sequence[Lane]
    ) -> list[Lane]:
        """The gradients of one unit's inputs, one per column; also adds those of parameters.

        x and y hold the values that `needs` names, and None for the others.
        """


def total(lanes: Sequence[Lane]) -> Lane:
    """The sum of several lanes."""
    result = lanes[0]
    for lane in lanes[1:]:
        result = result + lane
    return result
