"""Recurrent layers in ONNX: the file computes in onnxruntime what torch.nn computes."""

import numpy as np
import onnxruntime
import pytest
import torch

import lamp
from lamp.trees import leaves
from tests.cases.module_case import detached, error
from tests.cases.sequences import CELLS, RECURRENT


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


def test_what_a_graph_cannot_say_is_told(tmp_path):
    with pytest.raises(lamp.NotTraceable, match="batch_first=True"):
        lamp.trace(lamp.LSTM(3, 4), (5, 6, 3))
    with pytest.raises(lamp.ArgumentError, match=r"GRU.*batch_first=True"):
        lamp.to_onnx(lamp.GRU(3, 4), tmp_path / "network.onnx", input_shape=(6, 3))

    class Wrong(LastState):
        def trace(self, tracer, input):
            _, last = tracer(self.layer, tracer(self.embedding, input))
            return tracer(self.head, last)

    with pytest.raises(lamp.NotTraceable, match="second axis"):
        lamp.trace(Wrong(), torch.zeros(5, 6, dtype=torch.int64))
    assert "Scan(%1, steps=6, layers=2)" in str(lamp.trace(LastState(), torch.zeros(5, 6, dtype=torch.int64)))
    print(lamp.summary(LastState(), torch.zeros(5, 6, dtype=torch.int64)))
