"""Lowering of the optimizer: the end of a step, which clips the gradients and updates all parameters.

The formula is the optimizer's own `update`, called with lanes. What stands here is the loop over parameters, the step's
coefficients, and the sum over gradients of the parts of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamp.compiler.arguments import KernelArguments
from lamp.compiler.cache_key import frozen
from lamp.compiler.code import Code
from lamp.compiler.formula_calls import call_formula
from lamp.compiler.hyperparameters import without_numbers
from lamp.compiler.indices import Index
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.lanes import Lane, Mask
from lamp.compiler.user_code import call_purely
from lamp.optim import Optimizer
from lamp.optim.clipping import TINY
from lamp.optim.rules import check_state
from lamp.overrides import is_lamps


class Updates:
    """Writes the update of one step.

    step     the number of the step, by which coefficients are looked up
    vectors  the number of vectors that hold the parameters: P in replica lanes, P / W in sample lanes
    part     which slice of the parameters is updated; None for all
    parts    the number of parts of the batch, whose gradients are summed
    ranges   per parameter group, [(first, stop), ...]: where its numbers lie among P
    """

    def __init__(
        self,
        code: Code,
        spec: KernelSpec,
        arguments: KernelArguments,
        step: Index,
        *,
        vectors: Index,
        parts: int,
        part: Index | None,
        ranges: Sequence[Sequence[tuple[Any, Any]]],
    ) -> None:
        self.code, self.spec, self.step, self.arguments = code, spec, step, arguments
        self.lanes, self.vectors, self.parts, self.part = code.lanes, vectors, parts, part
        self.ranges = ranges

    def emit(self, optimizer: Optimizer) -> None:
        """Write the optimizer's rule for all parameter groups, with clipped gradients."""
        code, spec, given, optimizer = self.code, self.spec, optimizer, without_numbers(optimizer)
        limits = self._coefficients(len(spec.ranges))
        factor = self._clip_factor(limits) if spec.clip_norm else None
        if not is_lamps(type(optimizer)):  # called for many steps at once later on
            call_purely(given.coefficients, (given.param_groups[0], 1), frozen)
        for k, (group, states, ranges) in enumerate(zip(optimizer.param_groups, spec.states, self.ranges, strict=True)):
            c = self._coefficients(k)
            for bounds in ranges:
                with code.loop(*self._slice(*self._vectors_of(bounds))) as i:
                    g = self._clipped(self._gradient(i), limits, factor)
                    self._update(optimizer, i, g, c, group, states, bounds)

    def _vectors_of(self, bounds: tuple[Any, Any]) -> tuple[Any, Any]:
        """The range of vectors that contains a range of numbers."""
        start, stop = bounds
        return (start // self.lanes, -(-stop // self.lanes)) if self.spec.one_network else bounds

    def _slice(self, start: Any, stop: Any) -> tuple[Index, Index]:
        """The vectors from start to stop that belong to this part; each vector belongs to exactly one part."""
        if self.part is None:
            return start, stop
        code, part = self.code, self.part
        lower, upper = (code.quotient(code.times(self.vectors, code.plus(part, k)), self.parts) for k in range(2))
        return code.greatest(lower, start), code.least(upper, stop)

    def _gradient(self, i: Index) -> Lane:
        """Vector i of the gradients, summed over the parts of the batch."""
        code = self.code
        g = code.load(self.arguments.gradients, i)
        for part in range(1, self.parts):
            g = g + code.load(self.arguments.gradients, code.plus(i, part * self.vectors))
        return g

    def _update(
        self,
        optimizer: Optimizer,
        i: Index,
        g: Lane,
        c: Mapping[str, Lane],
        group: dict[str, Any],
        names: tuple[str, ...],
        bounds: tuple[Any, Any],
    ) -> None:
        code = self.code
        p = code.load(self.arguments.parameters, i)
        places = [code.plus(i, code.times(self.vectors, k)) for k in range(len(names))]
        before = [code.load(self.arguments.states, place) for place in places]
        state: dict[str, Any] = dict(zip(names, before, strict=True))
        moved = call_formula(optimizer.update, p, g, state, c, group)
        check_state(optimizer, state, names)
        inside = self._inside(i, bounds)
        code.store(self.arguments.parameters, i, moved if inside is None else moved.where(inside, p))
        for name, place, old in zip(names, places, before, strict=True):
            new = code.lane(state[name])
            code.store(self.arguments.states, place, new if inside is None else new.where(inside, old))

    def _inside(self, i: Index, bounds: tuple[Any, Any]) -> Mask | None:
        """In sample lanes, which lanes of vector i lie within a range; None if a mask is never needed."""
        if not self.spec.one_network:
            return None
        start, stop = bounds
        if start % self.lanes == 0 and (stop % self.lanes == 0 or stop == self.spec.plan.parameters):
            return None
        code = self.code
        at = code.arange(code.times(i, self.lanes))
        first, last = (code.wholes(code.whole(bound)) for bound in bounds)
        return (at >= first) & (at < last)

    def _coefficients(self, group: int) -> dict[str, Lane]:
        """The coefficients of this step for a parameter group, by name: one per lane, or the same in every lane."""
        found = {}
        shared, own = self.spec.shared_coefficients, self.spec.replica_coefficients
        for k, (of_group, name) in enumerate(shared):
            if of_group == group:
                at = self.code.plus(self.code.times(self.step, len(shared)), k)
                found[name] = self.code.load_one(self.arguments.shared_coefficients, at)
        for k, (of_group, name) in enumerate(own):
            if of_group == group:
                at = self.code.plus(self.code.times(self.step, len(own)), k)
                found[name] = self.code.load(self.arguments.replica_coefficients, at)
        return found

    def _clipped(self, gradient: Lane, limits: Mapping[str, Lane], factor: Lane | None) -> Lane:
        if self.spec.clip_value:
            limit = limits["clip_value"]
            gradient = gradient.clamp(min=-limit, max=limit)
        return gradient if factor is None else gradient * factor

    def _clip_factor(self, limits: Mapping[str, Lane]) -> Lane:
        """The factor that limits the norm of the gradients. Frozen parameters are in no range and do not count."""
        code, zero = self.code, self.code.lane(0.0)
        squares = zero
        for bounds in (bounds for ranges in self.ranges for bounds in ranges):
            with code.carrying(*self._vectors_of(bounds), [squares]) as (i, state):
                g = self._clipped(self._gradient(i), limits, None)
                inside = self._inside(i, bounds)
                state[0] = state[0] + (g * g if inside is None else (g * g).where(inside, zero))
            squares = state[0]
        squares = squares.sum_of_lanes() if self.spec.one_network else squares
        return (limits["clip_norm"] / (squares.sqrt() + TINY)).minimum(1.0)
