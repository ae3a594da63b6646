"""Large outputs of norms and activations are computed again in backward: the next module does not remember them."""

import copy

import pytest
import torch

import lamp
from lamp import passes
from lamp.nn.transformer import TransformerDecoderLayer, TransformerEncoderLayer

D = torch.float64


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch):
    monkeypatch.setattr(passes, "LARGE", 1)


ROWS = {
    "gelu": lambda: [lamp.Linear(6, 7), lamp.GELU(), lamp.Linear(7, 4)],
    "gelu by tanh": lambda: [lamp.Linear(6, 7), lamp.GELU("tanh"), lamp.Dropout(0.0), lamp.Linear(7, 4)],
    "norms": lambda: [lamp.LayerNorm(6), lamp.Linear(6, 5), lamp.RMSNorm(5), lamp.GELU(), lamp.Linear(5, 4)],
    "the last": lambda: [lamp.Sequential(lamp.Linear(6, 6), lamp.GELU()), lamp.Linear(6, 4), lamp.LayerNorm(4)],
    "branches": lambda: [lamp.GELU(), lamp.Parallel(lamp.Linear(6, 4), lamp.Sequential(lamp.Linear(6, 4)))],
    "residual": lambda: [lamp.Residual(lamp.LayerNorm(6), lamp.Linear(6, 9), lamp.GELU(), lamp.Linear(9, 6))],
    "two norms": lambda: [lamp.LayerNorm(6), lamp.LayerNorm(6), lamp.GELU(), lamp.GELU(), lamp.Linear(6, 2)],
}


def results(network, x, *more):
    """The output, the gradients of the inputs and those of the parameters."""
    y = network(x, *more)
    dy = torch.linspace(-1, 1, y.numel(), dtype=D).view(y.shape)
    dx = network.backward(dy)
    return [y, *(dx if isinstance(dx, tuple) else (dx,)), *(each.grad.clone() for each in network.parameters())]


@pytest.mark.parametrize("in_backward", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_the_same_numbers_as_if_all_were_remembered(name, in_backward, monkeypatch):
    torch.manual_seed(0)
    row, x = lamp.Sequential(*ROWS[name]()).to(D), torch.randn(3, 5, 6, dtype=D)
    twin, before = copy.deepcopy(row), x.clone()
    found = []
    for network in (row, twin):
        if in_backward:
            optimizer = lamp.SGD(network.parameters(), lr=0.1)
            y = network(x)
            with optimizer.step_in_backward():
                dx = network.backward(torch.linspace(-1, 1, y.numel(), dtype=D).view(y.shape))
            found.append([y, dx, *(each.data.clone() for each in network.parameters())])
        else:
            found.append(results(network, x))
        monkeypatch.setattr(passes, "LARGE", 10**9)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert torch.equal(x, before)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformers_have_the_gradients_of_torch(norm_first, activation):
    torch.manual_seed(0)
    options = {"activation": activation, "norm_first": norm_first, "dtype": D}
    src, memory = torch.randn(5, 3, 8, dtype=D), torch.randn(4, 3, 8, dtype=D)
    for ours, theirs, given in (
        (TransformerEncoderLayer, torch.nn.TransformerEncoderLayer, (src,)),
        (TransformerDecoderLayer, torch.nn.TransformerDecoderLayer, (src, memory)),
    ):
        layer, other = ours(8, 2, 12, 0.0, **options), theirs(8, 2, 12, 0.0, **options)
        other.load_state_dict(layer.state_dict())
        inputs = [each.clone().requires_grad_() for each in given]
        y = other(*inputs)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=D).view(y.shape))
        gradients = {name: each.grad for name, each in other.named_parameters()}
        expected = [y, *(each.grad for each in inputs), *(gradients[name] for name, _ in layer.named_parameters())]
        for one, same in zip(results(layer, *given), expected, strict=True):
            torch.testing.assert_close(one, same.detach(), rtol=1e-10, atol=1e-12)


def remembered(network):
    """The number of elements that a network remembers in tensors of their own."""
    found = {}

    def look(value):
        if isinstance(value, torch.Tensor):
            found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes() // value.itemsize
        elif isinstance(value, tuple | list):
            for each in value:
                look(each)
        elif isinstance(value, passes.Again):
            look(value.input)

    for stack in network._through.memory.values():
        look([value for value, _ in stack])
    return sum(found.values())


def test_the_output_of_an_activation_and_of_a_norm_takes_no_memory(monkeypatch):
    row, x = lamp.Sequential(*ROWS["norms"]()), torch.randn(11, 6)
    row(x)
    assert remembered(row) == 11 * (6 + 5 + 5 + 3)  # inputs of the norms and of GELU; mean, s and s
    monkeypatch.setattr(passes, "LARGE", 10**9)
    row(x)
    assert remembered(row) == 11 * (6 + 6 + 5 + 5 + 5 + 3)


def test_what_a_user_changes_in_between_is_remembered():
    class Twice(lamp.Module):
        def forward(self, x):
            x *= 2
            return x

        def backward(self, dy):
            return dy * 2

    torch.manual_seed(0)
    row = lamp.Sequential(lamp.Linear(6, 6), lamp.GELU(), Twice(), lamp.Linear(6, 4)).to(D)
    lamp.check_gradients(row, torch.randn(5, 6, dtype=D))


def test_a_row_offers_its_output_to_nobody():
    class Own(lamp.Container):
        def __init__(self):
            self.row, self.last = lamp.Sequential(lamp.Linear(6, 6), lamp.GELU()), lamp.Linear(6, 4)

        def forward(self, x):
            h = self.row(x)
            h *= 3
            return self.last(h)

        def backward(self, dy):
            return self.row.backward(self.last.backward(dy) * 3)

    torch.manual_seed(0)
    lamp.check_gradients(Own().to(D), torch.randn(5, 6, dtype=D))


def test_a_subclass_of_the_users_with_a_forward_of_its_own_is_not_called_twice():
    class Counting(lamp.GELU):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    counting = Counting()
    row = lamp.Sequential(lamp.Linear(6, 6), counting, lamp.Linear(6, 4))
    row.backward(torch.ones_like(row(torch.randn(5, 6))))
    assert counting.calls == 1
