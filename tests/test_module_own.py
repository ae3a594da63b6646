"""A user's module needs forward and backward; modules and parameters in its attributes belong to it."""

import copy
import pickle

import pytest
import torch
from torch import nn

import lamp
import lamp.nn as L
from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.parameter import Buffer, Parameter
from tests.cases.module_case import error, gradients


class Square(Module):
    def forward(self, x):
        self.remember(x)
        return x * x

    def backward(self, dy):
        return 2 * self.recall() * dy


class SquareTwin(nn.Module):
    def forward(self, x):
        return x * x


class Experts(Module):
    """The sum of modules in a list, a dict and a tuple, plus a shift and an offset."""

    def __init__(self):
        self.listed = [L.Linear(3, 2), L.Sequential(L.Linear(3, 4), L.Tanh(), L.Linear(4, 2))]
        self.named = {"wide": L.Linear(3, 2, bias=False)}
        self.fixed = (L.Linear(3, 2),)
        self.shift = Parameter(torch.zeros(2))
        self.offset = Buffer(torch.full((2,), 0.5))
        self.note = "neither module nor parameter"

    def parts(self):
        return [*self.listed, *self.named.values(), *self.fixed]

    def forward(self, x):
        return sum(part(x) for part in self.parts()) + self.shift.data + self.offset.data

    def backward(self, dy):
        self.shift.grad.add_(dy.sum(0))
        return sum(part.backward(dy) for part in self.parts())


class ExpertsTwin(nn.Module):
    def __init__(self):
        super().__init__()
        self.listed = nn.ModuleList([nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))])
        self.named = nn.ModuleDict({"wide": nn.Linear(3, 2, bias=False)})
        self.fixed = nn.ModuleList([nn.Linear(3, 2)])
        self.shift = nn.Parameter(torch.zeros(2))
        self.register_buffer("offset", torch.full((2,), 0.5))

    def forward(self, x):
        return sum(part(x) for part in [*self.listed, *self.named.values(), *self.fixed]) + self.shift + self.offset


class Layers(Module):
    """Modules in a ModuleList, a ModuleDict, and lists and dicts inside each other, one after the other."""

    def __init__(self):
        self.blocks = L.ModuleList(L.ModuleList([L.Linear(3, 3), L.Tanh()]) for _ in range(2))
        self.heads = L.ModuleDict({"out": L.Linear(3, 2, bias=False), "in": L.Linear(3, 3)})
        self.plain = [[L.Linear(3, 3)], {"deep": (L.PReLU(),)}]
        self.plain.append(self.plain)  # which is no end

    def order(self):
        inner = [block[k] for block in self.blocks for k in range(2)]
        return [self.heads["in"], *inner, self.plain[0][0], self.plain[1]["deep"][0], self.heads["out"]]

    def forward(self, x):
        for module in self.order():
            x = module(x)
        return x

    def backward(self, dy):
        for module in reversed(self.order()):
            dy = module.backward(dy)
        return dy


class LayersTwin(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleList([nn.Linear(3, 3), nn.Tanh()]) for _ in range(2))
        self.heads = nn.ModuleDict({"out": nn.Linear(3, 2, bias=False), "in": nn.Linear(3, 3)})
        self.plain = nn.ModuleList(
            [nn.ModuleList([nn.Linear(3, 3)]), nn.ModuleDict({"deep": nn.ModuleList([nn.PReLU()])})]
        )

    def forward(self, x):
        x = self.heads["in"](x)
        for block in self.blocks:
            for module in block.children():
                x = module(x)
        return self.heads["out"](self.plain[1]["deep"][0](self.plain[0][0](x)))


def test_two_methods_make_a_module():
    model = L.Sequential(L.Linear(3, 4), Square(), L.Linear(4, 2)).double()
    twin = nn.Sequential(nn.Linear(3, 4), SquareTwin(), nn.Linear(4, 2)).double()
    model.load_state_dict(twin.state_dict())
    x, dy = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    assert error(model(x), twin(x).detach()) < 1e-11
    found = [model.backward(dy), *(parameter.grad for parameter in model.parameters())]
    for own, autograd in zip(found, gradients(twin, x, dy=dy[None]), strict=True):
        assert error(own, autograd) < 1e-11


def test_modules_in_lists_dicts_and_tuples_are_found():
    model, twin = Experts().double(), ExpertsTwin().double()
    assert set(model.state_dict()) == set(twin.state_dict())
    assert [name for name, _ in model.named_buffers()] == ["offset"]
    assert len(model.parameters()) == 10
    assert not any(part.training for part in model.eval().modules())
    model.train()
    model.load_state_dict(twin.state_dict())
    x, dy = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    assert error(model(x), twin(x).detach()) < 1e-11
    assert error(model.backward(dy), gradients(twin, x, dy=dy[None])[0]) < 1e-11
    by_name = dict(zip([name for name, _ in twin.named_parameters()], gradients(twin, x, dy=dy[None])[1:], strict=True))
    for name, parameter in model.named_parameters():
        assert error(parameter.grad, by_name[name]) < 1e-11


def test_module_lists_and_dicts_and_lists_within_lists():
    model, twin = Layers().double(), LayersTwin().double()
    assert list(model.state_dict()) == list(twin.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in twin.named_parameters()]
    model.load_state_dict(twin.state_dict())
    x, dy = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        each.zero_grad()
        assert error(each(x), twin(x).detach()) < 1e-11
        found = [each.backward(dy), *(parameter.grad for parameter in each.parameters())]
        for own, autograd in zip(found, gradients(twin, x, dy=dy[None]), strict=True):
            assert error(own, autograd) < 1e-11


def test_module_lists_and_dicts_in_a_population():
    model = Layers().double()
    model.plain.pop()  # a population compares the other attributes, and a list within itself has no end
    networks = lamp.population(model, range(3))
    x = torch.randn(5, 3, dtype=torch.float64)
    y = networks(x)
    dy = torch.randn_like(y)
    networks.backward(dy)
    for k, single in enumerate(networks):
        assert error(y[k], single(x)) < 1e-12
        single.backward(dy[k])
        for one, of_all in zip(single.parameters(), networks.parameters(), strict=True):
            assert error(of_all.grad[k], one.grad) < 1e-12


def test_a_module_list_is_a_list():
    a, b, c, d = (L.Linear(1, n) for n in (1, 2, 3, 4))
    modules = L.ModuleList([a, b])
    modules.append(c)
    modules.insert(0, d)
    assert list(modules) == [d, a, b, c]
    assert list(modules[1:3]) == [a, b]
    assert isinstance(modules[1:3], L.ModuleList)
    assert list(reversed(modules)) == [c, b, a, d]
    assert modules.pop() is c
    modules[0] = c
    modules += [d]
    assert list(modules + L.ModuleList([a])) == [c, a, b, d, a]
    del modules[1]
    assert list(modules) == [c, b, d]
    assert len(modules) == 3
    assert a not in modules
    assert not list(L.ModuleList())
    assert len(modules.parameters()) == 6
    assert repr(L.ModuleList([a, L.Tanh()])) == repr(nn.ModuleList([nn.Linear(1, 1), nn.Tanh()]))


def test_a_module_dict_is_a_dict():
    a, b = L.Linear(1, 1), L.Tanh()
    modules = L.ModuleDict([("a", a), ("b", b)])
    assert repr(modules) == repr(nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Tanh()}))
    assert dict(modules.items()) == {"a": a, "b": b}
    assert list(modules) == list(modules.keys()) == ["a", "b"]
    assert list(modules.values()) == [a, b]
    assert "a" in modules
    modules["c"] = L.ModuleDict(modules)
    assert len(modules) == 3
    assert modules.pop("b") is b
    del modules["c"]
    modules.update({"a": b})
    assert dict(modules.items()) == {"a": b}
    modules.clear()
    assert not list(modules)


@pytest.mark.parametrize("keys", [(1, "1"), (True, "True"), ("a.b", "a")])
def test_two_of_one_path_are_refused(keys, tmp_path):
    """A file would have one of them."""
    model = Experts()
    first, second = keys
    within = L.Linear(3, 2) if second != "a" else {"b": L.Linear(3, 2)}
    model.named = {first: L.Linear(3, 2), second: within}
    with pytest.raises(ArgumentError, match=r"two members of Experts have the path 'named\..*weight'"):
        model.state_dict()
    with pytest.raises(ArgumentError, match="two members"):
        lamp.save(model, tmp_path / "model.safetensors")


def test_attributes_may_be_added_while_members_are_listed():
    """Another thread does so in a first forward."""
    model = Experts()
    for k, _ in enumerate(model.named_children()):
        setattr(model, f"note_{k}", k)
    assert vars(model)["note_3"] == 3


def test_all_of_them_lie_in_one_buffer_and_move_together():
    model = Experts()
    assert len({parameter.data.untyped_storage().data_ptr() for parameter in model.parameters()}) == 1
    model.double()
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float64}
    assert model.offset.data.dtype == torch.float64


def test_a_copy_is_whole():
    model = Experts()
    other = copy.deepcopy(model)
    other.shift.data.add_(1.0)
    other.offset.data.add_(1.0)
    other.listed[1][0].weight.data.zero_()
    assert not model.shift.data.any()
    assert torch.equal(model.offset.data, torch.full((2,), 0.5))
    assert model.listed[1][0].weight.data.any()


def test_a_module_that_stands_twice_is_one():
    shared = L.Linear(3, 3)
    model, twin_part = L.Sequential(shared, L.Tanh(), shared), nn.Linear(3, 3)
    twin = nn.Sequential(twin_part, nn.Tanh(), twin_part)
    assert len(model.parameters()) == 2
    assert [name for name, _ in model.named_modules()] == [name for name, _ in twin.named_modules()]
    assert list(model.state_dict()) == list(twin.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    model.load_state_dict(twin.state_dict())
    twin.load_state_dict(model.state_dict())


def test_a_parameter_that_stands_twice_is_one():
    first, second = L.Linear(3, 3), L.Linear(3, 3)
    second.weight = first.weight
    model = L.Sequential(first, second).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    dy = torch.randn_like(model(x))
    model.backward(dy)
    assert len(model.parameters()) == 3
    twin = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()
    twin[1].weight = twin[0].weight
    twin.load_state_dict(model.state_dict())
    for own, autograd in zip(model.parameters(), gradients(twin, x, dy=dy[None])[1:], strict=True):
        assert error(own.grad, autograd) < 1e-11


def test_an_activation_of_ones_own():
    class Sine(L.Activation):
        remembers = "x"

        def sigma(self, x):
            return x.sin()

        def dsigma(self, x, y):
            assert y is None
            return x.cos()

    x = torch.randn(5, 3, dtype=torch.float64)
    model = L.Sequential(Sine(), Square())
    dy = torch.randn_like(model(x))
    assert error(model.backward(dy), dy * 2 * x.sin() * x.cos()) < 1e-12
    assert repr(model[0]) == "Sine()"
