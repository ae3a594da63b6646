"""Containers that a user derives from lamp.Container; Residual and Parallel."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import lamp
from tests.cases.module_case import error

D = torch.float64


class EncoderDecoder(lamp.Container):
    """Predicts the next output from a source and the outputs so far."""

    def __init__(self, source=4, state=25, outputs=2):
        self.encoder = lamp.Sequential(lamp.Linear(source, state), lamp.Tanh())
        self.embedding = lamp.Linear(outputs, 3)
        self.decoder = [lamp.Linear(state + 3, state), lamp.Linear(state, outputs)]

    def forward(self, source, target):
        state, before = self.encoder(source), self.embedding(target)
        self.remember(state.shape[-1])
        return self.forward_through(self.decoder, torch.cat((state, before), -1))

    def backward(self, grad_output):
        width = self.recall()
        gradient = self.backward_through(self.decoder, grad_output)
        dtarget = self.embedding.backward(gradient[..., width:])
        return self.encoder.backward(gradient[..., :width]), dtarget

    def trace(self, tracer, source, target):
        state, before = tracer(self.encoder, source), tracer(self.embedding, target)
        return self.trace_through(tracer, self.decoder, tracer.concat(self, state, before))


class TorchEncoderDecoder(nn.Module):
    def __init__(self, source=4, state=25, outputs=2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(source, state), nn.Tanh())
        self.embedding = nn.Linear(outputs, 3)
        self.decoder = nn.Sequential(nn.Linear(state + 3, state), nn.Linear(state, outputs))

    def forward(self, source, target):
        return self.decoder(torch.cat((self.encoder(source), self.embedding(target)), -1))


class Tower(lamp.Container):
    """Residual blocks, one after another."""

    def __init__(self, *blocks):
        self.blocks = [list(block) for block in blocks]

    def forward(self, input):
        for block in self.blocks:
            input = input + self.forward_through(block, input)
        return input

    def backward(self, grad_output):
        for block in reversed(self.blocks):
            grad_output = grad_output + self.backward_through(block, grad_output)
        return grad_output

    def named_children(self):
        for k, block in enumerate(self.blocks):
            yield from ((f"{k}.{n}", module) for n, module in enumerate(block))


class PlainCalls(lamp.Container):
    """Calls modules one after another, each by its attribute."""

    def __init__(self, *modules):
        self.parts = list(modules)

    def forward(self, input):
        for part in self.parts:
            input = part(input)
        return input

    def backward(self, grad_output):
        for part in reversed(self.parts):
            grad_output = part.backward(grad_output)
        return grad_output


class Row(lamp.Container):
    """The same, by the methods of Container."""

    def __init__(self, *modules):
        self.parts = list(modules)

    def forward(self, input):
        return self.forward_through(self.parts, input)

    def backward(self, grad_output):
        return self.backward_through(self.parts, grad_output)


class Forgetful(lamp.Module):
    """A container whose forward or backward returns nothing."""

    def __init__(self, which):
        self.which = which

    def forward(self, input):
        return None if self.which == "forward" else input

    def backward(self, grad_output):
        return None if self.which == "backward" else grad_output


def layers():
    return [make() for _ in range(4) for make in (lambda: lamp.Linear(6, 6), lamp.Tanh)]


# ---- a container of one's own ----------------------------------------------------------------------------------------
def test_an_encoder_decoder_is_torchs():
    model, twin = EncoderDecoder().double(), TorchEncoderDecoder().double()
    assert list(model.state_dict()) == list(twin.state_dict())
    model.load_state_dict(twin.state_dict())
    source, target = (torch.randn(7, n, dtype=D, requires_grad=True) for n in (4, 2))
    expected = twin(source, target)
    dy = torch.randn_like(expected)
    expected.backward(dy)
    y = model(source.detach(), target.detach())
    assert error(y, expected.detach()) < 1e-12
    for own, theirs in zip(model.backward(dy), (source.grad, target.grad), strict=True):
        assert error(own, theirs) < 1e-12
    for own, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert error(own.grad, theirs.grad) < 1e-12


def test_its_gradients_are_checked():
    report = lamp.check_gradients(EncoderDecoder(), torch.randn(7, 4), torch.randn(7, 2))
    assert {row.name for row in report.tensors} >= {"input 0", "input 1", "decoder.1.weight"}
    lamp.check_gradients(Tower(layers(), layers()), torch.randn(7, 6))


def test_its_errors_say_where():
    model = EncoderDecoder()
    model.decoder[1] = lamp.Linear(24, 2)
    with pytest.raises(lamp.ShapeError) as caught:
        model(torch.randn(7, 4), torch.randn(7, 2))
    assert caught.value.where == "EncoderDecoder.decoder.1: Linear(in_features=24, out_features=2, bias=True)"
    with pytest.raises(lamp.ShapeError, match=r"^EncoderDecoder\.encoder\.0: Linear\(in_features=4"):
        model(torch.randn(7, 5), torch.randn(7, 2))
    with pytest.raises(lamp.ShapeError, match=r"^EncoderDecoder\.embedding: Linear\(in_features=2"):
        model(torch.randn(7, 4), torch.randn(7, 3))
    model = EncoderDecoder()
    model(torch.randn(7, 4), torch.randn(7, 2))
    with pytest.raises(lamp.ShapeError, match=r"^EncoderDecoder\.decoder\.1: Linear"):
        model.backward(torch.randn(7, 3))
    with pytest.raises(lamp.ArgumentError, match=r"(?s)forward\(source, target\).*got +1 positional"):
        model(torch.randn(7, 4))


def test_inputs_by_name():
    model = EncoderDecoder()
    source, target = torch.randn(7, 4), torch.randn(7, 2)
    y = model(source, target)
    for named in (model(target=target, source=source), model(source, target=target)):
        assert torch.equal(y, named)
    with pytest.raises(lamp.ArgumentError, match="memory="):
        model(source, memory=target)


@pytest.mark.parametrize("which", ["forward", "backward"])
@pytest.mark.parametrize("kind", [Row, lamp.Residual])
def test_a_module_that_returns_nothing_is_blamed(kind, which):
    model = kind(lamp.Linear(6, 6), Forgetful(which), lamp.Linear(6, 6))
    place = "parts.1" if kind is Row else "1"

    def step():
        model(torch.randn(7, 6))
        model.backward(torch.randn(7, 6))

    with pytest.raises(lamp.BackwardError, match=rf"^{kind.__name__}\.{place}: .*{which} of Forgetful returned None"):
        step()


def test_the_graph_of_an_encoder_decoder():
    graph = lamp.trace(EncoderDecoder(), (7, 4), (7, 2))
    assert [value.shape for value in (*graph.inputs, *graph.outputs)] == [(4,), (2,), (2,)]
    assert [op.path for op in graph.ops] == ["encoder.0", "encoder.1", "embedding", "", "decoder.0", "decoder.1"]
    assert "decoder.1" in str(lamp.summary(EncoderDecoder(), (7, 4), (7, 2)))


@pytest.mark.parametrize("build", [EncoderDecoder, lambda: Tower(layers(), layers()), lambda: lamp.Residual(*layers())])
def test_prediction_is_of_the_thread(build):
    """Dropout drops values in the thread that trains, and in no other thread."""
    model = lamp.Sequential(lamp.Dropout(0.5), build()) if build is not EncoderDecoder else build()
    if isinstance(model, EncoderDecoder):
        model.encoder.append(lamp.Dropout(0.5))
    inputs = [torch.randn(7, n) for n in ((4, 2) if isinstance(model, EncoderDecoder) else (6,))]
    with lamp.evaluating():
        expected = model(*inputs)
    started, stop = threading.Event(), threading.Event()

    def train():
        while not stop.is_set():
            model(*inputs)
            started.set()

    def predict(_):
        with lamp.evaluating():
            return torch.allclose(model(*inputs), expected)  # products of matrices may round by where they lie

    thread = threading.Thread(target=train)
    thread.start()
    started.wait(60)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(predict, range(200)))
    stop.set()
    thread.join(60)
    assert not torch.allclose(model(*inputs), expected)


def calls_of_python(run):
    """The number of Python functions that a call runs."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def test_it_costs_what_sequential_costs():
    """A call of a module by its attribute costs one more Python function per direction; through the container, none.

    In a forward that a user wrote, two more look for changes in place of what each module remembers.
    """
    modules = layers()
    x, dy = torch.randn(7, 6), torch.randn(7, 6)
    counts = []
    for kind in (lamp.Sequential, Row, PlainCalls):
        model = kind(*modules)

        def step(model=model):
            model(x)
            model.backward(dy)

        step()
        counts.append(calls_of_python(step))
    sequential, row, plain = counts
    guards = 2 * len(modules)
    assert row <= sequential + guards
    assert plain <= sequential + guards + 2 * len(modules)


# ---- Residual and Parallel -------------------------------------------------------------------------------------------
def test_outputs_that_do_not_fit_together():
    x = torch.randn(7, 6)
    refused = {
        "a residual of another width": (lamp.Residual(lamp.Linear(6, 5)), r"\(7, 6\), \(7, 5\)"),
        "a residual that would be broadcast": (lamp.Residual(lamp.Linear(6, 1)), r"\(7, 1\)"),
        "a sum of two widths": (lamp.Parallel(lamp.Linear(6, 5), lamp.Linear(6, 4)), r"\(7, 5\), \(7, 4\)"),
        "a sum that would be broadcast": (lamp.Parallel(lamp.Linear(6, 5), lamp.Linear(6, 1)), r"\(7, 1\)"),
        "joined with other axes": (
            lamp.Parallel(lamp.Linear(6, 4), lamp.Unflatten(1, (2, 3)), combine="concat"),
            r"\(7, 4\), \(7, 2, 3\)",
        ),
        "joined along the batch": (
            lamp.Parallel(lamp.Linear(6, 4), lamp.Linear(6, 3), combine="concat", dim=0),
            "axis 0",
        ),
        "joined along an axis that is not there": (lamp.Parallel(lamp.Tanh(), combine="concat", dim=5), "axis 5"),
    }
    for name, (model, said) in refused.items():
        with pytest.raises(lamp.ShapeError, match=rf"(?s)do not fit together.*{said}"):
            pytest.fail(f"{name}: {model(x)}")


def test_branches_of_two_dtypes():
    class Half(lamp.Module):
        def forward(self, input):
            return input.half()

    for model in (
        lamp.Residual(Half()),
        lamp.Parallel(lamp.Tanh(), Half()),
        lamp.Parallel(Half(), lamp.Tanh(), combine="concat"),
    ):
        with pytest.raises(lamp.DTypeError, match="float16"):
            model(torch.randn(7, 6))


def test_a_branch_that_puts_out_no_tensor():
    for model in (lamp.Residual(Forgetful("forward")), lamp.Parallel(lamp.Tanh(), Forgetful("forward"))):
        with pytest.raises(lamp.DTypeError, match=r"a branch of \w+ must return a tensor"):
            model(torch.randn(7, 6))


def test_what_cannot_be_among_them():
    for kind in (lamp.Residual, lamp.Parallel):
        name = kind.__name__
        with pytest.raises(lamp.ArgumentError, match=f"a {name} is made of modules"):
            kind()
        with pytest.raises(lamp.ArgumentError, match=f"a {name} is made of modules"):
            kind(nn.Linear(6, 6))
        with pytest.raises(lamp.ArgumentError, match=f"a {name} cannot contain a loss"):
            kind(lamp.Linear(6, 6), lamp.MSELoss())
    with pytest.raises(lamp.ArgumentError, match="'sum' or 'concat'"):
        lamp.Parallel(lamp.Linear(6, 6), combine="mean")
    with pytest.raises(lamp.ArgumentError, match="dim"):
        lamp.Parallel(lamp.Linear(6, 6), combine="concat", dim=1.5)
    model = lamp.Parallel(lamp.Linear(6, 6))
    model.combine = "mean"
    with pytest.raises(lamp.ArgumentError, match="'sum' or 'concat'"):
        model(torch.randn(7, 6))


def test_a_gradient_of_another_shape():
    model = lamp.Parallel(lamp.Linear(6, 4), lamp.Linear(6, 3), combine="concat")
    model(torch.randn(7, 6))
    with pytest.raises(lamp.ShapeError, match=r"(?s)^Parallel.*\(7, 7\).*\(7, 6\)"):
        model.backward(torch.randn(7, 6))


def test_they_are_changed_as_a_list_is():
    model = lamp.Residual(lamp.Linear(6, 5)).append(lamp.Tanh())
    model.extend([lamp.Linear(5, 6)])
    model.add_module("head", lamp.Linear(6, 6))
    assert [name for name, _ in model.named_children()] == ["0", "1", "2", "head"]
    assert model.head is model[-1]
    assert model(torch.randn(7, 6)).shape == (7, 6)
    model.pop()
    model[1] = lamp.ReLU()
    del model["1"]
    assert [type(module).__name__ for module in model] == ["Linear", "Linear"]
    with pytest.raises(IndexError, match="not in this Residual"):
        model[5]
    both = lamp.Parallel({"wide": lamp.Linear(6, 9), "narrow": lamp.Linear(6, 2)}, combine="concat")
    assert list(both.state_dict()) == ["wide.weight", "wide.bias", "narrow.weight", "narrow.bias"]
    assert both(torch.randn(7, 6)).shape == (7, 11)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("count", [None, 3])
def test_they_train_in_either_engine(engine, count):
    torch.manual_seed(0)
    single = lamp.Sequential(
        lamp.Residual(lamp.Linear(3, 7), lamp.Tanh(), lamp.Linear(7, 3)),
        lamp.Parallel(lamp.Linear(3, 4), lamp.Sequential(lamp.Linear(3, 2), lamp.Tanh()), combine="concat"),
        lamp.Parallel(lamp.Linear(6, 5), lamp.Sequential(lamp.Linear(6, 5), lamp.Sigmoid())),
        lamp.Linear(5, 2),
    ).double()
    model = single if count is None else lamp.population(single, range(count))
    twin = lamp.to_torch(single if count is None else model[1]).train()
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(12, n, dtype=D, generator=generator) for n in (3, 2))
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    history = lamp.fit(
        model, lamp.MSELoss(), optimizer, (x, y), epochs=5, batch_size=12, shuffle=False, engine=engine, progress=False
    )
    assert history.engine == engine
    theirs = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(5):
        theirs.zero_grad()
        nn.functional.mse_loss(twin(x), y).backward()
        theirs.step()
    own = model if count is None else model[1]
    for one, other in zip(own.parameters(), twin.parameters(), strict=True):
        assert error(one.data, other.detach()) < 1e-10


# ---- a Sequential of one's own that ends in its loss -----------------------------------------------------------------
class Doubled(lamp.Sequential):
    """Doubles its input first."""

    def forward(self, input, *target):
        return super().forward(2.0 * input, *target)


def test_a_network_without_its_loss_is_of_its_class():
    model = Doubled(lamp.Linear(3, 2), lamp.MSELoss()).double()
    x, y = torch.randn(7, 3, dtype=D), torch.randn(7, 2, dtype=D)
    assert type(model.body) is Doubled
    assert model.body.loss is None
    assert model.body[0] is model[0]
    assert torch.equal(model.body(x), model(x, y)[0])
    assert torch.equal(lamp.predict(model, x), model[0](2.0 * x))
    found = lamp.evaluate(model, None, (x, y))
    assert found["loss"] == pytest.approx(float((model[0](2.0 * x) - y).square().mean()))
    plain = lamp.Sequential(lamp.Linear(3, 2)).double()
    plain.load_state_dict({key: value.clone() for key, value in model.state_dict().items()})
    for network, criterion, inputs in ((model, None, x), (plain, lamp.MSELoss(), 2.0 * x)):
        optimizer = lamp.SGD(network.parameters(), lr=0.05)
        lamp.fit(network, criterion, optimizer, (inputs, y), epochs=3, batch_size=7, progress=False)
    assert error(model[0].weight.data, plain[0].weight.data) < 1e-12


def test_a_forward_that_was_set_on_it_is_kept_too():
    model = lamp.Sequential(lamp.Linear(3, 2), lamp.MSELoss())
    model.forward = lambda x, *target: lamp.Sequential.forward(model, 2.0 * x, *target)
    x = torch.randn(7, 3)
    assert torch.equal(lamp.predict(model, x), model[0](2.0 * x))


class Penalised(lamp.Sequential):
    """Adds a penalty to its loss, which `fit` would ignore."""

    def forward(self, input, *target):
        put_out = super().forward(input, *target)
        return (put_out[0], put_out[1] + 0.1 * self[0].weight.data.square().sum((-1, -2))) if target else put_out


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("data", ["columns", "batches", "samples", "a network's own noise"])
def test_a_forward_that_changes_the_loss_is_told(data, count):
    x, y = torch.randn(9, 3), torch.randn(9, 2)
    given = {"batches": [(x, y)], "samples": lamp.DataLoader(list(zip(x, y, strict=True)), 4)}.get(data, (x, y))
    tail = [lamp.Dropout(0.5)] if "noise" in data else []

    def fit(kind):
        model = kind(lamp.Linear(3, 2), *tail, lamp.MSELoss())
        model = model if count is None else lamp.population(model, range(count))
        return lamp.fit(model, None, lamp.SGD(model.parameters()), given, epochs=1, progress=False)

    with pytest.raises(lamp.ArgumentError, match=r"Penalised has its own forward.* another loss"):
        fit(Penalised)
    for kind in (Doubled, lamp.Sequential):
        assert fit(kind).epochs == 1
    if count is None:
        with pytest.raises(lamp.ArgumentError, match="another loss"):
            lamp.evaluate(Penalised(lamp.Linear(3, 2), lamp.MSELoss()), None, given)
