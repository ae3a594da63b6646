"""A user's modules in a population work, or an error names them; checking them changes nothing."""

import copy
import random

import numpy as np
import pytest
import torch

import lamp

D = torch.float64


class Scale(lamp.Module):
    """y = w x, written for one network: in a population w (K, d) would meet the samples."""

    def __init__(self, d=5):
        self.w = lamp.Parameter(torch.randn(d, dtype=D))

    def reset_parameters(self, *, generator=None):
        self.w.data.normal_(generator=generator)

    def forward(self, x):
        self.remember(x)
        return x * self.w.data

    def backward(self, dy):
        x = self.recall()
        self.w.grad.add_((dy * x).reshape(-1, x.shape[-1]).sum(0))
        return dy * self.w.data


class Fits(Scale):
    """A module that fits both cases: the parameter gets a batch axis."""

    def forward(self, x):
        self.remember(x)
        return x * self.w.data.unsqueeze(-2)

    def backward(self, dy):
        x = self.recall()
        self.w.grad.add_((dy * x).sum(-2))
        return dy * self.w.data.unsqueeze(-2)


class WrongGradient(Fits):
    def backward(self, dy):
        x = self.recall()
        self.w.grad.add_((dy * x).sum((0, -2)) if x.dim() == 3 else (dy * x).sum(-2))
        return dy * self.w.data.unsqueeze(-2)


class WrongInputGradient(Fits):
    def backward(self, dy):
        super().backward(dy)
        return dy * (self.w.data.unsqueeze(-2) if dy.dim() == 2 else self.w.data[:1].unsqueeze(-2))


class Centre(lamp.Module):
    """Without parameters, but it mixes replicas: its first axis is the batch for a single network only."""

    def forward(self, x):
        return x - x.mean(0)

    def backward(self, dy):
        return dy - dy.mean(0)


class Residual(lamp.Module):
    """A container of the user's, as one would write it."""

    def __init__(self, *body):
        self.body = lamp.Sequential(*body)

    def forward(self, x):
        return x + self.body(x)

    def backward(self, dy):
        return dy + self.body.backward(dy)


class Louder(lamp.Linear):
    """A subclass with its own forward, which works in a population."""

    def forward(self, x):
        return 2.0 * super().forward(x)

    def backward(self, dy):
        return super().backward(2.0 * dy)


class Noise(lamp.Module):
    """Draws in training mode."""

    def forward(self, x):
        return x + torch.randn_like(x) * random.random() if self.training else x * 1.0

    def backward(self, dy):
        return dy


class OnlyForward(lamp.Module):
    def forward(self, x):
        return x.cos()


def network(module):
    return lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), module, lamp.Linear(5, 2)).double()


FITTING = {
    "a parameter": Fits,
    "a residual branch": lambda: Residual(lamp.Linear(5, 5), lamp.SELU(), Fits()),
    "a subclass": lambda: Louder(5, 5),
    "noise": Noise,
}
MIXING = {
    "parameters meet samples": (Scale, "2: Scale"),
    "the gradient of a parameter": (WrongGradient, "2: WrongGradient"),
    "the gradient of the input": (WrongInputGradient, "2: WrongInputGradient"),
    "no parameter": (Centre, "2: Centre"),
    "within a container": (lambda: Residual(lamp.Linear(5, 5), Scale()), "2.body.1: Scale"),
    "within a fitting one": (lambda: Residual(Fits(), Centre()), "2.body.1: Centre"),
}


@pytest.mark.parametrize("batch", [1, 3, 4, 6])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("how", ["population", "stack", "predict", "fit", "with its loss"])
@pytest.mark.parametrize("name", MIXING)
def test_a_module_that_mixes_is_named(name, how, own, batch):
    make, where = MIXING[name]
    k = 4
    lead = (k, batch) if own else (batch,)
    x, y = torch.randn(*lead, 3, dtype=D), torch.randint(2, lead)
    x, y = (lamp.per_replica(x), lamp.per_replica(y)) if own else (x, y)
    model = network(make())
    if how == "with its loss":
        model.append(lamp.CrossEntropyLoss())
    copies = [copy.deepcopy(model) for _ in range(k)]
    population = lamp.stack(copies) if how == "stack" else lamp.population(model, range(k))
    optimizer, criterion = lamp.SGD(population.parameters()), lamp.CrossEntropyLoss()
    ways = {
        "predict": lambda: lamp.predict(population, x),
        "with its loss": lambda: population(x, y),
        "fit": lambda: lamp.fit(population, criterion, optimizer, [(x, y)], epochs=1, progress=False),
    }
    with pytest.raises(lamp.ArgumentError, match=r"(?s)something else in a population.*unsqueeze\(-2\)") as caught:
        ways.get(how, lambda: population(x))()
    assert where in str(caught.value)


@pytest.mark.parametrize("name", FITTING)
def test_a_module_that_fits_computes_as_alone(name):
    population = lamp.population(network(FITTING[name]()), range(3))
    x = torch.randn(3, 3, dtype=D)
    with lamp.evaluating():
        y = population(x)
        each = [one(x) for one in population]
    torch.testing.assert_close(y, torch.stack(each), rtol=1e-12, atol=1e-12)
    if name != "noise":
        dy = torch.randn(3, 3, 2, dtype=D)
        population(x)
        dx = population.backward(dy)
        for k, one in enumerate(population):
            one(x)
            torch.testing.assert_close(dx[k], one.backward(dy[k]), rtol=1e-12, atol=1e-12)
            for own, of_all in zip(one.parameters(), population.parameters(), strict=True):
                torch.testing.assert_close(own.grad, of_all.grad[k], rtol=1e-12, atol=1e-12)


def test_a_network_that_is_one_module_of_ones_own():
    population = lamp.population(Scale(3), range(2))
    with pytest.raises(lamp.ArgumentError, match="Scale"):
        population(torch.randn(2, 3, dtype=D))
    assert lamp.population(Fits(3), range(2))(torch.randn(2, 3, dtype=D)).shape == (2, 2, 3)


def test_it_may_be_unable_to_go_back():
    population = lamp.population(network(OnlyForward()), range(3))
    assert lamp.predict(population, torch.randn(4, 3, dtype=D)).shape == (3, 4, 2)


def test_a_class_may_vouch_for_itself():
    class Vouching(Scale):
        takes_replicas = True

    population = lamp.population(network(Vouching()), range(4))
    population(torch.randn(4, 3, dtype=D))  # replicas are mixed, since the author vouches for the module


class Counting(Fits):
    """Counts its calls, over all copies."""

    calls = 0

    def forward(self, x):
        Counting.calls += 1
        return super().forward(x)


def test_the_trial_leaves_no_trace():
    model = lamp.Sequential(lamp.Dropout(0.5), *network(Fits()), Noise())
    for population in (lamp.population(model, range(4)), lamp.population(model, range(4)).eval()):
        before = {name: tensor.clone() for name, tensor in population.state_dict().items()}
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
        x = torch.randn(6, 3, dtype=D, generator=torch.Generator().manual_seed(0))
        given = x.clone()
        population._check_user_modules((x,), {})
        assert torch.equal(torch.get_rng_state(), states[0])
        assert random.getstate() == states[1]
        assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
        assert torch.equal(x, given)
        assert all(torch.equal(tensor, before[name]) for name, tensor in population.state_dict().items())
        assert not any(parameter.grad.any() for parameter in population.parameters())
        assert population.network[0].step == 0
        assert len({module.training for module in population.modules()}) == 1
        assert all("forward" not in vars(module) for module in population.modules())


def test_a_module_is_checked_once():
    population = lamp.population(network(Counting()), range(4))
    Counting.calls = 0
    x = torch.randn(6, 3, dtype=D)
    population(x)
    once = Counting.calls
    assert once > 1
    for _ in range(3):
        population(x)
    population.select([0, 2])(x)
    assert Counting.calls == once + 4


class Drawn(Fits):
    """A module without `reset_parameters`, so all seeds begin with equal parameters."""

    reset_parameters = lamp.Module.reset_parameters


class Alike(Fits):
    def reset_parameters(self, *, generator=None):
        """All replicas begin with the same numbers, as intended."""


class TestStarts:
    def test_drawn_parameters_need_seeds(self):
        with pytest.raises(
            lamp.ArgumentError, match=r"(?s)begin alike.*reset_parameters\(self, \*, generator=None\)"
        ) as caught:
            lamp.population(network(Drawn()), range(3))
        assert caught.value.where.startswith("Sequential.2: Drawn")
        lamp.population(network(Drawn()), [3])
        lamp.stack([network(Drawn()), network(Drawn())])

    def test_constants_and_what_is_meant_to_begin_alike(self):
        ones = Drawn()
        ones.w.data.fill_(1.0)
        for module in (ones, Alike()):
            population = lamp.population(network(module), range(3))
            assert torch.equal(population.network[2].w.data, module.w.data.expand(3, -1))

    def test_own_parameters_are_drawn_from_the_seeds(self):
        weights = lamp.population(network(Fits()), range(3)).network[2].w.data
        assert not torch.equal(weights[0], weights[1])


class CentredByBatch(lamp.Module):
    """In training it is right; in eval mode a mean for each unit meets the replicas' axis."""

    def __init__(self, units):
        self.mean = lamp.Buffer(torch.zeros(units))

    def forward(self, x):
        if not self.training:
            return x - self.mean.data
        mean = x.mean(-2, keepdim=True)
        self.mean.data.mul_(0.9).add_(0.1 * mean.squeeze(-2))
        self.remember(x)
        return x - mean

    def backward(self, dy):
        self.recall()
        return dy - dy.mean(-2, keepdim=True)


def test_what_a_module_computes_in_eval_mode_is_compared():
    model = lamp.Sequential(lamp.Linear(2, 8), CentredByBatch(8), lamp.Linear(8, 2))
    population = lamp.population(model, range(20))
    with pytest.raises(lamp.ArgumentError, match=r"(?s)mixes replicas.*CentredByBatch|CentredByBatch.*mixes replicas"):
        population(torch.randn(20, 2))


class FromTheMean(lamp.Loss):
    """The squared distance to the target, of outputs without their mean over an axis."""

    axis = 0

    def value(self, output, target):
        return (output - output.mean(self.axis, keepdim=True) - target) ** 2

    def derivative(self, output, target):
        return 2 * (output - output.mean(self.axis, keepdim=True) - target)


@pytest.mark.parametrize("name", ["value", "derivative", "takes_replicas", "axis"])
def test_a_loss_of_the_users_gives_each_replica_its_own(name):
    class Right(FromTheMean):
        axis = -2

    class WrongDerivative(Right):
        def derivative(self, output, target):
            return FromTheMean.derivative(FromTheMean(), output, target)

    class Unchecked(FromTheMean):
        takes_replicas = True

    kind = {"value": FromTheMean, "derivative": WrongDerivative, "takes_replicas": Unchecked, "axis": Right}[name]
    population = lamp.population(lamp.Linear(2, 3), range(4))
    loss, x, y = kind(), torch.randn(6, 2), torch.randn(6, 3)
    if name in ("takes_replicas", "axis"):
        losses = loss(population(x), y)
        assert losses.shape == (4,)
        if name == "axis":
            alone = torch.stack([kind()(lamp.predict(population[k], x), y) for k in range(4)])
            torch.testing.assert_close(torch.Tensor(losses), alone)
        return
    with pytest.raises(lamp.ArgumentError, match=rf"(?s)mixes replicas.*another {name} for replica 0"):
        loss(population(x), y)
