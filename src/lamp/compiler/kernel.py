"""The training loop as one function: batches, forward, loss, backward, clipping and the optimizer's rule.

Two ways to lay networks into vectors:

replica lanes   W networks of a population a vector; a column is one sample. Nothing is added across lanes.
sample lanes    one network; a column is W samples. Its gradients are vectors of partial sums, added up once a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from llvmlite import ir

from lamp.compiler.block import Block
from lamp.compiler.lanes import I32, I64, Code, Index, Lane, Mask
from lamp.compiler.loss_rules import LossRule, Target
from lamp.compiler.plan import Plan
from lamp.compiler.target import MachineCode
from lamp.compiler.target import Target as Machine
from lamp.nn import Dropout
from lamp.optim import Optimizer
from lamp.optim.clipping import TINY

POINTERS = ("p_", "g_", "s_", "a_", "d_", "x_", "t_", "c_", "h_", "k_", "l_")
NUMBERS = ("order", "keys", "steps")
COLUMNS = 4  # samples in registers at once


@dataclass(frozen=True)
class Job:
    """What is compiled: one kernel serves all data of this shape.

    batch       samples of a step
    own_order   whether each replica takes samples of its own
    ranges      for each parameter group: where its numbers lie, [(first, stop), ...], among a network's P
    groups      the optimizer's groups, whose options the rule asks
    clip_norm, clip_value  whether gradients are clipped
    """

    plan: Plan
    loss: LossRule
    optimizer: Optimizer
    ranges: list[list[tuple[int, int]]]
    batch: int
    one_network: bool
    own_order: bool
    clip_norm: bool
    clip_value: bool
    hyperparameters: tuple[str, ...]  # of the loss, that each replica has its own of
    dtype: torch.dtype


class Kernel:
    """The machine code of a job, and how its memory is laid out."""

    def __init__(self, job: Job, machine: Machine) -> None:
        self.job, self.machine = job, machine
        self.lanes = machine.lanes(job.dtype)
        plan, optimizer = job.plan, job.optimizer
        self.states = [optimizer.state_names(group) for group in optimizer.param_groups]
        self.state_count = max(map(len, self.states))
        self.coefficients = [list(optimizer.coefficients(group, 1)) for group in optimizer.param_groups]
        self.coefficient_count = sum(map(len, self.coefficients)) + 2  # and the two limits of clipping
        vectors = -(-job.batch // self.lanes) if job.one_network else job.batch
        self.columns = _columns(vectors)
        self.vectors = vectors
        self.scratch_activations = plan.activations * self.columns
        self.scratch_gradients = plan.gradients * self.columns
        self.code = Code("train", [*POINTERS, *NUMBERS], machine, job.dtype)
        self._emit()
        self.machine_code = MachineCode(self.code.finish(), machine)
        self.run = self.machine_code.function("train", len(POINTERS) + len(NUMBERS))

    @cached_property
    def padded(self) -> int:
        """P, rounded up to whole vectors where a vector holds parameters of one network."""
        size = self.job.plan.parameters
        return -(-size // self.lanes) * self.lanes if self.job.one_network else size

    # ---- the loop over steps -----------------------------------------------------------------------------------
    def _emit(self) -> None:
        code, job = self.code, self.job
        self.at = code.arguments
        self.order = code.b.inttoptr(self.at["order"], I32.as_pointer())
        self.keys = code.b.inttoptr(self.at["keys"], I32.as_pointer())
        job.loss.of_lanes(code, {name: code.load(self.at["h_"], i) for i, name in enumerate(job.hyperparameters)})
        with code.loop(0, self.at["steps"]) as step:
            self.step = step
            self.first = code.times(step, job.batch)  # of the epoch's samples
            with code.loop(0, self.padded) as i:
                code.store(self.at["g_"], i, 0.0)
            share = self._share()
            whole = self.vectors - self.vectors % self.columns
            total = code.lane(0.0)
            with code.carrying(0, whole, [total], self.columns) as (column, state):
                state[0] = state[0] + self._block(self.columns, column, share)
            total = state[0]
            if self.vectors > whole:
                total = total + self._block(self.vectors - whole, whole, share)
            self._keep_loss(total * share)
            self._optimize()

    def _block(self, columns: int, first: Index, share: Any) -> Lane:
        """A block of columns forward and back; the sum of their values."""
        block = Block(
            self.code, self.job.plan, columns, self.at, one_network=self.job.one_network, keep=self._keep_of(first)
        )
        self._gather(block, first)
        block.forward()
        value = self.job.loss.emit(block, self._target(first), self.at["k_"], share)
        block.backward()
        return value

    # ---- samples -----------------------------------------------------------------------------------------------
    def _rows(self, first: Index, column: int) -> Any:
        """Which rows of the data a column holds: one number, or a vector of them (int32), a lane each."""
        code, b = self.code, self.code.b
        at = code.plus(self.first, code.plus(first, column))
        if self.job.one_network:
            at = code.plus(self.first, code.times(code.plus(first, column), self.lanes))
        elif self.job.own_order:
            at = code.times(at, self.lanes)
        else:
            return b.sext(b.load(b.gep(self.order, [code.index(at)])), I64)
        kind = ir.VectorType(I32, self.lanes)
        return b.load(b.bitcast(b.gep(self.order, [code.index(at)]), kind.as_pointer()), align=4)

    def _fetch(self, pointer: ir.Value, rows: Any, width: int, i: Index) -> Lane:
        """Number i of these rows of an array (n, width)."""
        code, b = self.code, self.code.b
        if rows.type == I64:
            return code.load_one(pointer, code.plus(code.times(rows, width), i))
        place = b.mul(
            b.sext(rows, ir.VectorType(I64, self.lanes)),
            ir.Constant(ir.VectorType(I64, self.lanes), [width] * self.lanes),
        )
        result = ir.Constant(code.vector, ir.Undefined)
        for lane in range(self.lanes):
            at = b.add(b.extract_element(place, I32(lane)), code.index(i))
            result = b.insert_element(result, b.load(b.gep(pointer, [at])), I32(lane))
        return Lane(code, result)

    def _gather(self, block: Block, first: Index) -> None:
        """The inputs of a block's samples into their places."""
        code, features = self.code, self.job.plan.features
        self.held = [self._rows(first, s) for s in range(block.columns)]
        with code.loop(0, features) as i:
            for s, rows in enumerate(self.held):
                block.keep_activation(i, s, self._fetch(self.at["x_"], rows, features, i))

    def _target(self, first: Index) -> Target:
        t, width = self.at["t_"], self.job.plan.outputs
        labels = self.job.loss.labels
        held = self.held
        return Target(
            label=(lambda s: self._fetch(t, held[s], 1, 0)) if labels else None,
            number=lambda c, s: self._fetch(t, held[s], width, c),
            counts=lambda s: self._counts(first, s),
        )

    def _counts(self, first: Index, column: int) -> Mask | None:
        """Which lanes of a column hold a sample: those of the last may go beyond the batch."""
        code = self.code
        spare = self.vectors * self.lanes - self.job.batch
        if not self.job.one_network or not spare:
            return None
        here = code.plus(first, column)
        numbers = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        base = code.b.mul(code.index(here), I64(self.lanes))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        vector = ir.VectorType(I64, self.lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        spread = code.b.shuffle_vector(code.b.insert_element(undefined, base, I32(0)), undefined, zeros)
        limit = ir.Constant(vector, [self.job.batch] * self.lanes)
        return Mask(code, code.b.icmp_signed("<", code.b.add(spread, numbers), limit))

    # ---- the loss ----------------------------------------------------------------------------------------------
    def _share(self) -> Lane:
        """What each value counts in the loss: 1 over what a mean divides by."""
        code, loss = self.code, self.job.loss
        divisor = loss.divisor(self.job.batch)
        if divisor is not None:
            return code.lane(1.0 / divisor)
        with code.carrying(0, self.vectors, [code.lane(0.0)]) as (column, state):
            rows = self._rows(column, 0)
            weight = loss.weight_of_label(self.at["k_"], self._fetch(self.at["t_"], rows, 1, 0))
            counts = self._counts(column, 0)
            state[0] = state[0] + (weight if counts is None else weight.where(counts, 0.0))
        return 1.0 / (self._summed(state[0]) if self.job.one_network else state[0])

    def _keep_loss(self, loss: Lane) -> None:
        code = self.code
        if self.job.one_network:
            code.store_first(self.at["l_"], self.step, self._summed(loss))
        else:
            code.store(self.at["l_"], self.step, loss)

    def _summed(self, lane: Lane) -> Lane:
        """The sum of all lanes, in every lane."""
        width = self.lanes
        while width > 1:
            width //= 2
            turned = [(k + width) % self.lanes for k in range(self.lanes)]
            lane = lane + self._shuffled(lane, lane, turned)
        return lane

    def _shuffled(self, one: Lane, other: Lane, places: list[int]) -> Lane:
        mask = ir.Constant(ir.VectorType(I32, len(places)), places)
        return Lane(self.code, self.code.b.shuffle_vector(one.value, other.value, mask))

    # ---- dropout -----------------------------------------------------------------------------------------------
    def _keep_of(self, first: Index) -> Any:
        def keep(module: Dropout, unit: Index, column: int) -> Lane:
            raise NotImplementedError

        return keep

    # ---- the optimizer -----------------------------------------------------------------------------------------
    def _optimize(self) -> None:
        """The optimizer's rule over all parameters, by groups, with what clipping leaves of the gradients."""
        code, job = self.code, self.job
        if job.one_network:
            self._add_up_gradients()
        vectors = self.padded // self.lanes if job.one_network else self.padded
        factor = self._clip_factor(vectors) if job.clip_norm else None
        first = 0
        for group, names, states, ranges in zip(
            job.optimizer.param_groups, self.coefficients, self.states, job.ranges, strict=True
        ):
            c = {name: self._coefficient(first + k) for k, name in enumerate(names)}
            first += len(names)
            for start, stop in ranges:
                whole_start, whole_stop = (
                    (start, stop) if not job.one_network else (start // self.lanes, -(-stop // self.lanes))
                )
                with code.loop(whole_start, whole_stop) as i:
                    self._update(i, c, group, states, factor, (start, stop), vectors)

    def _update(
        self,
        i: ir.Value,
        c: Mapping[str, Lane],
        group: dict[str, Any],
        names: tuple[str, ...],
        factor: Lane | None,
        bounds: tuple[int, int],
        vectors: int,
    ) -> None:
        code, job = self.code, self.job
        p, g = code.load(self.at["p_"], i), self._clipped(code.load(self.at["g_"], i), factor)
        places = [code.plus(i, k * vectors) for k in range(len(names))]
        before = [code.load(self.at["s_"], place) for place in places]
        state: dict[str, Any] = dict(zip(names, before, strict=True))
        moved = job.optimizer.update(p, g, state, c, group)
        inside = self._inside(i, bounds)
        code.store(self.at["p_"], i, moved if inside is None else moved.where(inside, p))
        for name, place, old in zip(names, places, before, strict=True):
            code.store(self.at["s_"], place, state[name] if inside is None else state[name].where(inside, old))

    def _inside(self, i: ir.Value, bounds: tuple[int, int]) -> Mask | None:
        """Which lanes of a vector of one network's parameters lie within a range; None where all of all do."""
        start, stop = bounds
        if not self.job.one_network or (
            start % self.lanes == 0 and (stop % self.lanes == 0 or stop == self.job.plan.parameters)
        ):
            return None
        code, vector = self.code, ir.VectorType(I64, self.lanes)
        numbers = ir.Constant(vector, list(range(self.lanes)))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        base = code.b.insert_element(undefined, code.b.mul(i, I64(self.lanes)), I32(0))
        at = code.b.add(code.b.shuffle_vector(base, undefined, zeros), numbers)
        above = code.b.icmp_signed(">=", at, ir.Constant(vector, [start] * self.lanes))
        below = code.b.icmp_signed("<", at, ir.Constant(vector, [stop] * self.lanes))
        return Mask(code, code.b.and_(above, below))

    def _coefficient(self, k: int) -> Lane:
        """A number of this step: each network's own, or the one network's in every lane."""
        at = self.code.plus(self.code.times(self.step, self.coefficient_count), k)
        return self.code.load_one(self.at["c_"], at) if self.job.one_network else self.code.load(self.at["c_"], at)

    def _clipped(self, gradient: Lane, factor: Lane | None) -> Lane:
        if self.job.clip_value:
            limit = self._coefficient(self.coefficient_count - 2)
            gradient = gradient.clamp(min=-limit, max=limit)
        return gradient if factor is None else gradient * factor

    def _clip_factor(self, vectors: int) -> Lane:
        """What brings the norm of all gradients below the limit."""
        code = self.code
        with code.carrying(0, vectors, [code.lane(0.0)]) as (i, state):
            g = self._clipped(code.load(self.at["g_"], i), None)
            state[0] = state[0] + g * g
        squares = self._summed(state[0]) if self.job.one_network else state[0]
        limit = self._coefficient(self.coefficient_count - 1)
        return (limit / (squares.sqrt() + TINY)).minimum(1.0)

    def _add_up_gradients(self) -> None:
        """From a vector of partial sums for each parameter to one number each: W vectors become one, in place."""
        code, w = self.code, self.lanes
        even, odd = [2 * k for k in range(w)], [2 * k + 1 for k in range(w)]
        with code.loop(0, self.padded // w) as i:
            first = code.times(i, w)
            vectors = [code.load(self.at["g_"], code.plus(first, k)) for k in range(w)]
            while len(vectors) > 1:
                pairs = zip(vectors[::2], vectors[1::2], strict=True)
                vectors = [self._shuffled(x, y, even) + self._shuffled(x, y, odd) for x, y in pairs]
            code.store(self.at["g_"], i, vectors[0])


def _columns(vectors: int) -> int:
    """How many columns a block has: as many as registers allow, in blocks as equal as can be."""
    blocks = -(-vectors // COLUMNS)
    return -(-vectors // blocks)
