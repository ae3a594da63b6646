"""Networks of one form and several sizes: what they share, and how all fit into the widest.

A replica with fewer hidden units than the widest has zeros in place of the weights of those it lacks. Their outputs
meet no weight but zeros, and `Linear` keeps those from learning: so each replica computes what its own network does.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Activation, Dropout, Flatten, Identity, Linear, LogSoftmax, PReLU, Sequential, Softmax
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe
from lamp.replicas.shared import WIDTHS, difference, likeness
from lamp.state import state_buffers

PER_UNIT = (Activation, Dropout, Identity, PReLU)  # what may follow a hidden layer: each unit for itself
AT_THE_ENDS = (Flatten, Softmax, LogSoftmax, Loss)


@dataclass(frozen=True)
class Sizes:
    """Which network each replica is.

    architectures  each once; which: the one of each replica, by number
    """

    architectures: tuple[Module, ...]
    which: tuple[int, ...]

    def network(self, k: int) -> Module:
        """A network such as replica k is, with weights of its own."""
        return copy.deepcopy(self.architectures[self.which[k]])

    def of(self, rows: Sequence[int]) -> Sizes:
        """Those of some replicas."""
        return Sizes(self.architectures, tuple(self.which[k] for k in rows))

    @property
    def bodies(self) -> Sizes:
        """The same networks without the loss that they end in."""
        bodies = tuple(each.body if isinstance(each, Sequential) else each for each in self.architectures)
        return Sizes(bodies, self.which)

    @property
    def units(self) -> Tensor:
        """How many features go into each module of each replica: (modules of a network, K), int64."""
        return torch.tensor([_features(network) for network in self.architectures])[list(self.which)].t()

    @property
    def widths(self) -> Tensor:
        """The outputs of every Linear but the last, of each replica: (K, hidden layers), int64."""
        each = [[layer.out_features for layer in _linears(network)[:-1]] for network in self.architectures]
        return torch.tensor(each).view(len(each), -1)[list(self.which)]


def architecture(network: Module) -> tuple[str, tuple[Any, ...], Hashable]:
    """What networks that stack as they are have in common.

    Their modules; name, shape, dtype and device of each parameter and buffer; which are frozen; what all replicas
    share, the buffers of losses, in numbers; and the attributes of modules.
    """
    members: list[tuple[str, Parameter | Buffer]] = [*network.named_parameters(), *network.named_buffers()]
    held: list[tuple[Any, ...]] = []
    for name, each in members:
        held.append((name, tuple(each.data.shape), each.data.dtype, each.data.device, *_frozen(each)))
    return repr(network), (*held, *_shared(network)), tuple(map(likeness, network.modules()))


def form(network: Module) -> Hashable:
    """What networks of several sizes have in common; two with the same form fit into one population.

    Raises ArgumentError for a network whose hidden widths cannot be changed by adding units that do nothing.
    """
    if state_buffers(network):
        raise _unfit(network, "buffers")
    for module in network.modules():
        if (set_on := vars(module).keys() & {"forward", "backward", "backward_parameters"}) != set():
            raise _unfit(network, f"a {min(set_on)} that was set on {describe(module)}")
    leaves = list(_in_a_row(network))
    linears = [k for k, module in enumerate(leaves) if isinstance(module, Linear)]
    if not linears:
        raise _unfit(network, "no Linear")
    for k, module in enumerate(leaves):
        inside = linears[0] < k < linears[-1]
        allowed = (Linear, *PER_UNIT) if inside else (Linear, *PER_UNIT, *AT_THE_ENDS)
        if not isinstance(module, allowed) or (isinstance(module, Linear) and type(module) is not Linear):
            raise _unfit(network, f"{describe(module)} {'between' if inside else 'beside'} its layers")
    ends = leaves[linears[0]], leaves[linears[-1]]
    assert isinstance(ends[0], Linear)
    assert isinstance(ends[1], Linear)
    alike = tuple(likeness(module, but=WIDTHS) for module in network.modules())
    return tuple(map(_without_width, leaves)), ends[0].in_features, ends[1].out_features, _shape_of_tree(network), alike


def check_forms(networks: Sequence[Module]) -> None:
    """Raises ArgumentError for networks that differ in more than the widths of their hidden layers."""
    for k, network in enumerate(networks):
        if repr(network) == repr(networks[0]) and (found := difference(networks[0], network)) is not None:
            raise ArgumentError(
                f"network {k} of {len(networks)} differs from network 0 in {found[0]}, which the replicas of a "
                "population share",
                expected=found[1],
                got=found[2],
                fix="make it a lamp.Parameter or a lamp.Buffer, of which each replica has its own, or train them apart",
            )
    wanted = form(networks[0])
    for k, network in enumerate(networks):
        if form(network) != wanted:
            raise ArgumentError(
                f"network {k} of {len(networks)} is made differently from network 0",
                expected="{} with {}".format(*architecture(networks[0])[:2]),
                got="{} with {}".format(*architecture(network)[:2]),
                fix="stack networks of one dtype and device that differ in the widths of hidden layers alone",
            )


def widest(networks: Sequence[Module]) -> Module:
    """A network of their form with the widest of each layer, all zeros."""
    made = copy.deepcopy(networks[0])
    for layer, *others in zip(made.modules(), *[network.modules() for network in networks[1:]], strict=True):
        if isinstance(layer, Linear):
            of_all = [layer, *others]
            layer.in_features = max(each.in_features for each in of_all)
            layer.out_features = max(each.out_features for each in of_all)
            layer.weight = _zeros(layer.weight, layer.out_features, layer.in_features)
            layer.bias = None if layer.bias is None else _zeros(layer.bias, layer.out_features)
        elif isinstance(layer, PReLU):
            layer.num_parameters = max(each.num_parameters for each in [layer, *others])
            layer.weight = _zeros(layer.weight, layer.num_parameters)
    return made


def _zeros(like: Parameter, *shape: int) -> Parameter:
    return Parameter(torch.zeros(shape, dtype=like.dtype, device=like.device), not like.frozen)


def _in_a_row(module: Module) -> Iterator[Module]:
    if type(module) is Sequential:
        for child in module.children():
            yield from _in_a_row(child)
    else:
        yield module


def _linears(network: Module) -> list[Linear]:
    return [module for module in _in_a_row(network) if isinstance(module, Linear)]


def _features(network: Module) -> list[int]:
    """How many features go into each of a network's modules, as far as its layers tell."""
    found, features = {}, _linears(network)[0].in_features
    for module in _in_a_row(network):
        found[id(module)] = features
        if isinstance(module, Linear):
            features = module.out_features
    return [found.get(id(module), 0) for module in network.modules()]


def _without_width(module: Module) -> Hashable:
    """A module's kind and options, but for a layer's sizes."""
    if isinstance(module, Linear):
        bias = None if module.bias is None else module.bias.frozen
        return Linear, bias, module.weight.dtype, module.weight.device, *_frozen(module.weight)
    if isinstance(module, PReLU):
        weight = module.weight
        return PReLU, module.num_parameters > 1, weight.dtype, weight.device, *_frozen(weight)
    return type(module), module.extra_repr(), *_shared(module)


def _frozen(member: Parameter | Buffer) -> tuple[str, ...]:
    return ("frozen",) if isinstance(member, Parameter) and member.frozen else ()


def _shared(network: Module) -> list[Hashable]:
    """The numbers of the losses' buffers, which the replicas of a population share."""
    buffers = [each for module in network.modules() if module.gives_loss for _, each in module._members(Buffer)]
    return [str(each.data.tolist()) for each in buffers]


def _shape_of_tree(network: Module) -> tuple[str, ...]:
    return tuple(path for path, _ in network.named_modules())


def _unfit(network: Module, why: str) -> ArgumentError:
    return ArgumentError(
        "networks of several sizes are rows of Linear and what acts on each unit alone",
        expected="Sequential of Linear, activations and Dropout",
        got=f"{describe(network)} with {why}",
        fix="stack networks of one architecture, or train it alone",
    )
