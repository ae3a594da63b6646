"""What a network is made of, as the compiler sees it: affine layers, each with what follows it element by element.

`plan_of(model)` reads a network into a `Plan`, or raises `NotCompiled` with the one line that says why it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.stand_ins import NotCompiled, look_for_overrides
from lamp.module import Module
from lamp.nn import Activation, Dropout, Flatten, Identity, Linear, LogSoftmax, PReLU, Sequential, Softmax
from lamp.overrides import is_lamps
from lamp.parameter import Parameter, runs
from lamp.paths import describe
from lamp.replicas import Population

ELEMENTWISE = (Activation, Dropout, PReLU)
KNOWN = (Sequential, Linear, Flatten, Identity, Softmax, LogSoftmax, *ELEMENTWISE)


@dataclass
class Layer:
    """y = W x + b and what follows it, element by element.

    number                of the layer
    width                 its inputs and outputs
    weight, bias, slopes  where its parameters begin among the network's P numbers; slopes by chain position, of PReLU
    values                where each value of a unit is kept among the activations, or None: what Linear puts out, then
                          what each of the chain does
    """

    linear: Linear
    number: int
    width: tuple[Any, Any]
    weight: Any
    bias: Any | None
    chain: list[Module] = field(default_factory=list)
    slopes: dict[int, Any] = field(default_factory=dict)
    values: list[Any | None] = field(default_factory=list)
    inputs: Any = 0  # where its inputs are kept
    gradients: Any = 0  # where the gradients of its outputs are kept

    @property
    def outputs(self) -> Any:
        """Where its outputs are kept."""
        place = self.values[-1]
        assert place is not None
        return place

    @property
    def keeps_zero(self) -> bool:
        """Whether what follows the affine map makes 0 of 0."""
        x = torch.zeros(1, dtype=torch.float64)
        for module in self.chain:
            x = module.sigma(x) if isinstance(module, Activation) else x
        return bool(x == 0)


@dataclass
class Plan:
    """A network ready to be lowered.

    leading      what stands before the first Linear
    tail         Softmax or LogSoftmax at the end, if any
    flattens     whether inputs may have more axes than one of features
    parameters   P, the numbers of one network; places: where each parameter begins among them
    activations  how many values of a sample are kept; gradients, how many gradients
    put_out      where those are kept that the network puts out
    sizes        None, or of networks of several sizes the outputs of each hidden layer, (K, hidden layers): all else
                 is then said of the widest, and `of_widths` says it of others
    """

    leading: list[Module]
    layers: list[Layer]
    tail: Module | None
    flattens: bool
    parameters: Any
    places: dict[Parameter, int]
    activations: Any
    gradients: Any
    put_out: Any
    sizes: Tensor | None = None

    def of_widths(self, hidden: Sequence[Any]) -> Plan:
        """The network with other hidden layers, its parameters one after another: of numbers that are known, or are not
        until the program runs."""
        layers: list[Layer] = []
        place, inputs = 0, self.features
        for layer, outputs in zip(self.layers, [*hidden, self.outputs], strict=True):
            weight, place = place, place + outputs * inputs
            bias, place = (place, place + outputs) if layer.bias is not None else (None, place)
            slopes = {}
            for k in layer.slopes:
                module = layer.chain[k]
                assert isinstance(module, PReLU)
                slopes[k], place = place, place + (outputs if module.num_parameters > 1 else 1)
            layers.append(replace(layer, width=(inputs, outputs), weight=weight, bias=bias, slopes=slopes))
            inputs = outputs
        return _arranged(replace(self, layers=layers, parameters=place, gradients=0))

    @property
    def features(self) -> int:
        """Numbers of one sample's input."""
        return self.layers[0].width[0]  # type: ignore[no-any-return]

    @property
    def outputs(self) -> int:
        """Numbers of one sample's output."""
        return self.layers[-1].width[1]  # type: ignore[no-any-return]

    @property
    def dropouts(self) -> list[Dropout]:
        """The Dropout modules, in order."""
        chains = [self.leading, *(layer.chain for layer in self.layers)]
        return [module for chain in chains for module in chain if isinstance(module, Dropout)]

    @property
    def multiplications(self) -> int:
        """Of one sample's forward."""
        return sum(layer.width[0] * layer.width[1] for layer in self.layers)


def plan_of(model: Module, training: bool = True) -> Plan:
    """The plan of a network, or of one network of a population; Dropout is left out if not training.

    Raises NotCompiled.
    """
    network = model
    if isinstance(model, Population):
        look_for_overrides(model)
        network = model.network
    places, parameters = _places(model)
    leading: list[Module] = []
    layers: list[Layer] = []
    tail: Module | None = None
    flattens = False
    for module in _in_a_row(network):
        if tail is not None:
            raise NotCompiled(f"{describe(module)} follows {describe(tail)}, which the compiler takes at the end only")
        if isinstance(module, Linear):
            bias = None if module.bias is None else places[module.bias]
            if layers and layers[-1].width[1] != module.in_features:
                raise NotCompiled(f"{describe(module)} does not fit the layer before it")
            width = module.in_features, module.out_features
            layers.append(Layer(module, len(layers), width, places[module.weight], bias))
        elif isinstance(module, Flatten) and module.start_dim == 1:
            flattens |= not layers
        elif isinstance(module, Identity):
            continue
        elif isinstance(module, Softmax | LogSoftmax):
            if module.dim not in (1, -1):
                raise NotCompiled(f"{describe(module)} is not along the features")
            tail = module
        elif isinstance(module, ELEMENTWISE):
            if isinstance(module, Dropout) and not training:
                continue
            if isinstance(module, PReLU):
                if not layers:
                    raise NotCompiled(f"{describe(module)} stands before the first Linear")
                layers[-1].slopes[len(layers[-1].chain)] = places[module.weight]
            (layers[-1].chain if layers else leading).append(module)
        else:
            raise NotCompiled(f"{describe(module)} is not compiled: lamp.compile says which modules are")
    if not layers:
        raise NotCompiled("there is no Linear in the network")
    if len({id(layer.linear) for layer in layers}) < len(layers):
        raise NotCompiled("a Linear is used twice")
    sizes = model.sizes.widths if isinstance(model, Population) and model.sizes is not None else None
    plan = _arranged(Plan(leading, layers, tail, flattens, parameters, places, 0, 0, 0, sizes))
    if len({id(module) for module in plan.dropouts}) < len(plan.dropouts):
        raise NotCompiled("a Dropout is used twice")
    return plan


def _places(model: Module) -> tuple[dict[Parameter, int], int]:
    """Where each parameter begins among a network's numbers, and how many those are: they lie as in memory."""
    places: dict[Parameter, int] = {}
    total = 0
    for run in runs(model.parameters()):
        for parameter in run.parameters:
            places[parameter] = total
            total += parameter.size
    return places, total


def _in_a_row(module: Module) -> Iterator[Module]:
    if is_lamps(type(module)) or isinstance(module, KNOWN):
        look_for_overrides(module)
    if isinstance(module, Sequential):
        for child in module:
            yield from _in_a_row(child)
    else:
        yield module


def _arranged(plan: Plan) -> Plan:
    """Give every value that is needed again its place."""
    plan.activations = plan.features
    inputs = 0
    for layer in plan.layers:
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
            layer.values.append(plan.activations if each else None)
            plan.activations += units if each else 0
        inputs = layer.outputs
        layer.gradients, plan.gradients = plan.gradients, plan.gradients + units
    plan.put_out = inputs
    if plan.tail is not None:  # not over the last layer's own, which its activation may need again
        plan.put_out, plan.activations = plan.activations, plan.activations + plan.outputs
    return plan
