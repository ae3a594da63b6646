"""Recurrent layers in ONNX: the file computes in onnxruntime what torch.nn computes."""

import runpy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import lamp
from lamp.trees import leaves
from tests.cases.module_case import detached, error
from tests.cases.sequences import CELLS, RECURRENT, STEPS_FIRST


def run(path, *inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return [
        torch.from_numpy(np.asarray(y))
        for y in session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))
    ]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", [*CELLS, *RECURRENT], ids=str)
def test_modules(case, dtype, tmp_path):
    module, twin = case.pair()
    module, twin = module.to(dtype), twin.to(dtype).eval()
    path = lamp.to_onnx(module, tmp_path / "network.onnx", input_shape=case.shape[1:], dtype=dtype)
    for batch in (1, 9):
        x = case.input(dtype, (batch, *case.shape[1:]))
        expected = [y for _, y in leaves(detached(twin(x)))]
        for y, wanted in zip(run(path, x), expected, strict=True):
            assert error(y, wanted) < (1e-5 if dtype is torch.float32 else 1e-12)


class LastState(lamp.Container):
    """Classes of token sequences, from the last state of the last layer."""

    takes_replicas = True

    def __init__(self, kind="GRU"):
        self.embedding, self.layer = lamp.Embedding(7, 3), getattr(lamp, kind)(3, 4, 2, batch_first=True)
        self.head = lamp.Linear(4, 2)

    def forward(self, input):
        _, last = self.layer(self.embedding(input))
        return self.head(last.select(-3, -1))

    def backward(self, dy):
        dlast = self.head.backward(dy)
        dstates = torch.stack([torch.zeros_like(dlast), dlast], -3)
        self.embedding.backward(self.layer.backward(None, dstates))

    def trace(self, tracer, input):
        _, last = tracer(self.layer, tracer(self.embedding, input))
        return tracer(self.head, tracer.select(self, last, 0, -1))


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_classifier_and_a_population_of_it(kind, dtype, tmp_path):
    x = torch.randint(7, (5, 6))
    single = LastState(kind).to(dtype)
    lamp.check_gradients(single, x)
    y = run(lamp.to_onnx(single, tmp_path / "one.onnx", input_shape=(6,)), x)[0]
    assert error(y, lamp.predict(single, x)) < 1e-5
    networks = lamp.population(single, seeds=range(3))
    y = run(lamp.to_onnx(networks, tmp_path / "all.onnx", input_shape=(6,)), x)[0]
    assert error(y, lamp.predict(networks, x).mean(0)) < 1e-5


def test_a_cell_with_a_state(tmp_path):
    class Cell(lamp.Container):
        def __init__(self):
            self.cell = lamp.LSTMCell(3, 4)

        def forward(self, input, h, c):
            return self.cell(input, (h, c))

        def trace(self, tracer, input, h, c):
            return tracer(self.cell, input, (h, c))

    model = Cell()
    path = lamp.to_onnx(model, tmp_path / "cell.onnx", input_shape=[(3,), (4,), (4,)])
    inputs = torch.randn(5, 3), torch.randn(5, 4), torch.randn(5, 4)
    for one, other in zip(run(path, *inputs), model(*inputs), strict=True):
        assert error(one, other) < 1e-5


# ---- the batch on the second axis ------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", [case for case in STEPS_FIRST if len(case.shape) == 3 and case.shape[1] == 5], ids=str)
def test_steps_first(case, dtype, tmp_path):
    module, twin = case.pair()
    module, twin = module.to(dtype), twin.to(dtype).eval()
    graph = lamp.trace(module, case.input())
    assert [value.batch for value in (*graph.inputs, *graph.outputs)] == [1] * (1 + len(graph.outputs))
    steps, _, features = case.shape
    path = lamp.to_onnx(module, tmp_path / "network.onnx", input_shape=(steps, features), dtype=dtype)
    assert onnxruntime.InferenceSession(str(path)).get_inputs()[0].shape == [steps, "batch", features]
    for batch in (1, 9):
        x = case.input(dtype, (steps, batch, features))
        expected = [y for _, y in leaves(detached(twin(x)))]
        for y, wanted in zip(run(path, x), expected, strict=True):
            assert error(y, wanted) < (1e-5 if dtype is torch.float32 else 1e-12)


def test_layers_that_agree_on_the_axis_of_the_batch(tmp_path):
    """What each element, or the last axis, is used for is the same wherever the batch is."""

    def network(attention):
        layer = attention(6, 2, 8, 0.0)
        return lamp.Sequential(
            lamp.Linear(3, 6), lamp.Tanh(), layer, lamp.LayerNorm(6), lamp.Residual(lamp.Linear(6, 6))
        )

    model = network(lamp.TransformerEncoderLayer)
    x = torch.randn(4, 5, 3)
    assert lamp.trace(model, x).outputs[0].layout() == (4, "B", 6)
    assert "(4, B, 6)" in str(lamp.summary(model, x))
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=(4, 3))
    expected = lamp.to_torch(model).eval()(x).detach()
    assert error(run(path, x)[0], expected) < 1e-5
    file = lamp.to_python(model, tmp_path / "network.py", input_shape=(4, 3), input_scaling=(0.5, 2.0))
    found = torch.from_numpy(runpy.run_path(str(file))["predict"]((x * 2.0 + 0.5).numpy()))
    assert error(found, expected) < 1e-5
    many = lamp.population(model, range(2))
    path = lamp.to_onnx(many, tmp_path / "many.onnx", input_shape=(4, 3), output_scaling=(1.0, 3.0))
    wanted = torch.stack([lamp.to_torch(many[k]).eval()(x).detach() for k in range(2)]).mean(0)
    assert error(run(path, x)[0], wanted * 3.0 + 1.0) < 1e-5


def test_a_transformer_with_padding_has_each_batch_where_it_is(tmp_path):
    model = lamp.MultiheadAttention(6, 2)
    padding = torch.zeros(5, 4)
    padding[1, 2:] = -7.0
    q, k = torch.randn(3, 5, 6), torch.randn(4, 5, 6)
    graph = lamp.trace(model, q, k, k, padding, need_weights=False)
    assert [value.batch for value in graph.inputs] == [1, 1, 1, 0]
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=[(3, 6), (4, 6), (4, 6), (4,)])
    expected = lamp.to_torch(model).eval()(q, k, k, key_padding_mask=padding)
    for found, wanted in zip(run(path, q, k, k, padding), expected, strict=True):
        assert error(found, wanted.detach()) < 1e-5


class Moved(lamp.Container):
    """A batch-first network with a layer inside that has the steps first."""

    def __init__(self):
        self.layer = lamp.GRU(3, 4)

    def forward(self, input):
        return self.layer(input.movedim(0, 1))[0].movedim(0, 1)

    def trace(self, tracer, input):
        return tracer.batch_at(tracer(self.layer, tracer.batch_at(input, 1))[0], 0)


def test_a_network_that_moves_the_axis(tmp_path):
    model, x = Moved(), torch.randn(5, 6, 3)
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=(6, 3))
    assert error(run(path, x)[0], model(x)) < 1e-5


@pytest.mark.parametrize(
    "module",
    [lamp.Conv1d(4, 3, 1), lamp.BatchNorm1d(4), lamp.Flatten(), lamp.GroupNorm(1, 4), lamp.PReLU(4), lamp.AvgPool1d(1)],
    ids=lambda module: type(module).__name__,
)
def test_what_needs_the_batch_first_is_refused_behind_steps_first(module):
    with pytest.raises(lamp.NotTraceable, match=rf"(?s)Sequential\.1: {type(module).__name__}.*the batch") as caught:
        lamp.trace(lamp.Sequential(lamp.TransformerEncoderLayer(6, 2), module), (4, 5, 6))
    assert caught.value.fix


# ---- operators and initial states ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_is_one_operator_where_the_runtime_has_it(kind, tmp_path):
    module = getattr(lamp, kind)(3, 4, 2, batch_first=True, bidirectional=True)
    path = lamp.to_onnx(module, tmp_path / "network.onnx", input_shape=(50, 3))
    names = [node.op_type for node in onnx.load(path).graph.node]
    assert names.count(kind) == 2
    assert len(names) < 20
    networks = lamp.population(module, range(3))
    x = torch.randn(5, 50, 3)
    found = run(lamp.to_onnx(networks, tmp_path / "all.onnx", input_shape=(50, 3)), x)
    wanted = [[y for _, y in leaves(lamp.to_torch(networks[k])(x))] for k in range(3)]
    for y, *of_networks in zip(found, *wanted, strict=True):
        assert error(y, torch.stack(of_networks).mean(0).detach()) < 1e-5


class WithState(lamp.Container):
    """A recurrent layer that is given its initial state."""

    takes_replicas = True

    def __init__(self, kind, **options):
        self.layer = getattr(lamp, kind)(3, 4, 2, bidirectional=True, **options)

    def forward(self, input, *states):
        return self.layer(input, states if len(states) > 1 else states[0])

    def trace(self, tracer, input, *states):
        return tracer(self.layer, input, states if len(states) > 1 else states[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_an_initial_state(kind, batch_first, dtype, tmp_path):
    model = WithState(kind, batch_first=batch_first).to(dtype)
    count = 2 if kind == "LSTM" else 1
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=[(6, 3), *[(4, 4)] * count], dtype=dtype)
    x, states = torch.randn(5, 6, 3, dtype=dtype), [torch.randn(4, 5, 4, dtype=dtype) for _ in range(count)]
    x = x if batch_first else x.transpose(0, 1).contiguous()
    expected = lamp.to_torch(model.layer)(x, tuple(states) if count > 1 else states[0])
    for y, (_, wanted) in zip(run(path, x, *states), leaves(expected), strict=True):
        assert error(y, wanted.detach()) < (1e-5 if dtype is torch.float32 else 1e-12)
    with pytest.raises(lamp.ShapeError, match=r"\(4, B, 4\)"):
        lamp.trace(model, x, *[(3, 5, 4)] * count)


def test_what_a_graph_cannot_say_is_told(tmp_path):
    class Wrong(LastState):
        def trace(self, tracer, input):
            _, last = tracer(self.layer, tracer(self.embedding, input))
            return tracer(lamp.Flatten(1), last)

    with pytest.raises(lamp.NotTraceable, match="along the axis of the batch"):
        lamp.trace(Wrong(), torch.zeros(5, 6, dtype=torch.int64))
    assert "Scan(%1, steps=6, layers=2)" in str(lamp.trace(LastState(), torch.zeros(5, 6, dtype=torch.int64)))
    print(lamp.summary(LastState(), torch.zeros(5, 6, dtype=torch.int64)))
