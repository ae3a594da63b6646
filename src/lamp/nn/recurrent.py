"""`RNN`, `LSTM` and `GRU`: recurrent layers over sequences."""

from __future__ import annotations

import torch

from lamp.nn.arguments import one_of
from lamp.nn.recurrence import Elman, GatedRecurrent, LongShortTerm
from lamp.nn.recurrent_base import RNNBase


class RNN(RNNBase):
    """A recurrent layer, or several: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu in place of tanh.

    output, h_n = rnn(x, h_0). The output of all steps of one layer is the input of the next.

    Shapes    x (T, B, in), or (B, T, in) with batch_first, or (T, in), or a packed sequence
              output: the same with D H in place of `in`. h_0 and h_n (L D, B, H), or (L D, H): layers and directions.
              D is 2 if the layer is bidirectional, else 1. Without h_0 it is zero
              weight_ih_l0 (H, in), for later layers (H, D H)   weight_hh (H, H)   bias_ih and bias_hh (H)
    Backward  from the last step to the first: da_t = dh_t (1 - h_t^2),   dh_(t-1) += W_hh^T da_t,   then for all steps
              at once: dW_ih = da^T x,   dW_hh = da^T h,   db_ih = db_hh = sum of da,   dx = da W_ih
    Init      all weights uniform in +-1/sqrt(H)
    Source    torch.nn.RNN; Elman 1990; derived in docs/derivations/recurrence.md

    dropout   in training mode, the probability of a zero in what a layer passes to the next (see lamp.Dropout)

    A state that is passed on from batch to batch needs no detach: lamp records no operations, so a gradient goes no
    further than backward takes it.

    Raises ArgumentError for wrong constructor arguments; ShapeError, DTypeError or DeviceError for an input, a state or
    a gradient that does not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.nonlinearity = one_of(self, "nonlinearity", nonlinearity, "tanh", "relu")
        super().__init__(
            Elman(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )  # fmt: skip


class LSTM(RNNBase):
    """A long short-term memory, of one layer or several.

    i, f, o = sigmoid(gates),   u = tanh(gate),   c_t = f c_(t-1) + i u,   h_t = o tanh(c_t)
    with gates W_ih x_t + b_ih + W_hh h_(t-1) + b_hh, in the order i, f, u, o

    output, (h_n, c_n) = lstm(x, (h_0, c_0)). The output of all steps of one layer is the input of the next.

    Shapes    as in RNN, with weights (4 H, ...) and biases (4 H). With proj_size=P, h_t is W_hr o tanh(c_t) of size P,
              and weight_hr (P, H)
    Backward  from the last step to the first: do = dh tanh(c),   dc += dh o (1 - tanh(c)^2),   di = dc u,
              df = dc c_(t-1),   du = dc i,   dc_(t-1) = dc f, and through the nonlinearities; then as in RNN
    Init      all weights uniform in +-1/sqrt(H)
    Source    torch.nn.LSTM; Hochreiter & Schmidhuber 1997; derived in docs/derivations/recurrence.md

    Raises what RNN raises.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            LongShortTerm(),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )  # fmt: skip

    def _state_sizes(self) -> list[int]:
        return [self._out, self.hidden_size]


class GRU(RNNBase):
    """A gated recurrent unit, of one layer or several.

    r, z = sigmoid(gates),   n = tanh(a_n + r s_n),   h_t = (1 - z) n + z h_(t-1)
    with a = W_ih x_t + b_ih and s = W_hh h_(t-1) + b_hh, gates a + s, in the order r, z, n

    output, h_n = gru(x, h_0). The output of all steps of one layer is the input of the next.

    Shapes    as in RNN, with weights (3 H, ...) and biases (3 H)
    Backward  from the last step to the first: dn = dh (1 - z),   dz = dh (h_(t-1) - n),   dr = da_n s_n,
              dh_(t-1) = dh z + W_hh^T ds, and through the nonlinearities; then as in RNN
    Init      all weights uniform in +-1/sqrt(H)
    Source    torch.nn.GRU; Cho et al. 2014; derived in docs/derivations/recurrence.md

    Raises what RNN raises.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            GatedRecurrent(),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )  # fmt: skip
