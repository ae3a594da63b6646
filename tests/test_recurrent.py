"""RNN, LSTM and GRU: packed sequences, dropout between layers, states, populations, and a model of characters."""

import gc
import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.nn.utils import rnn as torch_rnn

import lamp
from lamp.errors import ArgumentError, DataError, ShapeError, TrainingWarning
from tests.cases.module_case import error

D = torch.float64
KINDS = ["RNN", "LSTM", "GRU"]


def pair(kind, *args, **options):
    twin = getattr(torch.nn, kind)(*args, dtype=D, **options)
    module = getattr(lamp, kind)(*args, **options).double()
    module.load_state_dict(twin.state_dict())
    return module, twin


def tensors(state):
    return state if isinstance(state, tuple) else (state,)


OPTIONS = list(itertools.product((1, 2), (False, True), (False, True)))


@pytest.mark.parametrize("own", [True, False], ids=["lamp's", "torch's"])
@pytest.mark.parametrize(("layers", "both", "sort"), OPTIONS)
@pytest.mark.parametrize("kind", [*KINDS, "projected LSTM"])
def test_packed_sequences(kind, layers, both, sort, own):
    options = {"proj_size": 2} if " " in kind else {}
    module, twin = pair(kind.split()[-1], 3, 5, layers, bidirectional=both, **options)
    lengths = torch.tensor([4, 4, 2, 1] if sort else [2, 4, 1, 4])
    packing = lamp.nn if own else torch_rnn
    x = packing.pack_padded_sequence(torch.randn(4, 4, 3, dtype=D), lengths, enforce_sorted=sort)
    data = x.data.clone().requires_grad_()
    given = torch_rnn.PackedSequence(data, *x[1:])
    start = [
        torch.randn(layers * (1 + both), 4, n, dtype=D) for n in ([2, 5] if options else [5] * (1 + ("LSTM" in kind)))
    ]
    theirs = [each.clone().requires_grad_() for each in start]
    y, last = module(x, tuple(start) if len(start) > 1 else start[0])
    expected, ends = twin(given, tuple(theirs) if len(theirs) > 1 else theirs[0])
    assert type(y) is type(x)
    assert torch.equal(y.batch_sizes, x.batch_sizes)
    dy, dends = torch.randn_like(expected.data), [torch.randn_like(each) for each in tensors(ends)]
    dx, dstart = module.backward(type(x)(dy, *x[1:]), tuple(dends) if len(dends) > 1 else dends[0])
    wanted = torch.autograd.grad([expected.data, *tensors(ends)], [data, *theirs, *twin.parameters()], [dy, *dends])
    found = [y.data, *tensors(last), dx.data, *tensors(dstart), *(p.grad for p in module.parameters())]
    for one, other in zip(found, [expected.data, *tensors(ends), *wanted], strict=True):
        assert error(one, other.detach()) < 1e-11


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_in_a_population(kind):
    networks = lamp.population(getattr(lamp, kind)(3, 4, 2, bidirectional=True).double(), seeds=range(3))
    x = lamp.nn.pack_sequence([torch.randn(n, 3, dtype=D) for n in (2, 5, 3)], enforce_sorted=False)
    y, last = networks(x)
    dy = torch.randn_like(y.data)
    networks.backward((x._replace(data=dy), None))
    for k in range(3):
        single = networks[k]
        one, end = single(x)
        assert error(y.data[k], one.data) < 1e-12
        assert all(error(a[k], b) < 1e-12 for a, b in zip(tensors(last), tensors(end), strict=True))
        single.zero_grad()
        single.backward((x._replace(data=dy[k]), None))
        assert all(
            error(p.grad[k], q.grad) < 1e-11 for p, q in zip(networks.parameters(), single.parameters(), strict=True)
        )


# ---- dropout between layers ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_that_of_a_layer_between(kind):
    torch.manual_seed(1)
    whole = getattr(lamp, kind)(3, 4, 2, dropout=0.5).double()
    first, second = (getattr(lamp, kind)(n, 4).double() for n in (3, 4))
    state = whole.state_dict()
    for layer, module in enumerate((first, second)):
        module.load_state_dict({name: state[name.replace("l0", f"l{layer}")] for name in module.state_dict()})
    dropout = lamp.Dropout(0.5)
    whole.seed = dropout.seed = 7
    x = torch.randn(6, 5, 3, dtype=D)
    for _ in range(2):
        y, _ = whole(x)
        expected, _ = second(dropout(first(x)[0]))
        assert error(y, expected) < 1e-12
        dy = torch.randn_like(y)
        found = whole.backward(dy)
        dx = first.backward(dropout.backward(second.backward(dy)))
        assert error(found, dx) < 1e-11
    assert whole.step == 2
    assert torch.equal(whole.eval()(x)[0], whole(x)[0])


def test_replicas_draw_masks_of_their_own():
    networks = lamp.population(lamp.LSTM(3, 4, 2, dropout=0.5).double(), seeds=range(3))
    x = torch.randn(6, 5, 3, dtype=D)
    networks(x)
    singles = [networks[k] for k in range(3)]
    y, _ = networks(x)
    for k, single in enumerate(singles):
        assert error(single(x)[0], y[k]) < 1e-12


def test_dropout_of_one_layer_is_told():
    with pytest.warns(TrainingWarning, match="between layers"):
        lamp.GRU(3, 4, dropout=0.5)


# ---- states ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_carried_on_from_batch_to_batch(kind):
    """Truncated backpropagation: as in torch with the state detached, and no pass stays behind."""
    module, twin = pair(kind, 3, 4, batch_first=True)
    state = theirs = None
    text = torch.randn(2, 12, 3, dtype=D)
    for k in range(0, 12, 3):
        piece, dy = text[:, k : k + 3], torch.randn(2, 3, 4, dtype=D)
        y, state = module(piece, state)
        module.zero_grad()
        module.backward(dy)
        twin.zero_grad()
        expected, theirs = twin(piece, theirs)
        expected.backward(dy)
        theirs = tuple(each.detach() for each in tensors(theirs))
        theirs = theirs if len(theirs) > 1 else theirs[0]
        assert error(y, expected.detach()) < 1e-12
        assert all(error(p.grad, q.grad) < 1e-11 for p, q in zip(module.parameters(), twin.parameters(), strict=True))
    del y
    gc.collect()
    passes = [each for each in gc.get_objects() if type(each).__name__ == "Pass" and each.root is module]
    assert len(passes) <= 2
    assert not any(each.memory and any(each.memory.values()) for each in passes)


def test_a_sequence_in_pieces_gives_the_same_outputs():
    module, _ = pair("LSTM", 3, 4, 2)
    x = torch.randn(7, 2, 3, dtype=D)
    whole, end = module(x)
    first, state = module(x[:3])
    second, last = module(x[3:], state)
    assert error(torch.cat([first, second]), whole) < 1e-12
    assert all(error(a, b) < 1e-12 for a, b in zip(last, end, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_of_the_last_state_alone(kind):
    module, twin = pair(kind, 3, 4, 2)
    x = torch.randn(5, 2, 3, dtype=D)
    _, last = module(x)
    _, ends = twin(x)
    dends = [torch.randn_like(each) for each in tensors(last)]
    dx = module.backward(None, tuple(dends) if len(dends) > 1 else dends[0])
    wanted = torch.autograd.grad(tensors(ends), list(twin.parameters()), dends)
    assert dx.shape == x.shape
    assert all(error(p.grad, q) < 1e-11 for p, q in zip(module.parameters(), wanted, strict=True))


@pytest.mark.parametrize("kind", [*KINDS, "RNNCell", "LSTMCell", "GRUCell"])
def test_what_does_not_fit(kind):
    module = getattr(lamp, kind)(3, 4)
    x = torch.randn(6, 3) if "Cell" in kind else torch.randn(5, 6, 3)
    with pytest.raises(ShapeError, match=rf"{kind}\(3, 4\)"):
        module(x[..., :2])
    with pytest.raises(ShapeError, match="state does not fit"):
        module(x, torch.randn(9, 9))
    with pytest.raises(ShapeError):
        module(x[None, None])
    with pytest.raises(lamp.DTypeError):
        module(x.double())
    y = module(x)
    with pytest.raises(ShapeError, match="gradient"):
        module.backward(torch.ones(2, 2))
    assert y is not None


# ---- padding and packing ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch_first", [True, False])
def test_packing_is_that_of_torch(batch_first):
    sequences = [torch.randn(n, 2) for n in (3, 1, 4, 3)]
    for side in ("left", "right"):
        one, other = (p.pad_sequence(sequences, batch_first, 7.0, side) for p in (lamp.nn, torch_rnn))
        assert torch.equal(one, other)
    padded, lengths = lamp.nn.pad_sequence(sequences, batch_first), torch.tensor([3, 1, 4, 3])
    own = lamp.nn.pack_padded_sequence(padded, lengths, batch_first, enforce_sorted=False)
    theirs = torch_rnn.pack_padded_sequence(padded, lengths, batch_first, enforce_sorted=False)
    again = lamp.nn.pad_packed_sequence(own, batch_first, -1.0, 6)
    expected = torch_rnn.pad_packed_sequence(theirs, batch_first, -1.0, 6)
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
    assert torch.equal(own.batch_sizes, theirs.batch_sizes)
    for back in (lamp.nn.unpack_sequence(own), lamp.nn.unpad_sequence(padded, lengths, batch_first)):
        assert all(torch.equal(a, b) for a, b in zip(back, sequences, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(lamp.nn.unpack_sequence(theirs), sequences, strict=True))


def test_packing_that_does_not_fit():
    x = torch.randn(4, 3, 2)
    for wrong in ([1, 2, 3], [5, 1, 1], [0, 0, 0], [1, 1], [1.0, 1.0, 1.0], "abc"):
        with pytest.raises(ArgumentError):
            lamp.nn.pack_padded_sequence(x, wrong)
    with pytest.raises(ShapeError):
        lamp.nn.pack_padded_sequence(torch.randn(3), [1])
    for wrong in ([], 3, [1, 2], [torch.zeros(2), torch.zeros(2, 2)]):
        with pytest.raises(DataError):
            lamp.nn.pad_sequence(wrong)
    with pytest.raises(ArgumentError):
        lamp.nn.pad_packed_sequence(x)


# ---- a model of characters -------------------------------------------------------------------------------------------
class Characters(lamp.Container):
    """The next character after each character of a text."""

    def __init__(self, kind, both=False):
        self.embedding = lamp.Embedding(5, 3)
        self.layer = getattr(lamp, kind)(3, 6, 2, batch_first=True, dropout=0.2, bidirectional=both)
        self.head = lamp.Linear(12 if both else 6, 5)

    def forward(self, input):
        y, _ = self.layer(self.embedding(input))
        return self.head(y).transpose(1, -1) if input.dim() == 2 else self.head(y).transpose(-2, -1)

    def backward(self, dy):
        self.embedding.backward(self.layer.backward(self.head.backward(dy.transpose(-2, -1))))

    takes_replicas = True


@pytest.mark.parametrize("kind", KINDS)
def test_fit_learns_what_comes_next(kind):
    text = torch.arange(400) % 5
    x, y = text[:-1][: 399 // 7 * 7].view(-1, 7), text[1:][: 399 // 7 * 7].view(-1, 7)
    networks = lamp.population(Characters(kind), seeds=range(2))
    optimizer = lamp.Adam(networks.parameters(), lr=0.03)
    history = lamp.fit(networks, lamp.CrossEntropyLoss(), optimizer, (x, y), epochs=12, batch_size=16, progress=False)
    assert history.engine == "eager"
    assert float(history["loss"][-1].max()) < 0.3
    assert lamp.predict(networks, x).shape == (2, len(x), 5, 7)


# ---- any shape and options -------------------------------------------------------------------------------------------
@given(
    kind=st.sampled_from([*KINDS, "relu"]), layers=st.integers(1, 3), both=st.booleans(), bias=st.booleans(),
    projected=st.booleans(), form=st.sampled_from(["steps first", "batch first", "one", "packed", "packed in order"]),
    steps=st.integers(1, 4), batch=st.integers(1, 3), inputs=st.integers(1, 3), hidden=st.integers(1, 4),
    state=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_shape_and_options(kind, layers, both, bias, projected, form, steps, batch, inputs, hidden, state, seed):
    torch.manual_seed(seed)
    options = {"bidirectional": both, "bias": bias, "batch_first": form == "batch first", "dropout": 0.0}
    if kind == "relu":
        options["nonlinearity"] = "relu"
    if kind == "LSTM" and projected and hidden > 1:
        options["proj_size"] = hidden - 1
    module, twin = pair("RNN" if kind == "relu" else kind, inputs, hidden, layers, **options)
    lead = {"batch first": (batch, steps), "one": (steps,)}.get(form, (steps, batch))
    x = torch.randn(*lead, inputs, dtype=D)
    if form.startswith("packed"):
        lengths = torch.randint(1, steps + 1, (batch,))
        lengths[0] = steps
        lengths = lengths.sort(descending=True).values if "order" in form else lengths.flip(0)
        x = torch_rnn.pack_padded_sequence(x, lengths, enforce_sorted="order" in form)
    data = (x.data if form.startswith("packed") else x).clone().requires_grad_()
    given_to_twin = torch_rnn.PackedSequence(data, *x[1:]) if form.startswith("packed") else data
    out = options.get("proj_size", hidden)
    sizes = [out, hidden] if kind == "LSTM" else [out]
    axes = (layers * (1 + both), batch)[: 1 if form == "one" else 2]
    first = [torch.randn(*axes, n, dtype=D) for n in sizes]
    leaves = [each.clone().requires_grad_() for each in first]
    given_state, their_state = (tuple(each) if len(each) > 1 else each[0] for each in (first, leaves))
    y, last = module(x, given_state) if state else module(x)
    expected, ends = twin(given_to_twin, their_state) if state else twin(given_to_twin)
    found, wanted = (each.data if form.startswith("packed") else each for each in (y, expected))
    dy, dlast = torch.randn_like(wanted), [torch.randn_like(each) for each in tensors(ends)]
    upstream = y._replace(data=dy) if form.startswith("packed") else dy
    back = module.backward(upstream, tuple(dlast) if len(dlast) > 1 else dlast[0])
    dx, dfirst = back if state else (back, ())
    variables = [data, *(leaves if state else []), *twin.parameters()]
    gradients = torch.autograd.grad(
        [expected.data if form.startswith("packed") else expected, *tensors(ends)], variables, [dy, *dlast]
    )
    own = [
        dx.data if form.startswith("packed") else dx,
        *(tensors(dfirst) if state else ()),
        *(p.grad for p in module.parameters()),
    ]
    pairs = [
        (found, wanted.detach()),
        *zip(tensors(last), tensors(ends), strict=True),
        *zip(own, gradients, strict=True),
    ]
    for one, other in pairs:
        assert error(one, other.detach()) < 1e-10


@given(
    kind=st.sampled_from(KINDS), inputs=st.integers(1, 3), hidden=st.integers(1, 4),
    batch=st.sampled_from([None, 1, 3]), bias=st.booleans(), state=st.booleans(),
)  # fmt: skip
def test_cells_of_any_shape(kind, inputs, hidden, batch, bias, state):
    module, twin = pair(f"{kind}Cell", inputs, hidden, bias)
    lead = () if batch is None else (batch,)
    x, first = (
        torch.randn(*lead, inputs, dtype=D),
        [torch.randn(*lead, hidden, dtype=D) for _ in range(1 + (kind == "LSTM"))],
    )
    leaves = [each.clone().requires_grad_() for each in (x, *first)]
    mine, theirs = (tuple(each) if len(each) > 1 else each[0] for each in (first, leaves[1:]))
    y = tensors(module(x, mine) if state else module(x))
    expected = tensors(twin(leaves[0], theirs) if state else twin(leaves[0]))
    dy = [torch.randn_like(each) for each in expected]
    back = module.backward(*dy)
    dx, *dfirst = [back[0], *tensors(back[1])] if state else [back]
    variables = [*(leaves if state else leaves[:1]), *twin.parameters()]
    gradients = torch.autograd.grad(expected, variables, dy)
    own = [*y, dx, *dfirst, *(p.grad for p in module.parameters())]
    for one, other in zip(own, [*expected, *gradients], strict=True):
        assert error(one, other.detach()) < 1e-11
