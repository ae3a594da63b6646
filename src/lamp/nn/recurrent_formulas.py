"""The equations of RNN, LSTM and GRU for one unit and one step, as formulas over numbers (see lamp.formulas).

The compiler calls them with vector registers, so they write the code of a step. `lamp.nn.recurrence` computes the same
on tensors, for all units at once, in place, and in the order in which torch is fastest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from lamp.formulas import Number, step


class Gradients(NamedTuple):
    """What goes back from one step of a unit.

    of_input, of_state  d loss / d gates: through the input's part, and through the state's part
    carried             the gradient that the unit passes to the step before, beside that of h through the weights
    """

    of_input: Sequence[Number]
    of_state: Sequence[Number]
    carried: Number


class UnitFormulas(ABC):
    """The equations of one kind of cell, for one unit. Gates are in the order of the weights.

    gates      their number
    apart      of so many of the last gates, the input's part is not added to the state's
    kept       the number of values that backward needs
    has_state  whether a unit has a state of its own, from step to step, and carries a gradient back
    """

    gates: int
    apart: int = 0
    kept: int
    has_state: bool = True

    @abstractmethod
    def forward(
        self, gates: Sequence[Number], apart: Sequence[Number], state: Number
    ) -> tuple[Sequence[Number], Number, Number]:
        """What is kept, h', and the unit's state after the step.

        gates  both parts of each gate, added; of those `apart` the state's part
        apart  their input's part
        state  the unit's state before the step
        """

    @abstractmethod
    def backward(self, kept: Sequence[Number], state: Number, dh: Number, carried: Number) -> Gradients:
        """The gradients, from what was kept and the state before the step.

        dh       d loss / d h', through the layer's output and the weights of the step after this one
        carried  what that step has carried
        """


class ElmanUnit(UnitFormulas):
    """h' = tanh(a), or relu(a)    Backward  da = dh' (1 - h'^2), or dh' where h' > 0"""

    gates = kept = 1
    has_state = False

    def __init__(self, nonlinearity: str) -> None:
        self.tanh = nonlinearity == "tanh"

    def forward(
        self, gates: Sequence[Number], apart: Sequence[Number], state: Number
    ) -> tuple[Sequence[Number], Number, Number]:
        (a,) = gates
        h = a.tanh() if self.tanh else a.clamp(min=0.0)
        return (h,), h, None

    def backward(self, kept: Sequence[Number], state: Number, dh: Number, carried: Number) -> Gradients:
        (h,) = kept
        da = (dh * (1.0 - h * h) if self.tanh else dh * step(h),)
        return Gradients(da, da, None)


class LongShortTermUnit(UnitFormulas):
    """i, f, o = sigmoid(a_i, a_f, a_o),   u = tanh(a_u),   c' = f c + i u,   m = tanh(c'),   h' = o m

    The state is c, and the order of the gates i, f, u, o.

    Backward  da_o = dh' m o (1 - o),   dc' += dh' o (1 - m^2),   da_i = dc' u i (1 - i),   da_f = dc' c f (1 - f),
              da_u = dc' i (1 - u^2),   dc = dc' f
    """

    gates, kept = 4, 5

    def forward(
        self, gates: Sequence[Number], apart: Sequence[Number], state: Number
    ) -> tuple[Sequence[Number], Number, Number]:
        a_i, a_f, a_u, a_o = gates
        i, f, u, o = a_i.sigmoid(), a_f.sigmoid(), a_u.tanh(), a_o.sigmoid()
        c = f * state + i * u
        m = c.tanh()
        return (i, f, u, o, m), o * m, c

    def backward(self, kept: Sequence[Number], state: Number, dh: Number, carried: Number) -> Gradients:
        i, f, u, o, m = kept
        dc = carried + dh * o * (1.0 - m * m)
        da = (dc * u * i * (1.0 - i), dc * state * f * (1.0 - f), dc * i * (1.0 - u * u), dh * m * o * (1.0 - o))
        return Gradients(da, da, dc * f)


class GatedRecurrentUnit(UnitFormulas):
    """r, z = sigmoid(a_r, a_z),   n = tanh(a_n + r s),   h' = (1 - z) n + z h

    The order of the gates is r, z, n; a_n is the input's part of the last one, and s the state's. The state is h.

    Backward  da_n = dh' (1 - z) (1 - n^2),   ds = da_n r,   da_r = da_n s r (1 - r),   da_z = dh' (h - n) z (1 - z),
              dh = dh' z, and through the weights
    """

    gates, apart, kept = 3, 1, 4

    def forward(
        self, gates: Sequence[Number], apart: Sequence[Number], state: Number
    ) -> tuple[Sequence[Number], Number, Number]:
        (a_r, a_z, s), (a_n,) = gates, apart
        r, z = a_r.sigmoid(), a_z.sigmoid()
        n = (a_n + r * s).tanh()
        h = n + z * (state - n)
        return (r, z, n, s), h, h

    def backward(self, kept: Sequence[Number], state: Number, dh: Number, carried: Number) -> Gradients:
        r, z, n, s = kept
        dh = dh + carried
        da_n = dh * (1.0 - z) * (1.0 - n * n)
        da_r, da_z = da_n * s * r * (1.0 - r), dh * (state - n) * z * (1.0 - z)
        return Gradients((da_r, da_z, da_n), (da_r, da_z, da_n * r), dh * z)
