"""Modules with several inputs or outputs, as users write them, each beside its twin in torch.nn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import lamp
from lamp.module import Module
from lamp.trees import mapped

D = torch.float64


def added(*gradients: Any) -> Any:
    """The sum of those gradients that are not None."""
    there = [each for each in gradients if each is not None]
    return sum(there[1:], there[0])


class Gate(lamp.Container):
    """Two inputs: y = (x W) sigmoid(z V)."""

    def __init__(self):
        self.body, self.gate = lamp.Linear(3, 5), lamp.Sequential(lamp.Linear(4, 5), lamp.Sigmoid())

    def forward(self, x, z):
        y, g = self.body(x), self.gate(z)
        self.remember((y, g))
        return y * g

    def backward(self, dy):
        y, g = self.recall()
        return self.body.backward(dy * g), self.gate.backward(dy * y)

    def trace(self, tracer, x, z):
        return tracer.multiply(self, tracer(self.body, x), tracer(self.gate, z))


class TorchGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.gate = nn.Linear(3, 5), nn.Sequential(nn.Linear(4, 5), nn.Sigmoid())

    def forward(self, x, z):
        return self.body(x) * self.gate(z)


class Heads(lamp.Container):
    """Two outputs. backward gets their gradients as two arguments; None for an output that was not used."""

    def __init__(self):
        self.body = lamp.Sequential(lamp.Linear(3, 6), lamp.Tanh())
        self.mean, self.spread = lamp.Linear(6, 2), lamp.Sequential(lamp.Linear(6, 4), lamp.Softplus())

    def forward(self, x):
        h = self.body(x)
        return self.mean(h), self.spread(h)

    def backward(self, dmean, dspread):
        of_mean = None if dmean is None else self.mean.backward(dmean)
        of_spread = None if dspread is None else self.spread.backward(dspread)
        return self.body.backward(added(of_mean, of_spread))

    def trace(self, tracer, x):
        h = tracer(self.body, x)
        return tracer(self.mean, h), tracer(self.spread, h)


class HeadsInATuple(Heads):
    """The same, but backward gets the gradients in one tuple."""

    def backward(self, gradients):
        dmean, dspread = gradients
        return super().backward(dmean, dspread)


class TorchHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 6), nn.Tanh())
        self.mean, self.spread = nn.Linear(6, 2), nn.Sequential(nn.Linear(6, 4), nn.Softplus())

    def forward(self, x):
        h = self.body(x)
        return self.mean(h), self.spread(h)


class Cell(lamp.Container):
    """Two inputs and two outputs."""

    def __init__(self):
        self.of_input, self.of_state = lamp.Linear(3, 4), lamp.Linear(4, 4, bias=False)
        self.tanh, self.head = lamp.Tanh(), lamp.Linear(4, 2)

    def forward(self, input, hx):
        state = self.tanh(self.of_input(input) + self.of_state(hx))
        return self.head(state), state

    def backward(self, doutput, dstate):
        of_head = None if doutput is None else self.head.backward(doutput)
        dsum = self.tanh.backward(added(of_head, dstate))
        return self.of_input.backward(dsum), self.of_state.backward(dsum)

    def trace(self, tracer, input, hx):
        state = tracer(self.tanh, tracer.add(self, tracer(self.of_input, input), tracer(self.of_state, hx)))
        return tracer(self.head, state), state


class TorchCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.of_input, self.of_state = nn.Linear(3, 4), nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 2)

    def forward(self, input, hx):
        state = torch.tanh(self.of_input(input) + self.of_state(hx))
        return self.head(state), state


class Nested(lamp.Container):
    """An input that is a tuple, and an output with a tuple in it, as torch.nn.LSTM has them."""

    def __init__(self):
        self.cell, self.other = Cell(), lamp.Linear(2, 2)

    def forward(self, input, hx):
        h, c = hx
        output, state = self.cell(input, h)
        return output, (state, self.other(c))

    def backward(self, doutput, dhx):
        dstate, dc = dhx if dhx is not None else (None, None)
        dinput, dh = self.cell.backward(doutput, dstate)
        return dinput, (dh, None if dc is None else self.other.backward(dc))


class TorchNested(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.other = TorchCell(), nn.Linear(2, 2)

    def forward(self, input, hx):
        output, state = self.cell(input, hx[0])
        return output, (state, self.other(hx[1]))


class Pair(lamp.Container):
    """A module whose input is a tuple, as the module before it in a Sequential puts it out."""

    def __init__(self):
        self.first, self.second = lamp.Linear(2, 3), lamp.Linear(4, 3)

    def forward(self, pair):
        return self.first(pair[0]) + self.second(pair[1])

    def backward(self, dy):
        return self.first.backward(dy), self.second.backward(dy)


class TorchPair(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(4, 3)

    def forward(self, pair):
        return self.first(pair[0]) + self.second(pair[1])


@dataclass(frozen=True)
class Several:
    """One module: how lamp and torch.nn build it, and the shapes of its inputs without the batch's axis."""

    name: str
    make: Callable[[], Module]
    make_torch: Callable[[], nn.Module]
    shapes: tuple[Any, ...]
    traced: bool = True

    def __str__(self) -> str:
        return self.name

    def inputs(self, batch: int = 5, seed: int = 0) -> tuple[Any, ...]:
        """Random inputs in float64."""
        generator = torch.Generator().manual_seed(seed)

        def drawn(shape: Any) -> Any:
            if isinstance(shape, int):
                return torch.randn(batch, shape, dtype=D, generator=generator)
            return tuple(map(drawn, shape))

        return tuple(map(drawn, self.shapes))

    def pair(self) -> tuple[Module, nn.Module]:
        """The module and its twin, in float64, with the same parameters."""
        module, twin = self.make().double(), self.make_torch().double()
        module.load_state_dict(twin.state_dict())
        return module, twin


def _of(kind: str, shapes: tuple[Any, ...], *args: Any, **kwargs: Any) -> Several:
    """A module of lamp.nn that torch.nn has too."""
    options = [*map(str, args), *(f"{name}={value}" for name, value in kwargs.items())]
    return Several(
        f"{kind}({', '.join(options)})",
        lambda: getattr(lamp, kind)(*args, **kwargs),
        lambda: getattr(nn, kind)(*args, **kwargs),
        shapes,
    )


SEVERAL = [
    _of("Bilinear", (3, 4), 3, 4, 5),
    _of("Bilinear", (3, 4), 3, 4, 2, bias=False),
    _of("CosineSimilarity", (4, 4)),
    _of("CosineSimilarity", (7, 7), dim=-1, eps=1e-3),
    _of("PairwiseDistance", (4, 4)),
    _of("PairwiseDistance", (4, 4), p=1.0),
    _of("PairwiseDistance", (3, 3), 3.5, 1e-3, keepdim=True),
    _of("PairwiseDistance", (4, 4), p=float("inf")),
    Several("two inputs", Gate, TorchGate, (3, 4)),
    Several("two outputs", Heads, TorchHeads, (3,)),
    Several("two outputs, gradients in a tuple", HeadsInATuple, TorchHeads, (3,)),
    Several("two inputs and two outputs", Cell, TorchCell, (3, 4)),
    Several("a tuple in inputs and outputs", Nested, TorchNested, (3, (4, 2)), traced=False),
    Several("one input that is a tuple", Pair, TorchPair, ((2, 4),), traced=False),
    Several(
        "a tuple between modules",
        lambda: lamp.Sequential(Heads(), Pair(), lamp.Tanh()),
        lambda: nn.Sequential(TorchHeads(), TorchPair(), nn.Tanh()),
        (3,),
        traced=False,
    ),
    Several(
        "two outputs of a Sequential",
        lambda: lamp.Sequential(lamp.Linear(7, 3), Heads()),
        lambda: nn.Sequential(nn.Linear(7, 3), TorchHeads()),
        (7,),
    ),
]

TRAINED = [case for case in SEVERAL if case.make().parameters()]


class SumOfHeads(lamp.Loss):
    """A loss of two outputs and two targets: the mean squared error of each."""

    def __init__(self):
        super().__init__()
        self.first, self.second = lamp.MSELoss(), lamp.MSELoss()

    def forward(self, output, target):
        return self.first(output[0], target[0]) + self.second(output[1], target[1])

    def backward(self):
        return self.first.backward(), self.second.backward()


class FirstHead(lamp.Loss):
    """A loss of the first of several outputs, however deep; the others have no gradient."""

    def __init__(self):
        super().__init__()
        self.error = lamp.MSELoss()

    def forward(self, output, target):
        self.remember(mapped(output[1:], lambda each: None))
        return self.error(output[0], target)

    def backward(self):
        return (self.error.backward(), *self.recall())


def upstream(output: Any, seed: int = 1) -> Any:
    """A random gradient in the form of an output."""
    generator = torch.Generator().manual_seed(seed)
    return mapped(output, lambda each: torch.randn(each.shape, dtype=each.dtype, generator=generator))


def torch_gradients(twin: nn.Module, inputs: tuple[Any, ...], dy: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The gradients by autograd: of all inputs in order, then of the parameters."""
    given = mapped(inputs, lambda each: each.clone().requires_grad_())
    outputs = flat(twin(*given))
    variables = [*flat(given), *twin.parameters()]
    found = torch.autograd.grad(outputs, variables, flat(dy), allow_unused=True)
    count = len(flat(given))
    return list(found[:count]), list(found[count:])


def flat(tree: Any) -> list[Any]:
    """The leaves of nested tuples, None included."""
    return [leaf for each in tree for leaf in flat(each)] if isinstance(tree, tuple | list) else [tree]
