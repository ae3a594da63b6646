"""A block of columns: where its activations and gradients are stored, and how units are tiled.

A column is a vector of activations: those of one sample in W networks (replica lanes), or of W samples in one network
(sample lanes). The rules in lamp.compiler.rules compute several columns at once, so that each weight is loaded once for
all of them; a ColumnBlock gives them loads and stores by offset and column.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence

from lamp.compiler.arguments import KernelArguments
from lamp.compiler.code import Code
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane, Mask, Whole
from lamp.compiler.stages import Element, Plan, Stage
from lamp.graph import Numbers

Random = Callable[[Element, Stage, Index, Index], Whole]  # (element, stage, unit, column of the batch) -> random bits
Counts = Callable[[Index], Mask | None]  # column of the batch -> which lanes hold a sample that counts; None if all do
Present = Callable[[Stage, Index], Mask | None]  # which networks have this unit of a stage; None if all do


LIGHT_ROWS = 2  # units of a light layer that are computed together


class ColumnBlock:
    """`columns` columns that are computed together.

    arguments    the kernel's; its gradients are those of this part of the batch
    one_network  whether lanes are samples; then weight gradients are summed over a chunk of the batch, not per block
    random       the random bits of Dropout and its like
    present      which networks have a unit, if hidden layers differ in width
    counts       which lanes of a column hold a sample that counts
    light        the numbers of the layers whose code should be short, since they do little of the work
    column       the number of the first column in the batch
    stride       so many columns are stored side by side in scratch memory
    first        the position of the first column among them
    given_gradients  the stages for which gradients of the outputs have been stored (during backward)
    gone_back    the stages whose gradients have passed through their chain (during backward)

    The blocks of a chunk are written one after another, so they share the last two.
    """

    def __init__(
        self,
        code: Code,
        plan: Plan,
        columns: int,
        arguments: KernelArguments,
        one_network: bool,
        random: Random,
        present: Present,
        counts: Counts,
        light: Collection[int],
        column: Index,
        stride: int,
    ) -> None:
        self.code, self.plan, self.one_network = code, plan, one_network
        self.random, self.present, self.counts, self.light, self.arguments = random, present, counts, light, arguments
        self.column, self.stride, self.first = column, stride, 0
        self.given_gradients, self.gone_back = {plan.last}, set[Stage]()
        self._set_columns(columns)

    def _set_columns(self, columns: int) -> None:
        registers = self.code.machine.registers
        self.columns = columns
        self.most_rows = max(1, min(6, (registers - 4 - columns) // columns))
        self.rows_of_gradient = 2 if 3 * columns + 4 <= registers else 1

    def part(self, first: Index, columns: int) -> ColumnBlock:
        """The block of so many columns that begins `first` columns after the beginning of this one."""
        block = copy.copy(self)
        block.column = self.code.plus(self.column, first)
        if self.stride > columns:  # else scratch memory holds one block at a time
            block.first = self.code.plus(self.first, first)
        block._set_columns(columns)
        return block

    # ---- memory ------------------------------------------------------------------------------------------------
    def activation(self, place: Index, column: Index) -> Lane:
        """The activation of a column at this offset."""
        return self.code.load(self.arguments.activations, self._at(place, column))

    def keep_activation(self, place: Index, column: Index, value: Lane) -> None:
        self.code.store(self.arguments.activations, self._at(place, column), value)

    def gradient(self, place: Index, column: Index) -> Lane:
        """The gradient of a column at this offset."""
        return self.code.load(self.arguments.activation_gradients, self._at(place, column))

    def keep_gradient(self, place: Index, column: Index, value: Lane) -> None:
        self.code.store(self.arguments.activation_gradients, self._at(place, column), value)

    def _at(self, place: Index, column: Index) -> Index:
        return self.code.plus(self.code.times(place, self.stride), self.code.plus(self.first, column))

    def first_number(self, place: Index) -> Index:
        """The position, in numbers, of the first column at this offset. For sample lanes."""
        return self.code.times(self._at(place, 0), self.code.lanes)

    def random_bits(self, element: Element, stage: Stage, unit: Index, column: Index) -> Whole:
        """The 32 random bits of a unit in a column."""
        return self.random(element, stage, unit, self.code.plus(self.column, column))

    def counted(self, values: Sequence[Lane], columns: Sequence[Index]) -> list[Lane]:
        """The values of these columns, 0 where there is no sample that counts.

        There, a gradient is not always 0: matrix products compute those of a chunk's columns alone, and what the blocks
        read beyond them is left over from another batch.
        """
        masks = [self.counts(self.code.plus(self.column, column)) for column in columns]
        return [x if mask is None else x.where(mask, 0.0) for x, mask in zip(values, masks, strict=True)]

    def parameter(self, at: Index) -> Lane:
        """A parameter: each network's in its lane, or the single network's in every lane."""
        load = self.code.load_one if self.one_network else self.code.load
        return load(self.arguments.parameters, at)

    def constant(self, numbers: Numbers, k: Index) -> Lane:
        """The k-th of the network's fixed numbers."""
        return self.code.load_one(self.arguments.constants, self.code.plus(k, self.plan.place_of(numbers)))

    def row_element(self, offset: int, row: Whole, width: int, k: Index) -> Lane:
        """Element k of a row of a table (n, width) that lies at this offset among the parameters; each lane has a row
        of its own, in its own network's table."""
        code = self.code
        if self.one_network:
            return code.gathered(self.arguments.parameters, row, width, code.plus(k, offset))
        of_network = row * (width * code.lanes) + code.arange(0)
        return code.gathered(self.arguments.parameters, of_network, 1, code.times(code.plus(k, offset), code.lanes))

    def add_to_rows(self, offset: int, width: int, index: Index, gradient: Index, column: Index) -> None:
        """Add to the gradients of such rows, one lane after another.

        index     the offset of the rows' numbers among the activations
        gradient  the offset of the first element of the rows' gradients
        """
        code, lanes = self.code, self.code.lanes
        own, lead = (0, 1) if self.one_network else (1, lanes)
        gradients, given = self.arguments.gradients, self.arguments.activation_gradients
        first = code.times(self._at(index, column), lanes)
        with code.loop(0, lanes) as lane:
            row = code.load_number(self.arguments.activations, code.plus(first, lane))
            begin = code.plus(code.times(code.plus(code.times(row, width), offset), lead), code.times(lane, own))
            with code.loop(0, width) as k:
                at = code.plus(begin, code.times(k, lead))
                dy = code.load_first(
                    given, code.plus(code.times(self._at(code.plus(gradient, k), column), lanes), lane)
                )
                code.store_first(gradients, at, code.load_first(gradients, at) + dy)

    def statistic(self, at: Index) -> Lane:
        """A running statistic: each network's in its lane, or the single network's in every lane."""
        load = self.code.load_one if self.one_network else self.code.load
        return load(self.arguments.parameters, self.code.plus(at, self._statistics))

    def keep_statistic(self, at: Index, value: Lane) -> None:
        store = self.code.store_first if self.one_network else self.code.store
        store(self.arguments.parameters, self.code.plus(at, self._statistics), value)

    @property
    def _statistics(self) -> Index:
        """Where the statistics begin behind the parameters, which fill whole vectors."""
        lanes = self.code.lanes if self.one_network else 1
        return -(-self.plan.parameters // lanes) * lanes

    def add_to_gradient(self, at: Index, value: Lane) -> None:
        code, gradients = self.code, self.arguments.gradients
        if self.one_network:
            code.store_first(gradients, at, value.sum_of_lanes() + code.load_one(gradients, at))
        else:
            code.store(gradients, at, code.load(gradients, at) + value)

    def add_to_gradients(self, at: Index, sums: Sequence[Lane]) -> None:
        """Add to the gradients of neighbouring parameters; in sample lanes the sums over the lanes."""
        code, gradients = self.code, self.arguments.gradients
        if self.one_network:
            code.add_some(gradients, at, code.lane_sums(sums), 0, len(sums))
            return
        for k, each in enumerate(sums):
            self.add_to_gradient(code.plus(at, k), each)

    def add_rows_to_gradients(self, places: Sequence[Index], sums: Sequence[Lane]) -> None:
        """`add_to_gradients` for several rows of neighbouring parameters, which begin at these places."""
        code, count = self.code, len(sums) // len(places)
        added = code.lane_sums(sums) if self.one_network else []
        for r, at in enumerate(places):
            if self.one_network:
                code.add_some(self.arguments.gradients, at, added, r * count, count)
            else:
                self.add_to_gradients(at, sums[r * count : (r + 1) * count])

    def is_light(self, stage: Stage) -> bool:
        """Whether a stage's code should be short."""
        return stage.layer in self.light

    def rows(self, units: Index, light: bool) -> int:
        """How many units to compute together, in rows x columns registers: many, or a few for a light layer, and
        preferably without remainder."""
        most = min(self.most_rows, LIGHT_ROWS) if light else self.most_rows
        if not isinstance(units, int):
            return most
        return min(range(1, most + 1), key=lambda rows: -(-units // rows) * (rows + 1.0) + (units % rows > 0))

    def tiles(self, count: Index, rows: int) -> Iterator[tuple[Index, int]]:
        """Loops over 0 ... count in steps of `rows`; yields the first number of each tile and the size of the tile."""
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
