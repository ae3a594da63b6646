"""Recurrent layers with given states, and their cells: torch's gradients, and training as by the eager engine."""

import pytest
import torch
from torch import nn

import lamp
from tests.cases.compiled import both, lanes

D = torch.float64


class Stateful(lamp.Container):
    """A recurrent layer whose initial states are computed from a second input, and whose last states are used."""

    def __init__(self, kind, **options):
        self.embed, self.layer = lamp.Linear(2, 3), kind(3, 4, batch_first=True, **options)
        self.rows = self.layer.num_layers * (2 if self.layer.bidirectional else 1)
        self.sizes = [options.get("proj_size", 4), 4][: 2 if kind is lamp.LSTM else 1]
        self.firsts = [lamp.Linear(2, self.rows * size) for size in self.sizes]
        outputs = 3 * self.sizes[0] * (2 if self.layer.bidirectional else 1)
        self.head = lamp.Linear(outputs + self.rows * sum(self.sizes), 3)

    def forward(self, x, z):
        states = [
            first(z).unflatten(-1, (self.rows, size)).movedim(-2, -3)
            for first, size in zip(self.firsts, self.sizes, strict=True)
        ]
        y, last = self.layer(self.embed(x), tuple(states) if len(states) > 1 else states[0])
        last = last if len(states) > 1 else [last]
        parts = [y, *(each.movedim(-3, -2) for each in last)]
        self.remember([each.shape for each in parts])
        return self.head(torch.cat([each.flatten(-2) for each in parts], -1))

    def backward(self, dy):
        shapes = self.recall()
        parts = self.head.backward(dy).split([shape[-1] * shape[-2] for shape in shapes], -1)
        dy, *last = [each.unflatten(-1, shape[-2:]) for each, shape in zip(parts, shapes, strict=True)]
        last = tuple(each.movedim(-2, -3) for each in last)
        dx, dfirst = self.layer.backward(dy, last if len(last) > 1 else last[0])
        dfirst = dfirst if len(last) > 1 else [dfirst]
        given = [each.movedim(-3, -2).flatten(-2) for each in dfirst]
        of_z = [first.backward(each) for first, each in reversed(list(zip(self.firsts, given, strict=True)))]
        return self.embed.backward(dx), sum(of_z)

    def trace(self, tracer, x, z):
        states = [
            tracer.batch_at(tracer.reshape(self, tracer(first, z), (self.rows, size)), 1)
            for first, size in zip(self.firsts, self.sizes, strict=True)
        ]
        y, last = tracer(self.layer, tracer(self.embed, x), states if len(states) > 1 else states[0])
        parts = [y, *(tracer.batch_at(each, 0) for each in (last if len(states) > 1 else [last]))]
        flattened = [tracer.reshape(self, each, (each.shape[0] * each.shape[1],)) for each in parts]
        return tracer(self.head, tracer.concat(self, *flattened))


class Unrolled(lamp.Container):
    """A cell that makes three steps, the first one from zeros or from a state that is computed from a second input."""

    def __init__(self, kind, begins=True):
        self.embed, self.cell, self.begins = lamp.Linear(2, 3), kind(3, 4), begins
        self.firsts = [lamp.Linear(2, 4) for _ in range((2 if kind is lamp.LSTMCell else 1) if begins else 0)]
        self.head = lamp.Linear(8 if kind is lamp.LSTMCell else 4, 3)

    def forward(self, x, z):
        x = self.embed(x)
        state = tuple(first(z) for first in self.firsts) or None
        for t in range(3):
            state = self.cell(x.select(-2, t), state[0] if isinstance(state, tuple) and len(state) == 1 else state)
        self.remember(x.shape)
        return self.head(torch.cat(state, -1) if isinstance(state, tuple) else state)

    def backward(self, dy):
        dx = dy.new_zeros(self.recall())
        dstate = self.head.backward(dy)
        dstate = dstate.split(4, -1) if dstate.shape[-1] == 8 else (dstate,)
        for t in (2, 1, 0):
            found = self.cell.backward(*dstate)
            dx_t, dstate = found if t or self.firsts else (found, ())
            dx.select(-2, t).copy_(dx_t)
            dstate = dstate if isinstance(dstate, tuple) else (dstate,)
        of_z = [first.backward(each) for first, each in reversed(list(zip(self.firsts, dstate, strict=True)))]
        return self.embed.backward(dx), sum(of_z) if of_z else None

    def trace(self, tracer, x, z):
        x = tracer(self.embed, x)
        state = tuple(tracer(first, z) for first in self.firsts) or None
        for t in range(3):
            state = tracer(self.cell, tracer.select(self, x, 1, t), state)
        return tracer(self.head, tracer.concat(self, *state) if isinstance(state, tuple) else state)


class Twin(nn.Module):
    """The same network of torch's modules, by the same forward."""

    def __init__(self, own):
        super().__init__()
        self.own, parts = [own], {"layer": "layer", "cell": "cell"}
        self.embed, self.head = nn.Linear(2, 3), nn.Linear(own.head.in_features, 3)
        for name in parts.keys() & vars(own).keys():
            self.add_module(name, lamp.to_torch(getattr(own, name)))
        self.firsts = nn.ModuleList(nn.Linear(2, each.out_features) for each in own.firsts)
        self.rows, self.sizes = getattr(own, "rows", None), getattr(own, "sizes", None)
        self.double().load_state_dict(own.state_dict())

    def remember(self, kept):
        """Nothing is remembered: autograd goes back."""

    def forward(self, x, z):
        return type(self.own[0]).forward.__wrapped__(self, x, z)


NETWORKS = {
    "RNN": lambda: Stateful(lamp.RNN, nonlinearity="relu"),
    "GRU": lambda: Stateful(lamp.GRU),
    "LSTM": lambda: Stateful(lamp.LSTM),
    "LSTM, two layers both ways, projected": lambda: Stateful(lamp.LSTM, num_layers=2, bidirectional=True, proj_size=2),
    "RNNCell": lambda: Unrolled(lamp.RNNCell),
    "LSTMCell": lambda: Unrolled(lamp.LSTMCell),
    "GRUCell": lambda: Unrolled(lamp.GRUCell),
    "LSTMCell, from zeros": lambda: Unrolled(lamp.LSTMCell, begins=False),
    "GRUCell, from zeros": lambda: Unrolled(lamp.GRUCell, begins=False),
}


def data(samples):
    generator = torch.Generator().manual_seed(7)
    x, z = (torch.randn(samples, *shape, generator=generator, dtype=D) for shape in ((3, 2), (2,)))
    return (x, z), torch.randint(3, (samples,), generator=generator)


@pytest.mark.compiled
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_torchs(name):
    model, samples = NETWORKS[name]().double(), lanes() + 3
    (x, z), y = data(samples)
    twin = Twin(model)
    compiled = lamp.compile(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), lr=0.1), samples)
    loss = nn.functional.cross_entropy(twin(x, z), y)
    loss.backward()
    assert float(compiled.gradients((x, z), y)) == pytest.approx(float(loss.detach()), rel=1e-12)
    found, expected = dict(model.named_parameters()), dict(twin.named_parameters())
    assert found.keys() == expected.keys()
    for each, parameter in expected.items():
        assert torch.allclose(found[each].grad, parameter.grad, rtol=1e-10, atol=1e-13), each


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("name", "count"), [*(("LSTM", count) for count in (None, 1, 2, 17)), ("GRU", 17), ("LSTMCell", 17), ("RNNCell", 2)]
)
def test_both_engines_agree(name, count):
    both(
        lambda: NETWORKS[name]().double(),
        lamp.CrossEntropyLoss,
        lambda parameters: lamp.Adam(parameters, lr=0.01),
        data(13),
        count=count,
        epochs=2,
        batch_size=5,
        tolerance=1e-11,
    )
