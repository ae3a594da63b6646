"""RNN, LSTM and GRU compile, and train as with the eager engine."""

import pytest
import torch

import lamp
from lamp.nn.recurrent_formulas import ElmanUnit, GatedRecurrentUnit, LongShortTermUnit
from tests.cases.compiled import both, lanes

CLASSES = 3


class Network(lamp.Container):
    """A recurrent layer over sequences, and a Linear of what `read` takes of it: "last" the last step of the output,
    "state" the last state, "all" the steps of the output, "both" a tanh of all of these and the last state."""

    takes_replicas = True

    def __init__(self, layer, read, *between):
        self.layer, self.read, self.between, self.tanh = layer, read, lamp.Sequential(*between), lamp.Tanh()
        self.head = lamp.LazyLinear(CLASSES)

    def forward(self, x):
        y, state = self.layer(x)
        h = state[0] if isinstance(state, tuple) else state
        self.remember((y.shape, h.shape, isinstance(state, tuple)))
        if self.read == "all":
            read = y.flatten(-2)
        elif self.read == "state":
            read = h.select(-3, -1)
        elif self.read == "both":
            read = torch.cat([self.tanh(y).flatten(-2), h.select(-3, -1)], -1)
        else:
            read = y.select(-2, -1)
        return self.head(self.between(read))

    def backward(self, dy):
        shape, of_state, pair = self.recall()
        d = self.between.backward(self.head.backward(dy))
        if self.read == "all":
            return self.layer.backward(d.view(shape))
        if self.read == "both":
            dh = d.new_zeros(of_state)
            dh.select(-3, -1).copy_(d[..., -dh.shape[-1] :])
            dy = self.tanh.backward(d[..., : -dh.shape[-1]].reshape(shape))
            return self.layer.backward(dy, (dh, None) if pair else dh)
        dy = d.new_zeros(of_state if self.read == "state" else shape)
        (dy.select(-3, -1) if self.read == "state" else dy.select(-2, -1)).copy_(d)
        if self.read == "last":
            return self.layer.backward(dy)
        return self.layer.backward(None, (dy, None) if pair else dy)

    def trace(self, tracer, x):
        y, state = tracer(self.layer, x)
        h = state[0] if isinstance(state, tuple) else state
        if self.read == "all":
            read = tracer.flatten(self, y, 1, 2)
        elif self.read == "state":
            read = tracer.select(self, h, 0, -1)
        elif self.read == "both":
            steps = tracer.flatten(self, tracer(self.tanh, y), 1, 2)
            read = tracer.concat(self, steps, tracer.select(self, h, 0, -1))
        else:
            read = tracer.select(self, y, 1, -1)
        return tracer(self.head, tracer(self.between, read))


def trained_alike(
    make, read="last", *between, count=None, steps=4, features=3, samples=13, batch=5, dtype=torch.float64, **options
):
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(samples, steps, features, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(CLASSES, (samples,), generator=generator)

    def network():
        model = Network(make(features), read, *[each() for each in between]).to(dtype)
        model(x[:1])
        return model

    return both(
        network,
        lamp.CrossEntropyLoss,
        lambda parameters: lamp.SGD(parameters, lr=0.05, momentum=0.5),
        (x, y),
        count=count,
        epochs=2,
        batch_size=batch,
        tolerance=1e-11 if dtype is torch.float64 else 2e-5,
        **options,
    )


def layer(kind, *sizes, **options):
    if kind == "relu":
        kind, options = "RNN", options | {"nonlinearity": "relu"}
    return lambda features: getattr(lamp, kind)(features, *sizes, batch_first=True, **options)


KINDS = ["RNN", "relu", "LSTM", "GRU"]


READS = ["last", "state", "all", "both"]


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_agree(kind, read, count):
    trained_alike(layer(kind, 5), read, count=count)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("read", ["last", "state", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_directions(kind, read, count):
    trained_alike(layer(kind, 4, 2, bidirectional=True), read, lamp.Tanh, count=count)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 2])
@pytest.mark.parametrize(("options", "read"), [({}, "last"), ({"bidirectional": True, "num_layers": 2}, "all")])
def test_projections(options, read, count):
    trained_alike(layer("LSTM", 5, proj_size=2, **options), read, count=count)


@pytest.mark.compiled
@pytest.mark.parametrize("kind", KINDS)
def test_without_biases(kind):
    trained_alike(layer(kind, 5, bias=False))


@pytest.mark.compiled
@pytest.mark.parametrize("read", ["last", "state", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_step(kind, read):
    trained_alike(layer(kind, 5, bidirectional=True), read, steps=1)


@pytest.mark.compiled
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 17])
def test_any_number_of_networks(kind, count):
    trained_alike(layer(kind, 5), count=count)


@pytest.mark.compiled
@pytest.mark.parametrize("batch", [1, lanes() - 1, 2 * lanes(), 3 * lanes() + 1])
def test_any_size_of_a_batch(batch):
    trained_alike(layer("LSTM", 5), "all", samples=2 * batch + 1, batch=batch)


@pytest.mark.compiled
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision(kind):
    trained_alike(layer(kind, 5), dtype=torch.float32)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 2])
@pytest.mark.parametrize("between", [lamp.GELU, lambda: lamp.Dropout(0.3), lambda: lamp.PReLU()])
def test_what_follows(between, count):
    """A chain of elementwise operations does not change the sequence that the next step reads."""
    trained_alike(layer("GRU", 5), "all", between, count=count)


# ---- the formulas of a unit ------------------------------------------------------------------------------------------
UNITS = [ElmanUnit("tanh"), ElmanUnit("relu"), LongShortTermUnit(), GatedRecurrentUnit()]


@pytest.mark.parametrize("unit", UNITS, ids=["RNN", "relu", "LSTM", "GRU"])
def test_the_backward_of_a_unit_is_that_of_autograd(unit):
    gates, apart = (torch.randn(n, 7, dtype=torch.float64, requires_grad=True) for n in (unit.gates, unit.apart))
    state, dh, carried = (torch.randn(7, dtype=torch.float64, requires_grad=True) for _ in range(3))
    kept, h, after = unit.forward(list(gates), list(apart), state if unit.has_state else None)
    assert len(kept) == unit.kept
    found = unit.backward(kept, state if unit.has_state else None, dh, carried if unit.has_state else None)
    if unit.apart:  # the state is h itself: what is carried is another part of its gradient
        dh = dh + carried
    value = (h * dh.detach()).sum()
    if unit.has_state and not unit.apart:
        value = value + (after * carried.detach()).sum()
    dgates, dstate = torch.autograd.grad(value, [gates, state], allow_unused=True, retain_graph=True)
    dinputs = dgates if not unit.apart else torch.cat([dgates[: -unit.apart], torch.autograd.grad(value, apart)[0]])
    for one, other in ((found.of_state, dgates), (found.of_input, dinputs)):
        torch.testing.assert_close(torch.stack(list(one)), other, rtol=1e-12, atol=1e-12)
    if unit.has_state:
        torch.testing.assert_close(found.carried, dstate, rtol=1e-12, atol=1e-12)


# ---- dropout between layers ------------------------------------------------------------------------------------------
@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}], ids=["", "both"])
def test_dropout_between_layers(options, count):
    trained_alike(
        layer("LSTM", 5, 3, dropout=0.4, **options), "all", lambda: lamp.Dropout(0.2), count=count, validation=0.3
    )


# ---- what is chosen, and what is not compiled ------------------------------------------------------------------------
@pytest.mark.compiled
def test_fit_chooses_the_compiled_engine():
    model = Network(lamp.LSTM(3, 8, batch_first=True), "last")
    x, y = torch.randn(128, 10, 3), torch.randint(CLASSES, (128,))
    model(x)
    assert lamp.summary(model, x).compiled
    history = lamp.fit(
        model, lamp.CrossEntropyLoss(), lamp.Adam(model.parameters()), (x, y), epochs=30, batch_size=32, progress=False
    )
    assert history.engine == "compiled", history.why
