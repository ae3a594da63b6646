"""Attention and transformers as graphs: listings, summaries, and files that compute what torch.nn computes."""

import textwrap

import pytest
import torch

import lamp
from tests.cases.module_case import error
from tests.test_interop_graphs import TOLERANCE, exports, several

B, L, S, E, H = 3, 5, 4, 8, 2
CAUSAL = lamp.Transformer.generate_square_subsequent_mask(L)
BLIND = torch.ones(L, L).triu(0).bool()


def attention(**options):
    return lamp.MultiheadAttention(E, H, batch_first=True, **options)


def encoder_layer(**options):
    return lamp.TransformerEncoderLayer(E, H, 12, batch_first=True, **options)


def decoder_layer(**options):
    return lamp.TransformerDecoderLayer(E, H, 12, batch_first=True, **options)


class Attending(lamp.Container):
    """Attention of one sequence to itself, with masks as a user writes them."""

    takes_replicas = True

    def __init__(self, dropout=0.0, **options):
        self.attn = attention(dropout=dropout)
        self.options = options

    def forward(self, x):
        return self.attn(x, x, x, **self.options)

    def backward(self, dy, dweights=None):
        return sum(self.attn.backward(dy, dweights))

    def trace(self, tracer, x):
        return tracer(self.attn, x, x, x, **self.options)


class Causal(lamp.Container):
    """A stack of layers that is given its mask."""

    takes_replicas = True

    def __init__(self, inner):
        self.inner = inner

    def forward(self, *inputs):
        return self.inner(*inputs, CAUSAL)

    def backward(self, dy):
        return self.inner.backward(dy)

    def trace(self, tracer, *inputs):
        return tracer(self.inner, *inputs, CAUSAL)


TWO, OTHER = (L, E), (S, E)
MODULES = {  # a module and the shapes of its inputs
    "query, key and value": (attention, (TWO, OTHER, OTHER)),
    "without biases": (lambda: attention(bias=False), (TWO, OTHER, OTHER)),
    "of three sizes": (lambda: attention(kdim=3, vdim=7), (TWO, (S, 3), (S, 7))),
    "of three sizes, without biases": (lambda: attention(kdim=3, vdim=7, bias=False), (TWO, (S, 3), (S, 7))),
    "a learned key": (lambda: attention(add_bias_kv=True), (TWO, OTHER, OTHER)),
    "a key of zeros": (lambda: attention(add_zero_attn=True), (TWO, OTHER, OTHER)),
    "both, with padding": (lambda: attention(add_bias_kv=True, add_zero_attn=True), (TWO, OTHER, OTHER, (S,))),
    "padding": (attention, (TWO, OTHER, OTHER, (S,))),
    "itself": (Attending, (TWO,)),
    "itself, each head": (lambda: Attending(average_attn_weights=False), (TWO,)),
    "itself, no weights": (lambda: Attending(need_weights=False), (TWO,)),
    "a mask of numbers": (lambda: Attending(attn_mask=torch.arange(25.0).view(L, L) / 9), (TWO,)),
    "a place that may look nowhere": (lambda: Attending(attn_mask=BLIND, need_weights=False), (TWO,)),
    "a mask of booleans": (lambda: Attending(attn_mask=torch.ones(L, L).triu(2).bool(), need_weights=False), (TWO,)),
    "an encoder layer": (encoder_layer, (TWO,)),
    "an encoder layer, norm first": (lambda: encoder_layer(norm_first=True, activation="gelu"), (TWO,)),
    "an encoder layer, own activation": (lambda: encoder_layer(activation=lamp.SiLU(), bias=False), (TWO,)),
    "a decoder layer": (decoder_layer, (TWO, OTHER)),
    "a decoder layer, norm first": (lambda: decoder_layer(norm_first=True), (TWO, OTHER)),
    "an encoder": (lambda: lamp.TransformerEncoder(encoder_layer(), 2, lamp.LayerNorm(E)), (TWO,)),
    "a causal encoder": (lambda: Causal(lamp.TransformerEncoder(encoder_layer(norm_first=True), 2)), (TWO,)),
    "a causal decoder": (lambda: Causal(lamp.TransformerDecoder(decoder_layer(), 2)), (TWO, OTHER)),
    "a transformer": (lambda: lamp.Transformer(E, H, 1, 2, 12, batch_first=True), (TWO, OTHER)),
}
modules = pytest.mark.parametrize("name", MODULES)


def made(name, dtype=torch.float64):
    torch.manual_seed(0)
    make, shapes = MODULES[name]
    module = make().to(dtype)
    for each in module.parameters():
        each.data.uniform_(-0.7, 0.7)
    return module, shapes


def torch_answer(module, inputs):
    """What torch.nn computes in eval mode; of a user's module, with what is inside converted."""
    inner = getattr(module, "attn", getattr(module, "inner", module))
    twin = lamp.to_torch(inner).eval()
    if isinstance(module, Attending):
        x, options = inputs[0], dict(module.options)
        mask = options.pop("attn_mask", None)
        mask = mask if mask is None or mask.dtype is torch.bool else mask.to(x.dtype)
        found = twin(x, x, x, attn_mask=mask, **options)
    elif isinstance(module, Causal):
        found = twin(*inputs, CAUSAL.to(inputs[0].dtype))
    else:
        found = twin(*inputs)
    return [each.detach() for each in several(found) if each is not None]


@modules
def test_the_graph_has_the_shapes_of_the_outputs(name):
    module, shapes = made(name)
    inputs = [torch.randn(B, *shape).double() for shape in shapes]
    graph = lamp.trace(module, *inputs)
    outputs = [each for each in several(module(*inputs)) if each is not None]
    assert [(B, *value.shape) for value in graph.outputs] == [tuple(y.shape) for y in outputs]
    assert [value.dtype for value in graph.outputs] == [y.dtype for y in outputs]
    assert set(graph.parameters) == set(module.parameters())


@exports
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@modules
def test_files_compute_what_torch_computes(name, dtype, export, run, tmp_path):
    module, shapes = made(name, dtype)
    path = export(module, tmp_path / "network.py", input_shape=list(shapes) if len(shapes) > 1 else shapes[0])
    for batch in (1, 6):
        inputs = [torch.randn(batch, *shape, dtype=dtype) for shape in shapes]
        for found, expected in zip(run(path, *inputs), torch_answer(module, inputs), strict=True):
            assert error(found, expected) < TOLERANCE[dtype]


@exports
@modules
def test_files_of_populations(name, export, run, tmp_path):
    module, shapes = made(name)
    networks = lamp.population(module, range(3))
    for each in networks.parameters():
        each.data.uniform_(-0.7, 0.7)
    path = export(networks, tmp_path / "network.py", input_shape=list(shapes) if len(shapes) > 1 else shapes[0])
    inputs = [torch.randn(4, *shape).double() for shape in shapes]
    wanted = [torch_answer(networks[k], inputs) for k in range(3)]
    for found, *expected in zip(run(path, *inputs), *wanted, strict=True):
        assert error(found, torch.stack(expected).mean(0)) < 1e-12


# ---- how a graph reads -----------------------------------------------------------------------------------------------
def test_causal_attention_prints_as_its_steps():
    graph = lamp.trace(Attending(0.1, attn_mask=CAUSAL, need_weights=False), (B, L, E))
    assert str(graph) == textwrap.dedent(
        """\
        %0   input                                       (5, 8)
        %1   Affine(%0)                                  (5, 24)       attn: MultiheadAttention, weight p0 (24, 8), bias p1 (24)
        %2   Reshape(%1)                                 (5, 3, 2, 4)  attn: MultiheadAttention
        %3   Permute(%2, axes=(1, 2, 0, 3))              (3, 2, 5, 4)  attn: MultiheadAttention
        %4   Select(%3, axis=0, index=0)                 (2, 5, 4)     attn: MultiheadAttention
        %5   Select(%3, axis=0, index=1)                 (2, 5, 4)     attn: MultiheadAttention
        %6   Select(%3, axis=0, index=2)                 (2, 5, 4)     attn: MultiheadAttention
        %7   MatMul(%4, %5, transposed=True, scale=0.5)  (2, 5, 5)     attn: MultiheadAttention
        %8   Constant(numbers=causal)                    (5, 5)        attn: MultiheadAttention
        %9   Expand(%8)                                  (2, 5, 5)     attn: MultiheadAttention
        %10  Add(%7, %9)                                 (2, 5, 5)     attn: MultiheadAttention
        %11  Softmax(%10, axis=2, log=False)             (2, 5, 5)     attn: MultiheadAttention
        %12  Mask(%11)                                   (2, 5, 5)     attn: MultiheadAttention
        %13  MatMul(%12, %6)                             (2, 5, 4)     attn: MultiheadAttention
        %14  Permute(%13, axes=(1, 0, 2))                (5, 2, 4)     attn: MultiheadAttention
        %15  Reshape(%14)                                (5, 8)        attn: MultiheadAttention
        %16  Affine(%15)                                 (5, 8)        attn.out_proj: Linear, weight p2 (8, 8), bias p3 (8)
        return %16"""  # noqa: E501
    )


def test_multiplications():
    """Of the four projections, and of the two products of each pair of places."""
    assert lamp.trace(attention(), (B, L, E), (B, S, E), (B, S, E)).multiplications == (
        2 * L * E * E + 2 * S * E * E + 2 * L * S * E
    )
    assert lamp.trace(Attending(), (B, L, E)).multiplications == 4 * L * E * E + 2 * L * L * E


def test_masks_are_part_of_a_digest():
    other = CAUSAL.clone()
    other[1, 0] = float("-inf")
    digests = [lamp.trace(Attending(attn_mask=mask), (B, L, E)).digest for mask in (None, CAUSAL, CAUSAL, other)]
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3
    assert "-inf to 0" in str(lamp.trace(Attending(attn_mask=other), (B, L, E)))


def test_padding_of_booleans():
    padding = torch.zeros(B, S, dtype=torch.bool)
    graph = lamp.trace(attention(), (B, L, E), (B, S, E), (B, S, E), padding)
    assert "Exclude(%3)" in str(graph)
    assert graph.inputs[3].dtype is torch.bool


@pytest.mark.parametrize("width", [80, 120])
def test_a_summary_has_a_row_for_each_module(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    found = lamp.summary(lamp.TransformerEncoder(encoder_layer(norm_first=True), 2, lamp.LayerNorm(E)), (B, L, E))
    rows = found.table().rows
    assert [row[0] for row in rows[:4]] == [
        "layers.0.norm1",
        "layers.0.self_attn",
        "layers.0.self_attn.out_proj",
        "layers.0.dropout1",
    ]
    assert rows[1][1:] == ["MultiheadAttention", "(B, 5, 8)", "216", f"{3 * L * E * E + 2 * L * L * E:,}"]
    assert rows[4] == ["layers.0", "+", "(B, 5, 8)", "", ""]
    assert len(rows) == 2 * 12 + 1
    assert max(map(len, str(found).splitlines()[:-1])) <= width


def test_calls_of_one_module_in_a_row_are_rows_of_their_own():
    layer = lamp.Linear(4, 4)
    rows = lamp.summary(lamp.Sequential(layer, layer, lamp.Softmin(-1)), (B, 4)).table().rows
    assert [row[:2] for row in rows] == [["0", "Linear(4, 4)"], ["0", "Linear(4, 4)"], ["2", "Softmin(-1)"]]
    assert [row[3] for row in rows] == ["20", "shared", ""]


# ---- what no graph says ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("inputs", "options", "told"),
    [
        (((B, L, E), (B, S, E), (B, L, E)), {}, "as many keys as values"),
        (((B, L, E), (B, S, 5), (B, S, 5)), {}, r"\(B, L, 8\), \(B, S, 8\)"),
        (((B, E), (B, E), (B, E)), {}, r"\(B, L, 8\)"),
        (((B, L, E),) * 3, {"attn_mask": torch.zeros(L, S)}, r"a tensor \(5, 5\), the same for every sample"),
        (((B, L, E),) * 3, {"attn_mask": torch.zeros(B * H, L, L)}, "the same for every sample"),
        (((B, L, E),) * 3, {"key_padding_mask": torch.zeros(B, L)}, "pass key_padding_mask as another batch"),
        (((B, L, E),) * 3 + ((B, S),), {}, r"expected  \(B, 5\)"),
        (((B, L, E),) * 3, {"need_wieghts": True}, "need_wieghts"),
    ],
)
def test_what_does_not_fit_is_told(inputs, options, told):
    with pytest.raises(lamp.LampError, match=told) as raised:
        lamp.trace(attention(), *inputs, **options)
    assert raised.value.where == "MultiheadAttention"
    assert raised.value.fix


def test_constants_and_products_of_a_users_trace():
    class Own(lamp.Container):
        def __init__(self):
            self.table, self.other = lamp.Parameter(torch.ones(2, 3)), lamp.Linear(3, 3)

            self.say = None

        def trace(self, tracer, x):
            return self.say(tracer, x)

    own = Own()
    for say, told in (
        (lambda tracer, x: tracer.constant(own, own.other.weight), "that the module does not have"),
        (lambda tracer, x: tracer.constant(own, 3.0), "a parameter or buffer of the module, or a tensor"),
        (lambda tracer, x: tracer.matmul(own, x, tracer.constant(own, own.table)), r"\(\.\.\., n, m\)"),
        (lambda tracer, x: tracer.expand(own, x, (4, 2, 2)), "axes of size 1"),
        (lambda tracer, x: tracer.add(own, x, tracer.constant(own, own.table[:1])), "nothing is broadcast"),
    ):
        own.say = say
        with pytest.raises(lamp.LampError, match=told):
            lamp.trace(own, (B, 2, 3))
