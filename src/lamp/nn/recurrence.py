"""The equations of RNN, LSTM and GRU along the steps of a sequence, forward and backward.

Tensors have the axis of steps first: (T, B, ...), or (T, K, B, ...) in a population. What can be computed for all steps
at once stands outside the loops: the input's part of the gates before them, the factors of the derivatives, and the
gradients of the weights after them. In a loop each step is one matrix product and a few operations in place.

docs/derivations/recurrence.md derives the backward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamp.axes import add_affine
from lamp.nn.sequence_form import flat
from lamp.parameter import Parameter


class Weights(NamedTuple):
    """The parameters of one direction of one layer. `hr` is the projection of an LSTM's output, if there is one."""

    ih: Parameter
    hh: Parameter
    bias_ih: Parameter | None = None
    bias_hh: Parameter | None = None
    hr: Parameter | None = None


def widened(weights: Weights) -> Weights:
    """These weights in float32, with gradients of their own, if they have half precision; else the weights themselves.

    A sequence is computed in float32: each step would round the numbers of all later ones.
    """
    if weights.ih.data.dtype.itemsize >= 4:
        return weights
    return Weights(*(None if w is None else Parameter(w.data.float(), replicas=w.replicas) for w in weights))  # type: ignore[arg-type]


def add_gradients(weights: Weights, used: Weights) -> None:
    """Add the gradients of what `widened` returned for these weights to their own."""
    if used is not weights:
        for own, other in zip(weights, used, strict=True):
            if own is not None and other is not None:
                own.grad.add_(other.grad)


class Steps:
    """The order of the steps.

    reverse  whether the last step comes first
    sizes    the number of sequences that have each step, longest sequence first; None if all have all steps. A sequence
             keeps its state through the steps that it does not have
    """

    def __init__(self, reverse: bool = False, sizes: Sequence[int] | None = None) -> None:
        self.reverse, self.sizes = reverse, sizes

    def forth(self, *tensors: Tensor) -> Iterator[tuple[Any, ...]]:
        """For each step, in order: the number of sequences that have it (None for all) and views of the tensors."""
        lists = [self._ordered(tensor.unbind()) for tensor in tensors]
        return zip(self._sizes(len(tensors[0])), *lists, strict=True)

    def back(self, first: Tensor, states: Tensor, *tensors: Tensor) -> Iterator[tuple[Any, ...]]:
        """The same, last step first. After the number come the state before the step and the one after it.

        first   the initial state
        states  the state after each step
        """
        after = self._ordered(states.unbind())
        lists = [[first, *after[:-1]], after, *(self._ordered(tensor.unbind()) for tensor in tensors)]
        return zip(self._sizes(len(states))[::-1], *(each[::-1] for each in lists), strict=True)

    def with_states_before(self, each: Tensor, first: Tensor, states: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Parts of a tensor (T, ...) with the states before these steps: all but the last one, and the initial one."""
        if self.reverse:
            return [(each[:-1], states[1:]), (each[-1:], first.unsqueeze(0))]
        return [(each[1:], states[:-1]), (each[:1], first.unsqueeze(0))]

    def blank(self, factors: Tensor, value: float = 0.0) -> None:
        """Set the factors (T, ...) to a value where a sequence does not have a step."""
        if self.sizes is not None:
            sizes = torch.tensor(self.sizes, device=factors.device).unsqueeze(1)
            absent = torch.arange(factors.shape[-2], device=factors.device) >= sizes  # (T, B)
            factors.masked_fill_(absent.view(len(sizes), *[1] * (factors.dim() - 3), -1, 1), value)

    def _ordered(self, views: Sequence[Any]) -> Sequence[Any]:
        return views[::-1] if self.reverse else views

    def _sizes(self, count: int) -> Sequence[int | None]:
        if self.sizes is None:
            return (None,) * count
        return self._ordered([None if size == self.sizes[0] else size for size in self.sizes])


def _kept(before: Tensor, after: Tensor, size: int | None) -> Tensor:
    """The state after a step, where sequences that do not have the step keep the one before."""
    if size is not None:
        after[..., size:, :] = before[..., size:, :]
    return after


def _keep_gradient(dbefore: Tensor, dafter: Tensor, size: int | None) -> None:
    """The backward of `_kept`."""
    if size is not None:
        dbefore[..., size:, :] += dafter[..., size:, :]


def _adding(matrix: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The operation x += a b on matrices, or on one per replica."""
    return Tensor.addmm_ if matrix.dim() == 2 else Tensor.baddbmm_


class Equations:
    """The equations of one kind of cell.

    gates   how many numbers there are per hidden unit before the nonlinearities
    apart   whether the state's part of the gates has a bias of its own; else b_hh is in the input's part too

    forward runs the cell along all steps. It gets the input's part of the gates, (T, B, gates H), which it overwrites;
    y (T, B, H), where it writes the outputs; the initial states; and b_hh, if that is apart. It returns what backward
    needs besides, and the last states.

    backward returns d loss / d gates, of the input's part and of the state's part, and overwrites its other arguments.
    dy (T, B, H), where that of the last h is included, becomes d loss / d h after each step. dstates are zeros for h,
    and for c the gradient of the last one; they become those of the initial states. `kept` is what forward returned.
    """

    gates = 1
    apart = False

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        raise NotImplementedError

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Elman(Equations):
    """a = x W_ih^T + b_ih + h W_hh^T + b_hh,   h' = tanh(a), or relu(a)

    Backward  da = dh' (1 - h'^2), or dh' where h' > 0;   dh = da W_hh
    """

    def __init__(self, nonlinearity: str) -> None:
        self.nonlinearity = nonlinearity

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        (h,), matrix, add, tanh = states, weights.hh.transposed, _adding(weights.hh.data), self.nonlinearity == "tanh"
        for size, a, after in steps.forth(gates, y):
            a = add(a, h, matrix)
            _ = torch.tanh(a, out=after) if tanh else torch.clamp(a, min=0.0, out=after)
            h = _kept(h, after, size)
        return None, [h]

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        matrix, add = w.hh.data, _adding(w.hh.data)
        da = y.square().neg_().add_(1.0) if self.nonlinearity == "tanh" else (y > 0).to(y.dtype)
        steps.blank(da)
        for size, dbefore, dafter, da_t in steps.back(dstates[0], dy, da):
            add(dbefore, da_t.mul_(dafter), matrix)
            _keep_gradient(dbefore, dafter, size)
        return da, da


class LongShortTerm(Equations):
    """i, f, o = sigmoid(a_i, a_f, a_o),   u = tanh(a_u),   c' = f c + i u,   h' = o tanh(c')

    With a projection h' is o tanh(c') W_hr^T.

    Backward  da_o = dh' tanh(c') o (1 - o),   dc' += dh' o (1 - tanh(c')^2),   da_i = dc' u i (1 - i),
              da_f = dc' c f (1 - f),   da_u = dc' i (1 - u^2),   dc = dc' f,   dh = da W_hh
    """

    gates = 4

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        (h, c), matrix, add = states, weights.hh.transposed, _adding(weights.hh.data)
        project = None if weights.hr is None else weights.hr.transposed
        i, f, u, o = gates.chunk(4, -1)
        i_and_f, cells, m = gates[..., : 2 * c.shape[-1]], gates.new_empty(i.shape), torch.empty_like(c)
        for size, a, if_t, i_t, f_t, u_t, o_t, new_c, new_h in steps.forth(gates, i_and_f, i, f, u, o, cells, y):
            add(a, h, matrix)
            if_t.sigmoid_()
            u_t.tanh_()
            o_t.sigmoid_()
            torch.mul(f_t, c, out=new_c).addcmul_(i_t, u_t)
            torch.tanh(new_c, out=m)
            if project is None:
                torch.mul(o_t, m, out=new_h)
            else:
                new_h.copy_(m.mul_(o_t) @ project)
            h, c = _kept(h, new_h, size), _kept(c, new_c, size)
        return (gates, cells), [h, c]

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        gates, cells = kept
        (dh, dc), matrix, add = dstates, w.hh.data, _adding(w.hh.data)
        i, f, u, o = gates.chunk(4, -1)
        tanh_c = cells.tanh()
        outputs = None if w.hr is None else o * tanh_c  # before the projection
        slope = tanh_c.square().neg_().add_(1.0).mul_(o)  # of o tanh(c') by c'
        forget = f.clone(memory_format=torch.contiguous_format)
        # From here on `gates` holds the factors of dc', and of dh' for o.
        du = u.square().neg_().add_(1.0).mul_(i)
        i.mul_(1.0 - i).mul_(u)
        u.copy_(du)
        f.mul_(1.0 - f)
        for part, before in steps.with_states_before(f, states[1], cells):
            part.mul_(before)
        o.mul_(1.0 - o).mul_(tanh_c)
        for factors, value in ((gates, 0.0), (slope, 0.0), (forget, 1.0)):
            steps.blank(factors, value)
        inner = gates.unflatten(-1, (4, -1))[..., :3, :]
        for size, dbefore, dafter, a, ifu, o_t, slope_t, f_t in steps.back(dh, dy, gates, inner, o, slope, forget):
            dm = dafter if w.hr is None else dafter @ w.hr.data
            dc.addcmul_(dm, slope_t)
            ifu.mul_(dc.unsqueeze(-2))
            o_t.mul_(dm)
            dc.mul_(f_t)
            add(dbefore, a, matrix)
            _keep_gradient(dbefore, dafter, size)
        if outputs is not None and w.hr is not None:
            steps.blank(outputs)
            add_affine(w.hr.grad, None, flat(dy), flat(outputs))
        return gates, gates


class GatedRecurrent(Equations):
    """r, z = sigmoid(a + s) of their parts,   n = tanh(a_n + r s_n),   h' = (1 - z) n + z h

    a = x W_ih^T + b_ih is the input's part of the gates, and s = h W_hh^T + b_hh the state's.

    Backward  da_n = dh' (1 - z) (1 - n^2),   ds_n = da_n r,   da_r = ds_r = da_n s_n r (1 - r),
              da_z = ds_z = dh' (h - n) z (1 - z),   dh = dh' z + ds W_hh
    """

    gates = 3
    apart = True

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        (h,), matrix, add = states, weights.hh.transposed, _adding(weights.hh.data)
        of_state = torch.zeros_like(gates)  # s
        if weights.bias_hh is not None:
            of_state.copy_(weights.bias_hh.data.unsqueeze(-2))
        hidden = h.shape[-1]
        r, z, n = gates.chunk(3, -1)
        r_and_z, of_rz, of_n = gates[..., : 2 * hidden], of_state[..., : 2 * hidden], of_state[..., 2 * hidden :]
        for size, s, rz_t, s_rz, r_t, z_t, n_t, s_n, new_h in steps.forth(of_state, r_and_z, of_rz, r, z, n, of_n, y):
            add(s, h, matrix)
            rz_t.add_(s_rz).sigmoid_()
            n_t.addcmul_(r_t, s_n).tanh_()
            torch.lerp(n_t, h, z_t, out=new_h)
            h = _kept(h, new_h, size)
        return (gates, of_state), [h]

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        gates, of_state = kept
        matrix, add = w.hh.data, _adding(w.hh.data)
        r, z, n = gates.chunk(3, -1)
        s_r, s_z, s_n = of_state.chunk(3, -1)
        stay = z.clone(memory_format=torch.contiguous_format)
        # From here on `of_state` holds the factors of dh' in ds, and n the one in da_n.
        for part, before in steps.with_states_before(s_z, states[0], y):
            part.copy_(before)
        s_z.sub_(n).mul_(z).mul_(1.0 - z)
        n.square_().neg_().add_(1.0).mul_(1.0 - z)
        torch.mul(n, s_n, out=s_r)
        s_r.mul_(r).mul_(1.0 - r)
        torch.mul(n, r, out=s_n)
        for factors, value in ((of_state, 0.0), (n, 0.0), (stay, 1.0)):
            steps.blank(factors, value)
        each = of_state.unflatten(-1, (3, -1))
        for _, dbefore, dafter, ds, ds_each, z_t in steps.back(dstates[0], dy, of_state, each, stay):
            ds_each.mul_(dafter.unsqueeze(-2))
            dbefore.addcmul_(dafter, z_t)
            add(dbefore, ds, matrix)
        n.mul_(dy)
        r.copy_(s_r)
        z.copy_(s_z)
        return gates, of_state
