"""Networks with branches, drawn at random: residual sums, values used several times, shared weights, gates."""

from __future__ import annotations

import torch

import lamp

ACTIVATIONS = [lamp.ReLU, lamp.Tanh, lamp.Sigmoid, lamp.GELU, lamp.SiLU, lamp.Softplus, lamp.Hardtanh]


class Residual(lamp.Module):
    """y = x + f(x)."""

    def __init__(self, body):
        self.body = body

    def forward(self, x):
        self.remember(None)
        return x + self.body(x)

    def trace(self, tracer, x):
        return tracer.add(self, x, tracer(self.body, x))

    def backward(self, dy):
        self.recall()
        return dy + self.body.backward(dy)


class Added(lamp.Module):
    """y = the sum of f_k(x)."""

    def __init__(self, *bodies):
        self.bodies = list(bodies)

    def forward(self, x):
        self.remember(None)
        first, *others = [body(x) for body in self.bodies]
        for other in others:
            first = first + other
        return first

    def trace(self, tracer, x):
        return tracer.add(self, *[tracer(body, x) for body in self.bodies])

    def backward(self, dy):
        self.recall()
        first, *others = [body.backward(dy) for body in reversed(self.bodies)]
        for other in others:
            first = first + other
        return first


class Joined(lamp.Module):
    """y = f_1(x), f_2(x), ... one after another along the features."""

    def __init__(self, *bodies):
        self.bodies = list(bodies)

    def forward(self, x):
        outputs = [body(x) for body in self.bodies]
        self.remember([y.shape[-1] for y in outputs])
        return torch.cat(outputs, -1)

    def trace(self, tracer, x):
        return tracer.concat(self, *[tracer(body, x) for body in self.bodies])

    def backward(self, dy):
        parts = dy.split(self.recall(), -1)
        total = 0.0
        for body, part in zip(reversed(self.bodies), reversed(parts), strict=True):
            total = total + body.backward(part.contiguous())
        return total


class Gated(lamp.Module):
    """y = f(x) g(x)."""

    def __init__(self, body, gate):
        self.body, self.gate = body, gate

    def forward(self, x):
        y, g = self.body(x), self.gate(x)
        self.remember((y, g))
        return y * g

    def trace(self, tracer, x):
        return tracer.multiply(self, tracer(self.body, x), tracer(self.gate, x))

    def backward(self, dy):
        y, g = self.recall()
        return self.gate.backward(dy * y) + self.body.backward(dy * g)


class Drawing:
    """Draws networks with given numbers of inputs and outputs. `shared` collects layers that are used again."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.shared: dict[tuple[int, int], lamp.Module] = {}

    def below(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self.generator))

    def activation(self) -> lamp.Module:
        return ACTIVATIONS[self.below(len(ACTIVATIONS))]()

    def linear(self, inputs: int, outputs: int) -> lamp.Module:
        if (inputs, outputs) in self.shared and self.below(3) == 0:
            return self.shared[inputs, outputs]
        layer = lamp.Linear(inputs, outputs, bias=self.below(4) > 0)
        self.shared[inputs, outputs] = layer
        return layer

    def body(self, inputs: int, outputs: int, depth: int) -> lamp.Module:
        kind = self.below(8) if depth else 0
        if kind <= 1:
            return lamp.Sequential(self.linear(inputs, outputs), self.activation())
        if kind == 2:
            return self.linear(inputs, outputs)
        if kind == 3:
            return Added(*[self.body(inputs, outputs, depth - 1) for _ in range(2 + self.below(2))])
        if kind == 4 and outputs > 1:
            first = 1 + self.below(outputs - 1)
            return Joined(self.body(inputs, first, depth - 1), self.body(inputs, outputs - first, depth - 1))
        if kind == 5:
            return Gated(self.body(inputs, outputs, depth - 1), self.body(inputs, outputs, depth - 1))
        if kind == 6:
            tail = [lamp.PReLU(outputs), lamp.Softmax(-1), lamp.LogSoftmax(-1), lamp.Dropout(0.3)][self.below(4)]
            return lamp.Sequential(self.body(inputs, outputs, depth - 1), tail)
        middle = 1 + self.below(9)
        before = self.body(inputs, middle, depth - 1)
        return lamp.Sequential(
            before, Residual(self.body(middle, middle, depth - 1)), self.body(middle, outputs, depth - 1)
        )


def drawn(seed: int, inputs: int, outputs: int, depth: int = 3) -> lamp.Module:
    """A network with branches that depends on the seed alone."""
    torch.manual_seed(seed)
    return lamp.Sequential(Drawing(seed).body(inputs, outputs, depth), lamp.Linear(outputs, outputs)).double()
