"""A block of columns through the network: forward, and back again.

A column is a vector of activations: of one sample in W networks (replica lanes), or of W samples in one network (sample
lanes). A block keeps several columns in registers at once, so that a weight is fetched once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lamp.compiler.arguments import NUMBERS, KernelArguments
from lamp.compiler.asking import asked
from lamp.compiler.code import Code
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane, Mask
from lamp.compiler.stages import ADD, AFFINE, CONCAT, MULTIPLY, SOFTMAX, Plan, Stage
from lamp.formulas import step
from lamp.nn import Activation, Dropout, PReLU
from lamp.nn.activations_piecewise import leaky

Keep = Callable[[Dropout, Stage, Index, Index], Lane]  # the mask of a Dropout in a stage for (unit, column), scaled
Present = Callable[[Stage, Index], Mask | None]  # which networks have this unit of a stage; None: all

INLINE = 10  # instructions of an activation up to which it is written out for every output of a tile


class Block:
    """Emits the passes of `columns` columns, those from number `first` on of `stride` that are kept side by side.

    given        the kernel's arguments; the gradients are those of this part of the batch
    one_network  sample lanes: the gradients of parameters are left to lamp.compiler.weight_gradients
    """

    def __init__(
        self,
        code: Code,
        plan: Plan,
        columns: int,
        given: KernelArguments,
        one_network: bool,
        keep: Keep,
        present: Present,
        first: Index = 0,
        stride: int | None = None,
    ) -> None:
        self.column = first  # of the batch
        self.first, self.stride = first, columns if stride is None else stride
        self.code, self.plan, self.columns, self.one_network = code, plan, columns, one_network
        self.keep, self.present = keep, present
        self.given = given
        free = code.machine.registers - 4
        self.most_rows = max(1, min(6, (free - columns) // columns))
        self.rows_of_gradient = 2 if 3 * columns + 4 <= code.machine.registers else 1

    # ---- memory ------------------------------------------------------------------------------------------------
    def activation(self, place: Index, column: Index) -> Lane:
        """The activation kept at this place, of this column."""
        return self.code.load(self.given.activations, self._at(place, column))

    def keep_activation(self, place: Index, column: Index, value: Lane) -> None:
        self.code.store(self.given.activations, self._at(place, column), value)

    def gradient(self, place: Index, column: Index) -> Lane:
        """The gradient of the activation at this place."""
        return self.code.load(self.given.activation_gradients, self._at(place, column))

    def keep_gradient(self, place: Index, column: Index, value: Lane) -> None:
        self.code.store(self.given.activation_gradients, self._at(place, column), value)

    def _at(self, place: Index, column: Index) -> Index:
        return self.code.plus(self.code.times(place, self.stride), self.code.plus(self.first, column))

    def first_number(self, place: Index) -> Index:
        """Where the numbers of the first column's samples stand, in sample lanes, for what is kept at this place."""
        return self.code.times(self._at(place, 0), self.code.lanes)

    def parameter(self, at: Index) -> Lane:
        """A parameter: each network's own, or the one network's in every lane."""
        load = self.code.load_one if self.one_network else self.code.load
        return load(self.given.parameters, at)

    def add_to_gradient(self, at: Index, value: Lane) -> None:
        code, gradients = self.code, self.given.gradients
        if self.one_network:
            code.store_first(gradients, at, value.added_up() + code.load_one(gradients, at))
        else:
            code.store(gradients, at, code.load(gradients, at) + value)

    def _rows(self, units: Index) -> int:
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

    # ---- forward -----------------------------------------------------------------------------------------------
    def forward(self, given: bool = False) -> None:
        """From the inputs, which are in their places, to the outputs of the last stage; or from those of the first
        affine map, where they are given."""
        for stage in self.plan.stages[1:]:
            if given and stage is self.plan.layers[0]:
                self._through_all(stage)
            elif stage.kind == AFFINE:
                self._forward(stage)
            elif stage.kind == SOFTMAX:
                self._forward_softmax(stage)
            else:
                self._forward_pointwise(stage)

    def begin(self, unit: Index, column: Index, x: Lane) -> None:
        """Take an input of the network."""
        self._through(self.plan.stages[0], unit, column, x)

    def _forward_pointwise(self, stage: Stage) -> None:
        """A sum, a product, values one after another, or a value as it is."""
        code, first = self.code, 0
        together = [[each] for each in stage.inputs] if stage.kind == CONCAT else [stage.inputs]
        for inputs in together:
            with code.loop(0, inputs[0].units) as unit, self._each_column(stage) as columns:
                for s in columns:
                    x, *others = [self.activation(code.plus(unit, each.outputs), s) for each in inputs]
                    for other in others:
                        x = x * other if stage.kind == MULTIPLY else x + other
                    self._through(stage, code.plus(unit, first), s, x)
            first += inputs[0].units

    @contextmanager
    def _each_column(self, stage: Stage, backward: bool = False) -> Iterator[Sequence[Index]]:
        """The columns, written out one by one; or in a loop, where what is done for each is long."""
        if not self._is_long(stage, backward):
            yield range(self.columns)
            return
        with self.code.loop(0, self.columns) as s:
            yield [s]

    def _forward(self, layer: Stage) -> None:
        code, (inputs, outputs) = self.code, layer.width
        for j, rows in self.tiles(outputs, self._rows(outputs)):
            start = []
            for r in range(rows):
                b = code.lane(0.0) if layer.bias is None else self.parameter(code.plus(j, layer.bias + r))
                start += [b] * self.columns
            with code.carrying(0, inputs, start) as (i, sums):
                x = [self.activation(code.plus(i, layer.inputs[0].outputs), s) for s in range(self.columns)]
                for r in range(rows):
                    w = self.parameter(self.weight(layer, code.plus(j, r), i))
                    for s in range(self.columns):
                        sums[r * self.columns + s] = w.times_plus(x[s], sums[r * self.columns + s])
            later = self._is_long(layer)
            for r in range(rows):
                for s in range(self.columns):
                    if later:
                        self.keep_activation(
                            code.plus(code.plus(j, r), layer.first_kept), s, sums[r * self.columns + s]
                        )
                    else:
                        self._through(layer, code.plus(j, r), s, sums[r * self.columns + s])
        if self._is_long(layer):
            self._through_all(layer)

    def _through_all(self, layer: Stage) -> None:
        """What follows the affine map, whose outputs are in their places."""
        code = self.code
        with code.loop(0, layer.units) as unit, code.loop(0, self.columns) as s:
            self._through(layer, unit, s, self.activation(code.plus(unit, layer.first_kept), s))

    def _is_long(self, layer: Stage, backward: bool = False) -> bool:
        """Whether what follows the affine map is so much code that it had better stand there once, in a loop."""
        modules = [module for module in layer.chain if isinstance(module, Activation)]
        if any(isinstance(module, Dropout) for module in layer.chain):
            return True
        return sum(_length(module, self.code, backward) for module in modules) > INLINE

    def weight(self, layer: Stage, j: Index, i: Index) -> Index:
        """Where the weight from input i to unit j stands among a network's parameters."""
        code = self.code
        return code.plus(code.plus(code.times(j, layer.width[0]), i), layer.weight)

    def _through(self, layer: Stage, unit: Index, column: Index, y: Lane) -> None:
        """What follows the affine map, for one unit; what is needed again is kept."""
        code = self.code
        for k, place in enumerate(layer.values):
            present = self.present(layer, unit) if k == len(layer.chain) else None
            if present is not None:
                y = y.where(present, 0.0)
            if place is not None:
                self.keep_activation(code.plus(unit, place), column, y)
            if k == len(layer.chain):
                return
            module = layer.chain[k]
            if isinstance(module, Activation):
                y = asked(module.sigma, y)
            elif isinstance(module, PReLU):
                y = leaky(y, self._slope(layer, k, module, unit))
            else:
                assert isinstance(module, Dropout)
                y = y * self.keep(module, layer, unit, column)

    def _slope(self, layer: Stage, k: int, module: PReLU, unit: Index) -> Lane:
        return self.parameter(slope_place(self.code, layer.slopes[k], unit, module))

    def _forward_softmax(self, stage: Stage) -> None:
        """Softmax, or its logarithm."""
        code, place = self.code, stage.inputs[0].outputs
        for s in range(self.columns):
            largest, total = self.log_sum_exp(place, stage.units, s)
            log_total = total.log() if stage.log else None
            with code.loop(0, stage.units) as c:
                x = self.activation(code.plus(c, place), s) - largest
                self._through(stage, c, s, x - log_total if log_total is not None else x.exp() / total)

    def log_sum_exp(self, place: int, units: int, column: Index, keep: int | None = None) -> tuple[Lane, Lane]:
        """The largest of some activations, and the sum of exp(x - largest), each kept among the gradients at `keep`."""
        code = self.code
        state = [self.activation(place, column)]
        for c in code.each(1, units, state):
            state[0] = state[0].maximum(self.activation(code.plus(c, place), column))
        largest, state = state[0], [code.lane(0.0)]
        for c in code.each(0, units, state):
            power = (self.activation(code.plus(c, place), column) - largest).exp()
            if keep is not None:
                self.keep_gradient(code.plus(c, keep), column, power)
            state[0] = state[0] + power
        return largest, state[0]

    # ---- backward ----------------------------------------------------------------------------------------------
    def backward(self) -> None:
        """From the gradients of the outputs, which are in their places, to those of all parameters, added to `g`."""
        self._begun, self._through_chain = {self.plan.last}, set[Stage]()
        for stage in self.plan.stages[:0:-1]:
            if not stage.learns:
                continue
            if stage.chain and stage not in self._through_chain:
                self._back_through_all(stage)
            if stage.kind == AFFINE and not self.one_network:
                self._add_gradients(stage)
            if stage.kind == CONCAT:
                self._backward_concat(stage)
                continue
            for k, before in enumerate(stage.inputs):
                if not before.learns:
                    continue
                if stage.kind == AFFINE:
                    self._backward(stage, before)
                elif stage.kind == SOFTMAX:
                    self._backward_softmax(stage, before)
                elif before.gradients != stage.gradients or stage.kind != ADD:
                    self._backward_pointwise(stage, before, stage.inputs[:k] + stage.inputs[k + 1 :])
                self._note(before)

    def _give(self, before: Stage, unit: Index, gradients: Mapping[Index, Lane]) -> None:
        """The gradients of a stage's outputs, for some columns of one unit: the only ones, or to be added up."""
        if before.users == 1 and not self._is_long(before, backward=True):
            self._back_through(before, unit, gradients)
            return
        for s, dx in gradients.items():
            place = self.code.plus(unit, before.gradients)
            self.keep_gradient(place, s, dx if before not in self._begun else dx + self.gradient(place, s))

    def _note(self, before: Stage) -> None:
        """All of a stage's outputs have been given gradients."""
        self._begun.add(before)
        if before.users == 1 and not self._is_long(before, backward=True):
            self._through_chain.add(before)

    def _backward_pointwise(self, stage: Stage, before: Stage, others: Sequence[Stage]) -> None:
        code = self.code
        with code.loop(0, stage.units) as unit, self._each_column(before, backward=True) as columns:
            dx = {}
            for s in columns:
                dx[s] = self.gradient(code.plus(unit, stage.gradients), s)
                for other in others if stage.kind == MULTIPLY else ():
                    dx[s] = dx[s] * self.activation(code.plus(unit, other.outputs), s)
            self._give(before, unit, dx)

    def _backward_concat(self, stage: Stage) -> None:
        code, first = self.code, stage.gradients
        for before in stage.inputs:
            if before.learns:
                with code.loop(0, before.units) as unit, self._each_column(before, backward=True) as columns:
                    self._give(before, unit, {s: self.gradient(code.plus(unit, first), s) for s in columns})
                self._note(before)
            first = first + before.units

    def _backward_softmax(self, stage: Stage, before: Stage) -> None:
        code, units = self.code, stage.units
        for s in range(self.columns):
            with code.carrying(0, units, [code.lane(0.0)]) as (c, state):
                dy = self.gradient(code.plus(c, stage.gradients), s)
                y = self.activation(code.plus(c, stage.values[0]), s)
                state[0] = state[0] + (dy if stage.log else dy * y)
            with code.loop(0, units) as c:
                dy = self.gradient(code.plus(c, stage.gradients), s)
                y = self.activation(code.plus(c, stage.values[0]), s)
                self._give(before, c, {s: dy - y.exp() * state[0] if stage.log else y * (dy - state[0])})

    def _add_gradients(self, layer: Stage) -> None:
        """dW += dy x^T and db += dy, summed over the columns."""
        code, (inputs, outputs) = self.code, layer.width
        for j, rows in self.tiles(outputs, self.rows_of_gradient):
            dy = [
                [self.gradient(code.plus(j, layer.gradients + r), s) for s in range(self.columns)] for r in range(rows)
            ]
            if layer.bias is not None:
                for r in range(rows):
                    self.add_to_gradient(code.plus(j, layer.bias + r), total(dy[r]))
            with code.loop(0, inputs) as i:
                x = [self.activation(code.plus(i, layer.inputs[0].outputs), s) for s in range(self.columns)]
                for r in range(rows):
                    at = self.weight(layer, code.plus(j, r), i)
                    dw = code.load(self.given.gradients, at)
                    for s in range(self.columns):
                        dw = dy[r][s].times_plus(x[s], dw)
                    code.store(self.given.gradients, at, dw)

    def _backward(self, layer: Stage, before: Stage) -> None:
        """dx = W^T dy, and back through what follows the layer before."""
        code, (inputs, outputs) = self.code, layer.width
        for i, rows in self.tiles(inputs, self._rows(inputs)):
            with code.carrying(0, outputs, [code.lane(0.0)] * (rows * self.columns)) as (j, sums):
                dy = [self.gradient(code.plus(j, layer.gradients), s) for s in range(self.columns)]
                for r in range(rows):
                    w = self.parameter(self.weight(layer, j, code.plus(i, r)))
                    for s in range(self.columns):
                        sums[r * self.columns + s] = w.times_plus(dy[s], sums[r * self.columns + s])
            for r in range(rows):
                self._give(before, code.plus(i, r), dict(enumerate(sums[r * self.columns : (r + 1) * self.columns])))

    def _back_through_all(self, layer: Stage) -> None:
        """Back through what follows a layer, from gradients that are in their places."""
        code = self.code
        with code.loop(0, layer.units) as unit, code.loop(0, self.columns) as s:
            self._back_through(layer, unit, {s: self.gradient(code.plus(unit, layer.gradients), s)})

    def _back_through(self, layer: Stage, unit: Index, of_columns: Mapping[Index, Lane]) -> None:
        """Back through what follows the affine map of a layer, for some columns of one unit."""
        code = self.code
        columns, dys = list(of_columns), list(of_columns.values())
        for k in reversed(range(len(layer.chain))):
            module = layer.chain[k]
            x, y = (self._kept(layer.values[at], unit, columns) for at in (k, k + 1))
            if isinstance(module, Activation):
                dys = [dy * asked(module.dsigma, *pair) for dy, *pair in zip(dys, x, y, strict=True)]
            elif isinstance(module, PReLU):
                slope = self._slope(layer, k, module, unit)
                at = slope_place(code, layer.slopes[k], unit, module)
                self.add_to_gradient(at, total([dy * each.clamp(max=0.0) for dy, each in zip(dys, x, strict=True)]))
                dys = [dy * slope.lerp(1.0, step(each)) for dy, each in zip(dys, x, strict=True)]
            else:
                assert isinstance(module, Dropout)
                dys = [dy * self.keep(module, layer, unit, s) for s, dy in zip(columns, dys, strict=True)]
        for s, dy in zip(columns, dys, strict=True):
            self.keep_gradient(code.plus(unit, layer.gradients), s, dy)

    def _kept(self, place: int | None, unit: Index, columns: list[Index]) -> list[Any]:
        return [None if place is None else self.activation(self.code.plus(unit, place), s) for s in columns]


def slope_place(code: Code, slopes: int, unit: Index, module: PReLU) -> Index:
    """Where the slope of a unit stands: there may be one for all."""
    return code.plus(unit if module.num_parameters > 1 else 0, slopes)


def total(lanes: list[Lane]) -> Lane:
    """Their sum."""
    result = lanes[0]
    for lane in lanes[1:]:
        result = result + lane
    return result


def _length(module: Activation, code: Code, backward: bool) -> int:
    """How many instructions an activation, or its derivative, takes."""
    scratch = type(code)("length", {"x": NUMBERS}, code.machine, code.dtype)
    x, y = (scratch.load(scratch.arguments["x"], place) for place in range(2))
    before = scratch.size
    if backward:
        asked(module.dsigma, x if "x" in module.remembers else None, y if "y" in module.remembers else None)
    else:
        asked(module.sigma, x)
    return scratch.size - before
