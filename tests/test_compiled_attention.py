"""Attention, embeddings and values in another order compile, and train as with the eager engine."""

import importlib

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import lamp
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.compiler.rules.views import View
from tests.cases.attention import Attended, CausalTransformer, Crossed, Picked, Placed, Products, Repeated, Turned
from tests.cases.compiled import both, lanes
from tests.test_compiled_windows import trained_alike

character_gpt = importlib.import_module("examples.character_gpt")

CAUSAL = torch.ones(5, 5).triu(1).bool()
BLIND = CAUSAL.clone()
BLIND[2] = True
SOME = torch.linspace(-1, 1, 25).view(5, 5)


def layer(*sizes, **options):
    return lamp.TransformerEncoderLayer(*sizes, batch_first=True, **options)


SHAPE = (5, 6)
NETWORKS = {
    "one head": lambda: [Attended(6, 1)],
    "three heads": lambda: [lamp.Linear(6, 6), Attended(6, 3), lamp.Tanh()],
    "without biases": lambda: [Attended(6, 2, bias=False)],
    "causal": lambda: [Attended(6, 2, CAUSAL), Attended(6, 3, CAUSAL)],
    "a place that may look nowhere": lambda: [Attended(6, 2, BLIND)],
    "numbers as a mask": lambda: [Attended(6, 2, SOME)],
    "a learned key and zeros": lambda: [Attended(6, 2, CAUSAL, add_bias_kv=True, add_zero_attn=True)],
    "dropout": lambda: [Attended(6, 2, dropout=0.3), lamp.Dropout(0.2)],
    "other keys": lambda: [Crossed(6, 2), lamp.Linear(6, 6), Crossed(6, 3, bias=False)],
    "keys of another width": lambda: [lamp.Linear(6, 6), Crossed(6, 2, 5)],
    "a layer, norm first": lambda: [layer(6, 2, 9, 0.0, norm_first=True)],
    "a layer, norm last": lambda: [layer(6, 3, 4, 0.2, "gelu")],
    "layers": lambda: [lamp.TransformerEncoder(layer(6, 1, 7, 0.1, norm_first=True), 2, lamp.LayerNorm(6))],
    "x x^T": lambda: [lamp.Linear(6, 3), Products(True, 0.3), lamp.Tanh()],
    "x^T x": lambda: [lamp.Linear(6, 3), lamp.Tanh(), Products(False)],
    "turned": lambda: [lamp.Linear(6, 3), lamp.GELU(), Turned(), lamp.Linear(5, 2), lamp.Dropout(0.3)],
    "the data turned": lambda: [Turned(), lamp.Linear(5, 2), Turned(), Turned()],
    "one place": lambda: [lamp.Linear(6, 3), lamp.GELU(), Picked(-2), lamp.Tanh()],
    "the last place of several users": lambda: [
        lamp.Linear(6, 3),
        lamp.Tanh(),
        lamp.Parallel(Picked(-1), Picked(0), lamp.Sequential(Turned(), Picked(1), lamp.Linear(5, 3))),
    ],
    "repeated": lambda: [Picked(0), lamp.Linear(6, 3), lamp.Softplus(), Repeated(2, 4), lamp.Linear(4, 2)],
    "constants": lambda: [Placed(5, 6), lamp.Tanh(), lamp.Linear(6, 4), Placed(5, 4), lamp.GELU()],
    "joined along features": lambda: [
        lamp.Parallel(lamp.Linear(6, 3), lamp.Sequential(lamp.Linear(6, 2), lamp.GELU()), combine="concat"),
        lamp.LayerNorm(5),
    ],
    "gates of features": lambda: [lamp.Linear(6, 8), lamp.GLU(), lamp.Dropout(0.2)],
    "gates of places": lambda: [Turned(), lamp.Linear(5, 4), lamp.GLU(1), lamp.GLU(), lamp.Tanh()],
    "channels in another order": lambda: [lamp.Unflatten(1, (5, 1)), lamp.ChannelShuffle(5), lamp.Conv2d(5, 2, 1)],
}


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, lanes() + 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_agree(name, count):
    """One network with several vectors of samples to a batch; and a vector of networks, with one that is left over."""
    batch = lanes() + 3 if count is None else 5
    trained_alike(SHAPE, NETWORKS[name], count, samples=2 * batch + 3, batch=batch)


@pytest.mark.compiled
@pytest.mark.parametrize(("count", "batch"), [(1, 4), (2, 7), (17, 5), (None, 1), (None, 2 * lanes() + 3)])
def test_any_number_of_networks_and_samples(count, batch):
    trained_alike(SHAPE, NETWORKS["a layer, norm last"], count, samples=2 * batch + 1, batch=batch)


@pytest.mark.compiled
def test_single_precision():
    trained_alike(SHAPE, NETWORKS["layers"], dtype=torch.float32)


# ---- indices ---------------------------------------------------------------------------------------------------------
def indices(*shape, rows=7):
    return torch.randint(rows, shape, generator=torch.Generator().manual_seed(2))


def trained_on_indices(make, x, y, count=None, batch=5, dtype=torch.float64, **options):
    return both(
        lambda: make().to(dtype),
        lamp.CrossEntropyLoss,
        lambda parameters: lamp.SGD(parameters, lr=0.05, momentum=0.5),
        (x, y),
        count=count,
        epochs=2,
        batch_size=batch,
        tolerance=1e-11 if dtype is torch.float64 else 2e-5,
        **options,
    )


OF_INDICES = {
    "a row of words": lambda: lamp.Sequential(lamp.Embedding(7, 3), lamp.Flatten(), lamp.Linear(12, 5)),
    "a word that is not learned": lambda: lamp.Sequential(
        lamp.Embedding(7, 3, padding_idx=2), lamp.Tanh(), lamp.Flatten(), lamp.Linear(12, 5)
    ),
    "the same table twice": lambda: lamp.Sequential(
        lamp.Parallel(table := lamp.Embedding(7, 3), table), lamp.Linear(3, 2), lamp.Flatten(), lamp.Linear(8, 5)
    ),
    "words in another order": lambda: lamp.Sequential(
        lamp.Embedding(7, 3), Turned(), lamp.Linear(4, 2), Turned(), Picked(1), lamp.Linear(3, 5)
    ),
}


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [None, 3, 17])
@pytest.mark.parametrize("name", OF_INDICES)
def test_embeddings(name, count, dtype):
    trained_on_indices(OF_INDICES[name], indices(13, 4), indices(13, rows=5), count, dtype=dtype)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 2, 17])
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "dropout": 0.1}], ids=str)
def test_a_causal_transformer(count, options):
    y = indices(11, 6)
    trained_on_indices(
        lambda: CausalTransformer(7, 2, 2, 8, 6, **options),
        indices(11, 6),
        y.masked_fill(y == 3, -100),
        count,
        batch=4,
        metrics={"accuracy": lamp.metrics.Accuracy()},
        validation=(indices(5, 6), indices(5, 6)),
    )


@pytest.mark.compiled
def test_the_example_of_a_gpt():
    """Its places stand before the batch; so do its masks of Dropout."""
    trained_on_indices(lambda: character_gpt.CharacterGPT(7, 2, 2, 8, 6), indices(11, 6), indices(11, 6))

    def dropping():
        model = character_gpt.CharacterGPT(7, 1, 2, 8, 6)
        for each in model.modules():
            if isinstance(each, lamp.Dropout):
                each.p = 0.3
            if isinstance(each, lamp.MultiheadAttention):
                each.dropout = 0.2
        return model

    trained_on_indices(dropping, indices(11, 6), indices(11, 6), batch=4)


WRONG = {
    "an index too large": lambda: indices(13, 4).index_fill(0, torch.tensor([0]), 7),
    "an index below 0": lambda: indices(13, 4).index_fill(0, torch.tensor([0]), -1),
    "numbers": lambda: torch.rand(13, 4, dtype=torch.float64),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_indices_get_the_eager_engines_error(name):
    told = []
    for engine in ("eager", "compiled"):
        model = OF_INDICES["a row of words"]().double()
        optimizer, data = lamp.SGD(model.parameters(), lr=0.1), (WRONG[name](), indices(13, rows=5))
        with pytest.raises(lamp.LampError) as error:
            lamp.fit(
                model, lamp.CrossEntropyLoss(), optimizer, data, epochs=1, batch_size=13, engine=engine, shuffle=False
            )
        told.append((type(error.value), str(error.value)))
    assert told[0] == told[1]


@pytest.mark.parametrize(("option", "value"), [("max_norm", 1.0), ("scale_grad_by_freq", True)])
def test_options_of_an_embedding_that_are_not_compiled(option, value):
    model = lamp.Sequential(lamp.Embedding(7, 3, **{option: value}), lamp.Flatten(), lamp.Linear(12, 5))
    with pytest.raises(NotCompiled, match=f"not compiled with {option}"):
        plan_of(model, shapes=((4,),))


# ---- passes ----------------------------------------------------------------------------------------------------------
def test_attention_copies_no_values():
    """Products read queries, keys and values where they lie, and store the heads' outputs side by side."""
    plan = plan_of(CausalTransformer(7, 1, 2, 8, 6, norm_first=True), shapes=((6,),))
    kinds = " ".join(stage.kind for stage in plan.stages)
    assert kinds == (
        "Input Constant Gather Add Standardise Norm Affine MatMul Softmax MatMul Affine Add "
        "Standardise Norm Affine Affine Add Standardise Norm Affine View"
    )


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@hypothesis.given(st.data(), SIZES)
def test_a_view_is_that_of_torch(data, sizes):
    x, view = torch.arange(1000)[: torch.Size(sizes).numel()].view(sizes), View.of(sizes)
    for _ in range(3):
        if len(x.shape) > 1 and data.draw(st.booleans()):
            axis = data.draw(st.integers(0, x.dim() - 1))
            place = data.draw(st.integers(0, x.shape[axis] - 1))
            x, view = x.select(axis, place), view.selected(axis, place)
        axes = data.draw(st.permutations(range(x.dim())))
        x, view = x.permute(axes), view.permuted(axes)
    shape = (2, *(3 if n == 1 else n for n in x.shape))
    x, view = x.expand(shape), view.expanded(shape)
    places = torch.cartesian_prod(*map(torch.arange, shape)).view(-1, len(shape))
    found = [view.first + sum(p * s for p, s in zip(each, view.strides, strict=True)) for each in places.tolist()]
    assert found == x.flatten().tolist()
    assert view.sizes == shape


def test_the_example_says_that_it_is_compiled():
    assert "not compiled" not in str(lamp.summary(character_gpt.CharacterGPT(7, 1, 2, 8, 6), indices(2, 6)))
