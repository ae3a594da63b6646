"""One direction of a recurrent layer: its sizes, and where its numbers lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.stages import Stage
from lamp.nn.recurrent_formulas import UnitFormulas


@dataclass(frozen=True)
class Direction:
    """One layer in one direction.

    steps      the number of steps
    hidden     H, the number of units
    outputs    the size of h: H, or the size of the projection
    reverse    whether the last step comes first
    given      whether the initial state is given; else it is zero
    """

    formulas: UnitFormulas
    steps: int
    hidden: int
    outputs: int
    reverse: bool
    given: bool = False

    @property
    def projects(self) -> bool:
        return self.outputs < self.hidden

    @property
    def gates(self) -> int:
        """The number of gates of all units."""
        return self.formulas.gates * self.hidden

    @property
    def last(self) -> int:
        """Where the last step lies in the sequence."""
        return 0 if self.reverse else self.steps - 1

    # What is kept, place by place: the values of all steps, the states before and after each, what is carried back, for
    # a projection what it projects and the gradient of that in one step, and h before the first step, if it is given.
    @property
    def states(self) -> int:
        return self.steps * self.formulas.kept * self.hidden

    @property
    def carried(self) -> int:
        return self.states + (self.steps + 1) * self.hidden * self.formulas.has_state

    @property
    def projected(self) -> int:
        return self.carried + self.hidden * self.formulas.has_state

    @property
    def first(self) -> int:
        return self.projected + (self.steps + 1) * self.hidden * self.projects

    @property
    def kept(self) -> int:
        """The number of all these values."""
        return self.first + self.outputs * self.given


def direction_of(stage: Stage) -> Direction:
    form = stage.attributes["direction"]
    assert isinstance(form, Direction)
    return form


class Numbers:
    """The numbers of one direction in a block of columns.

    k is the number of a step in the order of computation, and t its place in the sequence; u is a unit, g a gate, j the
    number of a gate of a unit, i or o a number of h, s a column.
    """

    def __init__(self, block: ColumnBlock, stage: Stage) -> None:
        self.block, self.code, self.stage, self.form = block, block.code, stage, direction_of(stage)
        self.before = stage.inputs[0]

    def time(self, k: Index) -> Index:
        return self.code.minus(self.form.steps - 1, k) if self.form.reverse else k

    # ---- places ----------------------------------------------------------------------------------------------------
    def output(self, t: Index, i: Index) -> Index:
        return self.code.plus(self.code.times(t, self.form.outputs), i)

    def gate(self, t: Index, g: int, u: Index) -> Index:
        return self.code.plus(self.code.times(t, self.form.gates), self.code.plus(u, g * self.form.hidden))

    def _kept(self, first: int, row: Index, u: Index) -> Index:
        """The place behind `first` of a unit in this row of units."""
        begin = self.stage.kept_offset + first
        return self.code.plus(self.code.times(row, self.form.hidden), self.code.plus(u, begin))

    def _value(self, t: Index, g: int, u: Index) -> Index:
        return self._kept(g * self.form.hidden, self.code.times(t, self.form.formulas.kept), u)

    # ---- forward ---------------------------------------------------------------------------------------------------
    def h_before(self, k: Index, i: Index, s: Index) -> Lane:
        """h before step k; before the first one, the initial state."""
        code, place = self.code, self.output(self.time(self.code.minus(k, 1)), i)
        at = code.plus(place, self.stage.value_offsets[0])
        if self.form.given:
            later = code.least(k, 1)
            first = code.plus(i, self.stage.kept_offset + self.form.first)
            at = code.plus(code.times(at, later), code.times(first, code.minus(1, later)))
        return self.block.activation(at, s)

    def keep_first(self, i: Index, s: Index, value: Lane) -> None:
        self.block.keep_activation(self.code.plus(i, self.stage.kept_offset + self.form.first), s, value)

    def input_part(self, t: Index, g: int, u: Index, s: Index) -> Lane:
        return self.block.activation(self.code.plus(self.gate(t, g, u), self.before.output_offset), s)

    def kept(self, t: Index, g: int, u: Index, s: Index) -> Lane:
        return self.block.activation(self._value(t, g, u), s)

    def keep(self, t: Index, g: int, u: Index, s: Index, value: Lane) -> None:
        self.block.keep_activation(self._value(t, g, u), s, value)

    def state(self, k: Index, u: Index, s: Index) -> Lane:
        return self.block.activation(self._kept(self.form.states, k, u), s)

    def keep_state(self, k: Index, u: Index, s: Index, value: Lane) -> None:
        self.block.keep_activation(self._kept(self.form.states, k, u), s, value)

    def projected(self, t: Index, u: Index, s: Index) -> Lane:
        return self.block.activation(self._kept(self.form.projected, t, u), s)

    def keep_projected(self, t: Index, u: Index, s: Index, value: Lane) -> None:
        self.block.keep_activation(self._kept(self.form.projected, t, u), s, value)

    # ---- backward --------------------------------------------------------------------------------------------------
    def dh(self, t: Index, i: Index, s: Index) -> Lane:
        return self.block.gradient(self.code.plus(self.output(t, i), self.stage.gradient_offset), s)

    def keep_dh(self, t: Index, i: Index, s: Index, value: Lane) -> None:
        self.block.keep_gradient(self.code.plus(self.output(t, i), self.stage.gradient_offset), s, value)

    def ds(self, t: Index, j: Index, s: Index) -> Lane:
        """The gradient through the state's part of a gate."""
        if self.form.formulas.apart:  # then it is not that of the input's part, and is kept in place of what was kept
            return self.kept(t, 0, j, s)
        return self.block.gradient(self.code.plus(self.gate(t, 0, j), self.before.gradient_offset), s)

    def carried(self, u: Index, s: Index) -> Lane:
        return self.block.activation(self._kept(self.form.carried, 0, u), s)

    def keep_carried(self, u: Index, s: Index, value: Lane) -> None:
        self.block.keep_activation(self._kept(self.form.carried, 0, u), s, value)

    def dprojected(self, u: Index, s: Index) -> Lane:
        return self.block.activation(self._kept(self.form.projected, self.form.steps, u), s)

    def keep_dprojected(self, u: Index, s: Index, value: Lane) -> None:
        self.block.keep_activation(self._kept(self.form.projected, self.form.steps, u), s, value)

    # ---- parameters ------------------------------------------------------------------------------------------------
    def bias(self, j: Index) -> Lane:
        if "bias_hh" not in self.stage.parameters:
            return self.code.lane(0.0)
        return self.block.parameter(self.code.plus(j, self.stage.parameters["bias_hh"]))

    def state_weight(self, j: Index, i: Index) -> Index:
        """The position of W_hh[j, i] among the parameters."""
        return self.code.plus(self.output(j, i), self.stage.parameters["weight_hh"])

    def projection(self, o: Index, u: Index) -> Index:
        """The position of W_hr[o, u] among the parameters."""
        row = self.code.times(o, self.form.hidden)
        return self.code.plus(self.code.plus(row, u), self.stage.parameters["weight_hr"])
