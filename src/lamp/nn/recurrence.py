"""The equations of RNN, LSTM and GRU along the steps of a sequence, forward and backward.

Tensors have the axis of steps first: (T, B, ...), or (T, K, B, ...) in a population. Gates have one axis more, before
all others: (G, T, B, H), so that each gate is one block of memory. What can be computed for all steps at once stands
outside the loops: the input's part of the gates before them, the factors of the derivatives, and the gradients of the
weights after them. In a loop each step is one matrix product and a few operations, many of them in place or on the same
memory in each step, since for short steps a view costs as much as the numbers in it. docs/derivations/recurrence.md
derives the backward passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamp.axes import add_affine, affine
from lamp.formulas import constant
from lamp.nn.gate_products import add_products, add_state_by, adding, dbias_of, rows_of, write_product
from lamp.nn.recurrent_formulas import ElmanUnit, GatedRecurrentUnit, LongShortTermUnit, UnitFormulas
from lamp.nn.sequence_form import flat, in_steps
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

    def before(self, first: Tensor, states: Tensor, out: Tensor | None = None) -> Tensor:
        """The state before each step, (T, B, H), given the initial state and the state after each step."""
        return torch.cat([states[1:], first[None]] if self.reverse else [first[None], states[:-1]], out=out)

    def blank(self, value: float, states: Tensor, *factors: Tensor) -> None:
        """Set factors (..., T, B, H), like states (T, B, H), to a value where a sequence does not have a step."""
        if self.sizes is not None:
            sizes = torch.tensor(self.sizes, device=states.device).unsqueeze(1)
            absent = torch.arange(states.shape[-2], device=states.device) >= sizes  # (T, B)
            absent = absent.view(len(states), *[1] * (states.dim() - 3), -1, 1)
            for each in factors:
                each.masked_fill_(absent, value)

    def _ordered(self, views: Sequence[Any]) -> Sequence[Any]:
        return views[::-1] if self.reverse else views

    def _sizes(self, count: int) -> Sequence[int | None]:
        if self.sizes is None:
            return (None,) * count
        return self._ordered([None if size == self.sizes[0] else size for size in self.sizes])


def _keep(before: Tensor, after: Tensor, size: int) -> None:
    """Give sequences that do not have a step the state before it."""
    after[..., size:, :] = before[..., size:, :]


def _keep_gradient(dbefore: Tensor, dafter: Tensor, size: int) -> None:
    """The backward of `_keep`."""
    dbefore[..., size:, :] += dafter[..., size:, :]


class Equations:
    """The equations of one kind of cell; `formulas` are the same for one unit and one step.

    of_input, of_state  the gates that have a part of the input, and of the state, in the order in which they are held:
                        for each gate, the place of its rows in the weights
    held                the number of tensors (T, B, H) that are held: the gates, and what stands behind them

    forward runs the cell along all steps. It gets the gates with the input's part in them, which it overwrites; y
    (T, B, H), where it writes the outputs; and the initial states. It returns what backward needs besides, and the last
    states.

    backward returns d loss / d gates, of the input's part and of the state's part, and overwrites its other arguments.
    dy (T, B, H), where that of the last h is included, becomes d loss / d h after each step. dstates are zeros for h,
    and for c the gradient of the last one; they become those of the initial states. `kept` is what forward returned.
    """

    of_input: tuple[int, ...] = (0,)
    of_state: tuple[int, ...] = (0,)
    held = 1
    formulas: UnitFormulas

    @property
    def gates(self) -> int:
        """The number of gates."""
        return len(self.of_input)

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        raise NotImplementedError

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    # ---- all steps at once -------------------------------------------------------------------------------------------
    def input_part(self, inputs: Tensor, weights: Weights, like: Tensor) -> Tensor:
        """The gates, (G, T, B, H), with the input's part and the biases in them. `like` has the axes (T, B, ...)."""
        matrices = rows_of(weights.ih.data, self.of_input)
        gates = like.new_empty(self.held, *like.shape[:-1], matrices[0].shape[-2])
        for gate, matrix in zip(gates, matrices, strict=False):
            if like.dim() == 3:
                write_product(flat(gate), inputs, matrix.mT)
            else:
                gate.copy_(in_steps(inputs.bmm(matrix.mT), like))
        if weights.bias_ih is not None and weights.bias_hh is not None:
            bias = self.bias(weights.bias_ih.data, weights.bias_hh.data)
            biases = torch.stack(rows_of(bias, self.of_input, -1))  # (G, H)
            gates[: len(matrices)].add_(biases.unsqueeze(1).unsqueeze(-2))
        return gates

    def bias(self, of_input: Tensor, of_state: Tensor) -> Tensor:
        """The bias that is added to the input's part."""
        return of_input + of_state

    def add_gradients(
        self, weights: Weights, of_input: Tensor, of_state: Tensor, inputs: Tensor, before: Tensor
    ) -> None:
        """Add to the gradients of weights and biases. The arguments are flat: d loss / d gates, inputs and states."""
        add_products(weights.ih.grad, self.of_input, of_input, inputs)
        add_products(weights.hh.grad, self.of_state, of_state, before)
        if weights.bias_ih is not None and weights.bias_hh is not None:
            dbias = dbias_of(of_input, self.of_input)
            weights.bias_ih.grad.add_(dbias)
            weights.bias_hh.grad.add_(dbias if of_state is of_input else dbias_of(of_state, self.of_state))

    def dinputs(self, weights: Weights, dgates: Tensor) -> Tensor:
        """d loss / d inputs, flat."""
        blocks = rows_of(weights.ih.data, self.of_input)
        dx = affine(dgates[0], blocks[0])
        for gate, block in zip(dgates[1:], blocks[1:], strict=True):
            adding(gate, block)(dx, gate, block)
        return dx


class Elman(Equations):
    """a = x W_ih^T + b_ih + h W_hh^T + b_hh,   h' = tanh(a), or relu(a)

    Backward  da = dh' (1 - h'^2), or dh' where h' > 0;   dh = da W_hh
    """

    def __init__(self, nonlinearity: str) -> None:
        self.nonlinearity, self.formulas = nonlinearity, ElmanUnit(nonlinearity)

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        (h,), matrix, tanh = states, weights.hh.transposed, self.nonlinearity == "tanh"
        add = adding(h, matrix)
        for size, a, after in steps.forth(gates[0], y):
            a = add(a, h, matrix)
            _ = torch.tanh(a, out=after) if tanh else torch.clamp(a, min=0.0, out=after)
            if size is not None:
                _keep(h, after, size)
            h = after
        return None, [h]

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        matrix, add = w.hh.data, adding(y[0], w.hh.data)
        da = (y > 0).to(y.dtype) if self.nonlinearity == "relu" else torch.addcmul(constant(1.0, y), y, y, value=-1.0)
        steps.blank(0.0, y, da)
        for size, dbefore, dafter, da_t in steps.back(dstates[0], dy, da):
            add(dbefore, da_t.mul_(dafter), matrix)
            if size is not None:
                _keep_gradient(dbefore, dafter, size)
        return da.unsqueeze(0), da.unsqueeze(0)


class LongShortTerm(Equations):
    """i, f, o = sigmoid(a_i, a_f, a_o),   u = tanh(a_u),   c' = f c + i u,   h' = o tanh(c')

    With a projection h' is o tanh(c') W_hr^T. The order o, i, f, u brings together the sigmoids, and the gates that get
    their gradient from c'.

    Backward  da_o = dh' tanh(c') o (1 - o),   dc' += dh' o (1 - tanh(c')^2),   di = dc' u i (1 - i),
              da_f = dc' c f (1 - f),   da_u = dc' i (1 - u^2),   dc = dc' f,   dh = da W_hh
    """

    of_input = of_state = (3, 0, 1, 2)
    held = 4
    formulas = LongShortTermUnit()

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        (h, c), add_state = states, add_state_by(states[0], weights.hh.data, self.of_state)
        project = None if weights.hr is None else weights.hr.transposed
        mul, tanh = torch.mul, torch.tanh  # in short steps even looking up a name takes time
        of_step, m, every = torch.empty_like(gates[:, 0]), torch.empty_like(c), c.new_empty((len(y) + 1, *c.shape))
        before, cells = (every[1:], every[:-1]) if steps.reverse else (every[:-1], every[1:])
        before[-1 if steps.reverse else 0] = c
        oif, (o, i, f, u) = of_step[:3], of_step.unbind()
        for size, gates_t, new_c, new_h in steps.forth(gates.transpose(0, 1), cells, y):
            add_state(h, gates_t, of_step)
            oif.sigmoid_()
            u.tanh_()
            mul(f, c, out=new_c).addcmul_(i, u)
            tanh(new_c, out=m)
            if project is None:
                mul(o, m, out=new_h)
            else:
                new_h.copy_(m.mul_(o) @ project)
            gates_t.copy_(of_step)
            if size is not None:
                _keep(h, new_h, size)
                _keep(c, new_c, size)
            h, c = new_h, new_c
        return (gates, before, cells), [h, c]

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        gates, before, cells = kept
        (dh, dc), project = dstates, None if w.hr is None else w.hr.data
        matrix = torch.cat(rows_of(w.hh.data, self.of_state), -2)
        (o, i, f, u), tanh_c = gates.unbind(), cells.tanh()
        m = y if w.hr is None else o * tanh_c  # o tanh(c'), before the projection
        # From here on `gates` holds the factors of dc', and of dh' for o: those of i are i (1 - i) u = i u - i u i, ...
        slope = torch.addcmul(o, m, tanh_c, value=-1.0)  # of m by c'
        torch.addcmul(m, m, o, value=-1.0, out=o)
        iu = torch.mul(i, u, out=tanh_c)
        torch.addcmul(i, iu, u, value=-1.0, out=u)
        torch.addcmul(iu, iu, i, value=-1.0, out=i)
        forget = iu.copy_(f)
        torch.addcmul(f, f, f, value=-1.0, out=f).mul_(before)
        steps.blank(0.0, y, gates, slope)
        steps.blank(1.0, y, forget)
        ifu, by_sequence = gates[1:].transpose(0, 1), gates.movedim(0, -2)  # (T, 3, B, H) and (T, B, 4, H)
        row = torch.empty_like(by_sequence[0], memory_format=torch.contiguous_format)
        rows = row.flatten(-2)
        add = adding(rows, matrix)
        for size, dbefore, dafter, da, ifu_t, o_t, slope_t, f_t in steps.back(
            dh, dy, by_sequence, ifu, gates[0], slope, forget
        ):
            dm = dafter if project is None else dafter @ project
            dc.addcmul_(dm, slope_t)
            ifu_t.mul_(dc)
            o_t.mul_(dm)
            dc.mul_(f_t)
            row.copy_(da)
            add(dbefore, rows, matrix)
            if size is not None:
                _keep_gradient(dbefore, dafter, size)
        if w.hr is not None:
            steps.blank(0.0, y, m)
            add_affine(w.hr.grad, None, flat(dy), flat(m))
        return gates, gates


class GatedRecurrent(Equations):
    """r, z = sigmoid(a + s) of their parts,   n = tanh(a_n + r s_n),   h' = (1 - z) n + z h

    a = x W_ih^T + b_ih is the input's part of the gates, and s = h W_hh^T + b_hh the state's. What is held is n, r, z
    and s_n: the first three have a part of the input, and the last three one of the state.

    Backward  da_n = dh' (1 - z) (1 - n^2),   ds_n = da_n r,   da_r = ds_r = da_n s_n r (1 - r),
              da_z = ds_z = dh' (h - n) z (1 - z),   dh = dh' z + ds W_hh
    """

    of_input, of_state = (2, 0, 1), (0, 1, 2)
    held = 4
    formulas = GatedRecurrentUnit()

    def bias(self, of_input: Tensor, of_state: Tensor) -> Tensor:
        hidden = of_input.shape[-1] // 3
        r_and_z = (of_input + of_state)[..., : 2 * hidden]
        return torch.cat([r_and_z, of_input[..., 2 * hidden :]], -1)

    def forward(self, steps: Steps, gates: Tensor, y: Tensor, states: list[Tensor], weights: Weights) -> Any:
        (h,), add_state = states, add_state_by(states[0], weights.hh.data, self.of_state)
        if weights.bias_hh is None:
            gates[3].zero_()
        else:
            gates[3].copy_(weights.bias_hh.data.chunk(3, -1)[2].unsqueeze(-2))
        of_step = torch.empty_like(gates[:, 0])
        (n, r, z, s), r_and_z, rzs = of_step.unbind(), of_step[1:3], of_step[1:]
        for size, gates_t, rzs_t, n_t, new_h in steps.forth(
            gates.transpose(0, 1), gates[1:].transpose(0, 1), gates[0], y
        ):
            add_state(h, rzs_t, rzs)
            r_and_z.sigmoid_()
            torch.addcmul(n_t, r, s, out=n).tanh_()
            torch.lerp(n, h, z, out=new_h)
            gates_t.copy_(of_step)
            if size is not None:
                _keep(h, new_h, size)
            h = new_h
        return gates, [h]

    def backward(
        self, steps: Steps, kept: Any, y: Tensor, states: list[Tensor], dy: Tensor, dstates: list[Tensor], w: Weights
    ) -> tuple[Tensor, Tensor]:
        gates, matrix = kept, w.hh.data
        n, r, z, s = gates.unbind()
        stay = z.clone()
        # From here on `gates` holds the factors of dh'.
        dz = steps.before(states[0], y).sub_(n).mul_(z)
        torch.addcmul(dz, dz, z, value=-1.0, out=z)
        leave = torch.sub(constant(1.0, stay), stay, out=dz)
        torch.addcmul(leave, leave * n, n, value=-1.0, out=n)
        ds = torch.mul(n, r, out=leave)
        s.mul_(ds)
        torch.addcmul(s, s, r, value=-1.0, out=r)
        s.copy_(ds)
        steps.blank(0.0, y, gates)
        steps.blank(1.0, y, stay)
        rzs = gates[1:]
        by_sequence = rzs.movedim(0, -2)  # (T, B, 3, H)
        row = torch.empty_like(by_sequence[0], memory_format=torch.contiguous_format)
        rows = row.flatten(-2)
        add = adding(rows, matrix)
        for _, dbefore, dafter, rzs_t, ds_t, z_t in steps.back(dstates[0], dy, rzs.transpose(0, 1), by_sequence, stay):
            rzs_t.mul_(dafter)
            dbefore.addcmul_(dafter, z_t)
            row.copy_(ds_t)
            add(dbefore, rows, matrix)
        n.mul_(dy)
        return gates[:3], rzs
