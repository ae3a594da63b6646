"""Attention and transformers beside torch.nn: populations, dropout, conversion, training, errors."""

import copy

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

import lamp
from tests.cases.module_case import error

D = torch.float64
TRANSFORMERS = {  # not in the tables of cases: they take several sequences and masks
    *(lamp.MultiheadAttention, lamp.Transformer, lamp.TransformerEncoder, lamp.TransformerDecoder),
    *(lamp.TransformerEncoderLayer, lamp.TransformerDecoderLayer),
}
K, B, L, S, E, H = 3, 2, 5, 4, 6, 2


def drawn(*shape):
    return torch.randn(shape, dtype=D)


def randomised(module):
    for each in module.parameters():
        each.data.uniform_(-0.7, 0.7)
    return module


# ---- populations -----------------------------------------------------------------------------------------------------
KINDS = {
    "attention": lambda: lamp.MultiheadAttention(E, H, batch_first=True),
    "attention of three sizes": lambda: lamp.MultiheadAttention(
        E, H, kdim=3, vdim=4, add_bias_kv=True, batch_first=True
    ),
    "attention, steps first": lambda: lamp.MultiheadAttention(E, H, add_zero_attn=True),
    "an encoder layer": lambda: lamp.TransformerEncoderLayer(E, H, 8, 0.0, "gelu"),
    "an encoder": lambda: lamp.TransformerEncoder(lamp.TransformerEncoderLayer(E, H, 8, 0.0, norm_first=True), 2),
    "a decoder layer": lambda: lamp.TransformerDecoderLayer(E, H, 8, 0.0, batch_first=True),
    "a transformer": lambda: lamp.Transformer(E, H, 1, 1, 8, 0.0),
}


def inputs_of(name):
    if "three sizes" in name:
        return drawn(B, L, E), drawn(B, S, 3), drawn(B, S, 4)
    if name.startswith("attention"):
        return drawn(B, L, E), drawn(B, S, E) if "first" not in name else drawn(B, L, E), None
    return (drawn(B, L, E),) if "encoder" in name else (drawn(B, L, E), drawn(B, L, E))


@pytest.mark.parametrize("name", KINDS)
def test_replicas_are_the_networks_alone(name):
    torch.manual_seed(0)
    networks = randomised(lamp.population(KINDS[name]().double(), seeds=range(K)))
    alone = [copy.deepcopy(networks[k]) for k in range(K)]
    if name.startswith("attention"):
        q = drawn(B, L, E)
        kv = (drawn(B, S, 3), drawn(B, S, 4)) if "three" in name else (drawn(B, L, E),) * 2
        given = (q, *kv)
    else:
        given = inputs_of(name)
    found = networks(*given)
    several = isinstance(found, tuple)
    upstream = tuple(torch.randn_like(y) for y in found) if several else torch.randn_like(found)
    gradients = networks.backward(upstream)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    for k, single in enumerate(alone):
        y = single(*given)
        for own, other in zip(found, y, strict=True) if several else [(found, y)]:
            assert error(own[k], other) < 1e-12
        wanted = single.backward(tuple(each[k] for each in upstream) if several else upstream[k])
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for own, other in zip(gradients, wanted, strict=True):
            assert error(own[k], other) < 1e-11
        for own, other in zip(networks.parameters(), single.parameters(), strict=True):
            assert error(own.grad[k], other.grad) < 1e-10


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("own", [False, True], ids=["shared masks", "masks per replica"])
def test_masks_given_to_a_population(own, heads, single):
    """A mask for all replicas or one each, (L, S) or for each head of each sample, and places that are padding."""
    torch.manual_seed(0)
    networks = randomised(lamp.population(lamp.MultiheadAttention(E, H, batch_first=True).double(), seeds=range(K)))
    lead, samples = ((), 1) if single else ((B,), B)
    q, kv = drawn(*lead, L, E), drawn(*lead, S, E)
    masks = drawn(K, *((samples * H,) if heads else ()), L, S)
    paddings = torch.zeros(K, *lead, S, dtype=torch.bool)
    for k in range(K):
        paddings[k, ..., k] = True
    given_masks = [lamp.per_replica(each) if own else each[0] for each in (paddings, masks)]
    found = networks(q, kv, kv, given_masks[0], False, given_masks[1])[0]
    for k in range(K):
        row = k if own else 0
        assert error(found[k], networks[k](q, kv, kv, paddings[row], False, masks[row])[0]) < 1e-12


# ---- masks, weights, dropout -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("numbers", [False, True])
def test_masks_of_both_kinds(numbers):
    torch.manual_seed(0)
    module = randomised(lamp.MultiheadAttention(E, H, batch_first=True).double())
    twin = lamp.to_torch(module)
    padding = torch.tensor([[False, False, True, False], [False, True, True, False]])
    attention = torch.rand(L, S) > 0.7
    attention[:, 0] = False
    if numbers:
        padding, attention = (
            torch.zeros(each.shape, dtype=D).masked_fill_(each, -2.5) for each in (padding, attention)
        )
    q, k, v = drawn(B, L, E), drawn(B, S, E), drawn(B, S, E)
    variables = [each.clone().requires_grad_() for each in (q, k, v)]
    for average in (True, False):
        options = {"key_padding_mask": padding, "attn_mask": attention, "average_attn_weights": average}
        expected = twin(*variables, **options)
        found = module(q, k, v, **options)
        upstream = [torch.randn_like(each) for each in expected]
        wanted = torch.autograd.grad(expected, variables, upstream)
        for own, other in zip((*found, *module.backward(tuple(upstream))), (*expected, *wanted), strict=True):
            assert error(own, other.detach()) < 1e-11


@pytest.mark.parametrize("kind", ["padding", "attention", "both", "numbers"])
def test_a_place_that_may_look_nowhere_gets_zeros_as_in_torch(kind):
    torch.manual_seed(0)
    module = randomised(lamp.MultiheadAttention(E, H, batch_first=True).double())
    twin = lamp.to_torch(module)
    padding, attention = torch.zeros(B, L).bool(), torch.zeros(L, L).bool()
    padding[1, : 1 if kind == "both" else L] = True
    attention[2, 1 if kind == "both" else 0 :] = True
    if kind == "numbers":
        attention = torch.zeros(L, L, dtype=D).masked_fill_(attention, float("-inf"))
    options = {"key_padding_mask": padding} if kind in ("padding", "both") else {}
    options |= {} if kind == "padding" else {"attn_mask": attention}
    x = drawn(B, L, E)
    variable = x.clone().requires_grad_()
    expected, _ = twin(variable, variable, variable, need_weights=False, **options)
    found, weights = module(x, x, x, **options)
    assert error(found, expected.detach()) < 1e-12
    assert bool((weights.sum(-1) == 0).any())
    upstream = torch.randn_like(found)
    (wanted,) = torch.autograd.grad(expected, variable, upstream)
    assert error(sum(module.backward((upstream, torch.zeros_like(weights)))), wanted) < 1e-12


def test_causal_attention_does_not_look_ahead():
    torch.manual_seed(0)
    layer = lamp.TransformerEncoderLayer(E, H, 8, 0.0, batch_first=True).double()
    mask = lamp.Transformer.generate_square_subsequent_mask(L)
    assert torch.equal(mask, torch.nn.Transformer.generate_square_subsequent_mask(L))
    x = drawn(B, L, E)
    y = layer(x, src_mask=mask, is_causal=True)
    changed = x.clone()
    changed[:, 3:] += 1.0
    z = layer(changed, src_mask=mask, is_causal=True)
    assert torch.equal(y[:, :3], z[:, :3])
    assert not torch.equal(y[:, 3:], z[:, 3:])


def test_dropout_draws_masks_of_its_own_and_goes_back_through_them():
    torch.manual_seed(0)
    module = randomised(lamp.MultiheadAttention(E, H, dropout=0.5, batch_first=True).double())
    x = drawn(B, L, E)
    dy = drawn(B, L, E)
    found = []
    for _ in range(2):
        found.append(module(x, x, x)[0])
        module.backward(dy, None)
    assert not torch.equal(*found)
    direction = drawn(B, L, E)

    def loss(step):
        module.step = 0
        value = float((module(x + step * direction, x, x)[0] * dy).sum())
        return value, module.backward(dy, None)[0]

    slope = (loss(1e-5)[0] - loss(-1e-5)[0]) / 2e-5
    dquery = loss(0.0)[1]
    assert float((dquery * direction).sum()) == pytest.approx(slope, rel=1e-7)
    module.eval()
    assert torch.equal(module(x, x, x)[0], module(x, x, x)[0])


# ---- conversion and state --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", KINDS)
def test_conversion_both_ways(name, tmp_path):
    torch.manual_seed(0)
    module = randomised(KINDS[name]().double().eval())
    twin = lamp.to_torch(module)
    back = lamp.from_torch(twin)
    assert list(module.state_dict()) == list(twin.state_dict()) == list(back.state_dict())
    assert not twin.training
    given = inputs_of(name)
    if name.startswith("attention"):
        given = given if "three" in name else (given[0],) * 3
    for other in (back,):
        one, two = module(*given), other(*given)
        one, two = (each[0] if isinstance(each, tuple) else each for each in (one, two))
        assert torch.equal(one, two)
    lamp.save(module, tmp_path / "module.safetensors")
    fresh = KINDS[name]().double()
    lamp.load(fresh, tmp_path / "module.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), module.state_dict().values(), strict=True)
    )


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", ["attention", "attention of three sizes", "an encoder layer", "a transformer"])
def test_initial_weights_are_torchs(name):
    kinds = {"attention": "MultiheadAttention", "an encoder layer": "TransformerEncoderLayer"}
    torch.manual_seed(3)
    if name == "attention of three sizes":
        own = lamp.MultiheadAttention(E, H, kdim=3, vdim=4, add_bias_kv=True)
        torch.manual_seed(3)
        other = torch.nn.MultiheadAttention(E, H, kdim=3, vdim=4, add_bias_kv=True)
    elif name == "a transformer":
        own = lamp.Transformer(E, H, 2, 1, 8)
        torch.manual_seed(3)
        other = torch.nn.Transformer(E, H, 2, 1, 8)
    else:
        own = getattr(lamp, kinds[name])(E, H)
        torch.manual_seed(3)
        other = getattr(torch.nn, kinds[name])(E, H)
    for (key, mine), theirs in zip(own.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), key


# ---- training --------------------------------------------------------------------------------------------------------
class Tokens(lamp.Module):
    """A causal transformer over characters: embedding, one layer, scores."""

    def __init__(self, symbols, length):
        self.table, self.place = lamp.Embedding(symbols, 16), lamp.Embedding(length, 16)
        self.layer = lamp.TransformerEncoderLayer(16, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
        self.scores = lamp.Linear(16, symbols)

    def forward(self, x):
        places = torch.arange(x.shape[-1]).expand(x.shape)
        mask = lamp.Transformer.generate_square_subsequent_mask(x.shape[-1])
        return self.scores(self.layer(self.table(x) + self.place(places), mask, None, True)).movedim(-1, -2)

    def backward(self, dy):
        d = self.layer.backward(self.scores.backward(dy.movedim(-1, -2)))
        self.table.backward(d)
        self.place.backward(d)


def test_a_transformer_learns_to_repeat():
    torch.manual_seed(0)
    model = Tokens(4, 8)
    x = torch.randint(0, 4, (64, 4)).repeat(1, 2)
    data = (x[:, :-1], x[:, 1:])
    optimizer = lamp.AdamW(model.parameters(), lr=0.01)
    history = lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, data, epochs=30, batch_size=16)
    assert history.engine == "eager"
    assert history["loss"][-1] < 0.75 * history["loss"][0]


# ---- errors ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: lamp.MultiheadAttention(6, 4), lamp.ArgumentError, "num_heads"),
        (lambda: lamp.MultiheadAttention(6, 2, dropout=1.5), lamp.ArgumentError, "dropout"),
        (lambda: lamp.MultiheadAttention(6, 2)(*[torch.ones(3, 2, 5)] * 3), lamp.ShapeError, "6"),
        (
            lambda: lamp.MultiheadAttention(6, 2)(torch.ones(3, 2, 6), *[torch.ones(3, 1, 6)] * 2),
            lamp.ShapeError,
            "batch",
        ),
        (
            lambda: lamp.MultiheadAttention(6, 2)(*[torch.ones(3, 2, 6)] * 3, attn_mask=torch.ones(2, 2).bool()),
            lamp.ShapeError,
            "attn_mask",
        ),
        (
            lambda: lamp.MultiheadAttention(6, 2)(*[torch.ones(3, 2, 6)] * 3, key_padding_mask=torch.ones(2, 3).int()),
            lamp.DTypeError,
            "key_padding_mask",
        ),
        (lambda: lamp.MultiheadAttention(6, 2)(*[torch.ones(3, 2, 6)] * 3, is_causal=True), lamp.ArgumentError, "mask"),
        (lambda: lamp.MultiheadAttention(6, 2)(*[torch.ones(3, 6).double()] * 3), lamp.DTypeError, "float64"),
        (lambda: lamp.TransformerEncoderLayer(6, 2, activation="tanh"), lamp.ArgumentError, "activation"),
        (lambda: lamp.TransformerEncoder(lamp.Linear, 2), lamp.ArgumentError, "instance"),
        (lambda: lamp.TransformerEncoder(lamp.TransformerEncoderLayer(6, 2), 0), lamp.ArgumentError, "num_layers"),
    ],
)
def test_what_does_not_fit_is_told(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call()
    assert caught.value.fix


# ---- any shape and options -------------------------------------------------------------------------------------------
@given(
    heads=st.integers(1, 3), size=st.integers(1, 3), queries=st.integers(1, 4), keys=st.integers(1, 4),
    batch=st.sampled_from([None, 1, 3]), first=st.booleans(), bias=st.booleans(), extra=st.booleans(),
    zero=st.booleans(), kdim=st.sampled_from([None, 2, 5]), vdim=st.sampled_from([None, 3]), average=st.booleans(),
    masks=st.sampled_from(["", "padding", "attention", "per head", "both"]), numbers=st.booleans(),
    weights=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_shape_and_options(
    heads, size, queries, keys, batch, first, bias, extra, zero, kdim, vdim, average, masks, numbers, weights, seed
):
    torch.manual_seed(seed)
    features = heads * size
    options = {"bias": bias, "add_bias_kv": extra, "add_zero_attn": zero, "kdim": kdim, "vdim": vdim}
    twin = torch.nn.MultiheadAttention(features, heads, batch_first=first, **options).double()
    for each in twin.parameters():
        torch.nn.init.normal_(each)
    module = lamp.MultiheadAttention(features, heads, batch_first=first, **options).double()
    module.load_state_dict(twin.state_dict())

    def sequence(length, width):
        axes = (length,) if batch is None else (batch, length) if first else (length, batch)
        return drawn(*axes, width)

    given_to = (sequence(queries, features), sequence(keys, kdim or features), sequence(keys, vdim or features))
    lead = () if batch is None else (batch,)
    padding = torch.rand(*lead, keys) > 0.6
    attention = torch.rand(*((batch or 1) * heads,) * (masks == "per head"), queries, keys) > 0.6
    padding[..., 0] = attention[..., 0] = False  # somewhere to look at
    if numbers:
        padding, attention = (torch.where(each, -1.5, 0.0).to(D) for each in (padding, attention))
    called = {"need_weights": weights, "average_attn_weights": average}
    called |= {"key_padding_mask": padding} if masks in ("padding", "both") else {}
    called |= {"attn_mask": attention} if masks in ("attention", "per head", "both") else {}
    leaves = [each.clone().requires_grad_() for each in given_to]
    expected = [each for each in twin(*leaves, **called) if each is not None]
    found = module(*given_to, **called)
    assert (found[1] is None) == (not weights)
    upstream = [torch.randn_like(each) for each in expected]
    wanted = torch.autograd.grad(expected, [*leaves, *twin.parameters()], upstream, allow_unused=True)
    gradients = module.backward(*upstream)
    own = [*(each for each in found if each is not None), *gradients, *(p.grad for p in module.parameters())]
    for one, other in zip(own, [each.detach() for each in (*expected, *wanted)], strict=True):
        assert float((one - other).abs().max()) < 1e-10 * (1.0 + float(other.abs().max()))
