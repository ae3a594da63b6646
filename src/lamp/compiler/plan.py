"""What a network is made of, as the compiler sees it: affine layers, each with what follows it element by element.

`plan_of(model)` reads a network into a `Plan`, or raises `NotCompiled` with the one line that says why it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lamp.module import Module, describe
from lamp.nn import Activation, Dropout, Flatten, Identity, Linear, LogSoftmax, PReLU, Sequential, Softmax
from lamp.parameter import Parameter
from lamp.replicas import Population

ELEMENTWISE = (Activation, Dropout, PReLU)


class NotCompiled(Exception):
    """A network, loss or optimizer that the compiler does not know; its text says which, in one line."""


@dataclass
class Layer:
    """y = W x + b and what follows it, element by element.

    weight, bias, slopes  where its parameters begin among the network's P numbers; slopes by chain position, of PReLU
    values                where each value of a unit is kept among the activations, or None: what Linear puts out, then
                          what each of the chain does
    """

    linear: Linear
    weight: int
    bias: int | None
    chain: list[Module] = field(default_factory=list)
    slopes: dict[int, int] = field(default_factory=dict)
    values: list[int | None] = field(default_factory=list)
    inputs: int = 0  # where its inputs are kept
    gradients: int = 0  # where the gradients of its outputs are kept

    @property
    def width(self) -> tuple[int, int]:
        """Inputs and outputs."""
        return self.linear.in_features, self.linear.out_features

    @property
    def outputs(self) -> int:
        """Where its outputs are kept."""
        place = self.values[-1]
        assert place is not None
        return place


@dataclass
class Plan:
    """A network ready to be lowered.

    parameters   P, the numbers of one network
    tail         Softmax or LogSoftmax at the end, if any
    activations  how many values of a sample are kept; gradients, how many gradients
    dropouts     the Dropout modules, in order
    """

    layers: list[Layer]
    tail: Module | None
    parameters: int
    activations: int
    gradients: int
    dropouts: list[Dropout]

    @property
    def features(self) -> int:
        """Numbers of one sample's input."""
        return self.layers[0].width[0]

    @property
    def outputs(self) -> int:
        """Numbers of one sample's output."""
        return self.layers[-1].width[1]


def plan_of(model: Module) -> Plan:
    """The plan of a network, or of one network of a population. Raises NotCompiled."""
    network = model.network if isinstance(model, Population) else model
    places, parameters = _places(model)
    layers: list[Layer] = []
    tail: Module | None = None
    for module in _in_a_row(network):
        if tail is not None:
            raise NotCompiled(f"{describe(module)} follows {describe(tail)}, which the compiler takes at the end only")
        if type(module) is Linear:
            bias = None if module.bias is None else places[module.bias]
            if layers and layers[-1].width[1] != module.in_features:
                raise NotCompiled(f"{describe(module)} does not fit the layer before it")
            layers.append(Layer(module, places[module.weight], bias))
        elif isinstance(module, Identity) or (isinstance(module, Flatten) and module.start_dim == 1):
            continue
        elif isinstance(module, Softmax | LogSoftmax):
            if module.dim not in (1, -1):
                raise NotCompiled(f"{describe(module)} is not along the features")
            tail = module
        elif isinstance(module, ELEMENTWISE):
            if not layers:
                raise NotCompiled(f"{describe(module)} stands before the first Linear")
            if isinstance(module, PReLU):
                layers[-1].slopes[len(layers[-1].chain)] = places[module.weight]
            layers[-1].chain.append(module)
        else:
            raise NotCompiled(f"{describe(module)} is not compiled")
    if not layers:
        raise NotCompiled("there is no Linear in it")
    if len({id(layer.linear) for layer in layers}) < len(layers):
        raise NotCompiled("a Linear is used twice")
    return _arranged(layers, tail, parameters)


def _places(model: Module) -> tuple[dict[Parameter, int], int]:
    """Where each parameter begins in the flat buffer, and how many numbers it has in all."""
    places: dict[Parameter, int] = {}
    total = 0
    for parameter in model.parameters():
        places[parameter] = total
        total += parameter.size
    return places, total


def _in_a_row(module: Module) -> Iterator[Module]:
    if isinstance(module, Sequential):
        for child in module:
            yield from _in_a_row(child)
    else:
        yield module


def _arranged(layers: list[Layer], tail: Module | None, parameters: int) -> Plan:
    """Give every value that is needed again its place."""
    activations = layers[0].width[0]
    gradients = 0
    inputs = 0
    for layer in layers:
        layer.inputs = inputs
        units = layer.width[1]
        needed = [False] * (len(layer.chain) + 1)
        needed[-1] = True
        for k, module in enumerate(layer.chain):
            remembers = module.remembers if isinstance(module, Activation) else "x" if isinstance(module, PReLU) else ""
            needed[k] |= "x" in remembers
            needed[k + 1] |= "y" in remembers
        layer.values = []
        for each in needed:
            layer.values.append(activations if each else None)
            activations += units if each else 0
        inputs = layer.outputs
        layer.gradients, gradients = gradients, gradients + units
    dropouts = [module for layer in layers for module in layer.chain if isinstance(module, Dropout)]
    return Plan(layers, tail, parameters, activations, gradients, dropouts)
