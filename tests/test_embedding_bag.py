"""EmbeddingBag: bags of different sizes, weights and padding, beside torch.nn."""

import pytest
import torch

import lamp
from tests.cases.module_case import error

D = torch.float64
OFFSETS = torch.tensor([0, 3, 3, 7])  # the second bag is empty


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_different_sizes(mode, padding, last):
    twin = torch.nn.EmbeddingBag(6, 3, mode=mode, padding_idx=padding, include_last_offset=last, dtype=D)
    module = lamp.EmbeddingBag(6, 3, mode=mode, padding_idx=padding, include_last_offset=last).double()
    module.load_state_dict(twin.state_dict())
    assert repr(module) == repr(twin)
    x, offsets = torch.tensor([2, 2, 1, 5, 0, 2, 5, 2, 2]), OFFSETS
    offsets = torch.cat([offsets, torch.tensor([9])]) if last else offsets
    y, expected = module(x, offsets), twin(x, offsets)
    assert error(y, expected.detach()) < 1e-12
    dy = torch.randn_like(y)
    assert module.backward(dy) is None
    (wanted,) = torch.autograd.grad(expected, twin.weight, dy)
    assert error(module.weight.grad, wanted) < 1e-12


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("flat", [True, False])
def test_weights(flat, padding):
    twin = torch.nn.EmbeddingBag(6, 3, mode="sum", padding_idx=padding, dtype=D)
    torch.nn.init.normal_(twin.weight)  # in the row of the padding, too
    module = lamp.EmbeddingBag(6, 3, mode="sum", padding_idx=padding).double()
    module.load_state_dict(twin.state_dict())
    x = torch.randint(6, (9,) if flat else (3, 4))
    w = torch.randn(x.shape, dtype=D)
    given = w.clone().requires_grad_()
    offsets = OFFSETS if flat else None
    y, expected = module(x, offsets, w), twin(x, offsets, given)
    assert error(y, expected.detach()) < 1e-12
    dy = torch.randn_like(y)
    _, _, dw = module.backward(dy)
    wanted = torch.autograd.grad(expected, [given, twin.weight], dy)
    assert error(dw, wanted[0]) < 1e-12
    assert error(module.weight.grad, wanted[1]) < 1e-12


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_replicas_have_tables_and_bags_of_their_own(mode):
    networks = lamp.population(lamp.EmbeddingBag(6, 3, mode=mode, padding_idx=1).double(), seeds=range(3))
    x = torch.randint(6, (3, 9))
    offsets = torch.tensor([[0, 3, 3], [0, 1, 5], [0, 0, 0]])
    y = networks(networks.per_replica(x), networks.per_replica(offsets))
    dy = torch.randn_like(y)
    networks.backward(dy)
    for k in range(3):
        single = networks[k]
        assert error(y[k], single(x[k], offsets[k])) < 1e-12
        single.zero_grad()
        single.backward(dy[k])
        assert error(networks.parameters()[0].grad[k], single.weight.grad) < 1e-12


def test_what_does_not_fit():
    module, x = lamp.EmbeddingBag(6, 3), torch.tensor([1, 2, 5])
    for offsets in (None, torch.tensor([1, 2]), torch.tensor([0, 2, 1]), torch.tensor([0, 4]), torch.tensor([0.0])):
        with pytest.raises(lamp.LampError):
            module(x, offsets)
    with pytest.raises(lamp.ArgumentError, match="sums"):
        module(x, torch.tensor([0]), torch.ones(3))
    with pytest.raises(lamp.MissingIndexError):
        module(torch.tensor([[1, 6]]))
    with pytest.raises(lamp.ArgumentError, match="maximum"):
        lamp.EmbeddingBag(6, 3, mode="max", scale_grad_by_freq=True)
    table = torch.randn(4, 2)
    frozen = lamp.EmbeddingBag.from_pretrained(table, mode="sum")
    assert torch.equal(frozen(torch.tensor([[0, 3]])), (table[0] + table[3])[None])
    assert not frozen.weight.requires_grad


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_divided_by_how_often_an_index_occurs(mode):
    """torch divides by the counts of other indices here, so the numbers are counted by hand."""
    module = lamp.EmbeddingBag(4, 1, mode=mode, scale_grad_by_freq=True).double()
    module(torch.tensor([[0, 0, 1], [0, 2, 1]]))
    module.backward(torch.tensor([[6.0], [12.0]], dtype=D))
    wanted = torch.tensor([[(6.0 + 6.0 + 12.0) / 3], [(6.0 + 12.0) / 2], [12.0], [0.0]], dtype=D)
    assert error(module.weight.grad, wanted / (3 if mode == "mean" else 1)) < 1e-12
