"""A copy of a network, by deepcopy or pickle, trains independently."""

import copy
import pickle

import pytest
import torch

import lamp
from lamp.parameter import spans
from lamp.replicas.selecting import replicate

WAYS = pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)


def network():
    return lamp.Sequential(lamp.Linear(3, 5), lamp.PReLU(), lamp.Linear(5, 2))


def trained(model, engine="eager"):
    inputs, targets = torch.linspace(-1, 1, 21).view(7, 3), torch.arange(7) % 2
    optimizer = lamp.Adam(model.parameters(), lr=0.1)
    options = {"epochs": 3, "batch_size": 7, "shuffle": False, "progress": False, "engine": engine}
    lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (inputs, targets), **options)
    return lamp.predict(model, inputs)


@WAYS
@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_a_copy_learns_as_the_original_does(way, replicas, engine, used):
    model = network() if replicas is None else lamp.population(network(), seeds=range(replicas))
    if used:
        trained(model, engine)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    twin = way(model)
    found = trained(twin, engine)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert not torch.equal(tensor, twin.state_dict()[name])
    assert torch.equal(trained(model, engine), found)


@WAYS
def test_a_copy_has_gradients_of_its_own(way):
    model = network()
    criterion = lamp.MSELoss()
    criterion(model(torch.ones(4, 3)), torch.zeros(4, 2))
    model.backward(criterion.backward())
    twin = way(model)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
        assert one.grad.abs().sum() > 0
    twin.zero_grad()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@WAYS
def test_shared_parameters_stay_shared(way):
    shared = lamp.Linear(3, 3)
    twin = way(lamp.Sequential(shared, lamp.Tanh(), shared))
    first, _, last = twin
    assert first.weight is last.weight
    assert len(list(twin.parameters())) == 2


def test_views_from_before_a_population_was_made_are_out_of_date():
    parameters = lamp.Linear(3, 2).parameters()
    (span,) = spans(parameters)
    assert span.is_current
    replicate(parameters, 4)
    assert not span.is_current
    assert [tuple(parameter.shape) for parameter in parameters] == [(4, 2, 3), (4, 2)]
