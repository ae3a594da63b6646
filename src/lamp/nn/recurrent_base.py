"""`RNNBase`: what RNN, LSTM and GRU have in common, all but their equations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamp import init
from lamp.devices import device_of, floating
from lamp.errors import ArgumentError, ShapeError, TrainingWarning, warn_of
from lamp.nn.arguments import a_flag, a_probability, a_size
from lamp.nn.checks import explain_gradient, explain_numbers, explain_unlike
from lamp.nn.dropout import RandomMask
from lamp.nn.recurrence import Equations, Steps, Weights, add_gradients, widened
from lamp.nn.sequence_form import SequenceForm, flat, flat_gates, in_steps
from lamp.parameter import Parameter
from lamp.randomness import bernoulli
from lamp.trees import is_packed


class RNNBase(RandomMask):
    """Base of the recurrent layers: everything but the equations of a step.

    Tensors are rearranged so that the axis of steps is first: (T, B, ...), or (T, K, B, ...) in a population.
    """

    options = ("dropout",)
    proj_size = 0

    def __init__(
        self,
        equations: Equations,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        self._equations = equations
        self.input_size = a_size(self, "input_size", input_size)
        self.hidden_size = hidden = a_size(self, "hidden_size", hidden_size)
        self.num_layers = a_size(self, "num_layers", num_layers)
        self.bias = a_flag(self, "bias", bias)
        self.batch_first = a_flag(self, "batch_first", batch_first)
        self.dropout = float(a_probability(self, "dropout", dropout))
        self.bidirectional = a_flag(self, "bidirectional", bidirectional)
        self.proj_size = (
            proj_size if type(proj_size) is int and proj_size == 0 else a_size(self, "proj_size", proj_size)
        )
        if self.proj_size >= hidden:
            raise ArgumentError(
                f"{type(self).__name__}: proj_size is not smaller than hidden_size",
                expected=f"less than {hidden}, or 0 for no projection",
                got=self.proj_size,
                fix="choose a smaller proj_size, or leave it out",
            )
        if self.dropout and self.num_layers == 1:
            warn_of(
                f"{type(self).__name__}: dropout={self.dropout} is applied between layers, and there is one layer. "
                "Fix: num_layers=2, or a lamp.Dropout after this module.",
                TrainingWarning,
            )
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        rows, out = equations.gates * hidden, self._out
        for layer in range(self.num_layers):
            columns = self.input_size if layer == 0 else out * self._directions
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, columns), "weight_hh": (rows, out)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
            shapes |= {"weight_hr": (out, hidden)} if self.proj_size else {}
            for direction in range(self._directions):
                for name, shape in shapes.items():
                    setattr(self, _name(name, layer, direction), Parameter(torch.empty(shape, **place)))
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _out(self) -> int:
        """The size of h."""
        return self.proj_size or self.hidden_size

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise all weights again, from this generator or torch's default one."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for _, parameter in self._members(Parameter):
            init.uniform_(parameter.data, -bound, bound, generator=generator)
        super().reset_parameters(generator=generator if self.dropout else None)

    def _weights(self, layer: int, direction: int) -> Weights:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return Weights(*(vars(self).get(_name(name, layer, direction)) for name in names))  # type: ignore[arg-type]

    # ---- forward and backward ----------------------------------------------------------------------------------------
    def forward(self, input: Any, hx: Any = None) -> Any:
        self._check(input)
        form = SequenceForm(input, self.batch_first, self.replicas)
        x = form.inside(input)
        states = self._initial(hx, form, x)
        kept: list[Any] = []
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            mask = self._mask_between(x) if layer and self.dropout and self.training else None
            inputs = flat(x if mask is None else x * mask)
            y = x.new_empty(*x.shape[:-1], self._directions * self._out)
            of_directions = []
            for direction, steps in enumerate(self._steps(form)):
                first = [state[layer * self._directions + direction] for state in states]
                weights, outputs = widened(self._weights(layer, direction)), self._part(y, direction)
                gates = self._equations.input_part(inputs, weights, x)
                found, after = self._equations.forward(steps, gates, outputs, first, weights)
                of_directions.append((found, first))
                last.append(after)
            kept.append((inputs, y, mask, of_directions))
            x = y
        self.remember((kept, form, hx is not None))
        ends = [form.state_outside(torch.stack(each)) for each in zip(*last, strict=True)]
        return form.outside(x), (ends[0] if len(ends) == 1 else tuple(ends))

    def backward(self, doutput: Any, dhx: Any = None) -> Any:
        dx, dstates, had_state = self._back(doutput, dhx, True)
        return (dx, dstates) if had_state else dx

    def backward_parameters(self, doutput: Any, dhx: Any = None) -> None:
        self._back(doutput, dhx, False)

    def _back(self, doutput: Any, dhx: Any, wants_dx: bool) -> tuple[Any, Any, bool]:
        """The gradients of the input and of the initial state, and whether that state was given."""
        kept, form, had_state = self.recall()
        dy, dlast = self._gradients(doutput, dhx, form, kept)
        dfirst: list[list[Tensor]] = []
        own_dy = False  # whether dy may be overwritten: that of the last layer belongs to others
        while kept:
            inputs, y, mask, of_directions = kept.pop()  # what a layer remembered is freed as soon as it is used
            layer, dinputs, of_layer = len(kept), None, []
            for direction, steps in enumerate(self._steps(form)):
                found, first = of_directions[direction]
                own, outputs = self._weights(layer, direction), self._part(y, direction)
                weights = widened(own)
                dh = self._part(dy, direction)
                dh = dh.contiguous() if own_dy else dh.clone(memory_format=torch.contiguous_format)
                dend = [each[layer * self._directions + direction] for each in dlast]
                dh[0 if steps.reverse else -1].add_(dend[0])
                dstates = [torch.zeros_like(dend[0]), *(each.clone() for each in dend[1:])]
                of_input, of_state = self._equations.backward(steps, found, outputs, first, dh, dstates, weights)
                dgates = flat_gates(of_input)
                ds = dgates if of_state is of_input else flat_gates(of_state)
                before = flat(steps.before(first[0], outputs, out=dh))  # what was in dh is not read any more
                self._equations.add_gradients(weights, dgates, ds, inputs, before)
                add_gradients(own, weights)
                of_layer.append(dstates)
                if layer or wants_dx:
                    dx = self._equations.dinputs(weights, dgates)
                    dinputs = dx if dinputs is None else dinputs.add_(dx)
            dfirst[:0] = of_layer
            if dinputs is not None:
                dy = in_steps(dinputs, y)
                dy, own_dy = dy if mask is None else dy.mul_(mask), True
        if not wants_dx:
            return None, None, had_state
        dstates = [form.state_outside(torch.stack(each)) for each in zip(*dfirst, strict=True)]
        return form.outside(dy), (dstates[0] if len(dstates) == 1 else tuple(dstates)), had_state

    def trace(self, tracer: Any, input: Any, hx: Any = None) -> Any:
        input = tracer.sequences(input, self.batch_first)
        if len(input.shape) != 2 or input.shape[1] != self.input_size:
            raise self._wrong_shape(("B", *input.shape))
        steps, layers = input.shape[0], self.num_layers * self._directions
        given = [] if hx is None else list(hx) if isinstance(hx, tuple | list) else [hx]
        states = [tracer.sequences(each, False) for each in given]
        shapes = [(layers, size) for size in self._state_sizes()]
        if states and [each.shape for each in states] != shapes:
            raise ShapeError(
                "the initial state does not fit",
                expected=", ".join(f"({layers}, B, {size})" for _, size in shapes),
                got=", ".join(str(each.layout()).replace("'", "") for each in given),
                fix="pass what this module returns as its last states",
            )
        batch = 0 if self.batch_first else 1
        outputs = [tracer.value((steps, self._directions * self._out), input.dtype, 1, batch)]
        outputs += [tracer.value(shape, input.dtype, 1, 1) for shape in shapes]
        work = steps * sum(parameter.elements for name, parameter in self._members(Parameter) if "weight" in name)
        inputs, options = [input, *states], {"steps": steps, "layers": layers}
        if tracer.training and self.dropout and self.num_layers > 1:
            options["dropout"] = self.dropout
        y, *last = tracer.several("Scan", self, inputs, outputs, multiplications=work, **options)
        return y, (last[0] if len(last) == 1 else tuple(last))

    def _steps(self, form: SequenceForm) -> list[Steps]:
        """The order of the steps in each direction."""
        return [Steps(reverse, form.sizes) for reverse in (False, True)[: self._directions]]

    def _part(self, y: Tensor, direction: int) -> Tensor:
        """What one direction puts out."""
        return y[..., direction * self._out : (direction + 1) * self._out] if self.bidirectional else y

    def _draw(self, pairs: Sequence[tuple[int, int]], shape: Sequence[int], x: Tensor) -> Tensor:
        scale = 1.0 / (1.0 - self.dropout) if self.dropout < 1 else 1.0
        return bernoulli(pairs, shape, 1.0 - self.dropout, scale, x.dtype, x.device)

    def _mask_between(self, x: Tensor) -> Tensor:
        """The mask of Dropout for what one layer passes to the next, (T, B, ...) or (T, K, B, ...)."""
        return self._mask(x) if self.replicas is None else self._mask(x.transpose(0, 1)).transpose(0, 1)

    # ---- states and gradients ----------------------------------------------------------------------------------------
    def _state_sizes(self) -> list[int]:
        """The size of each tensor of a state: h, and of an LSTM c."""
        return [self._out]

    def _initial(self, hx: Any, form: SequenceForm, x: Tensor) -> list[Tensor]:
        """The initial states, (L, B, H) each; zeros if none are given."""
        sizes, count = self._state_sizes(), self.num_layers * self._directions
        if hx is None:
            return [x.new_zeros(count, *x.shape[1:-1], size) for size in sizes]
        given = list(hx) if isinstance(hx, tuple | list) else [hx]
        batch = () if form.unbatched else (x.shape[-2],)
        lead = () if self.replicas is None else (self.replicas,)
        shapes = [(*lead, count, *batch, size) for size in sizes]
        if [tuple(each.shape) if isinstance(each, Tensor) else None for each in given] != shapes:
            raise self._wrong_state(given, shapes)
        for each in given:
            if (error := explain_unlike(each, self._first_weight)) is not None:
                raise error
        return [form.state_inside(each) for each in given]

    def _gradients(self, doutput: Any, dhx: Any, form: SequenceForm, kept: Any) -> tuple[Tensor, list[Tensor]]:
        """The gradients of the outputs and of the last states, with the axis of steps first; zeros for None."""
        y, (_, first) = kept[-1][1], kept[-1][3][0]
        if doutput is None:
            dy = torch.zeros_like(y)
        else:
            data, expected = doutput.data if is_packed(doutput) else doutput, form.outside(y)
            shape = (expected.data if is_packed(expected) else expected).shape
            if not isinstance(data, Tensor) or data.shape != shape:
                raise explain_gradient(data, shape)
            dy = form.inside(doutput)
        given = list(dhx) if isinstance(dhx, tuple | list) else [dhx] * len(first)
        dlast = []
        for state, each in zip(first, given, strict=True):
            zeros = state.new_zeros(self.num_layers * self._directions, *state.shape)
            if each is None:
                dlast.append(zeros)
                continue
            if not isinstance(each, Tensor) or each.shape != form.state_outside(zeros).shape:
                raise explain_gradient(each, form.state_outside(zeros).shape)
            dlast.append(form.state_inside(each))
        return dy, dlast

    # ---- checks ------------------------------------------------------------------------------------------------------
    @property
    def _first_weight(self) -> Parameter:
        return self._weights(0, 0).ih

    def _check(self, input: Any) -> None:
        """Raise for an input that does not fit."""
        x, packed = (input.data, True) if is_packed(input) else (input, False)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        axes = x.dim() - (0 if self.replicas is None else 1)
        if axes not in ((2,) if packed else (2, 3)) or x.shape[-1] != self.input_size or not x.numel():
            raise self._wrong_shape(tuple(x.shape), packed)
        if (error := explain_unlike(x, self._first_weight)) is not None:
            raise error

    def _wrong_shape(self, shape: tuple[Any, ...], packed: bool = False) -> ShapeError:
        lead = "" if self.replicas is None else "K, "
        batch = "B, T" if self.batch_first else "T, B"
        sequence = f"({lead}{batch}, {self.input_size}), or ({lead}T, {self.input_size}) for one sequence"
        return ShapeError(
            "the input is not a batch of sequences for this module",
            expected=f"data ({lead}N, {self.input_size})" if packed else sequence,
            got=str(shape).replace("'", ""),
            fix=f"pass {self.input_size} features on the last axis, and at least one step; batch_first=True is for "
            "(B, T, features)",
        )

    def _wrong_state(self, given: list[Any], shapes: list[tuple[int, ...]]) -> ShapeError:
        names = "h and c, a tuple" if len(shapes) == 2 else "h"
        return ShapeError(
            f"the initial state does not fit: {names}",
            expected=", ".join(map(str, shapes)),
            got=", ".join(
                str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__ for each in given
            ),
            fix="pass the state that this module returned for a batch of this size, or none, which means zeros",
        )

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        for name, default in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
        ):
            value = getattr(self, name)
            shown += "" if value == default else f", {name}={value}"
        return shown


def _name(name: str, layer: int, direction: int) -> str:
    """The name of a parameter, as in torch.nn."""
    return f"{name}_l{layer}{'_reverse' if direction else ''}"
