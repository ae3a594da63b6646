"""Embedding: options, bad indices, populations and trainings on token indices."""

from typing import Any

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import ArgumentError, DTypeError, MissingIndexError

D = torch.float64


def test_from_pretrained_copies_and_freezes():
    table = torch.randn(5, 3)
    embedding, twin = lamp.Embedding.from_pretrained(table), torch.nn.Embedding.from_pretrained(table)
    assert repr(embedding) == repr(twin)
    assert not embedding.weight.requires_grad
    table.zero_()
    assert embedding.weight.data.any()
    x = torch.tensor([[1, 4], [4, 4]])
    y = embedding(x)
    embedding.backward(torch.ones_like(y))
    assert not embedding.weight.grad.any()
    thawed = lamp.Embedding.from_pretrained(torch.ones(5, 3), freeze=False)
    thawed(x)
    thawed.backward(torch.ones(2, 2, 3))
    assert thawed.weight.grad[4].tolist() == [3.0, 3.0, 3.0]


def test_pretrained_rows_are_those_of_all_replicas():
    table = torch.randn(5, 3)
    networks = lamp.population(
        lamp.Sequential(lamp.Embedding.from_pretrained(table), lamp.Linear(3, 2)), seeds=range(3)
    )
    assert all(torch.equal(network[0].weight.data, table) for network in networks)
    assert not torch.equal(networks[0][1].weight.data, networks[1][1].weight.data)


@pytest.mark.parametrize("wrong", [[7], [-1], [0, 3, 9]])
@pytest.mark.parametrize("options", [{}, {"max_norm": 1.0}])
def test_an_index_outside_the_table(wrong, options):
    embedding = lamp.Embedding(7, 3, **options)
    with pytest.raises(MissingIndexError, match="no row with this index") as caught:
        embedding(torch.tensor(wrong))
    assert str(wrong[-1]) in str(caught.value)
    networks = lamp.population(lamp.Sequential(embedding), seeds=range(2))
    for x in (torch.tensor(wrong), networks.per_replica(torch.tensor([wrong, [0] * len(wrong)]))):
        with pytest.raises(MissingIndexError, match=r"Population\.network\.0: Embedding"):
            networks(x)


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(3, dtype=torch.bool), torch.zeros(3, dtype=torch.int8)])
def test_an_input_that_is_not_indices(wrong):
    with pytest.raises(DTypeError, match="by index"):
        lamp.Embedding(7, 3)(wrong)
    with pytest.raises(DTypeError, match="tensor of indices"):
        lamp.Embedding(7, 3)([1, 2])


def test_int32_indices_and_none_at_all():
    embedding = lamp.Embedding(7, 3)
    x = torch.tensor([1, 5])
    assert torch.equal(embedding(x.int()), embedding(x))
    assert embedding(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 3)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.2}),
        ("SparseAdam", {"lr": 0.1}),
    ],
)
@pytest.mark.parametrize("bag", [False, True])
def test_sparse_tables_are_trained_as_in_torch(kind, options, bag):
    """Rows that are looked up in some steps, twice in one, or never; the padding row too."""
    torch.manual_seed(1)
    twin = (torch.nn.EmbeddingBag if bag else torch.nn.Embedding)(11, 3, padding_idx=2, sparse=True).double()
    module: Any = lamp.from_torch(twin)
    assert module.sparse
    assert "sparse=True" in repr(module)
    assert lamp.to_torch(module).sparse
    theirs = getattr(torch.optim, kind)(twin.parameters(), **options)
    own = getattr(lamp, kind)(module.parameters(), **options)
    for _ in range(6):
        x = torch.randint(8, (4, 5))
        y = twin(x)
        dy = torch.randn_like(y)
        theirs.zero_grad()
        y.backward(dy)
        theirs.step()
        own.zero_grad()
        module(x)
        module.backward(dy)
        torch.testing.assert_close(module.weight.grad, twin.weight.grad.to_dense(), rtol=1e-12, atol=1e-14)
        own.step()
        torch.testing.assert_close(module.weight.data, twin.weight.detach(), rtol=1e-12, atol=1e-14)


def test_the_largest_of_a_bag_has_no_sparse_gradient():
    with pytest.raises(ArgumentError, match="sparse=False"):
        lamp.EmbeddingBag(7, 3, mode="max", sparse=True)


def test_max_norm_writes_only_where_a_row_is_too_long():
    embedding = lamp.Embedding(7, 3, max_norm=100.0)
    x = torch.tensor([1, 5])
    embedding(x)
    before = embedding.weight.data._version
    embedding(x)
    assert embedding.weight.data._version == before


def test_the_gradient_checker_takes_indices():
    model = lamp.Sequential(lamp.Embedding(7, 3), lamp.Flatten(), lamp.Linear(12, 2))
    lamp.check_gradients(model, torch.randint(7, (5, 4)))


# ---- trainings -------------------------------------------------------------------------------------------------------
def network():
    return lamp.Sequential(lamp.Embedding(6, 4), lamp.Flatten(), lamp.Linear(12, 6), lamp.Tanh(), lamp.Linear(6, 3))


def tokens_and_labels(n=40):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(6, (n, 3), generator=generator)
    return tokens, tokens.sum(1) % 3


def trained(model, **options):
    data = tokens_and_labels()
    optimizer = lamp.Adam(model.parameters(), lr=0.02)
    return lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, data, epochs=3, batch_size=8, seed=1, **options)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_fit_is_the_loop_of_torch(engine):
    model = network().double()
    twin = lamp.to_torch(model)
    trained(model, shuffle=False, engine=engine)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.02)
    x, y = tokens_and_labels()
    for _ in range(3):
        for k in range(0, 40, 8):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(twin(x[k : k + 8]), y[k : k + 8]).backward()
            optimizer.step()
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.data, other.detach(), rtol=1e-10, atol=1e-12)


def test_a_population_trains_as_its_networks_would():
    networks = lamp.population(network().double(), seeds=range(3))
    trained(networks, metrics="accuracy", validation=0.2)
    for k in range(3):
        torch.manual_seed(k)
        single = network().double()
        single.reset_parameters(generator=torch.Generator().manual_seed(k))
        trained(single, metrics="accuracy", validation=0.2)
        for own, of_all in zip(single.parameters(), networks.parameters(), strict=True):
            torch.testing.assert_close(own.data, of_all.data[k], rtol=1e-10, atol=1e-12)


def test_data_per_replica():
    networks = lamp.population(network(), seeds=range(2))
    x, y = tokens_and_labels(16)
    both = lamp.per_replica(torch.stack([x, x.flip(0)])), lamp.per_replica(torch.stack([y, y.flip(0)]))
    optimizer = lamp.Adam(networks.parameters(), lr=0.02)
    lamp.fit(networks, lamp.CrossEntropyLoss(), optimizer, [both], epochs=2)
    alone = networks[1]
    torch.testing.assert_close(lamp.predict(alone, x), lamp.predict(networks, x)[1])


@pytest.mark.parametrize("form", [torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.int], ids=str)
def test_tokens_in_other_forms(form):
    model, (x, y) = network(), tokens_and_labels()
    expected = lamp.predict(model, x)
    assert torch.equal(lamp.predict(model, form(x)), expected)
    optimizer = lamp.Adam(model.parameters(), lr=0.02)
    given = form(x) if not isinstance(form(x), list) else np.asarray(form(x))
    lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (given, y), epochs=1, batch_size=8)


def test_resume(tmp_path):
    whole, part = network(), network()
    part.load_state_dict(whole.state_dict())
    trained(whole)
    data = tokens_and_labels()
    for epochs in (1, 3):
        optimizer = lamp.Adam(part.parameters(), lr=0.02)
        lamp.fit(
            part,
            lamp.CrossEntropyLoss(),
            optimizer,
            data,
            epochs=epochs,
            batch_size=8,
            seed=1,
            checkpoint=tmp_path / "run",
            resume=epochs > 1,
        )
    assert all(torch.equal(a.data, b.data) for a, b in zip(whole.parameters(), part.parameters(), strict=True))


# ---- files -----------------------------------------------------------------------------------------------------------
def test_a_population_in_a_file(tmp_path):
    import onnxruntime

    networks = lamp.population(network(), seeds=range(3))
    x = tokens_and_labels()[0]
    path = lamp.to_onnx(networks, tmp_path / "network.onnx", input_shape=(3,))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(int64)"
    (y,) = session.run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), lamp.predict(networks, x).mean(0), rtol=1e-5, atol=1e-6)
    path = lamp.to_python(networks, tmp_path / "network.py", input_shape=(3,))
    space = {}
    exec(path.read_text(), space)
    torch.testing.assert_close(torch.from_numpy(space["predict"](x.numpy())), torch.from_numpy(y), rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="integers"):
        space["predict"](x.numpy() + 0.5)


def test_indices_are_not_scaled(tmp_path):
    with pytest.raises(ArgumentError, match="indices"):
        lamp.to_onnx(network(), tmp_path / "network.onnx", input_shape=(3,), input_scaling=(0.0, 2.0))
