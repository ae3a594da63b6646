"""A block of columns on its way through the network: where its numbers lie, and how units are tiled.

A column is a vector of activations: of one sample in W networks (replica lanes), or of W samples in one network (sample
lanes). A block keeps several columns in registers at once, so that a weight is fetched once for all of them. What is
computed with them stands in lamp.compiler.rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lamp.compiler.arguments import KernelArguments
from lamp.compiler.code import Code
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane, Mask
from lamp.compiler.stages import Plan, Stage
from lamp.nn import Dropout

Keep = Callable[[Dropout, Stage, Index, Index], Lane]  # the mask of a Dropout in a stage for (unit, column), scaled
Present = Callable[[Stage, Index], Mask | None]  # which networks have this unit of a stage; None: all


class ColumnBlock:
    """`columns` columns, those from number `first` on of `stride` that are kept side by side.

    arguments    the kernel's; its gradients are those of this part of the batch
    one_network  sample lanes: the gradients of weights are summed over a chunk of the batch, not over each block
    keep         the masks of Dropout; present: which networks have a unit, where networks are of several sizes
    column       the number of the first column in the batch
    given_gradients, gone_back  on the way back: the stages that have been handed gradients of their outputs, and those
                 whose gradients have gone back through their chains
    """

    def __init__(
        self,
        code: Code,
        plan: Plan,
        columns: int,
        arguments: KernelArguments,
        one_network: bool,
        keep: Keep,
        present: Present,
        first: Index = 0,
        stride: int | None = None,
        column: Index = 0,
    ) -> None:
        self.first, self.stride, self.column = first, columns if stride is None else stride, column
        self.code, self.plan, self.columns, self.one_network = code, plan, columns, one_network
        self.keep, self.present, self.arguments = keep, present, arguments
        self.given_gradients, self.gone_back = set[Stage](), set[Stage]()
        free = code.machine.registers - 4
        self.most_rows = max(1, min(6, (free - columns) // columns))
        self.rows_of_gradient = 2 if 3 * columns + 4 <= code.machine.registers else 1

    # ---- memory ------------------------------------------------------------------------------------------------
    def activation(self, place: Index, column: Index) -> Lane:
        """The activation kept at this place, of this column."""
        return self.code.load(self.arguments.activations, self._at(place, column))

    def keep_activation(self, place: Index, column: Index, value: Lane) -> None:
        self.code.store(self.arguments.activations, self._at(place, column), value)

    def gradient(self, place: Index, column: Index) -> Lane:
        """The gradient of the activation at this place."""
        return self.code.load(self.arguments.activation_gradients, self._at(place, column))

    def keep_gradient(self, place: Index, column: Index, value: Lane) -> None:
        self.code.store(self.arguments.activation_gradients, self._at(place, column), value)

    def _at(self, place: Index, column: Index) -> Index:
        return self.code.plus(self.code.times(place, self.stride), self.code.plus(self.first, column))

    def first_number(self, place: Index) -> Index:
        """Where the numbers of the first column's samples stand, in sample lanes, for what is kept at this place."""
        return self.code.times(self._at(place, 0), self.code.lanes)

    def parameter(self, at: Index) -> Lane:
        """A parameter: each network's own, or the one network's in every lane."""
        load = self.code.load_one if self.one_network else self.code.load
        return load(self.arguments.parameters, at)

    def add_to_gradient(self, at: Index, value: Lane) -> None:
        code, gradients = self.code, self.arguments.gradients
        if self.one_network:
            code.store_first(gradients, at, value.added_up() + code.load_one(gradients, at))
        else:
            code.store(gradients, at, code.load(gradients, at) + value)

    def rows(self, units: Index) -> int:
        """How many units are computed together, in rows x columns registers: many, and best without a rest."""
        if not isinstance(units, int):
            return self.most_rows
        return min(range(1, self.most_rows + 1), key=lambda rows: -(-units // rows) * (rows + 1.0) + (units % rows > 0))

    def tiles(self, count: Index, rows: int) -> Iterator[tuple[Index, int]]:
        """Loops over 0 ... count, `rows` at a time: the first of each, and how many."""
        if not isinstance(count, int):
            count = self.code.index(count)
            whole = self.code.minus(count, self.code.remainder(count, rows))
            with self.code.loop(0, whole, rows) as first:
                yield first, rows
            with self.code.loop(whole, count) as first:
                yield first, 1
            return
        whole = count - count % rows
        if whole:
            with self.code.loop(0, whole, rows) as first:
                yield first, rows
        if count > whole:
            yield whole, count - whole
