"""Sequential: how it is built, changed and taken apart, with a loss at its end and without."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

import lamp.nn as L
from lamp.errors import ArgumentError, BackwardError, DTypeError
from lamp.losses import MSELoss
from tests.cases.module_case import error, gradients


def names(model):
    return [name for name, _ in model.named_children()]


def three(package=L):
    return package.Sequential(package.Linear(3, 4), package.Tanh(), package.Linear(4, 2))


class TestAsAList:
    def test_length_iteration_and_indices(self):
        model = three()
        assert len(model) == 3
        assert [type(module).__name__ for module in model] == ["Linear", "Tanh", "Linear"]
        assert model[0] is next(iter(model))
        assert model[-1] is model[2] is model["2"]
        assert len(L.Sequential()) == 0

    @pytest.mark.parametrize("index", [3, -4, "3", "first", None])
    def test_index_out_of_range(self, index):
        with pytest.raises(IndexError, match="it has 0, 1, 2"):
            three()[index]

    def test_a_slice_shares_its_modules_and_keeps_names_as_torch_does(self):
        model, twin = three(), three(nn)
        part = model[1:]
        assert isinstance(part, L.Sequential)
        assert part[0] is model[1]
        assert names(part) == names(twin[1:]) == ["1", "2"]

    def test_append_to_a_slice_replaces_nothing(self):
        part = three()[1:].append(L.ReLU())
        assert [type(module).__name__ for module in part] == ["Tanh", "Linear", "ReLU"]

    def test_append_extend_insert_return_the_network(self):
        model, twin = three(), three(nn)
        assert model.append(L.ReLU()) is model
        assert model.extend([L.Linear(2, 6), L.SELU()]) is model
        assert model.insert(1, L.Sigmoid()) is model
        twin.append(nn.ReLU()).extend([nn.Linear(2, 6), nn.SELU()]).insert(1, nn.Sigmoid())
        assert repr(model) == repr(twin)
        assert list(model.state_dict()) == list(twin.state_dict())

    def test_set_and_delete(self):
        model, twin = three(), three(nn)
        model[1], twin[1] = L.ReLU(), nn.ReLU()
        model[-1], twin[-1] = L.Linear(4, 7), nn.Linear(4, 7)
        assert repr(model) == repr(twin)
        del model[0], twin[0]
        assert repr(model) == repr(twin)
        with pytest.raises(IndexError):
            model[2] = L.ReLU()
        with pytest.raises(IndexError):
            del model[2]

    def test_a_change_is_seen_by_forward_backward_and_parameters(self):
        model = three().double()
        model[1] = L.Sequential(L.Linear(4, 6), L.PReLU(), L.Linear(6, 4)).double()
        twin = nn.Sequential(
            nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.Linear(6, 4)), nn.Linear(4, 2)
        ).double()
        model.load_state_dict(twin.state_dict())
        x, dy = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
        assert error(model(x), twin(x).detach()) < 1e-11
        found = [model.backward(dy), *(parameter.grad for parameter in model.parameters())]
        for own, autograd in zip(found, gradients(twin, x, dy=dy[None]), strict=True):
            assert error(own, autograd) < 1e-11
        assert len({parameter.data.untyped_storage().data_ptr() for parameter in model.parameters()}) == 1


class TestNames:
    def test_modules_by_name(self):
        model = L.Sequential(OrderedDict(encoder=L.Linear(3, 4), nonlinearity=L.Tanh()))
        assert model.encoder is model["encoder"] is model[0]
        assert list(model.state_dict()) == ["encoder.weight", "encoder.bias"]
        with pytest.raises(AttributeError, match="decoder"):
            _ = model.decoder

    def test_add_module(self):
        model, twin = three(), three(nn)
        model.add_module("head", L.Linear(2, 1))
        twin.add_module("head", nn.Linear(2, 1))
        assert repr(model) == repr(twin)
        model.add_module("head", L.Linear(2, 6))
        assert len(model) == 4
        assert model(torch.randn(5, 3)).shape == (5, 6)

    def test_deleting_a_named_module_keeps_the_others_names(self):
        model = L.Sequential({"a": L.Tanh(), "b": L.ReLU(), "c": L.SELU()})
        del model["b"]
        assert names(model) == ["a", "c"]

    @pytest.mark.parametrize("name", ["a.b", "", 3])
    def test_a_name_that_would_break_paths(self, name):
        with pytest.raises(ArgumentError, match="without dots"):
            L.Sequential({name: L.Tanh()})


class TestNoModules:
    @pytest.mark.parametrize(
        ("build", "got"),
        [
            (lambda: L.Sequential(L.ReLU), "abc.ABCMeta"),
            (lambda: L.Sequential(nn.ReLU()), "torch.nn.modules.activation.ReLU"),
            (lambda: L.Sequential([L.ReLU()], L.ReLU()), "builtins.list"),
            (lambda: L.Sequential(L.ReLU(), torch.tanh), "builtins.builtin_function_or_method"),
            (lambda: three().append(None), "builtins.NoneType"),
        ],
    )
    def test_what_is_no_module(self, build, got):
        with pytest.raises(ArgumentError) as caught:
            build()
        assert "made of modules" in str(caught.value)
        if got != "abc.ABCMeta":
            assert got in str(caught.value)

    def test_a_refused_module_changes_nothing(self):
        model = three()
        with pytest.raises(ArgumentError):
            model.append("no module")
        assert names(model) == ["0", "1", "2"]


class TestWithItsLoss:
    def model(self):
        return three().append(MSELoss()).double()

    def twin(self, model):
        twin = three(nn).double()
        twin.load_state_dict({key: value.clone() for key, value in model.state_dict().items()})
        return twin

    @pytest.mark.parametrize("which", ["backward", "backward_parameters"])
    def test_output_and_loss(self, which):
        model = self.model()
        twin = self.twin(model)
        x, target = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
        output, loss = model(x, target)
        dx = getattr(model, which)()
        variable = x.clone().requires_grad_()
        expected = nn.functional.mse_loss(twin(variable), target)
        expected.backward()
        assert error(output, twin(x).detach()) < 1e-11
        assert error(loss, expected.detach()) < 1e-11
        assert dx is None if which == "backward_parameters" else error(dx, variable.grad) < 1e-11
        for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
            assert error(parameter.grad, other.grad) < 1e-11

    def test_without_a_target_it_is_the_network(self):
        model = self.model()
        x = torch.randn(5, 3, dtype=torch.float64)
        assert torch.equal(model(x), model[:-1](x))
        assert torch.equal(model(x), model.body(x))
        assert model.loss is model[3]
        assert three().loss is None

    def test_the_loss_comes_last(self):
        with pytest.raises(ArgumentError, match="a loss can only be the last module"):
            L.Sequential(MSELoss(), L.Linear(3, 2))
        with pytest.raises(ArgumentError, match="a loss can only be the last module"):
            self.model().append(L.Tanh())

    def test_a_target_without_a_loss(self):
        with pytest.raises(ArgumentError, match="a target only if its last module is a loss"):
            three()(torch.randn(5, 3), torch.randn(5, 2))

    def test_a_gradient_where_the_loss_gives_it_and_none_where_it_does_not(self):
        model = self.model()
        model(torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64))
        with pytest.raises(BackwardError, match="got       1 argument"):
            model.backward(torch.randn(5, 2))
        model = three()
        model(torch.randn(5, 3))
        with pytest.raises(BackwardError, match="got       no argument"):
            model.backward()


def test_an_error_names_the_module_by_its_path():
    model = L.Sequential({"body": three(), "head": L.Linear(5, 1)})
    with pytest.raises(ValueError, match=r"^Sequential\.head: Linear\(in_features=5"):
        model(torch.randn(6, 3))
    with pytest.raises(DTypeError, match=r"^Sequential\.body\.0: Linear\(in_features=3"):
        model(torch.randn(6, 3, dtype=torch.float64))
