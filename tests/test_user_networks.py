"""Networks as users build them, of attention, recurrence and convolutions: everything that lamp does with a network."""

import runpy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
import torch

import lamp
from tests.cases.module_case import error

SYMBOLS, WIDTH, CONTEXT, CLASSES = 11, 8, 6, 3
K, SAMPLES, BATCH, EPOCHS = 3, 14, 5, 4


# ---- a character GPT -------------------------------------------------------------------------------------------------
class GPT(lamp.Container):
    """Scores of the next token: tables of tokens and places, causal layers, a Linear.  Output (B, symbols, L)."""

    takes_replicas = True

    def __init__(self):
        self.tokens = lamp.Embedding(SYMBOLS, WIDTH)
        self.places = lamp.Embedding(CONTEXT, WIDTH)
        layer = lamp.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = lamp.TransformerEncoder(layer, 2, lamp.LayerNorm(WIDTH))
        self.scores = lamp.Linear(WIDTH, SYMBOLS)
        self.mask = lamp.Transformer.generate_square_subsequent_mask(CONTEXT)

    def forward(self, tokens):
        length = tokens.shape[-1]
        x = self.tokens(tokens) + self.places(torch.arange(length).expand(tokens.shape))
        y = self.layers(x, mask=self.mask[:length, :length], is_causal=True)
        return self.scores(y).movedim(-1, -2)

    def backward(self, dy):
        d = self.layers.backward(self.scores.backward(dy.movedim(-2, -1)))
        self.places.backward(d)
        self.tokens.backward(d)

    def trace(self, tracer, tokens):
        (length,) = tokens.shape
        places = tracer(self.places, tracer.constant(self, torch.arange(length)))
        x = tracer.add(self, tracer(self.tokens, tokens), places)
        y = tracer(self.layers, x, mask=self.mask[:length, :length], is_causal=True)
        return tracer.permute(self, tracer(self.scores, y), (1, 0))


class TorchGPT(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = torch.nn.Embedding(SYMBOLS, WIDTH), torch.nn.Embedding(CONTEXT, WIDTH)
        layer = torch.nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.scores = torch.nn.Linear(WIDTH, SYMBOLS)

    def forward(self, tokens):
        length = tokens.shape[1]
        mask = torch.nn.Transformer.generate_square_subsequent_mask(length, dtype=self.scores.weight.dtype)
        x = self.tokens(tokens) + self.places(torch.arange(length))
        return self.scores(self.layers(x, mask=mask, is_causal=True)).movedim(-1, -2)


# ---- the same of small parts, in a Sequential ------------------------------------------------------------------------
class Places(lamp.Module):
    """x plus a learned vector for each place."""

    def __init__(self):
        self.table = lamp.Parameter(torch.empty(CONTEXT, WIDTH))
        self.reset_parameters()

    def reset_parameters(self, *, generator=None):
        self.table.data.normal_(0.0, 0.1, generator=generator)

    def forward(self, x):
        self.remember(None)
        return x + self.table.data.unsqueeze(-3)

    def backward(self, dy):
        self.recall()
        self.table.grad += dy.sum(-3)
        return dy

    def trace(self, tracer, x):
        return tracer.add(self, x, tracer.constant(self, self.table))


class ClassToken(lamp.Module):
    """x with a learned vector in front."""

    def __init__(self):
        self.token = lamp.Parameter(torch.empty(1, WIDTH))
        self.reset_parameters()

    def reset_parameters(self, *, generator=None):
        self.token.data.normal_(generator=generator)

    def forward(self, x):
        self.remember(None)
        token = self.token.data.unsqueeze(-3)  # (1, 1, width), or (K, 1, 1, width)
        return torch.cat([token.expand(*x.shape[:-2], 1, WIDTH), x], -2)

    def backward(self, dy):
        self.recall()
        self.token.grad += dy[..., :1, :].sum(-3)
        return dy[..., 1:, :]

    def trace(self, tracer, x):
        return tracer.concat(self, tracer.constant(self, self.token), x, dim=1)


class Causal(lamp.Container):
    """Attention of each place to itself and the places before it."""

    takes_replicas = True

    def __init__(self):
        self.attention = lamp.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False, attn_mask=self.mask(x.shape[-2]))[0]

    def backward(self, dy):
        dquery, dkey, dvalue = self.attention.backward(dy)
        return dquery + dkey + dvalue

    def trace(self, tracer, x):
        return tracer(self.attention, x, x, x, need_weights=False, attn_mask=self.mask(x.shape[-2]))[0]

    @staticmethod
    def mask(length):
        return torch.ones(length, length).triu(1).bool()


def blocks():
    return lamp.Sequential(
        lamp.Residual(lamp.LayerNorm(WIDTH), Causal(), lamp.Dropout(0.1)),
        lamp.Residual(lamp.LayerNorm(WIDTH), lamp.Linear(WIDTH, 16), lamp.GELU(), lamp.Linear(16, WIDTH)),
    )


def sequential_gpt():
    return lamp.Sequential(
        lamp.Embedding(SYMBOLS, WIDTH), Places(), blocks(), blocks(), lamp.LayerNorm(WIDTH),
        lamp.Flatten(), lamp.Linear(CONTEXT * WIDTH, CLASSES),
    )  # fmt: skip


def vision_transformer():
    """Patches of an image as a sequence."""
    return lamp.Sequential(
        lamp.Conv2d(1, WIDTH, 4, 4), lamp.Flatten(2), lamp.Linear(8, WIDTH), ClassToken(),
        lamp.TransformerEncoderLayer(WIDTH, 2, 16, 0.0, lamp.SiLU(), batch_first=True),
        lamp.Flatten(), lamp.Linear(9 * WIDTH, CLASSES),
    )  # fmt: skip


def encoder_of_tokens():
    """Of modules that torch.nn has too."""
    layer = lamp.TransformerEncoderLayer(WIDTH, 2, 16, 0.1, batch_first=True)
    return lamp.Sequential(
        lamp.Embedding(SYMBOLS, WIDTH), lamp.TransformerEncoder(layer, 2), lamp.Flatten(),
        lamp.Linear(CONTEXT * WIDTH, CLASSES),
    )  # fmt: skip


# ---- recurrence and convolutions -------------------------------------------------------------------------------------
class LastState(lamp.Container):
    """Classes of a sequence of tokens, by the last state of a recurrent layer."""

    takes_replicas = True

    def __init__(self):
        self.tokens, self.layer = lamp.Embedding(SYMBOLS, WIDTH), lamp.LSTM(WIDTH, 5, 2, batch_first=True)
        self.scores = lamp.Linear(5, CLASSES)

    def forward(self, tokens):
        _, (h, _) = self.layer(self.tokens(tokens))
        return self.scores(h.select(-3, -1))

    def backward(self, dy):
        dlast = self.scores.backward(dy)
        dh = torch.stack([torch.zeros_like(dlast), dlast], -3)
        self.tokens.backward(self.layer.backward(None, (dh, None)))

    def trace(self, tracer, tokens):
        _, (h, _) = tracer(self.layer, tracer(self.tokens, tokens))
        return tracer(self.scores, tracer.select(self, h, 0, -1))


def residual_cnn():
    def block():
        return lamp.Residual(
            lamp.Conv2d(4, 4, 3, padding=1, bias=False), lamp.BatchNorm2d(4), lamp.ReLU(),
            lamp.Conv2d(4, 4, 3, padding=1, bias=False), lamp.BatchNorm2d(4),
        )  # fmt: skip

    return lamp.Sequential(
        lamp.Conv2d(1, 4, 3), lamp.BatchNorm2d(4), lamp.ReLU(), block(), lamp.MaxPool2d(2), block(),
        lamp.AdaptiveAvgPool2d(1), lamp.Flatten(), lamp.Linear(4, CLASSES),
    )  # fmt: skip


def bag_of_tokens():
    return lamp.Sequential(lamp.EmbeddingBag(SYMBOLS, WIDTH), lamp.Linear(WIDTH, CLASSES))


@dataclass(frozen=True)
class Network:
    """A network: how it is built, the shape of a sample, and what is refused."""

    make: Callable[[], lamp.Module]
    shape: tuple[int, ...]
    tokens: bool = True
    onnx: str | None = None  # why it has no ONNX file in float64; None if it has
    converts: bool = False  # whether torch.nn has all of its modules

    def inputs(self, count=SAMPLES, dtype=torch.float32, seed=0):
        generator = torch.Generator().manual_seed(seed)
        if self.tokens:
            return torch.randint(SYMBOLS, (count, *self.shape), generator=generator)
        return torch.randn(count, *self.shape, dtype=torch.float64, generator=generator).to(dtype)


NETWORKS = {
    "a GPT": Network(GPT, (CONTEXT,)),
    "a GPT in a Sequential": Network(sequential_gpt, (CONTEXT,)),
    "an encoder of tokens": Network(encoder_of_tokens, (CONTEXT,), converts=True),
    "a vision transformer": Network(vision_transformer, (1, 8, 16), False, "0: Conv2d.* only in float32"),
    "the last state": Network(LastState, (CONTEXT,)),
    "a residual CNN": Network(residual_cnn, (1, 9, 9), False, "0: Conv2d.* only in float32", converts=True),
    "a bag of tokens": Network(bag_of_tokens, (CONTEXT,), converts=True),
}
networks = pytest.mark.parametrize("name", NETWORKS)


def made(name, seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return NETWORKS[name].make().to(dtype)


def targets(y):
    """Labels that fit these scores (B, classes, ...)."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(y.shape[1], (len(y), *y.shape[2:]), generator=generator)


def run_onnx(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(np.asarray(y))


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, lamp.Dropout):
            module.p = 0.0
        elif isinstance(module, lamp.MultiheadAttention):
            module.dropout = 0.0
    return model


# ---- what holds for each ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [Places, ClassToken, Causal])
def test_the_gradients_of_its_parts_are_right(make):
    assert lamp.check_gradients(make().double(), torch.randn(2, CONTEXT, WIDTH).double()).ok


@networks
def test_its_graph_and_its_summary(name):
    model, x = made(name), NETWORKS[name].inputs()
    graph, found = lamp.trace(model, x), lamp.summary(model, x)
    assert [tuple(value.layout(len(x))) for value in graph.outputs] == [tuple(model(x).shape)]
    assert set(graph.parameters) == set(model.parameters())
    rows = found.table().rows
    assert sum(int(row[3].replace(",", "")) for row in rows if row[3] not in ("", "shared")) == found.parameters
    assert sum(int(row[4].replace(",", "")) for row in rows if row[4]) == found.multiplications
    assert not any("?" in cell for row in rows for cell in row)
    assert str(graph).count("\n") == len(graph.ops) + len(graph.inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@networks
def test_its_onnx_file(name, dtype, tmp_path):
    case, model = NETWORKS[name], made(name, dtype=dtype)
    if case.onnx is not None and dtype is torch.float64:
        with pytest.raises(lamp.ArgumentError, match=case.onnx):
            lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=case.shape)
        return
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=case.shape)
    many = lamp.population(model, range(K))
    of_many = lamp.to_onnx(many, tmp_path / "all.onnx", input_shape=case.shape)
    for count in (1, 9):
        x = case.inputs(count, dtype)
        assert error(run_onnx(path, x), lamp.predict(model, x)) < (1e-5 if dtype is torch.float32 else 1e-12)
        mean = torch.stack([lamp.predict(many[k], x) for k in range(K)]).mean(0)
        assert error(run_onnx(of_many, x), mean) < (1e-5 if dtype is torch.float32 else 1e-12)


@networks
def test_its_python_file(name, tmp_path):
    case, model = NETWORKS[name], made(name, dtype=torch.float64)
    many = lamp.population(model, range(K))
    for each in (model, many):
        path = lamp.to_python(each, tmp_path / "network.py", input_shape=case.shape)
        x = case.inputs(9, torch.float64)
        expected = lamp.predict(each, x) if each is model else lamp.predict(each, x).mean(0)
        assert error(torch.from_numpy(runpy.run_path(str(path))["predict"](x.numpy())), expected) < 1e-12


@networks
def test_torch_nn_and_back(name):
    case, model = NETWORKS[name], made(name, dtype=torch.float64).eval()
    if not case.converts:
        with pytest.raises(lamp.ArgumentError, match=r"torch\.nn has no such module") as caught:
            lamp.to_torch(model)
        assert caught.value.where
        return
    twin, x = lamp.to_torch(model).eval(), case.inputs(dtype=torch.float64)
    back = lamp.from_torch(twin)
    assert list(back.state_dict()) == list(twin.state_dict()) == list(model.state_dict())
    assert error(model(x), twin(x).detach()) < 1e-12
    assert torch.equal(back(x), model(x))


def test_the_gpt_takes_the_weights_of_one_in_torch():
    torch.manual_seed(1)
    twin, model = TorchGPT().double().eval(), GPT().double().eval()
    model.load_state_dict(twin.state_dict())
    x = NETWORKS["a GPT"].inputs()
    assert error(model(x), twin(x).detach()) < 1e-12
    assert error(model(x[:, :4]), twin(x[:, :4]).detach()) < 1e-12
    model.train(), without_dropout(model)
    dy = torch.randn(model(x).shape).double()
    model.backward(dy)
    for own, wanted in zip(model.parameters(), torch.autograd.grad(twin(x), list(twin.parameters()), dy), strict=True):
        assert error(own.grad, wanted) < 1e-10
    model.eval()
    changed = x.clone()
    changed[:, 4] = (changed[:, 4] + 1) % SYMBOLS
    assert torch.equal(model(x)[..., :4], model(changed)[..., :4])  # nothing looks ahead


@networks
def test_its_weights_on_the_disk(name, tmp_path):
    model, other = made(name), made(name, seed=1)
    x = NETWORKS[name].inputs()
    lamp.save(model, tmp_path / "weights.safetensors")
    lamp.load(other, tmp_path / "weights.safetensors")
    assert torch.equal(lamp.predict(other, x), lamp.predict(model, x))


def trained(name, many, folder=None, epochs=EPOCHS, **options):
    """A training of so many epochs, with its model."""
    model = made(name)
    model = lamp.population(model, range(K)) if many else model
    x = NETWORKS[name].inputs()
    y = targets(lamp.predict(model, x)[0] if many else lamp.predict(model, x))
    optimizer = lamp.AdamW(model.parameters(), lr=0.01)
    history = lamp.fit(
        model, lamp.CrossEntropyLoss(), optimizer, (x, y),
        epochs=epochs, batch_size=BATCH, seed=4, checkpoint=folder, resume=folder is not None, **options,
    )  # fmt: skip
    return history, model


@pytest.mark.parametrize("many", [False, True], ids=["one", "population"])
@networks
def test_it_compiles_trains_and_resumes(name, many, tmp_path):
    engine = "compiled"
    history, expected = trained(name, many, engine=engine)
    loss = torch.as_tensor(history["loss"]).double()
    assert bool((loss[-1] < loss[0]).all())
    trained(name, many, tmp_path, epochs=2, engine=engine)
    resumed, model = trained(name, many, tmp_path, engine=engine)
    for one, other in zip(model.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(torch.as_tensor(resumed["loss"]), torch.as_tensor(history["loss"]))


@networks
def test_replicas_are_the_networks_alone(name):
    case = NETWORKS[name]
    many = lamp.population(without_dropout(made(name, dtype=torch.float64)), range(K))
    x = case.inputs(dtype=torch.float64)
    singles = [many[k] for k in range(K)]
    y = many(x)
    dy = torch.randn_like(y)
    many.backward_parameters(dy)
    for k, single in enumerate(singles):
        single.zero_grad()
        assert error(y[k], single(x)) < 1e-12
        single.backward_parameters(dy[k].contiguous())
        for own, of_all in zip(single.parameters(), many.parameters(), strict=True):
            assert error(of_all.grad[k], own.grad) < 1e-10
