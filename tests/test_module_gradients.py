"""Backward adds autograd's gradients of inputs and parameters, for upstream gradients with any strides."""

import pytest
import torch

import lamp.nn
from lamp.module import Module
from lamp.trees import mapped
from tests.cases.module_case import equal, error, gradients, like, stacked
from tests.cases.modules import MODULES


def of_parameters(module):
    return [parameter.grad.clone() for parameter in module.parameters()]


def check(found, expected, tolerance=1e-11):
    assert len(found) == len(expected)
    for own, autograd in zip(found, expected, strict=True):
        if own is None:  # the gradient of indices
            assert autograd is None
            continue
        assert error(own, torch.zeros_like(own) if autograd is None else autograd) < tolerance


class Thrice(Module):
    """The same module on three inputs; the outputs stacked."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, a, b, c):
        return stacked([self.inner(a), self.inner(b), self.inner(c)])

    def backward(self, *dy):
        dy = dy if len(dy) > 1 else dy[0]
        dc, db, da = (self.inner.backward(mapped(dy, lambda each, k=k: each[k])) for k in (2, 1, 0))  # last call first
        return da, db, dc


@pytest.mark.parametrize("case", MODULES, ids=str)
class TestBackward:
    def test_gradients(self, case):
        module, twin = case.pair()
        x = case.input()
        dy = like(module(x))
        dx = module.backward(dy)
        check([dx, *of_parameters(module)], gradients(twin, x, dy=stacked([dy])), case.tolerance)

    def test_backward_parameters(self, case):
        module, twin = case.pair()
        x = case.input()
        dy = like(module(x))
        assert module.backward_parameters(dy) is None
        check(of_parameters(module), gradients(twin, x, dy=stacked([dy]))[1:], case.tolerance)

    def test_two_backward_passes_add_up(self, case):
        module, twin = case.pair()
        a, b = case.input(), case.input()
        da, db = like(module(a)), like(module(b))
        module.zero_grad()
        module(a), module.backward(da)
        module(b), module.backward(db)
        check(of_parameters(module), gradients(twin, a, b, dy=stacked([da, db]))[2:], case.tolerance)

    def test_used_three_times_in_one_network(self, case):
        module, twin = case.pair()
        network = Thrice(module)
        inputs = case.input(), case.input(), case.input()
        dy = like(network(*inputs))
        found = network.backward(dy)
        check([*found, *of_parameters(network)], gradients(twin, *inputs, dy=dy), case.tolerance)

    def test_noncontiguous_gradient(self, case):
        module, twin = case.pair()
        x = case.input()
        y = module(x)
        dy = mapped(y, lambda each: torch.randn(*each.shape, 2, dtype=torch.float64)[..., 1])
        dy = mapped(dy, lambda each: each.mT.contiguous().mT if each.dim() > 1 else each)
        dx = module.backward(dy)
        check([dx, *of_parameters(module)], gradients(twin, x, dy=stacked([dy])), case.tolerance)

    def test_expanded_gradient(self, case):
        module, twin = case.pair()
        x = case.input()
        one = torch.randn((), dtype=torch.float64)
        dy = mapped(module(x), lambda each: one.expand(each.shape))  # as the gradient of a sum is
        dx = module.backward(dy)
        check([dx, *of_parameters(module)], gradients(twin, x, dy=stacked([dy])), case.tolerance)

    def test_noncontiguous_input(self, case):
        module, twin = case.pair()
        x = torch.stack([case.input(), case.input()], dim=-1)[..., 0]
        if x.dim() > 1:
            x = x.mT.contiguous().mT
        dy = like(module(x))
        dx = module.backward(dy)
        check([dx, *of_parameters(module)], gradients(twin, x, dy=stacked([dy])), case.tolerance)

    def test_gradient_is_not_modified(self, case):
        module, _ = case.pair()
        dy = like(module(case.input()))
        before = mapped(dy, torch.clone)
        module.backward(dy)
        assert equal(dy, before)

    def test_zero_grad(self, case):
        module, _ = case.pair()
        module.backward(like(module(case.input())))
        module.zero_grad()
        assert all(not parameter.grad.any() for parameter in module.parameters())


def network(package):
    return package.Sequential(
        package.Linear(3, 6),
        package.Tanh(),
        package.Sequential(package.Linear(6, 4), package.SELU()),
        package.Linear(4, 2),
    ).double()


def twins():
    model, twin = network(lamp.nn), network(torch.nn)
    model.load_state_dict(twin.state_dict())
    return model, twin


def test_two_networks_forward_then_both_backward():
    (first, first_twin), (second, second_twin) = twins(), twins()
    a, b, da, db = (torch.randn(5, n, dtype=torch.float64) for n in (3, 3, 2, 2))
    first(a), second(b)
    check([first.backward(da), *of_parameters(first)], gradients(first_twin, a, dy=da[None]))
    check([second.backward(db), *of_parameters(second)], gradients(second_twin, b, dy=db[None]))


@pytest.mark.parametrize("training", [True, False], ids=["in training mode", "in eval mode"])
def test_a_part_called_alone_between_forward_and_backward(training):
    model, twin = twins()
    x, alone, dy = (torch.randn(5, n, dtype=torch.float64) for n in (3, 3, 2))
    encoder = model[0]
    model(x)
    encoder.train(training)(alone)
    check([model.backward(dy), *of_parameters(model)], gradients(twin, x, dy=dy[None]))


def test_a_part_called_alone_can_be_gone_back_through_alone():
    model, twin = twins()
    x, alone, dy, dalone = (torch.randn(5, n, dtype=torch.float64) for n in (3, 3, 2, 6))
    model(x)
    model[0](alone)
    check([model[0].backward(dalone)], gradients(twin[0], alone, dy=dalone[None])[:1])
    model.zero_grad()
    check([model.backward(dy), *of_parameters(model)], gradients(twin, x, dy=dy[None]))


def test_networks_that_share_a_module():
    encoder, encoder_twin = lamp.nn.Linear(3, 4).double(), torch.nn.Linear(3, 4).double()
    encoder.load_state_dict(encoder_twin.state_dict())
    up, down = lamp.nn.Sequential(encoder, lamp.nn.Tanh()), lamp.nn.Sequential(encoder, lamp.nn.Sigmoid())
    a, b, da, db = (torch.randn(5, n, dtype=torch.float64) for n in (3, 3, 4, 4))
    up(a), down(b)
    up.backward(da), down.backward(db)
    by_up = gradients(torch.nn.Sequential(encoder_twin, torch.nn.Tanh()), a, dy=da[None])[1:]
    by_down = gradients(torch.nn.Sequential(encoder_twin, torch.nn.Sigmoid()), b, dy=db[None])[1:]
    check(of_parameters(encoder), [one + other for one, other in zip(by_up, by_down, strict=True)])


def test_the_same_module_three_times_in_a_row():
    square, activation = lamp.nn.Linear(3, 3).double(), lamp.nn.PReLU().double()
    model = lamp.nn.Sequential(square, activation, square, activation, square)
    square_twin, activation_twin = torch.nn.Linear(3, 3).double(), torch.nn.PReLU().double()
    square.load_state_dict(square_twin.state_dict())
    twin = torch.nn.Sequential(square_twin, activation_twin, square_twin, activation_twin, square_twin)
    x, dy = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    model(x)
    check([model.backward(dy), *of_parameters(model)], gradients(twin, x, dy=dy[None]))
