"""Attributes and methods set on modules: replicas share them, and networks that differ in one do not stack."""

from collections import deque
from types import MappingProxyType, MethodType, SimpleNamespace

import pytest
import torch

import lamp
from lamp.studies.grouping import together

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(12) % 2


@pytest.mark.parametrize(
    ("networks", "says"),
    [
        ([lamp.Tanh(), "network"], "(?s)item 1 is not a network.*got +a str"),
        ([None], "(?s)item 0 is not a network.*got +a NoneType"),
        ([lamp.Tanh(), lamp.Tanh], "(?s)item 1 is not a network.*got +the class Tanh"),
        ([lamp.stack([lamp.Tanh()])], "(?s)item 0 is not a network.*got +a Population"),
        (lamp.Sequential(lamp.Tanh()), "(?s)a list of networks\n.*got +a Sequential"),
        (lamp.stack([lamp.Tanh()]), "(?s)a list of networks\n.*got +a Population"),
        ("networks", "(?s)a list of networks\n.*got +a str"),
        (3, "(?s)a list of networks\n.*got +a int"),
        ([], "(?s)a list of networks\n.*at least one"),
    ],
)
def test_what_is_no_list_of_networks(networks, says):
    with pytest.raises(lamp.ArgumentError, match=says):
        lamp.stack(networks)


class Scaled(lamp.Module):
    """y = x scale: the scale does not show in its repr."""

    def __init__(self, scale):
        self.scale = scale

    def forward(self, x):
        return x * self.scale

    def backward(self, dy):
        return dy * self.scale


def scaled(scale):
    return lamp.Sequential(lamp.Linear(3, 5), Scaled(scale), lamp.Tanh(), lamp.Linear(5, 2)).double()


def plain():
    return lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), lamp.Linear(5, 2)).double()


def twice(module, x):
    return lamp.Tanh.forward(module, x) * 2.0


def twice_back(module, dy):
    return lamp.Tanh.backward(module, dy * 2.0)


def doubled(network):
    """The network, with methods set on its Tanh that double the output and the gradient."""
    network[1].forward, network[1].backward = MethodType(twice, network[1]), MethodType(twice_back, network[1])
    return network


def another_class():
    class Scaled(lamp.Module):
        def forward(self, x):
            return -x

        def backward(self, dy):
            return -dy

    return lamp.Sequential(lamp.Linear(3, 5), Scaled(), lamp.Tanh(), lamp.Linear(5, 2)).double()


class Options:
    def __init__(self, number):
        self.number = number


class Slots:
    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number


def in_a_ring(number):
    """An object that refers to itself."""
    ring = SimpleNamespace()
    ring.parts = [ring, Options(number)]
    return ring


HOLDERS = {
    "an object": Options,
    "three objects deep": lambda number: Options(Options(SimpleNamespace(number=number))),
    "a dict of objects": lambda number: {"a": Options(number)},
    "deep lists": lambda number: [[[[[[[number]]]]]]],
    "a deque": lambda number: deque([1, number]),
    "slots": Slots,
    "a ring": in_a_ring,
    "a mapping": lambda number: MappingProxyType({"a": {"b": number}}),
}
PAIRS = {
    "a number": (lambda: scaled(2.0), lambda: scaled(3.0)),
    "a tensor": (lambda: scaled(torch.ones(5).double()), lambda: scaled(torch.full((5,), 2.0).double())),
    "a list": (lambda: scaled([1.0]), lambda: scaled([2.0])),
    "a private name": (lambda: with_attribute("_mode", 1), lambda: with_attribute("_mode", 2)),
    **{
        name: (
            lambda make=make: with_attribute("options", make(1)),
            lambda make=make: with_attribute("options", make(2)),
        )
        for name, make in HOLDERS.items()
    },
    "one lacks it": (lambda: with_attribute("mode", 1), lambda: scaled(2.0)),
    "a lambda": (lambda: with_attribute("f", lambda x: x + 1), lambda: with_attribute("f", lambda x: x + 2)),
    "a class of the same name": (lambda: scaled(2.0), another_class),
    "a method set on a layer": (plain, lambda: doubled(plain())),
}


def with_attribute(name, value):
    network = scaled(2.0)
    setattr(network[1], name, value)
    return network


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
class TestNetworksThatDiffer:
    def test_stack_refuses_them_and_says_where(self, one, other):
        with pytest.raises(lamp.ArgumentError, match=r"differs from network 0 in 1|set on Tanh") as caught:
            lamp.stack([one(), other()])
        assert None not in (caught.value.expected, caught.value.got, caught.value.fix)

    def test_they_are_not_grouped(self, one, other):
        assert len(together([one(), other()])) == 2

    def test_modules_made_alike_are_grouped(self, one, other):
        for make in (one, other):
            if make is not another_class:  # two classes
                assert len(together([make(), make()])) == 1


def test_stack_keeps_the_mode_of_each_module():
    networks = [lamp.Sequential(lamp.Linear(3, 4), lamp.BatchNorm1d(4)) for _ in range(2)]
    for network in networks:
        network[1].eval()  # frozen statistics
        network[1].running_mean.data.normal_()
    population, x = lamp.stack(networks), torch.randn(5, 3)
    assert [module.training for module in population.network.modules()] == [True, True, False]
    for of_replica, network in zip(population(x), networks, strict=True):
        torch.testing.assert_close(of_replica, network(x))


def factor(a):
    return lambda x: x * a


def test_functions_are_compared_by_what_they_do():
    def groups(*functions):
        return len(together([with_attribute("f", function) for function in functions]))

    assert groups(factor(2.0), factor(2.0)) == 1
    assert groups(factor(2.0), factor(3.0)) == 2
    assert groups(torch.sin, torch.cos) == 2
    assert groups(torch.sin, torch.sin) == 1


def fitted(networks):
    optimizer = lambda parameters: lamp.SGD(parameters, lr=0.3)  # noqa: E731
    return lamp.fit_each(networks, lamp.CrossEntropyLoss(), optimizer, (X, Y), epochs=3, seed=1, progress=False)


def test_fit_each_trains_each_as_it_would_train_alone():
    makes = [lambda: scaled(1.0), lambda: scaled(3.0), plain, lambda: doubled(plain()), lambda: doubled(plain())]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    many = [make() for make in makes]
    torch.set_rng_state(state)
    alone = [make() for make in makes]
    fitted(many)
    for one, network in zip(alone, many, strict=True):
        fitted([one])
        for own, other in zip(network.parameters(), one.parameters(), strict=True):
            assert torch.allclose(own.data, other.data, atol=1e-12)


def test_a_sweep_over_an_attribute():
    scores = lamp.sweep(
        lambda scale: scaled(scale),
        {"scale": [0.0, 2.0]},
        (X, Y),
        criterion=lamp.CrossEntropyLoss(),
        optimizer=lambda parameters: lamp.SGD(parameters, lr=0.5),
        epochs=40,
        seeds=2,
        progress=False,
    )
    losses = {trial.setting["scale"]: trial.mean for trial in scores.rows}
    assert losses[0.0] > losses[2.0] + 0.01, "with a scale of 0 nothing but a bias is learned"


# ---- what is set on a population's modules --------------------------------------------------------------------------
def test_selected_replicas_have_what_was_set_since():
    nets = lamp.population(plain(), range(4))
    doubled(nets.network)
    nets.network[1].note = ["x"]
    some = nets.select([2, 0])
    assert some.network[1].forward.__self__ is some.network[1]
    assert torch.equal(some(X), nets(X)[[2, 0]])
    assert some.network[1].note == ["x"]
    assert some.network[1].note is not nets.network[1].note
    assert torch.allclose(nets[3](X), nets(X)[3])
    del nets.network[1].forward
    assert "forward" not in vars(nets.select([1]).network[1])


def test_numbers_that_a_callback_changes_are_kept():
    nets = lamp.population(lamp.Sequential(lamp.Linear(3, 5), lamp.LeakyReLU(0.1), lamp.Dropout(0.5)), range(3))
    nets.network[1].negative_slope, nets.network[2].p = 0.7, 0.0
    for some in (nets.select([1]).network, nets[1], nets.select([0, 2]).select([1]).network):
        assert (some[1].negative_slope, some[2].p) == (0.7, 0.0)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_replica_that_ends_leaves_the_overrides_where_they_are(engine):
    class Ends(lamp.Callback):
        """Ends replica k after epoch k + 1."""

        def on_epoch(self, training):
            training.stop("enough", [training.epoch] if training.epoch < 3 else None)

    def run(model, epochs, seed, callbacks=()):
        optimizer = lamp.SGD(model.parameters(), lr=0.3)
        return lamp.fit(
            *(model, lamp.CrossEntropyLoss(), optimizer, (X, Y)),
            **dict(epochs=epochs, seed=seed, batch_size=5, engine=engine, progress=False, callbacks=callbacks),
        )

    nets = lamp.population(plain(), range(3))
    doubled(nets.network)
    singles = [nets[k] for k in range(3)]
    run(nets, 4, [7, 8, 9], [Ends()])
    for k, single in enumerate(singles):
        run(single, min(k + 1, 4), 7 + k)
        for own, other in zip(nets[k].parameters(), single.parameters(), strict=True):
            assert torch.allclose(own.data, other.data, atol=1e-12), k


def test_a_method_that_holds_a_module_cannot_be_copied():
    network = plain()
    before = network[1].forward
    network[1].forward = lambda x: before(x) * 2.0
    layer = network[0]
    for make in (lambda: lamp.population(network, range(2)), lambda: lamp.stack([network, network])):
        with pytest.raises(lamp.ArgumentError, match="forward was set on a module, and refers to a module") as caught:
            make()
        assert "Sequential.1: Tanh()" in str(caught.value)
    assert len(together([network, network])) == 1, "one network, twice"
    nets = lamp.population(plain(), range(3))
    nets.network[1].forward = lambda x: layer(x)
    for take in (lambda: nets.select([0]), lambda: nets[0]):
        with pytest.raises(lamp.ArgumentError, match="refers to a module"):
            take()


@pytest.mark.parametrize("mixes", [lambda x: x - x.mean(), lambda x: x.flip(0), lambda x: x / x.norm(dim=0)])
def test_a_method_set_on_a_population_that_mixes_replicas_is_told(mixes):
    nets = lamp.population(plain(), range(3))
    nets(X)  # shown to fit, as it was
    nets.network[1].forward = mixes
    nets.network[1].backward = lambda dy: dy
    with pytest.raises(lamp.ArgumentError, match="population") as caught:
        lamp.fit(
            *(nets, lamp.CrossEntropyLoss(), lamp.SGD(nets.parameters(), lr=0.1), (X, Y)), epochs=1, progress=False
        )
    assert "Tanh()" in str(caught.value)


def test_modules_that_were_replaced_are_told():
    nets = lamp.population(plain(), range(3))
    nets.network[1] = lamp.ReLU()
    for take in (lambda: nets.select([0]), lambda: nets[0]):
        with pytest.raises(lamp.ArgumentError, match="modules of a population were replaced"):
            take()
