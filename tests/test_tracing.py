"""A user's modules as graphs: convolution, recurrence, several inputs and outputs; and wrong traces."""

import functools
import re
import textwrap

import pytest
import torch

import lamp
from tests.cases.graphs import Gated, Joined, Residual


class Convolution(lamp.Module):
    """Convolution without padding, of stride 1; as a graph only."""

    def __init__(self, inputs, outputs, kernel_size):
        self.inputs, self.outputs, self.kernel_size = inputs, outputs, kernel_size
        self.weight = lamp.Parameter(torch.zeros(outputs, inputs, kernel_size, kernel_size))
        self.bias = lamp.Parameter(torch.zeros(outputs))

    def trace(self, tracer, x):
        _, height, width = x.shape  # a picture
        shape = (self.outputs, height - self.kernel_size + 1, width - self.kernel_size + 1)
        return tracer.op(
            "Convolution",
            self,
            [x],
            shape,
            parameters={"weight": self.weight, "bias": self.bias},
            multiplications=shape[1] * shape[2] * self.weight.data.numel(),
            stride=1,
        )

    def extra_repr(self):
        return f"{self.inputs}, {self.outputs}, {self.kernel_size}"


class Pool(lamp.Module):
    def trace(self, tracer, x):
        channels, height, width = x.shape
        return tracer.op("Pool", self, [x], (channels, height // 2, width // 2), mode="max", kernel_size=2)


class Embedding(lamp.Module):
    def __init__(self):
        self.weight = lamp.Parameter(torch.zeros(100, 3))

    def trace(self, tracer, ids):
        shape = (*ids.shape, 3)
        return tracer.op(
            "Gather", self, [ids], shape, parameters={"weight": self.weight}, dtype=self.weight.dtype, axis=0
        )


class BatchNorm(lamp.Module):
    def __init__(self, features=4):
        self.mean = lamp.Buffer(torch.zeros(features))

    def trace(self, tracer, x):
        return tracer.op("BatchNorm", self, [x], x.shape, buffers={"mean": self.mean}, eps=1e-5)


class Cell(lamp.Module):
    """h' = tanh(W x + b + V h)."""

    def __init__(self, inputs, hidden):
        self.ih, self.hh, self.act = lamp.Linear(inputs, hidden), lamp.Linear(hidden, hidden, bias=False), lamp.Tanh()

    def trace(self, tracer, x, h):
        return tracer(self.act, tracer.add(self, tracer(self.ih, x), tracer(self.hh, h)))


class Recurrent(lamp.Module):
    def __init__(self, inputs, hidden):
        self.cell, self.hidden = Cell(inputs, hidden), hidden

    def trace(self, tracer, x, h=None):
        return tracer.scan(self, self.cell, x, (self.hidden,) if h is None else h)


class Tagger(lamp.Module):
    """A label for each step, and the last state."""

    def __init__(self):
        self.rnn, self.out = Recurrent(3, 5), lamp.Linear(5, 2)

    def trace(self, tracer, x, h):
        y, h = tracer(self.rnn, x, h)
        return tracer(self.out, y), h


class LastState(lamp.Module):
    def __init__(self, recurrent):
        self.recurrent = recurrent

    def trace(self, tracer, x):
        return tracer(self.recurrent, x)[1]


def lenet():
    return lamp.Sequential(
        Convolution(1, 6, 5), lamp.Tanh(), Pool(), Convolution(6, 16, 5), lamp.Tanh(), Pool(), lamp.Flatten(),
        lamp.Linear(256, 120), lamp.Tanh(), lamp.Linear(120, 84), lamp.Tanh(), lamp.Linear(84, 10),
    )  # fmt: skip


def test_a_network_shaped_as_lenet():
    graph = lamp.trace(lenet(), torch.zeros(32, 1, 28, 28))
    assert str(graph) == textwrap.dedent(
        """\
        %0   input                              (1, 28, 28)
        %1   Convolution(%0, stride=1)          (6, 24, 24)  0: Convolution, weight p0 (6, 1, 5, 5), bias p1 (6)
        %2   Elementwise(%1)                    (6, 24, 24)  1: Tanh()
        %3   Pool(%2, mode=max, kernel_size=2)  (6, 12, 12)  2: Pool()
        %4   Convolution(%3, stride=1)          (16, 8, 8)   3: Convolution, weight p2 (16, 6, 5, 5), bias p3 (16)
        %5   Elementwise(%4)                    (16, 8, 8)   4: Tanh()
        %6   Pool(%5, mode=max, kernel_size=2)  (16, 4, 4)   5: Pool()
        %7   Reshape(%6)                        (256)        6: Flatten(start_dim=1, end_dim=-1)
        %8   Affine(%7)                         (120)        7: Linear, weight p4 (120, 256), bias p5 (120)
        %9   Elementwise(%8)                    (120)        8: Tanh()
        %10  Affine(%9)                         (84)         9: Linear, weight p6 (84, 120), bias p7 (84)
        %11  Elementwise(%10)                   (84)         10: Tanh()
        %12  Affine(%11)                        (10)         11: Linear, weight p8 (10, 84), bias p9 (10)
        return %12"""
    )
    found = lamp.summary(lenet(), (32, 1, 28, 28))
    assert found.parameters == 44_426  # as everybody counts LeNet-5 with 256 features
    assert found.multiplications == 86_400 + 153_600 + 30_720 + 10_080 + 840
    assert ["3", "Convolution(6, 16, 5)", "(B, 16, 8, 8)", "2,416", "153,600"] in found.table().rows
    assert "compiled engine: no, not compiled: Sequential.0: Convolution(1, 6, 5)" in str(found)


def test_a_recurrent_network():
    graph = lamp.trace(Tagger(), (7, 10, 3), (7, 5))
    assert str(graph) == textwrap.dedent(
        """\
        %0      input                   (10, 3)
        %1      input                   (5)
        %2, %3  Scan(%0, %1, steps=10)  (10, 5), (5)  rnn: Recurrent
            %4  input                   (3)
            %5  input                   (5)
            %6  Affine(%4)              (5)           rnn.cell.ih: Linear, weight p0 (5, 3), bias p1 (5)
            %7  Affine(%5)              (5)           rnn.cell.hh: Linear, weight p2 (5, 5)
            %8  Add(%6, %7)             (5)           rnn.cell: Cell
            %9  Elementwise(%8)         (5)           rnn.cell.act: Tanh()
            return %9
        %10     Affine(%2)              (10, 2)       out: Linear, weight p3 (2, 5), bias p4 (2)
        return %10, %3"""
    )
    assert list(graph.ops[0].parameters) == ["cell.ih.weight", "cell.ih.bias", "cell.hh.weight"]
    assert graph.multiplications == 10 * (3 * 5 + 5 * 5) + 10 * 5 * 2
    found = lamp.summary(Tagger(), (7, 10, 3), (7, 5))
    assert found.table().rows == [
        ["rnn", "Recurrent", "(B, 10, 5), (B, 5)", "45", "400"],
        ["out", "Linear(5, 2)", "(B, 10, 2)", "12", "100"],
    ]
    assert found.reason == "not compiled: the network has several outputs, which no loss of formulas takes"


def test_a_state_that_begins_as_zeros():
    graph = lamp.trace(LastState(Recurrent(3, 5)), (7, 10, 3))
    assert str(graph).splitlines()[1] == "%1, %2  Scan(%0, steps=10, zeros=(5))  (10, 5), (5)  recurrent: Recurrent"
    assert graph.outputs == (graph.ops[0].outputs[1],)


def test_what_a_step_does_is_part_of_the_digest():
    def digest(change):
        torch.manual_seed(0)
        model = Tagger()
        change(model.rnn.cell)
        return lamp.trace(model, (7, 10, 3), (7, 5)).digest

    def set_act(cell):
        cell.act = lamp.Sigmoid()

    def set_bias(cell):
        cell.hh = lamp.Linear(5, 5)

    def share(cell):
        cell.hh = lamp.Linear(5, 5, bias=False)

    base = digest(lambda cell: None)
    assert base == digest(share)
    assert len({base, digest(set_act), digest(set_bias)}) == 3


def test_residual_networks():
    body = lamp.Sequential(lamp.Linear(4, 4), lamp.ReLU())
    model = lamp.Sequential(Residual(body), Joined(lamp.Identity(), lamp.Tanh()), Gated(lamp.Identity(), lamp.Tanh()))
    assert str(lamp.trace(model, (7, 4))) == textwrap.dedent(
        """\
        %0  input                   (4)
        %1  Affine(%0)              (4)  0.body.0: Linear, weight p0 (4, 4), bias p1 (4)
        %2  Elementwise(%1)         (4)  0.body.1: ReLU()
        %3  Add(%0, %2)             (4)  0: Residual
        %4  Elementwise(%3)         (4)  1.bodies.1: Tanh()
        %5  Concat(%3, %4, axis=0)  (8)  1: Joined
        %6  Elementwise(%5)         (8)  2.gate: Tanh()
        %7  Multiply(%5, %6)        (8)  2: Gated
        return %7"""
    )
    rows = lamp.summary(model, (7, 4)).table().rows
    assert [row[1] for row in rows] == ["Linear(4, 4)", "ReLU", "+", "Tanh", "Concat", "Tanh", "*"]


def test_tables_and_statistics():
    model = lamp.Sequential(Embedding(), lamp.Flatten(), BatchNorm(12), lamp.Linear(12, 2))
    graph = lamp.trace(model, torch.zeros(7, 4, dtype=torch.int64))
    assert [value.dtype for value in graph.inputs] == [torch.int64]
    assert {op.output.dtype for op in graph.ops} == {torch.float32}
    assert "%1  Gather(%0, axis=0)        (4, 3)  0: Embedding, weight p0 (100, 3)" in str(graph)
    assert "BatchNorm(%2, eps=1e-05)  (12)    2: BatchNorm(), mean (12)" in str(graph)


def test_a_population_with_statistics_is_traced_as_one_of_its_networks():
    model = lamp.Sequential(lamp.Linear(4, 3), lamp.BatchNorm1d(3))
    one, many = lamp.trace(model, (7, 4)), lamp.trace(lamp.population(model, range(2)), (7, 4))
    assert str(one) == str(many)
    assert one == many
    assert "running_mean (3), running_var (3), num_batches_tracked ()" in str(many)


class LSTM(lamp.Module):
    """What a long short-term memory puts out: (all outputs, (h, c))."""

    def __init__(self):
        self.cell = LSTMCell()

    def trace(self, tracer, x, state):
        y, h, c = tracer.scan(self, self.cell, x, *state)
        return y, (h, c)


class LSTMCell(lamp.Module):
    def __init__(self):
        self.gate, self.inputs, self.sigmoid, self.tanh = (
            lamp.Linear(5, 2),
            lamp.Linear(3, 2),
            lamp.Sigmoid(),
            lamp.Tanh(),
        )

    def trace(self, tracer, x, h, c):
        gate = tracer(self.sigmoid, tracer(self.gate, tracer.concat(self, x, h)))
        c = tracer.add(self, tracer.multiply(self, gate, c), tracer(self.inputs, x))
        return tracer.multiply(self, gate, tracer(self.tanh, c)), c


def test_tuples_of_inputs_and_outputs():
    graph = lamp.trace(LSTM(), (7, 10, 3), ((7, 2), (7, 2)))
    assert [value.shape for value in graph.inputs] == [(10, 3), (2,), (2,)]
    assert [value.shape for value in graph.outputs] == [(10, 2), (2,), (2,)]
    assert graph.multiplications == 10 * (5 * 2 + 3 * 2)
    assert [op.kind for op in graph.ops] == ["Scan"]
    same = lamp.trace(LSTM(), torch.zeros(7, 10, 3), (torch.zeros(7, 2), torch.zeros(7, 2)))
    assert same == graph
    with pytest.raises(lamp.ArgumentError, match="trace takes batches"):
        lamp.trace(LSTM(), (7, 10, 3), ((7, 2), "h"))


def test_across_the_batch():
    model = lamp.Sequential(lamp.Flatten(0, 1), lamp.Softmax(0), lamp.Linear(4, 2))
    with pytest.raises(lamp.NotTraceable, match="axis of the batch"):
        lamp.trace(model, (7, 3, 4))
    assert str(lamp.trace(model, (7, 3, 4), across=True)) == textwrap.dedent(
        """\
        %0  input                               (3, 4)
        %1  Reshape(%0)                         (4) x 3 rows  0: Flatten(start_dim=0, end_dim=1)
        %2  Softmax(%1, axis=batch, log=False)  (4) x 3 rows  1: Softmax(dim=0)
        %3  Affine(%2)                          (2) x 3 rows  2: Linear, weight p0 (2, 4), bias p1 (2)
        return %3"""
    )


# ---- what a trace may not do -----------------------------------------------------------------------------------------
def tracing(function):
    """A module with this trace, within a network."""
    made = type("Own", (lamp.Module,), {"trace": function})
    return lamp.Sequential(lamp.Linear(3, 4), made())


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda self, tracer, x: None, "returns something other than values"),
        (lambda self, tracer, x: (x, 3), "returns something other than values"),
        (lambda self, tracer, x, h: x, "missing a required argument: 'h'"),
        (lambda self, tracer: None, "too many positional arguments"),
        (lambda self, tracer, x: x.shape[7], r"fails for \(B, 4\): IndexError"),
        (lambda self, tracer, x: x.size(0), r"fails for \(B, 4\): AttributeError"),
        (lambda self, tracer, x: x + x, r"fails for \(B, 4\): TypeError"),
        (lambda self, tracer, x: tracer.scan(self, lamp.Tanh(), x), "with a state"),
        (lambda self, tracer, x: tracer.op("Softmax", self, [x], x.shape), "kind Softmax lacks something"),
        (lambda self, tracer, x: tracer.op("Concat", self, [], x.shape, axis=0), "kind Concat lacks something"),
        (lambda self, tracer, x: tracer.op("Pool", self, [], x.shape), "kind Pool lacks something"),
        (lambda self, tracer, x: tracer.add(self), "at least one value"),
        (lambda self, tracer, x: tracer.concat(self), "at least one value"),
        (lambda self, tracer, x: tracer.scan(self, Cell(1, 2), x, (2,))[0], "axis of the batch"),
        (lambda self, tracer, x: (_ for _ in ()).throw(NotImplementedError), "NotImplementedError"),
        (lambda self, tracer, x: torch.zeros(4) @ torch.zeros(3), "RuntimeError: .*size"),
        (lambda self, tracer, x: self.trace(tracer, x), "RecursionError"),
        (lambda self, tracer, x: tracer.multiply(x, x), r"takes the module, then values(?s:.*)got +a Value"),
        (lambda self, tracer, x: tracer.multiply(self, x, 2.0), r"then values of the graph(?s:.*)got +a float"),
        (lambda self, tracer, x: tracer.add(self, x, torch.ones(4)), r"then values of the graph(?s:.*)got +a Tensor"),
        (lambda self, tracer, x: tracer.concat(self, [x, x]), r"then values of the graph(?s:.*)got +a list"),
        (
            lambda self, tracer, x: tracer.op("Pool", self, [None], ()),
            r"then values of the graph(?s:.*)got +a NoneType",
        ),
        (lambda self, tracer, x: tracer.reshape(self, x, (2, 3)), r"number of elements(?s:.*)4 elements"),
    ],
)
def test_it_is_refused_with_the_modules_path(function, told):
    model = tracing(function)
    with pytest.raises(lamp.LampError, match=told) as error:
        lamp.trace(model, (2, 3))
    assert error.value.where in ("Sequential.1: Own()", "Linear(in_features=1, out_features=2, bias=True)")


def test_an_error_within_lamp_is_that_of_the_line_which_called_it():
    model = tracing(lambda self, tracer, x: tracer.softmax(self, x, "last", False))
    with pytest.raises(lamp.NotTraceable, match=rf"an error in {re.escape(__file__)}, line \d+"):
        lamp.trace(model, (2, 3))


class Unwritten(lamp.Module):
    """A module without a trace."""

    def forward(self, x):
        self.remember(None)
        return x * 1.0

    def backward(self, dy):
        self.recall()
        return dy


class Unfinished(Unwritten):
    def trace(self, tracer, x):
        raise NotImplementedError("to do")


class Rounded(Unwritten):
    def trace(self, tracer, x):
        return tracer.op("Round", self, [x], x.shape)


class Elements(Unwritten):
    def trace(self, tracer, x):
        return tracer.elementwise(self, x)


class Halved(lamp.Linear):
    def forward(self, input):
        return super().forward(input) * 0.5

    def backward(self, grad_output):
        return super().backward(grad_output * 0.5)


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: lamp.Softmax(0), "axis of the batch"),
        (Unwritten, "does not say what it does as a graph"),
        (Unfinished, "NotImplementedError: to do"),
        (Rounded, "no rule for its Round"),
        (Elements, "its Elementwise is not that of an Activation"),
        (lambda: Halved(4, 4), "its own backward"),
    ],
)
def test_who_does_not_compile_and_why_is_said_everywhere(make, reason, count):
    """In a summary, in a history and in the error, by the module's path."""
    model = lamp.Sequential(lamp.Linear(3, 4), lamp.Sequential(lamp.Tanh(), make()), lamp.Linear(4, 2))
    if count is not None:
        model = lamp.population(model, range(count))
    data = torch.randn(8, 3), torch.randn(8, 2)
    fit = functools.partial(lamp.fit, model, lamp.MSELoss(), epochs=1, batch_size=4, progress=False)
    history = fit(lamp.SGD(model.parameters(), lr=0.1), data)
    with pytest.raises(lamp.ArgumentError) as error:
        fit(lamp.SGD(model.parameters(), lr=0.1), data, engine="compiled")
    path = f"Sequential.1.1: {type(make()).__name__}("
    for told in (lamp.summary(model, data[0]).reason, history.why, error.value.got):
        assert path in told
        assert reason in told
    assert history.why.endswith(", so the eager engine trains the whole network")
    assert history.engine == "eager"


def test_a_state_of_another_shape():
    class Growing(lamp.Module):
        def trace(self, tracer, x, h):
            return tracer.concat(self, h, h)

    model = tracing(lambda self, tracer, x: tracer.scan(self, Growing(), x, (2,))[0])
    with pytest.raises(lamp.ShapeError, match="such as it took"):
        lamp.trace(model, (2, 3))


def test_joined_values_of_different_shapes():
    model = Joined(lamp.Sequential(lamp.Unflatten(1, (2, 2)), lamp.Tanh()), lamp.Identity())
    with pytest.raises(lamp.ShapeError, match="different shapes meet"):
        lamp.trace(model, (2, 4))


def test_another_number_of_inputs():
    with pytest.raises(lamp.NotTraceable, match="too many positional arguments"):
        lamp.trace(lamp.Linear(3, 4), (2, 3), (2, 3))
    with pytest.raises(lamp.NotTraceable, match="missing a required argument: 'x'"):
        lamp.trace(lamp.Linear(3, 4))


def test_a_backward_of_ones_own_matters_in_training_alone():
    class StraightThrough(lamp.ReLU):
        def backward(self, dy):
            self.recall()
            return dy

    class Below(Residual):
        def backward(self, dy):
            return super().backward(dy) * 0.5

    for module in (StraightThrough(), Below(lamp.Tanh())):
        with pytest.raises(lamp.NotTraceable, match="own backward"):
            lamp.trace(module, (2, 3))
        assert lamp.trace(module, (2, 3), training=False).ops


def test_a_call_of_ones_own():
    class Doubled(Residual):
        def __call__(self, x):
            return 2 * self.forward(x)

    with pytest.raises(lamp.NotTraceable, match="own __call__"):
        lamp.trace(lamp.Sequential(Doubled(lamp.Tanh())), (2, 3), training=False)


def test_what_cannot_be_traced_with_a_guessed_shape_trains_eagerly():
    """The compiler asks for the graph before it has seen data; a trace that fails then is a reason, not an error."""

    class Picture(lamp.Module):
        def __init__(self):
            self.linear = lamp.Linear(4, 3)

        def forward(self, x):
            self.remember(None)
            return self.linear(x.flatten(1))

        def trace(self, tracer, x):
            height, width = x.shape
            return tracer(self.linear, tracer.reshape(self, x, (height * width,)))

        def backward(self, dy):
            self.recall()
            return self.linear.backward(dy)

    model = Picture()
    data = torch.randn(8, 2, 2), torch.randn(8, 3)
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    history = lamp.fit(model, lamp.MSELoss(), optimizer, data, epochs=1, progress=False)
    assert history.engine in ("eager", "compiled")
    with pytest.raises(lamp.NotTraceable, match="not enough values to unpack"):
        lamp.trace(model, (2, 4))
