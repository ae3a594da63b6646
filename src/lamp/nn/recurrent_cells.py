"""`RNNCell`, `LSTMCell` and `GRUCell`: one step of a recurrent layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lamp import init
from lamp.devices import device_of, floating
from lamp.errors import LampError, ShapeError
from lamp.formulas import wide
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_size, one_of
from lamp.nn.checks import explain_gradient, explain_numbers, explain_unlike
from lamp.nn.recurrence import (
    Elman,
    Equations,
    GatedRecurrent,
    LongShortTerm,
    Steps,
    Weights,
    add_gradients,
    widened,
)
from lamp.parameter import Parameter


class RNNCellBase(Module):
    """Base of the cells: everything but the equations. A cell is a sequence of one step."""

    states = 1  # how many tensors a state is made of

    def __init__(
        self,
        equations: Equations,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        self._equations = equations
        self.input_size = columns = a_size(self, "input_size", input_size)
        self.hidden_size = hidden = a_size(self, "hidden_size", hidden_size)
        self.bias = a_flag(self, "bias", bias)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        rows = equations.gates * hidden
        self.weight_ih = Parameter(torch.empty(rows, columns, **place))
        self.weight_hh = Parameter(torch.empty(rows, hidden, **place))
        self.bias_ih = Parameter(torch.empty(rows, **place)) if self.bias else None
        self.bias_hh = Parameter(torch.empty(rows, **place)) if self.bias else None
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise all weights again, from this generator or torch's default one."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for _, parameter in self._members(Parameter):
            init.uniform_(parameter.data, -bound, bound, generator=generator)

    # ---- forward and backward ----------------------------------------------------------------------------------------
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        self._check(input)
        states = self._initial(hx, input)
        x, *first = (wide(_batched(each, self.replicas)) for each in (input, *states))
        weights, y = widened(self._weights()), x.new_empty(1, *first[0].shape)
        gates = self._equations.input_part(x, weights, y)
        kept, last = self._equations.forward(Steps(), gates, y, first, weights)
        self.remember((x, y, first, kept, states[0].shape, input.shape, hx is not None))
        ends = [state.view(states[0].shape).to(input.dtype) for state in last]
        return ends[0] if len(ends) == 1 else tuple(ends)

    def backward(self, *dstates: Any) -> Any:
        x, y, first, kept, shape, input_shape, had_state = self.recall()
        given = dstates[0] if len(dstates) == 1 and isinstance(dstates[0], tuple | list) else dstates
        for each in given:
            if each is not None and (not isinstance(each, Tensor) or each.shape != shape):
                raise explain_gradient(each, shape)
        dlast = [torch.zeros_like(y[0]) if d is None else d.reshape(y[0].shape).to(y.dtype, copy=True) for d in given]
        dh, dfirst = dlast[0].unsqueeze(0), [torch.zeros_like(y[0]), *dlast[1:]]
        own, dtype = self._weights(), self.weight_ih.data.dtype
        weights = widened(own)
        of_input, of_state = self._equations.backward(Steps(), kept, y, first, dh, dfirst, weights)
        dgates = of_input[:, 0]
        ds = dgates if of_state is of_input else of_state[:, 0]
        self._equations.add_gradients(weights, dgates, ds, x, first[0])
        add_gradients(own, weights)
        dx = self._equations.dinputs(weights, dgates).view(input_shape).to(dtype)
        if not had_state:
            return dx
        before = [each.view(shape).to(dtype) for each in dfirst]
        return dx, (before[0] if len(before) == 1 else tuple(before))

    def trace(self, tracer: Any, input: Any, hx: Any = None) -> Any:
        if input.shape != (self.input_size,):
            raise self._wrong_shape(("B", *input.shape))
        given = [] if hx is None else list(hx) if isinstance(hx, tuple | list) else [hx]
        outputs = [tracer.value((self.hidden_size,), input.dtype) for _ in range(self.states)]
        work = self.weight_ih.elements + self.weight_hh.elements
        found = tracer.several("Cell", self, [input, *given], outputs, multiplications=work)
        return found if self.states > 1 else found[0]

    def _weights(self) -> Weights:
        return Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def _initial(self, hx: Any, input: Tensor) -> list[Tensor]:
        """The state before the step; zeros if none is given."""
        shape = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            return [input.new_zeros(shape) for _ in range(self.states)]
        given = list(hx) if isinstance(hx, tuple | list) else [hx]
        if len(given) != self.states or any(not isinstance(x, Tensor) or x.shape != shape for x in given):
            shown = (str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in given)
            raise ShapeError(
                f"the state does not fit: {'h' if self.states == 1 else 'h and c, a tuple'}",
                expected=", ".join([str(tuple(shape))] * self.states),
                got=", ".join(shown),
                fix="pass the state that this cell returned for a batch of this size, or none, which means zeros",
            )
        for each in given:
            if (error := explain_unlike(each, self.weight_ih)) is not None:
                raise error
        return given

    def _check(self, x: Any) -> None:
        """Raise for an input that is not (B, in) or (in), or of another dtype or device than the weights."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        lead = 0 if self.replicas is None else 1
        if x.dim() - lead not in (1, 2) or x.shape[-1] != self.input_size:
            raise self._wrong_shape(tuple(x.shape))
        if (error := explain_unlike(x, self.weight_ih)) is not None:
            raise error

    def _wrong_shape(self, shape: tuple[Any, ...]) -> LampError:
        lead = "" if self.replicas is None else "K, "
        return ShapeError(
            "the input is not one step of a batch of sequences",
            expected=f"({lead}B, {self.input_size}) or ({lead}{self.input_size})",
            got=str(shape).replace("'", ""),
            fix=f"pass {self.input_size} features on the last axis, and one step at a time",
        )

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu in place of tanh.

    Shapes    x (B, in) or (in)   h and h' (B, H) or (H); without h it is zero
              weight_ih (H, in)   weight_hh (H, H)   bias_ih and bias_hh (H)
    Backward  da = dh' (1 - h'^2),   dW_ih = da^T x,   dW_hh = da^T h,   dx = da W_ih,   dh = da W_hh
    Init      all weights uniform in +-1/sqrt(H)
    Source    torch.nn.RNNCell; derived in docs/derivations/recurrence.md

    Raises ArgumentError for wrong constructor arguments; ShapeError, DTypeError or DeviceError for an input, a state or
    a gradient that does not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.nonlinearity = one_of(self, "nonlinearity", nonlinearity, "tanh", "relu")
        super().__init__(Elman(self.nonlinearity), input_size, hidden_size, bias, device, dtype)

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """One step of LSTM: h', c' = cell(x, (h, c)).

    i, f, o = sigmoid(gates),   u = tanh(gate),   c' = f c + i u,   h' = o tanh(c')

    Shapes    as in RNNCell, with weights (4 H, ...) and biases (4 H), in the order i, f, u, o
    Backward  do = dh' tanh(c'),   dc' += dh' o (1 - tanh(c')^2),   di = dc' u,   df = dc' c,   du = dc' i,
              dc = dc' f, and through the nonlinearities; then as in RNNCell
    Init      all weights uniform in +-1/sqrt(H)
    Source    torch.nn.LSTMCell; derived in docs/derivations/recurrence.md

    Raises what RNNCell raises.
    """

    states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(LongShortTerm(), input_size, hidden_size, bias, device, dtype)


class GRUCell(RNNCellBase):
    """One step of GRU: h' = (1 - z) n + z h.

    r, z = sigmoid(a + s) of their parts,   n = tanh(a_n + r s_n),   a = W_ih x + b_ih,   s = W_hh h + b_hh

    Shapes    as in RNNCell, with weights (3 H, ...) and biases (3 H), in the order r, z, n
    Backward  dn = dh' (1 - z),   dz = dh' (h - n),   dr = da_n s_n,   dh = dh' z + ds W_hh, and through the
              nonlinearities; then as in RNNCell
    Init      all weights uniform in +-1/sqrt(H)
    Source    torch.nn.GRUCell; derived in docs/derivations/recurrence.md

    Raises what RNNCell raises.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(GatedRecurrent(), input_size, hidden_size, bias, device, dtype)


def _batched(x: Tensor, replicas: int | None) -> Tensor:
    """A step (in) or (B, in) as (B, in); in a population (K, in) or (K, B, in) as (K, B, in)."""
    return x if x.dim() == (2 if replicas is None else 3) else x.unsqueeze(-2)
