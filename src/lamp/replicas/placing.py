"""Checks of lists of networks, and `place_as`, which gives a network the device, dtype and freezing of another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.hidden import SHARED, warn_of_unfound
from lamp.module import Module
from lamp.parameter import move


def listed_networks(networks: Any, what: str) -> list[Module]:
    """The argument `networks` of the function named `what`, as a list. Raises ArgumentError if there are none."""
    alone = not isinstance(networks, Iterable) or isinstance(networks, Module | Tensor | str)
    listed = [networks] if alone else list(networks)
    for k, network in enumerate(listed):
        if alone or not isinstance(network, Module) or network.replicas is not None:
            raise ArgumentError(
                f"{what} needs a list of networks" + ("" if alone else f", and item {k} is not a network"),
                expected="lamp modules, such as [network, other]",
                got=f"a {type(network).__name__}" if not isinstance(network, type) else f"the class {network.__name__}",
                fix="list(population) gives the networks of a population, copy.deepcopy(network) a copy of a network",
            )
    if not listed:
        raise ArgumentError(
            f"{what} needs a list of networks", expected="at least one (K >= 1)", got="none", fix="[network, other]"
        )
    warn_of_unfound(listed[0], SHARED)
    return listed


def place_as(source: Module, network: Module) -> Module:
    """The network with its state on the devices and in the dtypes of another's, and frozen where that is."""
    for twin, parameter in zip(source.parameters(), network.parameters(), strict=True):
        if (twin.dtype, twin.device) != (parameter.dtype, parameter.device):
            move([parameter], twin.dtype, twin.device)
        parameter.freeze(twin.frozen)
    for (_, theirs), (_, own) in zip(source.named_buffers(), network.named_buffers(), strict=True):
        own.data = own.data.to(theirs.data)
    return network
