"""Forward and backward: what is remembered, for how long, and errors if one is missing."""

import copy
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import lamp
import lamp.nn as L
from lamp.errors import BackwardError
from lamp.module import Module
from tests.cases.module_case import error, gradients, like
from tests.cases.modules import MODULES

NOT_EMPTY = [case for case in MODULES if case.name != "an empty network"]  # which has nothing to remember


def remembered(module):
    """How many values the last pass through this module holds."""
    return sum(len(stack) for stack in module._through.memory.values())


@pytest.mark.parametrize("case", NOT_EMPTY, ids=str)
class TestEveryModule:
    def test_backward_consumes_what_forward_left(self, case):
        module, _ = case.pair()
        y = module(case.input())
        assert remembered(module) > 0
        module.backward(like(y))
        assert remembered(module) == 0

    def test_backward_before_forward(self, case):
        module, _ = case.pair()
        dy = like(module(case.input()))
        with pytest.raises(BackwardError, match="before forward"):
            copy.deepcopy(module).backward(dy)

    def test_backward_twice(self, case):
        module, _ = case.pair()
        dy = like(module(case.input()))
        module.backward(dy)
        with pytest.raises(BackwardError, match="twice"):
            module.backward(dy)

    def test_eval_remembers_nothing(self, case):
        module, _ = case.pair()
        dy = like(module(case.input()))
        module.eval()(case.input())
        assert remembered(module) == 0
        with pytest.raises(BackwardError, match="eval mode"):
            module.backward(dy)

    def test_train_and_eval_reach_every_part(self, case):
        module = case.make()
        assert all(part.training for part in module.modules())
        assert module.eval() is module
        assert not any(part.training for part in module.modules())
        assert module.train() is module
        assert all(part.training for part in module.modules())

    def test_memory_does_not_grow_from_call_to_call(self, case):
        module, _ = case.pair()
        module(case.input())
        once = remembered(module)
        attributes = [len(vars(part)) for part in module.modules()]
        for _ in range(100):
            module(case.input())
        assert remembered(module) == once
        assert [len(vars(part)) for part in module.modules()] == attributes


class TestWhere:
    def model(self):
        return L.Sequential(L.Linear(2, 3), L.Tanh(), L.Linear(3, 4, bias=False))

    @pytest.mark.parametrize("before", [None, "forward and backward", "eval"])
    def test_errors_name_the_path(self, before):
        model, dy = self.model(), torch.randn(5, 4)
        said = {
            None: "backward before forward",
            "forward and backward": "backward twice",
            "eval": "backward in eval mode",
        }
        if before == "forward and backward":
            model(torch.randn(5, 2))
            model.backward(dy)
        if before == "eval":
            model.eval()(torch.randn(5, 2))
        with pytest.raises(BackwardError) as caught:
            model.backward(dy)
        lines = str(caught.value).splitlines()
        assert lines[0] == f"Sequential.2: Linear(in_features=3, out_features=4, bias=False): {said[before]}"
        assert [line.split()[0] for line in lines[1:]] == ["expected", "got", "fix"]

    def test_path_in_a_network_of_networks(self):
        model = L.Sequential(L.Linear(2, 2), L.Sequential(L.Tanh(), L.Sequential(L.Linear(5, 1))))
        with pytest.raises(ValueError, match=r"^Sequential\.1\.1\.0: Linear\(in_features=5"):
            model(torch.randn(3, 2))

    def test_path_of_a_module_alone(self):
        with pytest.raises(BackwardError, match=r"^SELU\(\): backward before forward"):
            L.SELU().backward(torch.randn(3))

    def test_other_errors_get_the_path_as_a_note(self):
        class Broken(Module):
            def forward(self, x):
                return x / None

        with pytest.raises(TypeError) as caught:
            L.Sequential(L.Tanh(), Broken())(torch.randn(3))
        assert caught.value.__notes__ == ["in Sequential.1: Broken()"]


@pytest.mark.parametrize("frozen", [L.Linear(4, 4), L.Tanh(), L.Dropout(0.5), L.BatchNorm1d(4), L.Softmax(-1)], ids=str)
def test_backward_goes_through_a_part_in_eval_mode(frozen):
    """As in fine-tuning, where some layers keep their running statistics."""
    model = L.Sequential(L.Linear(2, 4), copy.deepcopy(frozen), L.Linear(4, 3)).double()
    for buffer in (each for _, each in model.named_buffers()):
        if buffer.data.is_floating_point():
            buffer.data.uniform_(0.5, 2.0)
    twin = lamp.to_torch(model)
    model[1].eval(), twin[1].eval()
    x, dy = torch.randn(5, 2).double(), torch.randn(5, 3).double()
    assert error(model(x), twin(x).detach()) < 1e-12
    found = [model.backward(dy), *(parameter.grad for parameter in model.parameters())]
    for own, autograd in zip(found, gradients(twin, x, dy=dy[None]), strict=True):
        assert error(own, autograd) < 1e-11


def test_a_network_in_eval_mode_remembers_nothing_of_a_part_in_training_mode():
    model = L.Sequential(L.Linear(2, 4), L.Dropout(0.5)).eval()
    model[1].train()
    model(torch.randn(5, 2))
    assert remembered(model) == 0
    with pytest.raises(BackwardError, match="eval mode"):
        model.backward(torch.randn(5, 4))


def test_after_an_error_the_network_works_again():
    model = L.Sequential(L.Linear(2, 3), L.Tanh())
    with pytest.raises(ValueError, match="features"):
        model(torch.randn(5, 7))
    y = model(torch.randn(5, 2))
    model.backward(torch.randn_like(y))
    assert remembered(model) == 0


def test_a_new_forward_drops_what_the_last_one_left():
    model = L.Sequential(L.Linear(2, 3), L.Tanh())
    model(torch.randn(5, 2))
    first = weakref.ref(model._through)
    model(torch.randn(6, 2))
    assert first() is None
    assert model.backward(torch.randn(6, 3)).shape == (6, 2)


def test_forward_by_its_name():
    activation = L.Tanh()
    x = torch.randn(5, dtype=torch.float64)
    y = activation.forward(x)
    dy = torch.randn_like(y)
    assert torch.allclose(activation.backward(dy), dy * (1 - y * y), rtol=1e-12)


def test_threads_do_not_see_each_other():
    """Two threads run a network each, at the same time in forward and in backward."""
    meeting = threading.Barrier(2, timeout=60)

    class Meeting(Module):
        def forward(self, x):
            self.remember(None)
            meeting.wait()
            return x

        def backward(self, dy):
            self.recall()
            meeting.wait()
            return dy

    models = [L.Sequential(L.Linear(2, 3), Meeting(), L.Tanh(), L.Linear(3, 2)).double() for _ in range(2)]
    x, dy = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)

    def gradient(model):
        model(x)
        return model.backward(dy)

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(gradient, models))
    assert [model._through.root for model in models] == models
    for model, found in zip(models, together, strict=True):
        alone = L.Sequential(model[0], model[2], model[3])
        assert torch.equal(found, gradient(alone))


# ---- memory while backward goes --------------------------------------------------------------------------------------
class Watching(lamp.Module):
    """y = 2 x. Its backward notes how many values and gradients of all these modules are still alive."""

    values, gradients = [], []  # weak references

    def forward(self, input):
        self.remember(value := input.clone())
        self.values.append(weakref.ref(value))
        return input * 2

    def backward(self, grad_output):
        self.recall()
        self.alive = sum(each() is not None for each in self.values), sum(each() is not None for each in self.gradients)
        self.gradients.append(weakref.ref(dx := grad_output * 2))
        return dx


@pytest.mark.parametrize("nested", [False, True])
def test_backward_frees_what_was_remembered_and_the_gradients_as_it_goes(nested, monkeypatch):
    monkeypatch.setattr(Watching, "values", [])
    monkeypatch.setattr(Watching, "gradients", [])
    watching = [Watching() for _ in range(5)]
    model = lamp.Sequential(lamp.Sequential(*watching[:2]), *watching[2:]) if nested else lamp.Sequential(*watching)
    model.backward(like(model(torch.randn(3, 4))))
    values = [each.alive[0] for each in watching]
    assert values == [0, 1, 2, 3, 4]  # its own has just been recalled
    # The gradient that a module has been given is alive, and what came before it is not; but a container inside
    # holds the one that it was given.
    assert [each.alive[1] for each in watching] == [2 if nested else 1, 1, 1, 1, 0]
