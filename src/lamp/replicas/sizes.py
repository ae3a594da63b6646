"""Networks of one form and several sizes: `Sizes`, checks of the form, and the widest network, which all fit into.

Networks have one form if their graphs differ only in widths that may differ (`lamp.replicas.widths`).

A replica with fewer hidden units than the widest has zeros for the weights of the units that it lacks, and `Linear`
keeps them at zero. So these units add nothing, and each replica computes what its own network does.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NotTraceable, ShapeError
from lamp.graph import Graph
from lamp.module import Module
from lamp.nn import Linear, PReLU, Sequential
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe
from lamp.replicas.shared_attributes import WIDTHS, difference, likeness
from lamp.replicas.widths import Widths
from lamp.tracing import guessed_shape, trace


@dataclass(frozen=True)
class Sizes:
    """The architecture of each replica, where they differ in size.

    architectures  networks, one per architecture
    which          for each replica the index of its architecture
    graphs         the graph of each architecture
    """

    architectures: tuple[Module, ...]
    which: tuple[int, ...]
    graphs: tuple[Graph, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.graphs:
            object.__setattr__(self, "graphs", tuple(map(_graph_of, self.architectures)))

    def network(self, k: int) -> Module:
        """A new network of replica k's architecture; its weights are not those of the replica."""
        return copy.deepcopy(self.architectures[self.which[k]])

    def of(self, rows: Sequence[int]) -> Sizes:
        """The sizes of these replicas alone."""
        return replace(self, which=tuple(self.which[k] for k in rows))

    def mark(self, network: Module) -> None:
        """Tell a population's modules how many units each replica has, and its parameters that they are padded."""
        for module, units in zip(network.modules(), self.units, strict=True):
            module.units = units
        for parameter in network.parameters():
            parameter._buffer.padded = True

    @property
    def bodies(self) -> Sizes:
        """The sizes of the same networks without their final loss."""
        bodies = tuple(each.body if isinstance(each, Sequential) else each for each in self.architectures)
        return replace(self, architectures=bodies)

    @property
    def units(self) -> list[Tensor | None]:
        """For each module the number of input features in each replica, (K,) int64; None where the width is fixed."""
        modules = list(self.architectures[0].modules())
        found: list[Tensor | None] = [None] * len(modules)
        for k, module in Widths(self.graphs[0]).with_free_input():
            features = [graph.ops[k].inputs[0].shape[-1] for graph in self.graphs]
            found[modules.index(module)] = torch.tensor(features)[list(self.which)]
        return found

    @property
    def widths(self) -> Tensor:
        """The number of outputs of each Affine operation but the last, per replica: (K, hidden layers) int64."""
        each = [[op.output.shape[-1] for op in graph.ops if op.kind == "Affine"][:-1] for graph in self.graphs]
        return torch.tensor(each).view(len(each), -1)[list(self.which)]


def architecture(network: Module) -> tuple[str, tuple[Any, ...], Hashable]:
    """A description of a network; networks with equal descriptions stack as they are.

    It has three parts: the modules; name, shape, dtype, device and freezing of each parameter and buffer, with the
    values of the losses' buffers, which all replicas share; and the attributes of the modules.
    """
    members: list[tuple[str, Parameter | Buffer]] = [*network.named_parameters(), *network.named_buffers()]
    held: list[tuple[Any, ...]] = []
    for name, each in members:
        held.append((name, tuple(each.data.shape), each.data.dtype, each.data.device, *_frozen(each)))
    return repr(network), (*held, *_shared(network)), tuple(map(likeness, network.modules()))


def form(network: Module) -> Hashable:
    """A description of a network that leaves out free widths; networks with equal ones fit into one population.

    Raises ArgumentError for a network that cannot be traced.
    """
    graph = _graph_of(network)
    label = Widths(graph).label
    members: list[tuple[str, Parameter | Buffer]] = [*network.named_parameters(), *network.named_buffers()]
    number = {member: k for k, (_, member) in enumerate(members)}
    held = [(name, label(each), each.data.dtype, each.data.device, *_frozen(each)) for name, each in members]
    ops = [
        (
            op.kind,
            tuple(value.number for value in op.inputs),
            tuple((value.number, label(value)) for value in op.outputs),
            tuple((name, number[each]) for name, each in op.parameters.items()),
            repr(dict(op.attributes)),
        )
        for op in graph.ops
    ]
    modules = [(path, *_without_width(module)) for path, module in network.named_modules()]
    inputs, outputs = ([(value.number, value.shape) for value in values] for values in (graph.inputs, graph.outputs))
    return tuple(modules), tuple(held), tuple(ops), tuple(inputs), tuple(outputs), tuple(_shared(network))


def check_forms(networks: Sequence[Module], architectures: Sequence[Hashable]) -> None:
    """Raise ArgumentError for networks that differ in more than the widths of their hidden layers.

    architectures  the `architecture` of each network
    """
    for k, network in enumerate(networks):
        if repr(network) == repr(networks[0]) and (found := difference(networks[0], network)) is not None:
            raise ArgumentError(
                f"network {k} of {len(networks)} differs from network 0 in {found[0]}, which the replicas of a "
                "population share",
                expected=found[1],
                got=found[2],
                fix="make it a lamp.Parameter or a lamp.Buffer, which each replica has for itself, or train them apart",
            )
    wanted, forms = form(networks[0]), dict[Hashable, Hashable]()
    for k, (network, kind) in enumerate(zip(networks, architectures, strict=True)):
        if kind not in forms:
            forms[kind] = form(network)
        if forms[kind] != wanted:
            raise ArgumentError(
                f"network {k} of {len(networks)} is made differently from network 0",
                expected="{} with {}".format(*architecture(networks[0])[:2]),
                got="{} with {}".format(*architecture(network)[:2]),
                fix=_reason(networks[0], network)
                or "stack networks of one dtype and device that differ only in the widths of hidden layers",
            )


def _reason(one: Module, other: Module) -> str | None:
    """The first fixed width in which two networks differ, and why it is fixed; None if there is none."""
    widths = Widths(_graph_of(one))
    for (name, mine), (_, theirs) in zip_longest(
        one.named_parameters(), other.named_parameters(), fillvalue=("", None)
    ):
        if mine is None or theirs is None or len(mine.shape) != len(theirs.shape):
            return None
        for axis, (n, m) in enumerate(zip(mine.shape, theirs.shape, strict=True)):
            if n != m and (reason := widths.why_fixed(mine, axis)) is not None:
                return f"{name} has {n} units in one and {m} in the other: {reason}"
    return None


def widest(networks: Sequence[Module]) -> Module:
    """A network of the same form in which each layer has the largest size of all; these layers' parameters are zero."""
    made = copy.deepcopy(networks[0])
    grown: dict[Parameter, Parameter] = {}
    for layer, *others in zip(made.modules(), *[network.modules() for network in networks[1:]], strict=True):
        layers: list[Any] = [layer, *others]
        if isinstance(layer, Linear):
            layer.in_features = max(each.in_features for each in layers)
            layer.out_features = max(each.out_features for each in layers)
            layer.weight = _zeros(layer.weight, grown, layer.out_features, layer.in_features)
            layer.bias = None if layer.bias is None else _zeros(layer.bias, grown, layer.out_features)
        elif isinstance(layer, PReLU):
            layer.num_parameters = max(each.num_parameters for each in layers)
            layer.weight = _zeros(layer.weight, grown, layer.num_parameters)
    return made


def _zeros(like: Parameter, grown: dict[Parameter, Parameter], *shape: int) -> Parameter:
    """A parameter of zeros of this shape in place of another one. `grown` holds those made so far, for sharing."""
    if tuple(like.shape) == shape:
        like.data.zero_()
        return like
    if like not in grown:
        grown[like] = Parameter(torch.zeros(shape, dtype=like.dtype, device=like.device), not like.frozen)
    return grown[like]


def _graph_of(network: Module) -> Graph:
    """The network's graph, traced with as many input features as its first layer takes. Raises ArgumentError."""
    shape = guessed_shape(network)
    if shape is None:
        raise _not_traceable(f"{describe(network)}, without a Linear")
    try:
        return trace(network, (1, *shape))
    except (NotTraceable, ShapeError) as error:
        raise _not_traceable(f"{error.where or describe(network)}: {error.what}") from None


def _without_width(module: Module) -> tuple[Hashable, ...]:
    """A module's class and options, without a layer's sizes."""
    sized = type(module) in (Linear, PReLU)
    several = module.num_parameters > 1 if isinstance(module, PReLU) else None
    return *likeness(module, without=WIDTHS if sized else frozenset()), several


def _frozen(member: Parameter | Buffer) -> tuple[str, ...]:
    return ("frozen",) if isinstance(member, Parameter) and member.frozen else ()


def _shared(network: Module) -> list[Hashable]:
    """The values of the losses' buffers, which the replicas of a population share."""
    buffers = [each for module in network.modules() if module.gives_loss for _, each in module._members(Buffer)]
    return [str(each.data.tolist()) for each in buffers]


def _not_traceable(got: str) -> ArgumentError:
    return ArgumentError(
        "networks of several sizes are compared by their graphs, and this one has no graph",
        expected="networks that lamp.trace(model, x) can trace, where x has the features of the first Linear",
        got=got,
        fix="stack networks of one architecture, or train it alone",
    )
