"""Networks with branches, exported to ONNX and Python, compute the same to rounding in float64."""

from __future__ import annotations

import copy
import re
import runpy

import hypothesis
import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import lamp
from lamp.nn.batch_norm import normalised
from tests.cases.graphs import Added, Gated, Joined, Residual, drawn
from tests.cases.module_case import error
from tests.cases.several import SEVERAL, Gate
from tests.test_compiled_branches import BRANCHES
from tests.test_tracing import BatchNorm, Convolution, Recurrent

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def run_onnx(path, *inputs):
    """What onnxruntime computes of tensors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    return [torch.from_numpy(np.asarray(y)) for y in found]


def run_python(path, *inputs):
    """What the Python file computes of tensors."""
    found = runpy.run_path(str(path))["predict"](*(x.numpy() for x in inputs))
    return [torch.from_numpy(np.asarray(y)) for y in (found if isinstance(found, tuple) else (found,))]


EXPORTS = [pytest.param(lamp.to_onnx, run_onnx, id="onnx"), pytest.param(lamp.to_python, run_python, id="python")]
exports = pytest.mark.parametrize(("export", "run"), EXPORTS)


def several(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def check(export, run, path, model, *shapes, dtype=torch.float64, **options):
    """Write the file, and compare its outputs with the model's in eval mode, of a population, one network at a time."""
    shape = shapes[0] if len(shapes) == 1 else list(shapes)
    export(model, path, input_shape=shape, dtype=dtype, **options)
    networks = [copy.deepcopy(each).to(dtype).eval() for each in (model if hasattr(model, "seeds") else [model])]
    for batch in (1, 4, 9):
        inputs = [torch.randn(batch, *each, dtype=dtype) for each in shapes]
        each = [several(network(*inputs)) for network in networks]
        found = run(path, *inputs)
        assert len(found) == len(each[0])
        for k, y in enumerate(found):
            assert error(y, torch.stack([outputs[k] for outputs in each]).mean(0)) < TOLERANCE[dtype]


@exports
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("many", [False, True], ids=["one", "population"])
@pytest.mark.parametrize("name", BRANCHES)
def test_branches(name, many, dtype, export, run, tmp_path):
    torch.manual_seed(0)
    network = BRANCHES[name]()
    model = lamp.population(network, range(3)) if many else network
    check(export, run, tmp_path / "network.py", model, (3,), dtype=dtype)


@exports
@pytest.mark.parametrize("many", [False, True], ids=["one", "population"])
@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((lamp.GroupNorm(2, 6), lamp.Flatten(), lamp.Linear(30, 2)), (6, 5)),
        ((lamp.Linear(3, 5), lamp.Flatten(0, 1), lamp.Tanh()), (4, 3)),  # rows that are no samples
    ],
    ids=["groups", "rows"],
)
def test_axes_before_those_of_a_sample(layers, shape, many, export, run, tmp_path):
    network = lamp.Sequential(*layers)
    model = lamp.population(network, range(3)) if many else network
    for parameter in model.parameters():
        parameter.data.normal_()
    check(export, run, tmp_path / "network.py", model, shape)


@exports
@hypothesis.settings(max_examples=40)
@hypothesis.given(seed=st.integers(0, 10**6), inputs=st.integers(1, 7), outputs=st.integers(1, 5), many=st.booleans())
def test_graphs_drawn_at_random(seed, inputs, outputs, many, export, run, tmp_path_factory):
    network = drawn(seed, inputs, outputs)
    model = lamp.population(network, range(2)) if many else network
    check(export, run, tmp_path_factory.mktemp("drawn") / "network.py", model, (inputs,))


@exports
def test_samples_of_several_axes(export, run, tmp_path):
    network = lamp.Sequential(
        Residual(lamp.Sequential(lamp.Linear(4, 6), lamp.PReLU(5), lamp.Linear(6, 4))),
        Joined(lamp.Identity(), lamp.Softmax(1)),
        Gated(lamp.LogSoftmax(2), lamp.Softmax(-2)),
        lamp.Flatten(),
        lamp.Linear(40, 3),
    )
    for model in (network, lamp.population(network, range(3))):
        check(export, run, tmp_path / "network.py", model, (5, 4))


@exports
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False, "eps": 0.1}], ids=str)
def test_running_statistics(options, dtype, export, run, tmp_path):
    """In eval mode they are constants, per channel and replica."""
    features = lamp.Sequential(lamp.Linear(4, 3), lamp.BatchNorm1d(3, **options), lamp.Tanh(), lamp.Linear(3, 2))
    channels = lamp.Sequential(lamp.BatchNorm1d(5, **options), Residual(lamp.Tanh()), lamp.Linear(4, 2))
    joined = Joined(lamp.Identity(), lamp.BatchNorm1d(4, **options))
    for network, shape in ((features, (4,)), (channels, (5, 4)), (joined, (4,))):
        for model in (network, lamp.population(network, range(3))):
            for module in model.modules():
                if isinstance(module, lamp.BatchNorm1d):
                    module.running_mean.data.normal_()
                    module.running_var.data.uniform_(0.1, 2.0)
                    for parameter in module.parameters():
                        parameter.data.normal_()
            check(export, run, tmp_path / "network.py", model, shape, dtype=dtype)


def test_the_formula_of_running_statistics_is_the_layers():
    layer = lamp.BatchNorm1d(3).double().eval()
    for _, each in (*layer.named_parameters(), ("", layer.running_mean), ("", layer.running_var)):
        each.data.uniform_(0.1, 2.0)
    x = torch.randn(7, 3).double()
    of_formula = normalised(
        x, layer.running_mean.data, layer.running_var.data, layer.eps, layer.weight.data, layer.bias.data
    )
    torch.testing.assert_close(of_formula, layer(x), rtol=1e-15, atol=1e-15)


@exports
def test_across_the_batch(export, run, tmp_path):
    network = lamp.Sequential(Residual(lamp.Softmax(0)), lamp.Flatten(0, 1), lamp.Linear(4, 2))
    for model in (network, lamp.population(network, range(3))):
        check(export, run, tmp_path / "network.py", model, (3, 4))


@exports
def test_probabilities_with_branches(export, run, tmp_path):
    networks = lamp.population(lamp.Sequential(lamp.Linear(4, 3), Residual(lamp.Tanh())), range(3))
    after = lamp.Sequential(Residual(lamp.Tanh()), lamp.Softmax(-1))
    ensemble = lamp.Ensemble(networks, probabilities=after)
    path = export(ensemble, tmp_path / "network.py")
    x = torch.randn(6, 4)
    expected = torch.stack([after(network.eval()(x)) for network in networks]).mean(0)
    assert error(run(path, x)[0], expected) < 1e-5


@exports
def test_probabilities_of_networks_with_two_inputs(export, run, tmp_path):
    networks = lamp.population(Gate(), range(3))
    after = lamp.Softmax(-1)
    path = export(lamp.Ensemble(networks, probabilities=after), tmp_path / "network.py", input_shape=[(3,), (4,)])
    x, z = torch.randn(6, 3), torch.randn(6, 4)
    expected = torch.stack([after(network.eval()(x, z)) for network in networks]).mean(0)
    assert error(run(path, x, z)[0], expected) < 1e-5


# ---- several inputs and outputs --------------------------------------------------------------------------------------
class Two(lamp.Module):
    """Two inputs, and three outputs of which one is an input and two are the same."""

    def __init__(self):
        self.a, self.b, self.act = lamp.Linear(3, 4), lamp.Linear(5, 4), lamp.Tanh()

    def forward(self, x, h):
        y = self.act(self.a(x) + self.b(h))
        return y, x, y

    def trace(self, tracer, x, h):
        y = tracer(self.act, tracer.add(self, tracer(self.a, x), tracer(self.b, h)))
        return y, x, y

    def backward(self, *dy):
        raise NotImplementedError


class TwoOfMany(Two):
    takes_replicas = True


@exports
def test_several_inputs_and_outputs(export, run, tmp_path):
    check(export, run, tmp_path / "network.py", Two(), (3,), (5,))
    check(export, run, tmp_path / "network.py", lamp.population(TwoOfMany(), range(3)), (3,), (5,))


@exports
def test_each_input_and_output_has_its_own_scaling(export, run, tmp_path):
    model = Two().double()
    path = export(
        model,
        tmp_path / "network.py",
        input_shape=[(3,), (5,)],
        input_scaling=[(1.0, 2.0), None],
        output_scaling=[(0.5, 3.0), (0.0, 10.0), None],
    )
    x, h = torch.randn(6, 3).double(), torch.randn(6, 5).double()
    y, z, same = model((x - 1) / 2, h)
    found = run(path, x, h)
    for got, expected in zip(found, (y * 3 + 0.5, z * 10, same), strict=True):
        assert error(got, expected) < 1e-13


def test_names_of_several(tmp_path):
    def names(**options):
        path = lamp.to_onnx(Two(), tmp_path / "network.onnx", input_shape=[(3,), (5,)], **options)
        graph = onnx.load(path).graph
        return [each.name for each in graph.input], [each.name for each in graph.output]

    assert names() == (["input_1", "input_2"], ["output_1", "output_2", "output_3"])
    assert names(input_name=["x", "state"], output_name="y") == (["x", "state"], ["y_1", "y_2", "y_3"])
    for wrong in (["x"], ["x", "x"], ["x", ""], [1, 2], ("a", "b", "c")):
        with pytest.raises(lamp.ArgumentError, match="input_name"):
            names(input_name=wrong)


@exports
def test_what_does_not_fit_several(export, run, tmp_path):
    def exported(**options):
        return export(Two(), tmp_path / "network.py", **{"input_shape": [(3,), (5,)], **options})

    with pytest.raises(lamp.ArgumentError, match=r"\[\(3,\), \(5,\)\] for two inputs"):
        exported(input_shape=None)
    with pytest.raises(lamp.ArgumentError, match="missing a required argument: 'h'"):
        exported(input_shape=(3,))
    with pytest.raises(lamp.ShapeError, match="another number of features"):
        exported(input_shape=[(3,), (4,)])
    for wrong in ((1.0, 2.0), [(1.0, 2.0)], [1.0, 2.0], [[0.0, 1.0], [0.0, 1.0]]):
        with pytest.raises(lamp.ArgumentError, match="input_scaling does not fit"):
            exported(input_scaling=wrong)
    assert not list(tmp_path.iterdir())


# ---- places of the largest numbers -----------------------------------------------------------------------------------
class ThereAndBack(lamp.Container):
    """A max pool, an activation, and the numbers back at their places."""

    takes_replicas = True

    def __init__(self, axes, *pool, **options):
        self.pool = getattr(lamp, f"MaxPool{axes}d")(*pool, return_indices=True, **options)
        self.act, self.back = lamp.Tanh(), getattr(lamp, f"MaxUnpool{axes}d")(*pool)

    def forward(self, x):
        y, places = self.pool(x)
        return self.back(self.act(y), places)

    def trace(self, tracer, x):
        y, places = tracer(self.pool, x)
        return tracer(self.back, tracer(self.act, y), places)


@exports
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("axes", "pool", "shape"),
    [(1, (3,), (2, 9)), (2, (2,), (3, 4, 6)), (2, ((3, 2), (2, 1), (1, 0)), (2, 7, 6)), (3, (2,), (2, 4, 6, 4))],
)
def test_numbers_go_back_to_their_places(axes, pool, shape, dtype, export, run, tmp_path):
    model = ThereAndBack(axes, *pool)
    path = export(model, tmp_path / "network.py", input_shape=shape, dtype=dtype)
    x = torch.randn(5, *shape, dtype=dtype)
    y, places = getattr(torch.nn, f"MaxPool{axes}d")(*pool, return_indices=True)(x)
    expected = getattr(torch.nn, f"MaxUnpool{axes}d")(*pool)(y.tanh(), places)
    assert error(run(path, x)[0], expected) < TOLERANCE[dtype]


@exports
def test_places_are_outputs_and_inputs(export, run, tmp_path):
    pool = lamp.MaxPool2d(3, 2, 1, dilation=2, return_indices=True, ceil_mode=True)
    x = torch.randn(4, 2, 9, 8).round()  # with equal numbers, of which the first counts
    wanted = torch.nn.MaxPool2d(3, 2, 1, 2, True, True)(x)
    for found, expected in zip(run(export(pool, tmp_path / "p.py", input_shape=(2, 9, 8)), x), wanted, strict=True):
        assert torch.equal(found, expected)
    y, places = torch.nn.MaxPool2d(2, return_indices=True)(torch.randn(4, 3, 4, 6))
    path = export(lamp.MaxUnpool2d(2), tmp_path / "u.py", input_shape=[(3, 2, 3), (3, 2, 3)])
    assert torch.equal(run(path, y, places)[0], torch.nn.MaxUnpool2d(2)(y, places))
    with pytest.raises(lamp.ArgumentError, match="no mean"):
        export(lamp.stack([pool, pool]), tmp_path / "k.py", input_shape=(2, 9, 8))


class Segmenter(ThereAndBack):
    """Convolutions around it, as in networks that label pixels."""

    def __init__(self):
        super().__init__(2, 2)
        self.first, self.last = lamp.Conv2d(2, 3, 3, padding=1), lamp.Conv2d(3, 2, 3, padding=1)

    def forward(self, x):
        return self.last(super().forward(self.first(x)))

    def backward(self, dy):
        d = self.act.backward(self.back.backward(self.last.backward(dy)))
        return self.first.backward(self.pool.backward(d, None))

    def trace(self, tracer, x):
        return tracer(self.last, super().trace(tracer, tracer(self.first, x)))


@exports
def test_a_network_that_labels_pixels(export, run, tmp_path):
    model = Segmenter()
    check(export, run, tmp_path / "network.py", model, (2, 6, 4), dtype=torch.float32)
    check(export, run, tmp_path / "all.py", lamp.population(model, range(3)), (2, 6, 4), dtype=torch.float32)
    data = torch.randn(8, 2, 6, 4), torch.randn(8, 2, 6, 4)
    history = lamp.fit(model, lamp.MSELoss(), lamp.SGD(model.parameters(), 0.01), data, epochs=1, progress=False)
    assert history.engine == "eager"
    assert "MaxPlaces" in history.why


# ---- how it is written -----------------------------------------------------------------------------------------------
def test_a_residual_network_can_be_read(tmp_path):
    body = lamp.Sequential(lamp.Linear(4, 5), lamp.Tanh(), lamp.Linear(5, 4), lamp.PReLU(4))
    network = lamp.Sequential(
        lamp.Linear(3, 4),
        Residual(body),
        Residual(body),
        Joined(lamp.Identity(), lamp.Linear(4, 2)),
        Gated(lamp.Linear(6, 2), lamp.Sequential(lamp.Linear(6, 2), lamp.ReLU())),
    )
    text = lamp.to_python(network, tmp_path / "network.py").read_text()
    lines = text.partition("got {x.shape}")[2].splitlines()[1:]
    assert [line.strip() for line in lines] == [
        "x = x @ weight_0 + bias_0  # (n, 4)",
        "y = x @ weight_1_body_0 + bias_1_body_0  # (n, 5)",
        "y = np.tanh(y)",
        "y = y @ weight_1_body_2 + bias_1_body_2  # (n, 4)",
        "y = prelu(y, weight_1_body_3)",
        "x = x + y",
        "y = x @ weight_1_body_0 + bias_1_body_0  # (n, 5)",
        "y = np.tanh(y)",
        "y = y @ weight_1_body_2 + bias_1_body_2  # (n, 4)",
        "y = prelu(y, weight_1_body_3)",
        "x = x + y",
        "y = x @ weight_3_bodies_1 + bias_3_bodies_1  # (n, 2)",
        "x = np.concatenate([x, y], axis=1)  # (n, 6)",
        "y = x @ weight_4_body + bias_4_body  # (n, 2)",
        "x = x @ weight_4_gate_0 + bias_4_gate_0  # (n, 2)",
        "x = np.maximum(x, 0.0)",
        "y = y * x",
        "return y",
    ]
    assert len(re.findall(r"^weight_", text, flags=re.MULTILINE)) == 7  # those of the body once


def test_more_values_than_letters(tmp_path):
    network = Added(*[lamp.Sequential(lamp.Linear(3, 3), lamp.Softplus()) for _ in range(9)])
    check(lamp.to_python, run_python, tmp_path / "network.py", network, (3,))


# ---- what is refused -------------------------------------------------------------------------------------------------
class Unsaid(lamp.Module):
    def forward(self, x):
        return x * x


class NoFormula(lamp.Module):
    def forward(self, x):
        return x * x

    def trace(self, tracer, x):
        return tracer.elementwise(self, x)


class Lying(Residual):
    """A module whose trace says that it adds, which it does not."""

    def forward(self, x):
        self.remember(None)
        return x - self.body(x)

    def trace(self, tracer, x):
        return tracer.add(self, x, tracer(self.body, x))


class Lengthened(lamp.Module):
    """A module with another number of outputs than its trace says."""

    def forward(self, x):
        return x, x

    def trace(self, tracer, x):
        return x


@exports
@pytest.mark.parametrize(
    ("make", "shape", "told"),
    [
        (Unsaid, (4,), r"Sequential\.1: Unsaid\(\): this module cannot be exported: Unsaid does not say"),
        (NoFormula, (4,), r"the formula of NoFormula\(\) cannot be exported"),
        (lambda: Convolution(1, 2, 2), (1, 4, 4), r"Sequential\.1: Convolution\(1, 2, 2\): .* a Convolution"),
        (lambda: Recurrent(4, 2), (3, 4), r"Sequential\.1: Recurrent: this module cannot be exported: it does a Scan"),
        (lambda: lamp.Unflatten(0, (2, 3)), (4,), r"Sequential\.1: Unflatten"),
        (
            lambda: lamp.BatchNorm1d(4, track_running_stats=False),
            (4,),
            r"Sequential\.1: BatchNorm1d\(.*: the formula of",
        ),
        (BatchNorm, (4,), r"Sequential\.1: BatchNorm\(\): the formula of"),
        (lambda: lamp.Linear(5, 6), (4,), r"Sequential\.1: Linear\(in_features=5"),
        (lambda: Residual(lamp.Linear(4, 6)), (4,), r"Sequential\.1: Residual: values of different shapes"),
    ],
)
def test_it_is_refused_by_name(make, shape, told, export, run, tmp_path):
    with pytest.raises(lamp.LampError, match=told) as raised:
        export(lamp.Sequential(lamp.Tanh(), make()), tmp_path / "network.py", input_shape=shape)
    assert raised.value.where
    assert not list(tmp_path.iterdir())


@exports
def test_a_trace_that_says_something_else_is_noticed(export, run, tmp_path):
    for module, told in (
        (lamp.Sequential(lamp.Tanh(), Lying(lamp.Tanh())), r"(?s)does not compute what .*trace.*Sequential\.1: Lying"),
        (Lengthened(), "something other than its trace says"),
    ):
        with pytest.raises(lamp.ExportError, match=told):
            export(module, tmp_path / "network.py", input_shape=(4,))
    assert not list(tmp_path.iterdir())


def test_a_population_in_another_precision_is_tried_in_it():
    """A module of one's own is tried on the first batch, in the precision that the population has by then."""
    networks = lamp.population(Residual(lamp.Linear(3, 3)), range(2)).double()
    assert networks(torch.randn(4, 3).double()).dtype is torch.float64


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", [case for case in SEVERAL if case.name[:4] in ("Bili", "Cosi", "Pair")], ids=str)
def test_modules_of_two_values(case, dtype, count, tmp_path):
    module, inputs = case.make().to(dtype), [x.to(dtype) for x in case.inputs()]
    model = module if count is None else lamp.population(module, range(count))
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=[x.shape[1:] for x in inputs], dtype=dtype)
    expected = model(*inputs) if count is None else model(*inputs).mean(0)
    (found,) = run_onnx(path, *inputs)
    assert error(found, expected) < TOLERANCE[dtype]
