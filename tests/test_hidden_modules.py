"""Modules that a network computes with, but does not find, are told of before they are lost."""

import warnings
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

import lamp


class Held(lamp.Container):
    """A network of one layer, and another one somewhere."""

    def __init__(self, somewhere=None):
        self.layer = lamp.Linear(2, 2)
        self.somewhere = somewhere

    def forward(self, x):
        return self.layer(x)

    def backward(self, dy):
        return self.layer.backward(dy)


class Owner:
    def __init__(self, layer):
        self.layer = layer

    def apply(self, x):
        return self.layer(x)


class OfClass(Held):
    shared = lamp.Linear(2, 3)


def of_method():
    layer = lamp.Linear(2, 3)

    class Closed(Held):
        def forward(self, x):
            return layer(x)

    return Closed()


GLOBAL = lamp.Linear(2, 3)


class ReadsGlobal(Held):
    def forward(self, x):
        return GLOBAL(x)


def in_function(layer):
    return lambda x: layer(x)


PLACES = {
    "a set": lambda layer: {layer},
    "a list in a set's tuple": lambda layer: {(layer,)},
    "a closure": in_function,
    "a default value": lambda layer: lambda x, inner=layer: inner(x),
    "a partial": lambda layer: partial(in_function, layer),
    "an object": Owner,
    "a method": lambda layer: Owner(layer).apply,
    "a namespace": lambda layer: SimpleNamespace(layer=layer),
    "a parameter in a set": lambda layer: {layer.weight},
}
NETWORKS = {name: (lambda make=make: Held(make(lamp.Linear(2, 3)))) for name, make in PLACES.items()}
NETWORKS |= {"a class": OfClass, "a method's closure": of_method, "a global variable": ReadsGlobal}
ACTS = {
    "save": (lambda network, path: lamp.save(network, path / "weights.safetensors"), "not saved"),
    "population": (lambda network, _: lamp.population(network, range(2)), "shared by all replicas"),
    "stack": (lambda network, _: lamp.stack([network]), "shared by all replicas"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_not_found_is_told(name, act, tmp_path):
    call, consequence = ACTS[act]
    network, refused = NETWORKS[name](), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call(network, tmp_path)
        except lamp.ArgumentError as error:  # a function that refers to a module is not copied at all
            refused = error
    if refused is not None:
        assert act != "save"
        assert "refers to a module" in str(refused)
        return
    (warning,) = caught
    assert warning.category is lamp.TrainingWarning
    assert str(warning.message).startswith(f"{type(network).__name__} does not find ")
    assert consequence in str(warning.message)
    assert "Parameter (in" in str(warning.message) or "Linear(in_features=2" in str(warning.message)


@pytest.mark.parametrize("act", ACTS)
def test_what_is_found_or_frozen_or_contains_the_network_is_not_told(act, tmp_path):
    network: Any = Held()
    outer = lamp.Sequential(network)
    network.inner = [lamp.Linear(2, 2), {"a": (lamp.Linear(1, 1),)}]
    if act == "save":
        network.same = lambda: network.layer
    network.again = {network.layer, network.layer.weight}
    network.around = SimpleNamespace(outer=outer)
    network.teacher = {lamp.Linear(2, 3).requires_grad_(False)}
    network.__dict__["loop"] = loop = {1}
    network.values = SimpleNamespace(numbers=[1.0, loop])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ACTS[act][0](network, tmp_path)
