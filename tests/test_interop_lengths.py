"""ONNX files for sequences of any length: onnxruntime computes what torch.nn computes, at lengths that nothing knew."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import lamp
from tests.cases.module_case import error
from tests.test_user_networks import CONTEXT, GPT, SYMBOLS

L = "length"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, *inputs):
    session = session_of(path)
    given = {each.name: np.asarray(x) for each, x in zip(session.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(np.asarray(y)) for y in session.run(None, given)]


def outputs_of(found):
    """The tensors of nested outputs, in order."""
    if isinstance(found, torch.Tensor):
        return [found.detach()]
    return [] if found is None else [y for each in found for y in outputs_of(each)]


class Tagger(lamp.Container):
    """Tags of words, from a recurrent layer in both directions."""

    takes_replicas = True

    def __init__(self, kind):
        self.tokens = lamp.Embedding(7, 6)
        self.layer = getattr(lamp, kind)(6, 4, 2, batch_first=True, bidirectional=True)
        self.scores = lamp.Linear(8, 3)

    def forward(self, x):
        return self.scores(self.layer(self.tokens(x))[0])

    def trace(self, tracer, x):
        return tracer(self.scores, tracer(self.layer, tracer(self.tokens, x))[0])


def convolutions():
    return lamp.Sequential(
        lamp.Conv1d(3, 8, 3, padding=1), lamp.GroupNorm(2, 8), lamp.ReLU(), lamp.MaxPool1d(2),
        lamp.Conv1d(8, 4, 5, stride=2), lamp.BatchNorm1d(4), lamp.GELU(), lamp.AdaptiveAvgPool1d(1), lamp.Flatten(),
        lamp.Linear(4, 2),
    )  # fmt: skip


def transposed():
    return lamp.Sequential(
        lamp.ReflectionPad1d(2), lamp.Conv1d(3, 4, 4, stride=2), lamp.InstanceNorm1d(4, affine=True), lamp.SiLU(),
        lamp.ConvTranspose1d(4, 2, 4, stride=2, output_padding=1), lamp.LPPool1d(2.0, 2), lamp.AvgPool1d(3, 1, 1),
        lamp.LocalResponseNorm(3),
    )  # fmt: skip


def images():
    return lamp.Sequential(
        lamp.Conv2d(1, 3, 3, padding=1), lamp.BatchNorm2d(3), lamp.ReLU(), lamp.MaxPool2d(2), lamp.GroupNorm(3, 3),
        lamp.AdaptiveMaxPool2d(1), lamp.Flatten(), lamp.Linear(3, 2),
    )  # fmt: skip


def layer(**options):
    return lamp.TransformerEncoderLayer(6, 2, 8, **options)


FIRST = {"batch_first": True}
SHORT_LONG = [{L: 1}, {L: 23}]
THREE = [{L: 10}, {L: 23}, {L: 60}]
TWO = [{"source": 1, "target": 9}, {"source": 23, "target": 5}]
KEYS = [{"query": 1, "keys": 9}, {"query": 23, "keys": 5}]
NETWORKS: dict[str, Any] = {  # a network, the shapes of its inputs, and lengths to try it at
    "a linear layer": (lambda: lamp.Linear(6, 3), [(L, 6)], SHORT_LONG),
    "steps first": (lambda: lamp.GRU(6, 4, 2), [(L, 6)], SHORT_LONG),
    "an LSTM": (lambda: lamp.LSTM(6, 4, 2, batch_first=True, bidirectional=True), [(L, 6)], SHORT_LONG),
    "an encoder": (lambda: lamp.TransformerEncoder(layer(**FIRST), 2), [(L, 6)], SHORT_LONG),
    "an encoder, steps first": (layer, [(L, 6)], SHORT_LONG),
    "a transformer": (lambda: lamp.Transformer(6, 2, 1, 1, 8, **FIRST), [("source", 6), ("target", 6)], TWO),
    "attention": (
        lambda: lamp.MultiheadAttention(6, 2, add_zero_attn=True, **FIRST),
        [("query", 6), ("keys", 6), ("keys", 6)],
        KEYS,
    ),
    "convolutions": (convolutions, [(3, L)], THREE),
    "transposed": (transposed, [(3, L)], THREE),
    "images": (images, [(1, "height", "width")], [{"height": 8, "width": 9}, {"height": 31, "width": 5}]),
    "a bag": (lambda: lamp.Sequential(lamp.EmbeddingBag(7, 4), lamp.Linear(4, 2)), [(L,)], SHORT_LONG),
}


def names_in(shape):
    return [n for n in shape if isinstance(n, str)]


def made(shape, lengths, batch, at=0):
    """A batch of this shape at these lengths, with the batch on this axis."""
    sizes = [lengths.get(n, n) for n in shape]
    return torch.randn(batch, *sizes).movedim(0, at)


def batch_axis(module):
    return 0 if getattr(module, "batch_first", getattr(getattr(module, "self_attn", None), "batch_first", True)) else 1


@pytest.mark.parametrize("name", NETWORKS)
def test_modules(name, tmp_path):
    make, shapes, several = NETWORKS[name]
    module = make()
    path = lamp.to_onnx(module, tmp_path / "network.onnx", input_shape=shapes if len(shapes) > 1 else shapes[0])
    twin, axis = lamp.to_torch(module).eval(), batch_axis(module)
    shown = [names_in(x.shape) for x in session_of(path).get_inputs()]
    assert shown == [[*names_in(shape[:axis]), "batch", *names_in(shape[axis:])] for shape in shapes]
    for lengths in several:
        for batch in (1, 5):
            inputs = [made(shape, lengths, batch, axis) for shape in shapes]
            inputs = [x.abs().long() % 7 for x in inputs] if name == "a bag" else inputs
            for found, expected in zip(run(path, *inputs), outputs_of(twin(*inputs)), strict=True):
                assert error(found, expected) < 1e-5


@pytest.mark.parametrize("name", ["a linear layer", "an LSTM", "an encoder", "convolutions", "images", "a bag"])
def test_populations(name, tmp_path):
    make, (shape,), several = NETWORKS[name]
    networks = lamp.population(make(), range(3))
    path = lamp.to_onnx(networks, tmp_path / "network.onnx", input_shape=shape)
    for lengths in several:
        x = made(shape, lengths, 5)
        x = x.abs().long() % 7 if name == "a bag" else x
        wanted = [outputs_of(lamp.to_torch(networks[k]).eval()(x)) for k in range(3)]
        for found, *expected in zip(run(path, x), *wanted, strict=True):
            assert error(found, torch.stack(expected).mean(0)) < 1e-5


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_causal_network_with_places(dtype, tmp_path):
    """The mask and the numbers of the places follow from the length."""
    model = GPT().to(dtype)
    for each, mean in ((model, False), (lamp.population(model, range(2)), True)):
        path = lamp.to_onnx(each, tmp_path / "network.onnx", input_shape=(L,))
        for length in range(1, CONTEXT + 1):
            x = torch.randint(SYMBOLS, (4, length))
            expected = lamp.predict(each, x).mean(0) if mean else lamp.predict(each, x)
            assert error(run(path, x)[0], expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_taggers_of_words(kind, tmp_path):
    model = Tagger(kind)
    for each in (model, lamp.population(model, range(2))):
        path = lamp.to_onnx(each, tmp_path / "network.onnx", input_shape=(L,), output_name="tags")
        assert session_of(path).get_outputs()[0].shape == ["batch", L, 3]
        for length in (1, 4, 41):
            x = torch.randint(7, (3, length))
            expected = lamp.predict(each, x)
            assert error(run(path, x)[0], expected if each is model else expected.mean(0)) < 1e-5


class LastPlace(lamp.Container):
    """The output at the last place, wherever that is, beside the one at the second."""

    def __init__(self):
        self.layer = lamp.GRU(3, 2, batch_first=True)

    def forward(self, x):
        y, _ = self.layer(x)
        return y[:, -1], y[:, 1]

    def trace(self, tracer, x):
        y, _ = tracer(self.layer, x)
        return tracer.select(self, y, 1, -1), tracer.select(self, y, 1, 1)


def test_places_are_counted_from_either_end(tmp_path):
    model = LastPlace()
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=(L, 3))
    for length in (2, 19):
        x = torch.randn(4, length, 3)
        y, _ = lamp.to_torch(model.layer)(x)
        for found, expected in zip(run(path, x), (y[:, -1], y[:, 1]), strict=True):
            assert error(found, expected.detach()) < 1e-5


def test_a_scaling_is_the_same_at_each_place(tmp_path):
    model = lamp.GRU(3, 2, batch_first=True)
    path = lamp.to_onnx(
        model, tmp_path / "network.onnx", input_shape=(L, 3), input_scaling=([1.0, 2.0, 3.0], 2.0),
        output_scaling=[(1.0, [5.0, 7.0]), None],
    )  # fmt: skip
    x = torch.randn(4, 9, 3)
    y, last = lamp.to_torch(model)(x)
    found = run(path, x * 2.0 + torch.tensor([1.0, 2.0, 3.0]))
    assert error(found[0], y.detach() * torch.tensor([5.0, 7.0]) + 1.0) < 1e-5
    assert error(found[1], last.detach()) < 1e-5


# ---- masks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [torch.bool, None], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_padding_is_an_input(kind, dtype, tmp_path):
    encoder = lamp.TransformerEncoder(lamp.TransformerEncoderLayer(6, 2, 8, batch_first=True, dtype=dtype), 2)
    path = lamp.to_onnx(
        encoder, tmp_path / "network.onnx", input_shape=[(L, 6), None, (L,)], input_dtype=[None, None, kind],
        input_name=["x", "padding"],
    )  # fmt: skip
    twin = lamp.to_torch(encoder).eval()
    for length in (2, 11):
        x, hidden = torch.randn(4, length, 6, dtype=dtype), torch.zeros(4, length, dtype=torch.bool)
        hidden[1, length // 2 :] = hidden[2, 1:] = True
        expected = twin(x, src_key_padding_mask=hidden).detach()
        mask = hidden if kind is torch.bool else torch.zeros(4, length, dtype=dtype).masked_fill(hidden, -torch.inf)
        assert error(run(path, x, mask)[0], expected) < TOLERANCE[dtype]
        assert session_of(path).get_inputs()[1].type == (
            "tensor(bool)" if kind is torch.bool else ("tensor(float)" if dtype is torch.float32 else "tensor(double)")
        )


def test_padding_of_a_population_and_of_one_length(tmp_path):
    networks = lamp.population(lamp.TransformerEncoderLayer(6, 2, 8, batch_first=True), range(2))
    path = lamp.to_onnx(
        networks, tmp_path / "n.onnx", input_shape=[(5, 6), None, (5,)], input_dtype=[None, None, torch.bool]
    )
    x, hidden = torch.randn(4, 5, 6), torch.arange(5).ge(3).expand(4, 5).contiguous()
    wanted = [lamp.to_torch(networks[k]).eval()(x, src_key_padding_mask=hidden).detach() for k in range(2)]
    assert error(run(path, x, hidden)[0], torch.stack(wanted).mean(0)) < 1e-5


# ---- tables and masks that follow from the length --------------------------------------------------------------------
TABLE = 60


class Sines(lamp.Container):
    """Token vectors plus the beginning of a table of sines, which is a buffer, or an attribute that replicas share.

    The table may be wider than the vectors.
    """

    takes_replicas = True

    def __init__(self, as_buffer, more=0):
        self.tokens = lamp.Embedding(7, 6)
        angles = torch.arange(TABLE).unsqueeze(1) / 10_000.0 ** (torch.arange(3) / 3)
        table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
        table = torch.cat([table, torch.ones(TABLE, more)], 1)
        self.table = lamp.Buffer(table) if as_buffer else table
        self.layer = lamp.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def forward(self, x):
        return self.layer(self.tokens(x) + self.table.data[: x.shape[-1], :6])

    def trace(self, tracer, x):
        table = tracer.constant(self, self.table.data[: x.shape[0], :6])
        return tracer(self.layer, tracer.add(self, tracer(self.tokens, x), table))


@pytest.mark.parametrize("kind", ["buffer", "attribute", "population", "wider"])
def test_the_beginning_of_a_table(kind, tmp_path):
    model = Sines(kind == "buffer", more=3 if kind == "wider" else 0)
    networks = [model]
    if kind == "population":
        model = lamp.population(model, range(2))
        networks = [model[0], model[1]]
    path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=(L,))
    for length in (1, 11, TABLE):
        x = torch.randint(7, (3, length))
        expected = []
        for network in networks:
            tokens, layer = lamp.to_torch(network.tokens), lamp.to_torch(network.layer).eval()
            place = torch.arange(length).unsqueeze(1) / 10_000.0 ** (torch.arange(3) / 3)
            sines = torch.stack([place.sin(), place.cos()], -1).flatten(1)
            expected.append(layer(tokens(x) + sines).detach())
        assert error(run(path, x)[0], torch.stack(expected).mean(0)) < 1e-5
    with pytest.raises(Exception, match=r"(?i)dimension|broadcast"):  # as in the network, the table ends there
        run(path, torch.randint(7, (3, TABLE + 1)))


class Masked(lamp.Container):
    """A layer of attention whose mask is a function of the length."""

    def __init__(self, mask):
        self.mask, self.layer = mask, lamp.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def forward(self, x):
        return self.layer(x, self.mask(x.shape[1]).to(x.dtype))

    def trace(self, tracer, x):
        return tracer(self.layer, x, self.mask(x.shape[0]).to(x.dtype))


def distances(length):
    """From each place (row) to each other one."""
    return torch.arange(length) - torch.arange(length).unsqueeze(1)


def window(width):
    """Each place sees the last ones, itself included."""
    return lambda n: torch.zeros(n, n).masked_fill((distances(n) > 0) | (distances(n) <= -width), -torch.inf)


MASKS = {
    "a window of 1": window(1),
    "a window of 3": window(3),
    "a window of 100": window(100),
    "places on both sides": lambda n: torch.zeros(n, n).masked_fill(distances(n).abs() > 2, -torch.inf),
    "numbers up to a distance": lambda n: distances(n).clamp(-4, 7) / 3.0,
}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", MASKS)
def test_masks_of_distances(name, dtype, tmp_path):
    model = Masked(MASKS[name]).to(dtype)
    path, twin = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=(L, 6)), lamp.to_torch(model.layer).eval()
    for length in (1, 2, 9, 250):
        x = torch.randn(2, length, 6, dtype=dtype)
        expected = twin(x, MASKS[name](length).to(dtype)).detach()
        assert error(run(path, x)[0], expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", ["a window too wide to be seen", "a slope without an end"])
def test_masks_that_are_seen_to_be_others(name, tmp_path):
    """At the lengths that are traced the first is a causal mask; a longer sequence shows that it is not."""
    mask = {"a window too wide to be seen": window(900), "a slope without an end": lambda n: distances(n) / 3.0}[name]
    with pytest.raises(lamp.LampError, match=r"does not compute what|its numbers depend on the length"):
        lamp.to_onnx(Masked(mask), tmp_path / "network.onnx", input_shape=(L, 6))
    assert not list(tmp_path.iterdir())


# ---- what is refused -------------------------------------------------------------------------------------------------
class Window(lamp.Module):
    """A mask that is neither causal nor the same everywhere."""

    def forward(self, x):
        return x + torch.arange(len(x[0])).square().unsqueeze(1)

    def trace(self, tracer, x):
        numbers = torch.arange(x.shape[0]).square().unsqueeze(1).expand(x.shape).to(x.dtype)
        return tracer.add(self, x, tracer.constant(self, numbers))


class Changing(lamp.Module):
    def forward(self, x):
        return x

    def trace(self, tracer, x):
        return tracer.add(self, x, x) if x.shape[0] > 20 else tracer.multiply(self, x, x)


@pytest.mark.parametrize(
    ("make", "shape", "told"),
    [
        (lambda: lamp.Sequential(lamp.Flatten(), lamp.Linear(12, 2)), (L, 3), r"1: Linear\(.*any length: the last"),
        (lambda: lamp.Upsample(scale_factor=2), (3, L), r"Upsample\(.*any length: .*matrix"),
        (lambda: lamp.Sequential(lamp.Unfold((2, 2))), (1, L, 5), r"0: Unfold\(.*any length: .*places"),
        (lambda: lamp.AdaptiveAvgPool1d(2), (3, L), r"AdaptiveAvgPool1d\(.*any length: the sizes of its windows"),
        (lambda: lamp.CircularPad1d(2), (3, L), r"CircularPad1d.*any length: .*border"),
        (lambda: lamp.GLU(1), (L, 3), r"GLU\(.*any length: .*in two"),
        (lambda: lamp.GRU(3, 2, batch_first=True, dtype=torch.float64), (L, 3), r"GRU\(.*any length: .*float64"),
        (Window, (L, 3), r"Window\(.*any length: its numbers depend"),
        (Changing, (L, 3), r"Changing\(.*any length: at another length there is"),
    ],
)  # fmt: skip
def test_what_cannot_have_any_length_is_refused_by_name(make, shape, told, tmp_path):
    with pytest.raises(lamp.ArgumentError, match=told) as caught:
        lamp.to_onnx(make(), tmp_path / "network.onnx", input_shape=shape)
    assert caught.value.where
    assert "in the place of names" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_wrong_names_and_dtypes(tmp_path):
    for shape in (("batch", 3), ("", 3), ("two words", 3), (True, 3), [None, "length"]):
        with pytest.raises(lamp.ArgumentError, match="input_shape is not a shape"):
            lamp.to_onnx(lamp.Linear(3, 2), tmp_path / "network.onnx", input_shape=shape)
    for dtype in (torch.float16, [torch.bool, None], "bool"):
        with pytest.raises(lamp.DTypeError, match="input_dtype does not fit"):
            lamp.to_onnx(lamp.Linear(3, 2), tmp_path / "network.onnx", input_dtype=dtype)
    with pytest.raises(lamp.ArgumentError, match=r"(?s)one size.*to_onnx"):
        lamp.to_python(lamp.Linear(3, 2), tmp_path / "network.py", input_shape=(L, 3))


class Short(lamp.Container):
    """A network that takes two places only, of which its trace says nothing."""

    def __init__(self):
        self.linear = lamp.Linear(3, 2)

    def forward(self, x):
        if x.shape[1] != 2:
            raise lamp.ShapeError("two places", expected="2", got=str(x.shape[1]), fix="two")
        return self.linear(x)

    def trace(self, tracer, x):
        return tracer(self.linear, x)


def test_a_network_that_takes_hardly_any_length(tmp_path):
    with pytest.raises(lamp.ArgumentError, match="does not take sequences of any length"):
        lamp.to_onnx(Short(), tmp_path / "network.onnx", input_shape=(L, 3))
    assert not list(tmp_path.iterdir())
