"""Methods that a user overrides are called: in a subclass, on an instance, or patched into lamp's classes."""

import functools
import math
from abc import ABC, abstractmethod

import pytest
import torch
from torch import Tensor

import lamp
from lamp.fused import SMALLEST
from lamp.overrides import is_lamps, overridden

X = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 1, 0, 2, 2])


def network(*between: lamp.Module) -> lamp.Sequential:
    torch.manual_seed(0)
    return lamp.Sequential(lamp.Linear(3, 4), *between, lamp.Linear(4, 3)).double()


def gradients(model: lamp.Module, loss: lamp.Loss, target: Tensor = LABELS, light: bool = True) -> list[Tensor]:
    model.zero_grad()
    loss(model(X), target)
    (model.backward_parameters if light else model.backward)(loss.backward())
    return [parameter.grad.clone() for parameter in model.parameters()]


def autograd(model: lamp.Sequential, of_output, between) -> list[Tensor]:
    """The gradients of a function of the output, by torch."""
    leaves = [parameter.data.clone().requires_grad_() for parameter in model.parameters()]
    w, b, v, c = leaves
    of_output(between(X @ w.mT + b) @ v.mT + c).backward()
    return [leaf.grad for leaf in leaves]


def same(found, expected):
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)


def mean_ce(scores: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(scores, LABELS)


# ---- formulas beside their shortcuts -------------------------------------------------------------------------------
class Doubled(lamp.SELU):
    remembers = "x"

    def sigma(self, x):
        return x.tanh() * 2.0

    def dsigma(self, x, y):
        return (-x.tanh().square() + 1.0) * 2.0


class Wide(lamp.HuberLoss):
    def value(self, difference, delta):
        return difference.square().square()

    def derivative(self, difference, delta):
        return difference * difference.square() * 4.0


class Focal(lamp.CrossEntropyLoss):
    """-q log p (1 - p)^2 on labels."""

    def value(self, log_p, q):
        return -q * log_p * (1.0 - log_p.exp()).square()

    def derivative(self, log_p, q, mass):
        p = log_p.exp()
        dlog_p = -q * ((1.0 - p).square() - 2.0 * log_p * p * (1.0 - p))
        return dlog_p - p * dlog_p.sum(1, keepdim=True)


def focal(scores: Tensor) -> Tensor:
    log_p = scores.log_softmax(1).gather(1, LABELS.unsqueeze(1))
    return (-log_p * (1.0 - log_p.exp()).square()).mean()


@pytest.mark.parametrize("light", [True, False])
def test_a_sigma_of_a_subclass_runs(light):
    model = network(Doubled())
    same(gradients(model, lamp.CrossEntropyLoss(), light=light), autograd(model, mean_ce, lambda x: x.tanh() * 2.0))


def test_a_sigma_on_an_instance_runs():
    model, own = network(lamp.SELU()), Doubled()
    model[1].remembers, model[1].sigma, model[1].dsigma = "x", own.sigma, own.dsigma
    same(gradients(model, lamp.CrossEntropyLoss()), autograd(model, mean_ce, lambda x: x.tanh() * 2.0))


class OfY(lamp.SELU):
    """Its derivative reads y; the one that lamp computes for tensors reads x."""

    def dsigma(self, x, y):
        assert x is None
        return y * 2.0


class NotElementwise(lamp.GELU):
    def sigma(self, x):
        return x - x.mean()


def test_a_derivative_of_its_own_gets_what_it_remembers():
    x = torch.randn(7, 3, dtype=torch.float64)
    on_instance = lamp.SELU()
    on_instance.dsigma = lambda x, y: OfY.dsigma(on_instance, x, y)
    for activation in (OfY(), on_instance):
        y = activation(x)
        assert torch.equal(activation.backward(torch.ones_like(x)), y * 2.0)
    assert lamp.SELU.reads == "x"


class DoublySteep(lamp.GELU):
    def dsigma(self, x, y):
        return super().dsigma(x, y) * 2.0


def test_a_derivative_of_its_own_is_taken_in_place_of_lamps():
    x, ones = torch.randn(7, 3, dtype=torch.float64), torch.ones(7, 3, dtype=torch.float64)
    plain, on_instance, both = lamp.GELU(), lamp.GELU(), lamp.GELU()
    on_instance.dsigma = lambda x, y: plain.dsigma(x, y) * 2.0
    both.sigma = lambda x: x + 0.0
    both.dsigma = lambda x, y: torch.full_like(x, 3.0)
    y, dx = plain(x), plain.backward(ones)
    for activation in (DoublySteep(), on_instance):
        torch.testing.assert_close(activation(x), y)
        torch.testing.assert_close(activation.backward(ones), 2.0 * dx)
    assert torch.equal(both(x), x)
    assert torch.equal(both.backward(ones), 3.0 * ones)
    assert lamp.GELU.fused_from == SMALLEST
    assert DoublySteep.fused_from == math.inf


def test_a_sigma_of_its_own_is_computed_at_once():
    x = torch.randn(1000, 1000)
    torch.testing.assert_close(NotElementwise()(x), x - x.mean())


def test_a_sigma_put_into_the_class_runs_and_goes_again(monkeypatch):
    model = network(lamp.SELU())
    before = gradients(model, lamp.CrossEntropyLoss())
    with monkeypatch.context() as patch:
        patch.setattr(lamp.SELU, "remembers", "x")
        patch.setattr(lamp.SELU, "sigma", Doubled.sigma)
        patch.setattr(lamp.SELU, "dsigma", Doubled.dsigma)
        same(gradients(model, lamp.CrossEntropyLoss()), autograd(model, mean_ce, lambda x: x.tanh() * 2.0))
    same(gradients(model, lamp.CrossEntropyLoss()), before)
    assert lamp.SELU.sigma_of_tensor.__qualname__ == "SELU.sigma_of_tensor"


def test_formulas_of_a_loss_run_in_a_subclass_on_an_instance_and_in_the_class(monkeypatch):
    model, target = network(lamp.Tanh()), torch.zeros(7, 3, dtype=torch.float64)
    expected = autograd(model, lambda y: y.pow(4).mean(), torch.tanh)
    same(gradients(model, Wide(), target), expected)
    loss = lamp.HuberLoss()
    loss.value, loss.derivative = Wide().value, Wide().derivative
    same(gradients(model, loss, target), expected)
    assert float(loss(model(X), target)) == pytest.approx(float(model(X).pow(4).mean()))
    monkeypatch.setattr(lamp.HuberLoss, "value", Wide.value)
    monkeypatch.setattr(lamp.HuberLoss, "derivative", Wide.derivative)
    same(gradients(model, lamp.HuberLoss(), target), expected)
    assert float(lamp.HuberLoss()(model(X), target)) == pytest.approx(float(model(X).pow(4).mean()))


def test_formulas_of_a_class_loss_run_on_labels(monkeypatch):
    model = network(lamp.Tanh())
    expected = autograd(model, focal, torch.tanh)
    same(gradients(model, Focal()), expected)
    assert float(Focal()(model(X), LABELS)) == pytest.approx(float(focal(model(X))))
    loss, own = lamp.CrossEntropyLoss(), Focal()
    loss.value, loss.derivative = own.value, own.derivative
    same(gradients(model, loss), expected)
    monkeypatch.setattr(lamp.CrossEntropyLoss, "value", Focal.value, raising=False)
    monkeypatch.setattr(lamp.CrossEntropyLoss, "derivative", Focal.derivative)
    same(gradients(model, lamp.CrossEntropyLoss()), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lamp.CrossEntropyLoss(),
        lambda: lamp.CrossEntropyLoss(torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64), label_smoothing=0.2),
        lambda: lamp.CrossEntropyLoss(ignore_index=1),
        lambda: lamp.NLLLoss(torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)),
    ],
)
def test_the_formulas_say_what_the_shortcuts_on_labels_do(make):
    scores = X.log_softmax(1)
    fast, slow = make(), make()
    slow.value = slow.value  # set on the instance: by the formulas
    assert float(fast(scores, LABELS)) == pytest.approx(float(slow(scores, LABELS)), rel=1e-12)
    same([slow.backward()], [fast.backward()])


# ---- forward and backward ------------------------------------------------------------------------------------------
class Halved(lamp.Linear):
    """A Linear whose backward halves the gradients."""

    def backward(self, dy):
        return super().backward(dy * 0.5)


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("where", ["subclass", "instance", "class"])
def test_a_backward_holds_for_the_first_layer_too(light, where, monkeypatch):
    model = network(lamp.Tanh())
    expected = [g * f for g, f in zip(gradients(model, lamp.CrossEntropyLoss()), (0.5, 0.5, 1.0, 1.0), strict=True)]
    first = model[0]
    if where == "subclass":
        own = Halved(3, 4).double()
        own.load_state_dict(first.state_dict())
        model[0] = own
    elif where == "instance":
        backward = first.backward
        first.backward = lambda dy: backward(dy * 0.5)
    else:
        original = lamp.Linear.backward
        last = model[2]
        monkeypatch.setattr(lamp.Linear, "backward", lambda self, dy: original(self, dy if self is last else dy * 0.5))
    same(gradients(model, lamp.CrossEntropyLoss(), light=light), expected)


def test_a_backward_of_the_whole_network_holds_in_training():
    model = network(lamp.Tanh())
    before = [parameter.data.clone() for parameter in model.parameters()]
    model.backward = lambda *dy: None
    lamp.fit(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), 0.1), (X, LABELS), epochs=1, progress=False)
    same([parameter.data for parameter in model.parameters()], before)


def test_a_forward_put_into_a_class_runs_in_a_row_and_goes_again(monkeypatch):
    model = network(lamp.ReLU())
    before = model(X)
    with monkeypatch.context() as patch:
        original = lamp.ReLU.forward
        patch.setattr(lamp.ReLU, "forward", lambda self, x: original(self, x) * 0.0)
        same([model(X)], [model[2].bias.data.expand(7, 3)])
        with patch.context() as inner:
            inner.setattr(lamp.Activation, "forward", lambda self, x: x)  # ReLU has its own by now
            same([model(X)], [model[2].bias.data.expand(7, 3)])
    same([model(X)], [before])
    monkeypatch.setattr(lamp.Activation, "forward", lambda self, x: x * 0.0)
    same([model(X)], [model[2].bias.data.expand(7, 3)])


def test_a_forward_wrapped_by_functools_runs():
    calls = []

    class Told(lamp.Linear):
        @functools.wraps(lamp.Linear.forward)
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    lamp.Sequential(Told(3, 4), lamp.ReLU()).double()(X)
    assert calls == [1]


def test_a_call_of_its_own_runs_within_a_row():
    class Tripled(lamp.ReLU):
        def __call__(self, x):
            return 3.0 * super().forward(x)

    own = Tripled()
    same([lamp.Sequential(own)(X)], [3.0 * X.clamp(min=0.0)])
    same([own(X)], [3.0 * X.clamp(min=0.0)])


def test_a_module_may_be_an_abc_too():
    class Shape(lamp.Module, ABC):
        @abstractmethod
        def area(self): ...

    class Square(Shape):
        def area(self):
            return 1

        def forward(self, x):
            return x

    assert Square().area() == 1
    with pytest.raises(TypeError, match="abstract"):
        Shape()


# ---- finding them --------------------------------------------------------------------------------------------------
def test_what_is_lamps_own_is_not_overridden():
    things = [
        lamp.Linear(2, 3),
        lamp.SELU(),
        lamp.Sequential(lamp.Linear(2, 3)),
        lamp.CrossEntropyLoss(),
        lamp.MSELoss(),
    ]
    things += [
        lamp.MSELoss(),
        lamp.PReLU(),
        lamp.Dropout(),
        lamp.Softmax(-1),
        lamp.Flatten(),
        lamp.Identity(),
        lamp.EarlyStopping(),
    ]
    things += [lamp.population(things[2], range(2)), lamp.DataLoader(X), lamp.Accuracy(0.5), lamp.Callback()]
    things += [kind(things[0].parameters()) for kind in (lamp.SGD, lamp.Adam, lamp.RMSprop, lamp.Adagrad)]
    things += [lamp.StepLR(things[-1], 1)]
    assert [overridden(thing) for thing in things] == [None] * len(things)


def test_overrides_are_found_wherever_they_stand(monkeypatch):
    class Own(lamp.ReLU):
        def forward(self, x):
            return x

    class Faster(lamp.ReLU):
        def sigma_of_tensor(self, x):
            return x

    module = lamp.ReLU()
    module.forward = lambda x: x
    assert overridden(module) == "forward, which was set on it"
    assert overridden(module, only=["backward"]) is None
    assert overridden(Own()) == "forward, which its class defines"
    assert overridden(Own(), allowed=["forward"]) is None
    assert "without sigma" in overridden(Faster(), allowed=["sigma", "sigma_of_tensor"])
    assert overridden(lamp.ReLU()) is None
    monkeypatch.setattr(lamp.ReLU, "forward", lambda self, x: x)
    assert overridden(lamp.ReLU()) == "forward, which was put into lamp's ReLU"


def test_a_function_that_copies_its_name_is_not_taken_for_lamps():
    @functools.wraps(lamp.Linear.forward)
    def forward(self, x):
        return x

    assert not is_lamps(forward)
    assert is_lamps(lamp.Linear.forward)
    assert is_lamps(lamp.Linear)


# ---- whatever stands in a class for a method ------------------------------------------------------------------------
class Doubling:
    """What can be called, and is no function."""

    def __call__(self, x):
        return x * 2.0


def answering(self, name):
    answers = {"forward": lambda x: x * 2.0, "backward": lambda dy: dy * 2.0}
    return answers[name] if name in answers else object.__getattribute__(self, name)


FORWARDS = {
    "a static method": staticmethod(lambda x: x * 2.0),
    "a class method": classmethod(lambda cls, x: x * 2.0),
    "a property": property(lambda self: lambda x: x * 2.0),
    "a partial method": functools.partialmethod(lambda self, x, factor: x * factor, factor=2.0),
    "a partial": functools.partial(torch.mul, 2.0),
    "a cached function": functools.lru_cache(lambda self, x: x * 2.0),
    "an object": Doubling(),
    "one of torch's": torch.tanh,
}


@pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
def test_whatever_stands_for_forward_is_called(forward):
    kind = type("Own", (lamp.Module,), {"forward": forward, "backward": lambda self, dy: dy * 2.0})
    x = torch.rand(4, 3)
    expected = getattr(type("Plain", (), {"forward": forward})(), "forward")(x)  # noqa: B009
    assert torch.equal(kind()(x), expected)
    network = lamp.Sequential(lamp.Identity(), kind())
    assert torch.equal(network(x), expected)
    assert torch.equal(network.backward(torch.ones(4, 3)), torch.full((4, 3), 2.0))


@pytest.mark.parametrize("base", [lamp.Module, lamp.Tanh])
def test_a_class_that_answers_for_every_name_is_asked(base):
    module = type("Answering", (base,), {"__getattribute__": answering})()
    x = torch.randn(4, 3)
    for network in (module, lamp.Sequential(lamp.Identity(), module), lamp.Sequential(lamp.Sequential(module))):
        assert torch.equal(network(x), x * 2.0)
        assert torch.equal(network.backward(torch.ones(4, 3)), torch.full((4, 3), 2.0))
    network = lamp.Sequential(lamp.Linear(3, 2), module)
    assert overridden(module) == "__getattribute__, which its class defines"
    with pytest.raises(lamp.ArgumentError, match=r"__getattribute__|not compiled"):
        lamp.compile(network, lamp.MSELoss(), lamp.SGD(network.parameters(), lr=0.1), 2)
