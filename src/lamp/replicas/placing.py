"""Where a network's state lies: a replica taken out of a population is of its dtype, on its device."""

from __future__ import annotations

from lamp.module import Module
from lamp.parameter import move


def place_as(source: Module, network: Module) -> Module:
    """The network with its state on the devices and in the dtypes of another's, and frozen where that is."""
    for twin, parameter in zip(source.parameters(), network.parameters(), strict=True):
        if (twin.dtype, twin.device) != (parameter.dtype, parameter.device):
            move([parameter], twin.dtype, twin.device)
        parameter.freeze(twin.frozen)
    for (_, theirs), (_, own) in zip(source.named_buffers(), network.named_buffers(), strict=True):
        own.data = own.data.to(theirs.data)
    return network
